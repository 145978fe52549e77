// The two reassembly queues. IPv4: pieces of datagrams in any order, overlapping or wrong; what a socket gets is what was sent. TCP: pieces of a stream in
// any order; what is read is the stream.
#include <optional>

#include "fuzz/bench.hpp"

namespace shunt::fuzz {
namespace {

constexpr std::uint32_t peer = test::ip(10, 0, 0, 2);

// Datagram `id` of the peer: its size and its bytes follow from the number.
Bytes datagram(std::uint8_t id, std::uint32_t to) {
    return test::udp(peer, 53, to, 53, stream_bytes(id * 10'000U, 1U + id * 29U));
}

void fragments(Input& input) {
    constexpr unsigned pieces_max = 300;
    Bench bench;
    Udp& udp = bench.station.stack().udp();
    UdpEndpoint* endpoint = *udp.open();
    require(udp.bind(*endpoint, 0, 53).has_value(), "bind succeeds");
    for (unsigned i = 0; i < pieces_max && !input.is_empty(); ++i) {
        const std::uint8_t kind = input.byte(), id = input.byte();
        const Bytes whole = datagram(id, bench.station.address());
        const std::size_t at = std::min<std::size_t>(std::size_t{input.below(1024)} * 8, whole.size()) / 8 * 8;
        Bytes piece = whole.substr(at, (kind & 1) != 0 ? 8 * (1 + input.below(180)) : std::string::npos);
        if (piece.size() > 1480) {
            piece.resize(1480);
        }
        bool more = at + piece.size() < whole.size();
        if ((kind & 6) == 6) {  // one that lies about what it is
            more = !more;
            piece.resize(input.below(1481), 'x');
        }
        const auto field = static_cast<std::uint16_t>(at / 8 | (more ? 0x2000U : 0U));
        bench.give_ip(test::ipv4({.source = peer, .destination = bench.station.address(), .protocol = wire::protocol_udp, .identification = id, .fragment = field}, piece));
        if ((kind & 128) != 0) {
            bench.pass(std::chrono::seconds(input.byte()));
        }
        while (Packet* packet = udp.take(*endpoint)) {
            Bytes got(packet->size(), '\0');
            packet->copy_out(0, got.data(), packet->size());
            packet->free();
            require((got.size() - 1) % 29 == 0 && got == stream_bytes(static_cast<std::uint32_t>((got.size() - 1) / 29) * 10'000U, got.size()), "a datagram is what was sent");
        }
    }
    udp.close(*endpoint);
}

void segments(Input& input) {
    constexpr unsigned pieces_max = 300;
    Tunables tunables;
    tunables.tcp_rmem = {4096, (input.byte() & 1) != 0 ? 8192 : 131072, 131072};
    Bench bench(tunables);
    wire::TcpOptions offered;
    offered.mss = 1460;
    offered.sack_permitted = true;
    bench.open(false, offered);
    std::uint32_t fin_at = ~0U;
    for (unsigned i = 0; i < pieces_max && !input.is_empty() && bench.c != nullptr && bench.c->error == 0; ++i) {
        const std::uint8_t kind = input.byte();
        const std::uint32_t next = bench.c->rcv_nxt - bench.c->irs - 1;
        const std::uint32_t at = (kind & 1) != 0 ? next : next + input.below(20'000) - std::min(next, 2000U);
        std::uint32_t size = 1 + input.below(1460);
        if ((kind & 0xe0) == 0xe0 && fin_at == ~0U) {
            fin_at = at + size;
        }
        if (at >= fin_at) {  // a peer does not write behind its FIN
            continue;
        }
        size = std::min(size, fin_at - at);
        const auto flags = static_cast<std::uint8_t>(test::flag::ack | (at + size == fin_at ? test::flag::fin : 0));
        bench.give_tcp(Bench::peer_iss + 1 + at, bench.c->snd_nxt.raw(), flags, 500, {}, stream_bytes(at, size));
        if ((kind & 2) != 0) {
            bench.read(1 + input.below(5000));
        }
        if ((kind & 4) != 0) {
            bench.pass(50ms);
        }
    }
    bench.read(1 << 20);
    require(bench.c == nullptr || bench.c->error != 0 || bench.received == bench.c->rcv_nxt - bench.c->irs - 1 - (bench.c->fin_received ? 1 : 0), "all that was acknowledged is read");
}

}  // namespace
}  // namespace shunt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    shunt::fuzz::Input input(data, size);
    if ((input.byte() & 1) != 0) {
        shunt::fuzz::fragments(input);
    } else {
        shunt::fuzz::segments(input);
    }
    return 0;
}
