#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>

#include "differential/calls.hpp"

namespace differential::calls {
namespace {

void make(Outcome& outcome, long slot, int fd) {
    outcome.set(fd);
    if (fd >= 0) {
        outcome.result = 0;  // numbers are the system's own
        outcome.made[0] = {static_cast<int>(slot), fd};
    }
}

void make_two(Outcome& outcome, const long* slots, int result, const int* fds) {
    outcome.set(result);
    if (result == 0) {
        outcome.made = {{{static_cast<int>(slots[0]), fds[0]}, {static_cast<int>(slots[1]), fds[1]}}};
    }
}

// A name as a call gave it into a buffer of so much room.
void tell_name(World& world, Outcome& outcome, const std::array<char, 256>& buffer, socklen_t room, socklen_t length) {
    outcome.data += "length " + std::to_string(static_cast<int>(length));
    if (outcome.result >= 0 && static_cast<int>(length) >= 0) {
        outcome.data += " " + world.name_of(buffer.data(), std::min({length, room, static_cast<socklen_t>(buffer.size())}));
    }
}

void ask_name(World& world, const long* a, Outcome& outcome, int (*ask)(int, sockaddr*, socklen_t*) noexcept) {
    std::array<char, 256> buffer{};
    const socklen_t room = length_of(a[1]);
    socklen_t length = room;
    outcome.set(ask(world.fd(a[0]), reinterpret_cast<sockaddr*>(buffer.data()), &length));
    tell_name(world, outcome, buffer, room, length);
}

}  // namespace

Target target_of(const World& world, long destination) {
    Target target;
    switch (destination) {
        case Destination::closed_port: target.name = world.address(Host::one, world.closed_port()); break;
        case Destination::unspecified: target.name = {.sin_family = AF_UNSPEC, .sin_port = 0, .sin_addr = {}, .sin_zero = {}}; break;
        case Destination::bad_family: target.name = {.sin_family = 99, .sin_port = htons(9), .sin_addr = world.hosts.one, .sin_zero = {}}; break;
        case Destination::port_zero: target.name = world.address(Host::one, 0); break;
        case Destination::null: target.is_null = true; break;
        default: target.name = world.address_of_slot(destination);
    }
    return target;
}

void make_socket(World&, const long* a, Outcome& outcome) { make(outcome, a[0], socket(static_cast<int>(a[1]), static_cast<int>(a[2] | a[3]), 0)); }

void make_pipe(World&, const long* a, Outcome& outcome) {
    int fds[2];
    const int result = pipe2(fds, O_NONBLOCK);
    make_two(outcome, a, result, fds);
}

void make_pair(World&, const long* a, Outcome& outcome) {
    int fds[2];
    const int result = socketpair(AF_UNIX, static_cast<int>(a[2]) | SOCK_NONBLOCK, 0, fds);
    make_two(outcome, a, result, fds);
}

void make_event(World&, const long* a, Outcome& outcome) { make(outcome, a[0], eventfd(static_cast<unsigned>(a[1]), static_cast<int>(a[2]))); }

// Has gone off, once.
void make_timer(World&, const long* a, Outcome& outcome) {
    const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    const itimerspec soon{{}, {0, 1}};
    timerfd_settime(fd, 0, &soon, nullptr);
    make(outcome, a[0], fd);
}

void make_file(World&, const long* a, Outcome& outcome) {
    const int fd = memfd_create("differential", 0);
    const std::string text(static_cast<std::size_t>(a[1]), 'm');
    if (write(fd, text.data(), text.size()) >= 0) {
        lseek(fd, 0, SEEK_SET);
    }
    make(outcome, a[0], fd);
}

void bind_to(World& world, const long* a, Outcome& outcome) {
    struct {
        sockaddr_in name;
        char rest[256];
    } address{};
    address.name = world.address(a[1], a[2] < 0 ? in_port_t{0} : world.address_of_slot(a[2]).sin_port);
    outcome.set(bind(world.fd(a[0]), reinterpret_cast<sockaddr*>(&address), length_of(a[3])));
}

void listen_on(World& world, const long* a, Outcome& outcome) { outcome.set(listen(world.fd(a[0]), static_cast<int>(a[1]))); }

void accept_from(World& world, const long* a, Outcome& outcome) {
    world.has_connected = true;
    std::array<char, 256> buffer{};
    const socklen_t room = length_of(a[2]);
    socklen_t length = room;
    make(outcome, a[1], accept4(world.fd(a[0]), reinterpret_cast<sockaddr*>(buffer.data()), &length, static_cast<int>(a[3])));
    if (outcome.result >= 0) {
        tell_name(world, outcome, buffer, room, length);
    }
}

void connect_to(World& world, const long* a, Outcome& outcome) {
    world.has_connected = true;
    const Target target = target_of(world, a[1]);
    struct {
        sockaddr_in name;
        char rest[256];
    } address{target.name, {}};
    outcome.set(connect(world.fd(a[0]), target.is_null ? nullptr : reinterpret_cast<sockaddr*>(&address), length_of(a[2])));
}

void shut_down(World& world, const long* a, Outcome& outcome) {
    if (!world.has_filled || a[1] == SHUT_WR) {  // else what follows resets, and it is not known whether something does: what had no room, or nothing
        outcome.set(shutdown(world.fd(a[0]), static_cast<int>(a[1])));
    }
}
void local_name(World& world, const long* a, Outcome& outcome) { ask_name(world, a, outcome, getsockname); }
void peer_name(World& world, const long* a, Outcome& outcome) {
    if (!world.has_filled) {  // else an end may stand behind what does not fit, and with it the peer go
        ask_name(world, a, outcome, getpeername);
    }
}

void duplicate(World& world, const long* a, Outcome& outcome) {
    make(outcome, a[1], dup(world.fd(a[0])));
    outcome.made[0].is_set = world.slots[static_cast<std::size_t>(a[0])].is_set;
}

void duplicate_onto(World& world, const long* a, Outcome& outcome) {
    outcome.set(dup2(world.fd(a[0]), world.fd(a[1])));
    if (outcome.result >= 0) {
        outcome.result = 0;
        world.slots[static_cast<std::size_t>(a[1])].is_set = world.slots[static_cast<std::size_t>(a[0])].is_set;
    }
}

void close_slot(World& world, const long* a, Outcome& outcome) {
    outcome.set(close(world.fd(a[0])));
    world.slots[static_cast<std::size_t>(a[0])] = {};
}

void set_descriptor_flags(World& world, const long* a, Outcome& outcome) {
    const int fd = world.fd(a[0]);
    const int before = fcntl(fd, F_GETFL);
    switch (a[1]) {
        case 0: outcome.set(before); break;
        case 1: outcome.set(fcntl(fd, F_SETFL, before | O_NONBLOCK)); break;
        case 2: outcome.set(fcntl(fd, F_SETFL, before & ~O_NONBLOCK)); break;
        case 3: outcome.set(fcntl(fd, F_GETFD)); break;
        default: outcome.set(fcntl(fd, F_SETFD, FD_CLOEXEC)); break;
    }
}

}  // namespace differential::calls
