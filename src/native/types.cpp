// Errors in words, addresses in text.
#include <cstring>

#include "native/core.hpp"

namespace shunt::inline v0 {

std::string_view Error::message() const noexcept {
    const char* text = strerrordesc_np(code);
    return text != nullptr ? text : "unknown error";
}

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) noexcept {
    SocketAddress result;
    const std::size_t colon = text.find(':');
    const std::string_view host = text.substr(0, colon);
    if (!host.empty()) {
        const auto address = config::parse_ipv4(host);
        if (!address) {
            return std::nullopt;
        }
        result.ipv4 = *address;
    }
    if (colon == std::string_view::npos) {
        return host.empty() ? std::nullopt : std::optional(result);
    }
    const auto port = config::parse_integer(text.substr(colon + 1));
    if (!port || *port < 0 || *port > 65535) {
        return std::nullopt;
    }
    result.port = static_cast<std::uint16_t>(*port);
    return result;
}

std::string SocketAddress::to_string() const {
    return config::ipv4_text(ipv4) + ":" + std::to_string(port);
}

}  // namespace shunt::inline v0
