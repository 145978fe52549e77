// Raw frames into the stack: with an established connection, a listener and a UDP socket behind it. On request the frame's addresses, lengths and sums are
// put right, so that the input reaches the deeper layers.
#include "fuzz/bench.hpp"
#include "wire/checksum.hpp"

namespace shunt::fuzz {
namespace {

constexpr std::size_t ip_at = sizeof(wire::EthernetHeader), transport_at = ip_at + sizeof(wire::Ipv4Header);

enum Mend : std::uint8_t { ethernet = 1, addresses = 2, ip_sum = 4, ports = 8, transport_sum = 16, near = 32 };

void mend_transport(Bench& bench, Bytes& frame, std::uint8_t mends) {
    auto& ip = *reinterpret_cast<wire::Ipv4Header*>(frame.data() + ip_at);
    const std::size_t size = frame.size() - transport_at;
    if (ip.protocol == wire::protocol_tcp && size >= sizeof(wire::TcpHeader)) {
        auto& tcp = *reinterpret_cast<wire::TcpHeader*>(frame.data() + transport_at);
        if ((mends & ports) != 0) {
            tcp.source_port = Bench::peer_port;
            tcp.destination_port = Bench::our_port;
        }
        if ((mends & near) != 0 && bench.c != nullptr) {
            tcp.seq = bench.c->rcv_nxt.raw() + (tcp.seq & 0xfff);
            tcp.ack = bench.c->snd_nxt.raw();
        }
    }
    const bool is_icmp = ip.protocol == 1;
    const std::size_t sum_at = ip.protocol == wire::protocol_tcp ? 16 : is_icmp ? 2 : 6;
    if ((mends & transport_sum) == 0 || size < sum_at + 2) {
        return;
    }
    frame[transport_at + sum_at] = frame[transport_at + sum_at + 1] = 0;
    wire::Checksum sum;
    if (!is_icmp) {
        const std::uint32_t source = ip.source, destination = ip.destination;
        wire::add_pseudo_header(sum, __builtin_bswap32(source), __builtin_bswap32(destination), ip.protocol, static_cast<std::uint32_t>(size));
    }
    sum.add(frame.data() + transport_at, size);
    const std::uint16_t field = sum.field();
    std::memcpy(frame.data() + transport_at + sum_at, &field, sizeof field);
}

void mend(Bench& bench, Bytes& frame, std::uint8_t mends) {
    if (frame.size() < transport_at) {
        return;
    }
    auto& header = *reinterpret_cast<wire::EthernetHeader*>(frame.data());
    if ((mends & ethernet) != 0) {
        header.destination = bench.station.mac();
        header.type = (mends & addresses) != 0 ? wire::ethertype_ipv4 : header.type & 1U ? wire::ethertype_arp : wire::ethertype_ipv4;
    }
    auto& ip = *reinterpret_cast<wire::Ipv4Header*>(frame.data() + ip_at);
    if ((mends & addresses) != 0) {
        ip.version_ihl = 0x45;
        ip.source = test::ip(10, 0, 0, 2);
        ip.destination = bench.station.address();
        ip.total_length = static_cast<std::uint16_t>(frame.size() - ip_at);
        mend_transport(bench, frame, mends);
    }
    if ((mends & ip_sum) != 0) {
        ip.checksum = 0;
        wire::Checksum sum;
        sum.add(frame.data() + ip_at, sizeof(wire::Ipv4Header));
        const std::uint16_t field = sum.field();
        std::memcpy(&ip.checksum, &field, sizeof field);
    }
}

}  // namespace
}  // namespace shunt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shunt;
    constexpr unsigned frames_max = 64;
    fuzz::Input input(data, size);
    fuzz::Bench bench;
    UdpEndpoint* udp = *bench.station.stack().udp().open();
    fuzz::require(bench.station.stack().udp().bind(*udp, 0, 53).has_value(), "bind succeeds");
    wire::TcpOptions offered;
    offered.mss = 1460;
    offered.sack_permitted = true;
    bench.open(false, offered);
    for (unsigned i = 0; i < frames_max && !input.is_empty(); ++i) {
        const std::uint8_t mends = input.byte();
        if ((mends & 128) != 0) {
            bench.pass(std::chrono::milliseconds(input.byte()));
        }
        fuzz::Bytes frame = input.bytes(input.below(1515));
        fuzz::mend(bench, frame, mends);
        bench.give(frame);
        while (Packet* packet = bench.station.stack().udp().take(*udp)) {
            packet->free();
        }
    }
    bench.station.stack().udp().close(*udp);
    return 0;
}
