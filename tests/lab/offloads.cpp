// offloads PCI-ADDRESS: what the port says of checksums, and what it writes, against sums made in software. Sends every good frame back
// with the checksums left to the port; one to port 10 with a bad sum of its own; one to port 9 ends it. The other end is offloads.py.
#include <fmt/core.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <utility>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"
#include "wire/checksum.hpp"
#include "wire/ethernet.hpp"
#include "wire/ipv4.hpp"

namespace shunt {
namespace {

constexpr auto patience = std::chrono::seconds(25);
constexpr std::uint16_t end_port = 9, spoil_port = 10;

struct [[gnu::packed]] Frame {
    wire::EthernetHeader ethernet;
    wire::Ipv4Header ip;
    wire::Big16 source_port, destination_port;   // TCP's and UDP's alike
};
static_assert(sizeof(Frame) == 38);

std::size_t payload_bytes(const wire::Ipv4Header& ip) { return std::size_t{ip.total_length} - sizeof ip; }

constexpr std::size_t l4_offset = sizeof(wire::EthernetHeader) + sizeof(wire::Ipv4Header);

wire::Checksum pseudo_header(const wire::Ipv4Header& ip) {
    std::uint32_t source = 0, destination = 0;
    std::memcpy(&source, &ip.source, 4);
    std::memcpy(&destination, &ip.destination, 4);
    wire::Checksum sum;
    wire::add_pseudo_header(sum, source, destination, ip.protocol, static_cast<std::uint32_t>(payload_bytes(ip)));
    return sum;
}

bool has_good_l4_checksum(const Frame& frame, const Packet& packet) {
    wire::Checksum sum = pseudo_header(frame.ip);
    sum.add(packet.data() + l4_offset, payload_bytes(frame.ip));
    return sum.is_good();
}

const char* name(ChecksumState state) {
    return state == ChecksumState::good ? "good" : state == ChecksumState::bad ? "bad" : "unknown";
}

class Check {
public:
    explicit Check(pmd::Port& port) : port_(port) {}

    // Until the frame to `end_port`; whether all was right.
    bool run() {
        std::array<Packet*, 32> burst;
        for (const auto start = std::chrono::steady_clock::now(); !is_over_ && std::chrono::steady_clock::now() - start < patience;) {
            const std::uint16_t count = port_.rx_burst(Time{}, burst);
            for (std::uint16_t i = 0; i < count; ++i) {
                input(burst[i]);
            }
        }
        fmt::print("received: IPv4 sums {} good, {} bad; TCP and UDP sums {} good, {} bad; wrong or no verdict {}; sent back {}\n",
                   ip_good_, ip_bad_, l4_good_, l4_bad_, wrong_, sent_);
        return is_over_ && wrong_ == 0 && ip_good_ != 0 && ip_bad_ != 0 && l4_good_ != 0 && l4_bad_ != 0;
    }

private:
    void input(Packet* packet) {
        auto& frame = *reinterpret_cast<Frame*>(packet->data());
        const bool is_whole = packet->size() >= sizeof frame && packet->size() >= sizeof frame.ethernet + frame.ip.total_length;
        const bool is_test = is_whole && frame.ethernet.type == wire::ethertype_ipv4 &&
                             (frame.ip.protocol == wire::protocol_tcp || frame.ip.protocol == wire::protocol_udp);
        if (!is_test || !judge(frame, *packet)) {
            packet->free();
            return;
        }
        is_over_ = is_over_ || frame.destination_port == end_port;
        packet->trim_back(static_cast<std::uint32_t>(packet->size() - sizeof frame.ethernet - frame.ip.total_length));
        send_back(frame, packet);
    }

    // Compares the port's verdicts with ours; whether the frame is a good one.
    bool judge(const Frame& frame, const Packet& packet) {
        const bool ip_is_good = frame.ip.has_good_checksum();
        count("IPv4", ip_is_good, port_.rx_ipv4_checksum(packet), ip_is_good ? ip_good_ : ip_bad_);
        if (!ip_is_good) {
            return false;
        }
        const bool l4_is_good = has_good_l4_checksum(frame, packet);
        count(frame.ip.protocol == wire::protocol_tcp ? "TCP" : "UDP", l4_is_good, port_.rx_l4_checksum(packet), l4_is_good ? l4_good_ : l4_bad_);
        return l4_is_good;
    }

    void count(const char* what, bool is_good, ChecksumState verdict, unsigned& counter) {
        ++counter;
        if (verdict != (is_good ? ChecksumState::good : ChecksumState::bad)) {
            ++wrong_;
            fmt::print("the port says {} of a {} {} checksum\n", name(verdict), is_good ? "good" : "bad", what);
        }
    }

    void send_back(Frame& frame, Packet* packet) {
        const bool spoils = frame.destination_port == spoil_port;
        std::swap(frame.ethernet.source, frame.ethernet.destination);
        std::swap(frame.ip.source, frame.ip.destination);
        std::swap(frame.source_port, frame.destination_port);
        frame.ip.checksum = 0;
        const std::uint16_t start = pseudo_header(frame.ip).sum();
        const bool is_tcp = frame.ip.protocol == wire::protocol_tcp;
        std::memcpy(packet->data() + l4_offset + (is_tcp ? 16 : 6), &start, sizeof start);
        pmd::Port::request_tx_checksum(*packet, sizeof frame.ethernet, sizeof frame.ip, true, is_tcp && !spoils, !is_tcp && !spoils);
        sent_ += port_.tx_burst(Time{}, {&packet, 1});
    }

    pmd::Port& port_;
    bool is_over_ = false;
    unsigned ip_good_ = 0, ip_bad_ = 0, l4_good_ = 0, l4_bad_ = 0, wrong_ = 0, sent_ = 0;
};

int check(const char* address) {
    pmd::EalOptions eal;
    eal.memory_mib = 96;
    eal.links = {{pmd::LinkSpec::Kind::pci, address}};
    if (const auto started = pmd::start_eal(eal); !started) {
        fmt::print("{}\n", started.error().message);
        return 1;
    }
    pmd::borrow_lcore(1);
    pmd::PortOptions options;
    options.packets = 4096;
    auto port = pmd::open_port(eal.links[0], options);
    if (!port) {
        fmt::print("{}\n", port.error().message);
        return 1;
    }
    const pmd::Offloads& offloads = port->offloads;
    fmt::print("the port offers: receive checksums {}, send checksums IPv4 {}, TCP {}, UDP {}, segmentation {}; hugepages {}\n", offloads.rx_checksum,
               offloads.tx_ipv4_checksum, offloads.tx_tcp_checksum, offloads.tx_udp_checksum, offloads.tcp_segmentation, pmd::has_hugepages());
    std::fflush(stdout);
    const bool are_offered = offloads.rx_checksum && offloads.tx_ipv4_checksum && offloads.tx_tcp_checksum && offloads.tx_udp_checksum;
    const bool are_right = Check(*port).run();
    pmd::close_port(*port);
    return are_offered && are_right ? 0 : 1;
}

}  // namespace
}  // namespace shunt

int main(int argc, char** argv) {
    if (argc != 2) {
        fmt::print(stderr, "usage: offloads PCI-ADDRESS\n");
        return 2;
    }
    return shunt::check(argv[1]);
}
