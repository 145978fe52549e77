// TCP options: whatever the bytes, parsing stays inside them; what was understood and fits into a header is emitted and understood again.
#include <algorithm>
#include <vector>

#include "fuzz/bench.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shunt;
    const std::vector<std::uint8_t> exact(data, data + std::min<std::size_t>(size, 40));  // so that the sanitizer sees the end
    wire::TcpOptions options = wire::parse_tcp_options(exact.data(), static_cast<unsigned>(exact.size()));
    fuzz::require(options.sack_count <= options.sack.size() && options.wscale <= 14 && options.wscale >= -1, "what is parsed is within its bounds");
    const unsigned plain = (options.mss != 0 ? 4U : 0) + (options.wscale >= 0 ? 4U : 0) + (options.sack_permitted ? 4U : 0) + (options.has_timestamp ? 12U : 0);
    const unsigned cookie = options.fast_open_bytes < 0 ? 0 : ((options.fast_open_experimental ? 4U : 2U) + static_cast<unsigned>(options.fast_open_bytes) + 3) / 4 * 4;
    const unsigned others = plain + (plain + cookie <= 40 ? cookie : 0);  // what does not fit is left out
    options.sack_count = static_cast<std::uint8_t>(std::min<unsigned>(options.sack_count, others + 12 <= 40 ? (40 - others - 4) / 8 : 0));
    std::uint8_t emitted[40];
    const unsigned bytes = wire::emit_tcp_options(options, emitted);
    fuzz::require(bytes <= sizeof emitted && bytes % 4 == 0, "what is emitted fits into a header");
    const wire::TcpOptions again = wire::parse_tcp_options(emitted, bytes);
    fuzz::require(again.mss == options.mss && again.wscale == options.wscale && again.sack_permitted == options.sack_permitted && again.has_timestamp == options.has_timestamp &&
                      (!options.has_timestamp || (again.tsval == options.tsval && again.tsecr == options.tsecr)) && again.sack_count == options.sack_count,
                  "what is emitted is understood again");
    fuzz::require(cookie == 0 || plain + cookie > 40 || (again.fast_open_bytes == options.fast_open_bytes && again.fast_open_experimental == options.fast_open_experimental), "a cookie comes back");
    for (unsigned i = 0; i < options.sack_count; ++i) {
        fuzz::require(again.sack[i].left == options.sack[i].left && again.sack[i].right == options.sack[i].right, "SACK blocks come back");
    }
    return 0;
}
