// The slots and their descriptors, the names that ports get in the log, and what became ready. Made anew for each plan.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <map>
#include <string>

#include "differential/plan.hpp"

namespace differential {

namespace Host {
enum : long { one, two, any, foreign };
}
namespace Destination {
enum : long { closed_port = 100, unspecified, bad_family, port_zero, null };
}
namespace Shape {
enum : long { none, one, three, with_empty, all_empty, many, too_many, null_base, huge_length };
}

// The two addresses of the host under test.
struct Hosts {
    in_addr one{}, two{};
};

struct Slot {
    int fd = -1;
    bool is_set = false;  // an epoll set, which a poll is not asked about
};

// What a call gave. Written by the thread that made it; `made` goes into slots by the main thread.
struct Outcome {
    char letter = 'a';  // what a write is to write
    long result = 0;
    int error = 0;
    std::string data;
    struct Made {
        int slot, fd;
        bool is_set = false;
    };
    std::array<Made, 2> made{{{-1, -1}, {-1, -1}}};
    void set(long value);  // with errno
};

struct World {
    Hosts hosts;
    std::array<Slot, slot_count> slots;
    std::map<in_port_t, int> port_names;
    std::array<short, slot_count> told{};  // readiness
    int step = 0;
    bool has_connected = false;            // the kernel has tuned buffers, for good
    bool has_filled = false;               // how much fits is the system's own: POLLOUT and large counts are not compared any more

    // Of readiness, what is compared: an end may stand behind what does not fit.
    unsigned compared(unsigned events) const { return has_filled ? events & ~static_cast<unsigned>(POLLOUT | POLLWRNORM | POLLWRBAND | POLLRDHUP | POLLHUP) : events; }
    int fd(long slot) const { return slots[static_cast<std::size_t>(slot)].fd; }
    sockaddr_in address(long host, in_port_t port) const;
    // What a slot is bound to, the wildcard as the first host; port 0 and the first host where it is no such socket.
    sockaddr_in address_of_slot(long slot) const;
    in_port_t closed_port() const;
    std::string name_of(const void* address, socklen_t length);
    void put(const Outcome::Made& made);  // closes what was in the slot
    void close_all();

    // A byte for each step, so that a stream tells which write a byte came from.
    char letter() const { return static_cast<char>('a' + step % 26); }
    // Waits until readiness stands still; what has changed since the last time, as text.
    std::string settle(int pace_us);

private:
    std::array<short, slot_count> ask() const;
};

std::string error_name(int code);
// "a*3 b": the bytes in runs; of 'F', which fills buffers, the length is left out.
std::string runs_of(const char* data, std::size_t size);

}  // namespace differential
