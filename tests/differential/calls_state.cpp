#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/time.h>

#include <linux/sockios.h>

#include <algorithm>

#include "differential/calls.hpp"

namespace differential::calls {
namespace {

using Bytes = std::array<unsigned char, 64>;

template <class T>
void put(Bytes& bytes, const T& value) {
    memcpy(bytes.data(), &value, sizeof value);
}

Bytes bytes_of(const Option& option, long value) {
    Bytes bytes{};
    switch (option.shape) {
        case Option::Shape::number: put(bytes, static_cast<int>(value)); break;
        case Option::Shape::linger: put(bytes, linger{static_cast<int>(value), value == 7 ? 1 : 0}); break;
        case Option::Shape::interval: put(bytes, timeval{value < 0 ? -1 : 0, value > 10'000 ? 1'000'000 : (value & 7) * 700}); break;
        case Option::Shape::text: strcpy(reinterpret_cast<char*>(bytes.data()), value < 0 ? "none" : value == 1 ? "reno" : "cubic"); break;
    }
    return bytes;
}

bool is_compared(const Option& option, const World& world) {
    return option.compared == Option::Compared::always || (option.compared == Option::Compared::unconnected && !world.has_connected);
}

std::string events_text(long slot, unsigned events) {
    char text[32];
    snprintf(text, sizeof text, " s%ld:%x", slot, events);
    return text;
}

}  // namespace

void set_option(World& world, const long* a, Outcome& outcome) {
    const Option& option = options()[static_cast<std::size_t>(a[1])];
    const Bytes bytes = bytes_of(option, a[2]);
    const int error = errno;
    outcome.set(setsockopt(world.fd(a[0]), option.level, option.number, bytes.data(), static_cast<socklen_t>(a[3])));
    if (outcome.result == 0) {
        errno = error;
    }
}

void get_option(World& world, const long* a, Outcome& outcome) {
    const Option& option = options()[static_cast<std::size_t>(a[1])];
    Bytes bytes;
    bytes.fill(0xee);
    auto length = static_cast<socklen_t>(a[2]);
    const bool compared = is_compared(option, world);
    outcome.set(getsockopt(world.fd(a[0]), option.level, option.number, bytes.data(), &length));
    outcome.data = "length " + std::to_string(static_cast<int>(length)) + (compared ? " " : "");
    for (std::size_t i = 0; compared && i < std::min<std::size_t>(length, 16); ++i) {
        char text[8];
        snprintf(text, sizeof text, "%02x", bytes[i]);
        outcome.data += text;
    }
}

void control_socket(World& world, const long* a, Outcome& outcome) {
    int value = a[1] == -1 ? 1 : a[1] == -2 ? 0 : 0;
    outcome.set(ioctl(world.fd(a[0]), a[1] < 0 ? FIONBIO : static_cast<unsigned long>(a[1]), &value));
    const bool is_compared = a[1] == FIONREAD ? !world.has_filled : a[1] == SIOCATMARK;  // what is unacknowledged is a matter of time
    if (outcome.result == 0 && is_compared) {
        outcome.data = std::to_string(value);
    }
}

void make_epoll(World&, const long* a, Outcome& outcome) {
    const int fd = epoll_create1(0);
    outcome.set(fd < 0 ? -1 : 0);
    outcome.made[0] = {static_cast<int>(a[0]), fd, true};
}

void change_epoll(World& world, const long* a, Outcome& outcome) {
    epoll_event event{};
    event.events = static_cast<std::uint32_t>(a[3]);
    event.data.u64 = static_cast<std::uint64_t>(a[2]);
    outcome.set(epoll_ctl(world.fd(a[0]), static_cast<int>(a[1]), world.fd(a[2]), &event));
}

// In the order of the slots: which of several is told first is not compared.
void wait_epoll(World& world, const long* a, Outcome& outcome) {
    std::array<epoll_event, 32> events{};
    outcome.set(epoll_wait(world.fd(a[0]), events.data(), static_cast<int>(a[1]) == 8 ? static_cast<int>(events.size()) : static_cast<int>(a[1]), static_cast<int>(a[2])));
    const long count = std::max(outcome.result, 0L);
    std::sort(events.begin(), events.begin() + count, [](const epoll_event& one, const epoll_event& other) {
        return one.data.u64 != other.data.u64 ? one.data.u64 < other.data.u64 : one.events < other.events;
    });
    for (long i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        const unsigned told = world.compared(event.events);
        outcome.data += told != 0 ? events_text(static_cast<long>(event.data.u64), told) : "";
    }
    outcome.result = world.has_filled ? std::min(outcome.result, 0L) : outcome.result;
}

void select_all(World& world, const long*, Outcome& outcome) {
    std::array<fd_set, 3> sets;
    for (fd_set& set : sets) {
        FD_ZERO(&set);
    }
    int most = -1;
    for (const Slot& slot : world.slots) {
        for (std::size_t i = 0; slot.fd >= 0 && !slot.is_set && i < sets.size(); ++i) {
            if (i != 1 || !world.has_filled) {
                FD_SET(slot.fd, &sets[i]);
            }
        }
        most = std::max(most, slot.fd);
    }
    timeval zero{};
    outcome.set(select(most + 1, &sets[0], &sets[1], &sets[2], &zero));
    for (long i = 0; outcome.result > 0 && i < slot_count; ++i) {
        for (std::size_t set = 0; world.fd(i) >= 0 && set < sets.size(); ++set) {
            outcome.data += FD_ISSET(world.fd(i), &sets[set]) ? std::string(" ") + "rwx"[set] + std::to_string(i) : "";
        }
    }
}

void poll_one(World& world, const long* a, Outcome& outcome) {
    pollfd item{world.fd(a[0]), static_cast<short>(world.compared(static_cast<unsigned>(a[1]))), 0};
    outcome.set(poll(&item, 1, static_cast<int>(a[2])));
    const unsigned told = world.compared(static_cast<unsigned short>(item.revents));
    outcome.result = told == 0 ? std::min(outcome.result, 0L) : outcome.result;
    outcome.data = told != 0 ? events_text(a[0], told) : "";
}

}  // namespace differential::calls
