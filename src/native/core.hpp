// What the library's own sources share: the lock of a call, and the way into handles. Include it before anything of
// include/shunt/: below this line shunt::Stack is two classes, the stack itself (CoreStack here) and the program's hold on it.
//
// A native handle owns a description (socket::Socket) as a descriptor of the shim does. The transports' `owner` then means the
// same everywhere, so waiting, waking and closing are the socket layer's own; the data path touches no more of it than one
// pointer.
#pragma once

#include <algorithm>
#include <utility>

#include "config/options.hpp"
#include "config/values.hpp"
#include "pmd/port_inline.hpp"
#include "socket/ancillary.hpp"
#include "socket/guard.hpp"
#include "socket/runtime.hpp"
#include "stack/stack.hpp"

namespace shunt {
using CoreStack = Stack;
using CoreError = Error;
}  // namespace shunt

#include "shunt/shunt.hpp"

namespace shunt::inline v0 {

// The guard that this thread holds; null outside of calls and Sessions.
extern constinit thread_local socket::Guard* current_guard;

// The lock, for one call: taken unless this thread has it.
class Inside {
public:
    explicit Inside(socket::Layer& layer) noexcept : guard_(current_guard) {
        if (guard_ == nullptr) {
            guard_ = new (place_) socket::Guard(layer);
            current_guard = guard_;
            is_outermost_ = true;
        } else {
            stack().change();  // in a Session
        }
    }
    ~Inside() {
        if (is_outermost_) {
            current_guard = nullptr;
            guard_->~Guard();
        } else {
            stack().rest();
        }
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

    socket::Guard& guard() const noexcept { return *guard_; }
    socket::Layer& layer() const noexcept { return guard_->layer(); }
    CoreStack& stack() const noexcept { return *guard_->layer().stack; }
    tcp::Tcp& tcp() const noexcept { return stack().tcp(); }
    Udp& udp() const noexcept { return stack().udp(); }
    Time now() const noexcept { return guard_->layer().now(); }

    // One round of work. Lets others in who wait for the lock, and wakes those who sleep for what has come.
    bool poll(Time now) const noexcept {
        socket::Layer& here = layer();
        here.stack->rest();
        const bool worked = here.stack->poll(now);
        here.stack->change();
        if (here.is_armed || here.sleepers != 0 || here.stack->is_wanted()) [[unlikely]] {
            look_after_others();
        }
        return worked;
    }

private:
    void look_after_others() const noexcept;

    socket::Guard* guard_;
    bool is_outermost_ = false;
    alignas(socket::Guard) std::byte place_[sizeof(socket::Guard)];
};

inline Instant to_instant(Time at) noexcept {
    return Instant(at.time_since_epoch());
}
inline Time to_time(Instant at) noexcept {
    return at == forever ? never : Time(at.time_since_epoch());
}
inline std::unexpected<Error> failure(int code) noexcept {
    return std::unexpected(Error{code});
}
inline std::unexpected<Error> failure(Errno code) noexcept {
    return std::unexpected(Error{code_of(code)});
}

// The one friend of the public classes.
struct Access {
    static socket::Layer& layer(const Handle& handle) noexcept { return *handle.layer_; }
    static socket::Layer& layer(const Stack& stack) noexcept { return *stack.layer_; }
    static socket::Socket* socket(const Handle& handle) noexcept { return handle.socket_; }
    static Stack stack(socket::Layer& layer) noexcept { return Stack(&layer); }

    template <class T>
    static T handle(socket::Layer& layer, socket::Socket& socket) noexcept {
        return T(&layer, &socket);
    }
    static void lend(Packet& packet) noexcept {
        constexpr int to_whom_it_may = socket::processes_max;  // has no row: it keeps what it has when it dies
        packet.meta().lent_to = static_cast<std::uint16_t>((socket::this_process != socket::no_process ? socket::this_process : to_whom_it_may) + 1);
    }
    static ReceivedBuffer received(socket::Layer& layer, Packet& packet) noexcept {
        lend(packet);
        return ReceivedBuffer(&layer, &packet, packet.data(), packet.first_size(), packet.size());
    }
    static SendBuffer sending(socket::Layer& layer, Packet& packet, std::size_t bytes) noexcept {
        lend(packet);
        return SendBuffer(&layer, &packet, packet.append(static_cast<std::uint32_t>(bytes)), static_cast<std::uint32_t>(bytes));
    }
    // Takes the packet out of the buffer, cut to `bytes`; null when there are not so many.
    static Packet* take(SendBuffer& buffer, std::size_t bytes) noexcept {
        if (buffer.packet_ == nullptr || bytes > buffer.bytes_) {
            return nullptr;
        }
        auto* packet = static_cast<Packet*>(std::exchange(buffer.packet_, nullptr));
        packet->meta().lent_to = 0;
        if (bytes < buffer.bytes_) {
            packet->trim_back(buffer.bytes_ - static_cast<std::uint32_t>(bytes));
        }
        buffer.bytes_ = 0;
        return packet;
    }
};

// A description without a descriptor; null when the table is full. With the lock held.
inline socket::Socket* create_description(socket::Layer& layer, int type) noexcept {
    socket::Socket* socket = socket::create_socket(layer);
    if (socket != nullptr) {
        socket->type = type;
        socket->nonblocking = true;
        ++layer.accelerated;
    }
    return socket;
}

// Waits with or without a Session: until `ready` or the deadline.
template <class Ready>
bool wait_until(const Inside& inside, std::span<socket::Socket* const> sockets, Instant deadline, Ready ready) noexcept {
    socket::WaitFor what;
    what.sockets = sockets;
    what.deadline = to_time(deadline);
    const Time end = what.deadline;
    while (true) {
        switch (socket::wait_until(inside.guard(), what, ready)) {
            case socket::Wake::ready: return true;
            case socket::Wake::timed_out: return false;
            default: break;
        }
        if (end != never && inside.now() >= end) {
            return ready();
        }
    }
}

}  // namespace shunt::inline v0
