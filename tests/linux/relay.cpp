// Two links and a bad wire between them: what arrives at one leaves at the other, with the same faults whatever the ends are. So Linux talks to Linux
// (two taps) and Shunt to Linux (memif and a tap) over the same wire.
//   relay LINK_A LINK_B FAULTS SEED SECONDS [ADDRESS PORT FLOOD_SECONDS]
// FAULTS as --fault takes them, without the seed; for both directions. ADDRESS PORT: as soon as it knows both ends, it floods this one, at LINK_A, with SYNs
// from random sources, as fast as the link takes them, and says afterwards how many there were.
#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>

#include "pmd/clock.hpp"
#include "pmd/eal.hpp"
#include "pmd/fault.hpp"
#include "pmd/port.hpp"
#include "pmd/port_inline.hpp"
#include "wire/checksum.hpp"
#include "wire/ethernet.hpp"
#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace {

namespace wire = shunt::wire;

using shunt::Packet;
using shunt::Time;
using shunt::pmd::Port;

[[noreturn]] void die(const std::string& message) {
    std::fprintf(stderr, "relay: %s\n", message.c_str());
    std::exit(2);
}

template <class T>
T value_of(shunt::Outcome<T> outcome) {
    if (!outcome) {
        die(outcome.error().message);
    }
    return *outcome;
}

Time now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return Time(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

// One round in one direction; true when there was something to do. Learns who is at `from`.
bool carry(Port& from, Port& to, Time at, wire::Mac& station) {
    Packet* burst[64];
    const std::uint16_t count = from.rx_burst(at, burst);
    if (count != 0) {
        station = reinterpret_cast<const wire::EthernetHeader*>(burst[0]->data())->source;
    }
    to.tx_burst(at, {burst, count});  // with none as well: what the faults hold back is sent in time
    return count != 0;
}

// A burst of SYNs, each from somebody else.
class Flood {
public:
    Flood(const char* address, const char* port, std::uint64_t seed) : port_(static_cast<std::uint16_t>(std::atoi(port))), random_(seed) {
        in_addr parsed{};
        if (inet_pton(AF_INET, address, &parsed) != 1 || port_ == 0) {
            die("ADDRESS PORT are of whom to flood");
        }
        address_ = ntohl(parsed.s_addr);
    }
    void send(Port& to, const wire::Mac& target, const wire::Mac& from, Time at) {
        std::array<Packet*, 32> burst{};
        unsigned count = 0;
        while (count < burst.size() && (burst[count] = to.allocate()) != nullptr) {
            fill(*burst[count++], target, from);
        }
        to.tx_burst(at, {burst.data(), count});
    }

private:
    void fill(Packet& packet, const wire::Mac& target, const wire::Mac& from) {
        constexpr std::uint16_t tcp_bytes = sizeof(wire::TcpHeader) + 4;
        std::byte* frame = packet.append(14 + 20 + tcp_bytes);
        new (frame) wire::EthernetHeader{target, from, wire::ethertype_ipv4};
        const std::uint32_t source = 0x0b000000 + random_.below(0x01000000);  // of 11.0.0.0/8
        auto* ip = new (frame + 14) wire::Ipv4Header{0x45, 0, 20 + tcp_bytes, 1, 0, 64, wire::protocol_tcp, 0, source, address_};
        ip->fill_checksum();
        const auto source_port = static_cast<std::uint16_t>(1024 + random_.below(60000));
        auto* tcp = new (frame + 34) wire::TcpHeader{source_port, port_, random_.below(UINT32_MAX), 0, 6 << 4, wire::tcp_flag::syn, 65535, 0, 0};
        constexpr std::array<std::uint8_t, 4> mss_1460{2, 4, 5, 180};
        std::memcpy(frame + 54, mss_1460.data(), mss_1460.size());
        wire::Checksum sum;
        wire::add_pseudo_header(sum, source, address_, wire::protocol_tcp, tcp_bytes);
        sum.add(tcp, tcp_bytes);
        tcp->checksum = sum.field();
    }

    std::uint32_t address_;
    std::uint16_t port_;
    shunt::Random random_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6 && argc != 9) {
        die("usage: relay LINK_A LINK_B FAULTS SEED SECONDS [ADDRESS PORT FLOOD_SECONDS]");
    }
    std::optional<Flood> flood;
    if (argc == 9) {
        flood.emplace(argv[6], argv[7], std::strtoull(argv[4], nullptr, 0));
    }
    shunt::pmd::EalOptions eal;
    eal.links = {value_of(shunt::pmd::parse_link_spec(argv[1])), value_of(shunt::pmd::parse_link_spec(argv[2]))};
    value_of(shunt::pmd::start_eal(eal));
    shunt::pmd::borrow_lcore(127);
    static Port ports[2];
    static shunt::pmd::FaultInjector* injectors[2];
    for (unsigned i = 0; i < 2; ++i) {
        shunt::pmd::PortOptions options;
        options.packets = 16384;
        options.index = i;
        ports[i] = value_of(shunt::pmd::open_port(eal.links[i], options));
        ports[i].disarm_rx_interrupt();
        shunt::pmd::FaultOptions faults = value_of(shunt::pmd::parse_fault_options(argv[3]));
        faults.seed = std::strtoull(argv[4], nullptr, 0) * 2 + i;
        injectors[i] = new shunt::pmd::FaultInjector(faults);
        ports[i].faults = injectors[i];
    }
    std::puts("relays");
    std::fflush(stdout);
    const Time end = now() + std::chrono::seconds(std::atoi(argv[5]));
    Time flood_end = shunt::never;
    wire::Mac stations[2]{};
    for (Time at = now(); at < end && getppid() != 1; at = now()) {
        const bool was_busy = carry(ports[0], ports[1], at, stations[0]);
        const bool is_busy = carry(ports[1], ports[0], at, stations[1]);
        if (flood && stations[0] != wire::Mac{} && stations[1] != wire::Mac{}) {
            flood_end = std::min(flood_end, at + std::chrono::seconds(std::atoi(argv[8])));
            flood->send(ports[0], stations[0], stations[1], at);
            if (at >= flood_end) {
                std::printf("flooded %llu\n", static_cast<unsigned long long>(ports[0].statistics().tx_frames));  // but for a few that were relayed
                std::fflush(stdout);
                flood.reset();
            }
        } else if (!was_busy && !is_busy) {
            usleep(20);
        }
    }
    for (unsigned i = 0; i < 2; ++i) {
        shunt::pmd::discard_held(*injectors[i]);
        shunt::pmd::close_port(ports[i]);
    }
}
