// The bare wire: two processes exchange frames by bursts, with no stack between. Everything else is measured against it.
//   wire_ping server|client LINK FRAME_BYTES SECONDS
// Both ends send on the packet they received: nothing is allocated and no byte of the frame is looked at, which is the least that a
// program on this port can do.
#include <cstring>
#include <string>

#include "bench/ping.hpp"
#include "pmd/clock.hpp"
#include "pmd/eal.hpp"
#include "pmd/port.hpp"
#include "pmd/port_inline.hpp"

namespace {

using shunt::Packet;
using shunt::Time;
using shunt::pmd::Port;

Port open_link(const char* text) {
    const auto spec = shunt::pmd::parse_link_spec(text);
    if (!spec) {
        bench::die("wire_ping", spec.error().message.c_str());
    }
    shunt::pmd::EalOptions eal;
    eal.links = {*spec};
    if (const auto started = shunt::pmd::start_eal(eal); !started) {
        bench::die("wire_ping", started.error().message.c_str());
    }
    shunt::pmd::PortOptions options;
    options.packets = 8192;
    auto port = shunt::pmd::open_port(*spec, options);
    if (!port) {
        bench::die("wire_ping", port.error().message.c_str());
    }
    port->disarm_rx_interrupt();
    return *port;
}

Packet* receive_until(Port& port, std::uint64_t give_up_at) {
    Packet* packet = nullptr;
    do {
        if (port.rx_burst(Time{}, {&packet, 1}) != 0) {
            return packet;
        }
    } while (__rdtsc() < give_up_at);
    return nullptr;
}

void serve(Port& port, double seconds) {
    const bench::Ticks ticks;
    bench::say_ready();
    const std::uint64_t end = __rdtsc() + ticks.of_seconds(seconds);
    while (Packet* packet = receive_until(port, end)) {
        port.tx_burst(Time{}, {&packet, 1});
    }
}

Packet* new_frame(Port& port, std::uint32_t frame_bytes) {
    Packet* packet = port.allocate();
    if (packet == nullptr) {
        bench::die("wire_ping", "the packet pool is empty");
    }
    std::byte* frame = packet->append(frame_bytes);
    std::memset(frame, 0xff, 12);  // to all stations
    std::memset(frame + 12, 0, frame_bytes - 12);
    return packet;
}

void ask(Port& port, std::uint32_t frame_bytes, double seconds) {
    for (int i = 0; i < 5000 && !port.is_link_up(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    Packet* packet = nullptr;
    bench::ping_for(seconds, [&](std::uint64_t give_up_at) {
        if (packet == nullptr) {
            packet = new_frame(port, frame_bytes);
        }
        port.tx_burst(Time{}, {&packet, 1});
        packet = receive_until(port, give_up_at);
        return packet != nullptr;
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        bench::die("usage", "wire_ping server|client LINK FRAME_BYTES SECONDS");
    }
    Port port = open_link(argv[2]);
    shunt::pmd::borrow_lcore(127);
    const auto frame_bytes = static_cast<std::uint32_t>(std::atoi(argv[3]));
    if (std::string_view(argv[1]) == "server") {
        serve(port, std::atof(argv[4]));
    } else {
        ask(port, frame_bytes, std::atof(argv[4]));
    }
    shunt::pmd::close_port(port);
}
