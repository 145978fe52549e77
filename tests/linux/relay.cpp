// Two links and a bad wire between them: what arrives at one leaves at the other, with the same faults whatever the ends are. So Linux talks to Linux
// (two taps) and Shunt to Linux (memif and a tap) over the same wire.
//   relay LINK_A LINK_B FAULTS SEED SECONDS      FAULTS as --fault takes them, without the seed; for both directions
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "pmd/clock.hpp"
#include "pmd/eal.hpp"
#include "pmd/fault.hpp"
#include "pmd/port.hpp"
#include "pmd/port_inline.hpp"

namespace {

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

// One round in one direction; true when there was something to do.
bool carry(Port& from, Port& to, Time at) {
    Packet* burst[64];
    const std::uint16_t count = from.rx_burst(at, burst);
    to.tx_burst(at, {burst, count});  // with none as well: what the faults hold back is sent in time
    return count != 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        die("usage: relay LINK_A LINK_B FAULTS SEED SECONDS");
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
    for (Time at = now(); at < end && getppid() != 1; at = now()) {
        const bool was_busy = carry(ports[0], ports[1], at);
        if (!carry(ports[1], ports[0], at) && !was_busy) {
            usleep(20);
        }
    }
    for (unsigned i = 0; i < 2; ++i) {
        shunt::pmd::discard_held(*injectors[i]);
        shunt::pmd::close_port(ports[i]);
    }
}
