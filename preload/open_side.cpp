#include "preload/open_side.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.hpp"
#include "pmd/driver_calls.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/slab.hpp"
#include "socket/socket.hpp"

namespace shunt::preload {
namespace {

// Rung once, for all who wait; who comes later waits for another.
struct Bell {
    int fd = -1;
    int users = 0;
};

constinit Slab<Bell> bells;
constinit Bell* current = nullptr;

class Listening {
public:
    Listening() noexcept {
        const Locked lock;
        if (current == nullptr) {
            Bell* made = bells.create();
            if (made == nullptr) {
                return;
            }
            made->fd = pmd::move_up(sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
            current = made;
        }
        bell_ = current;
        ++bell_->users;
    }
    ~Listening() {
        const Locked lock;
        if (bell_ != nullptr && --bell_->users == 0 && bell_ != current) {
            sys::close(bell_->fd);
            bells.destroy(bell_);
        }
    }
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;
    int fd() const noexcept { return bell_ != nullptr ? bell_->fd : -1; }
    // It rang: by now perhaps in a process that was forked, for a socket of its own.
    void has_rung() noexcept {
        const Locked lock;
        current = current == bell_ ? nullptr : current;
    }

private:
    Bell* bell_ = nullptr;
};

constexpr long second_ns = 1'000'000'000;

long now_ns() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * second_ns + now.tv_nsec;
}

// SO_RCVTIMEO in nanoseconds; 0: for ever.
long time_limit(int fd) noexcept {
    timeval limit{};
    socklen_t length = sizeof limit;
    sys::getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &length);
    return std::min(limit.tv_sec, long{1} << 30) * second_ns + limit.tv_usec * 1000;
}

}  // namespace

long wait_for_open_side(int fd, Word& word, int flags) {
    const long mode = sys::fcntl(fd, F_GETFL);
    if ((flags & (MSG_DONTWAIT | MSG_ERRQUEUE)) != 0 || mode < 0 || (mode & O_NONBLOCK) != 0) {
        return 0;
    }
    const long limit = time_limit(fd), until = limit != 0 ? now_ns() + limit : 0;
    socket::begin_outer_wait();
    while (true) {
        Listening listening;
        word = fds.find(fd);  // looked at after the bell is known: tell_of_side() comes before, or rings
        if (!word.is_candidate()) {
            return word.is_socket() ? 1 : 0;
        }
        pollfd items[] = {{fd, POLLIN, 0}, {listening.fd(), POLLIN, 0}};
        const long left = limit != 0 ? std::max(until - now_ns(), 0L) : 0;
        const timespec timeout{left / second_ns, left % second_ns};
        const int count = real.ppoll(items, std::size(items), limit != 0 ? &timeout : nullptr, nullptr);
        if (count < 0 && errno == EINTR && socket::ends_outer_wait(limit == 0)) {
            return -EINTR;
        }
        if (count == 0) {
            return -EAGAIN;
        }
        if (count > 0 && items[0].revents != 0) {
            return 0;
        }
        if (count > 0) {
            listening.has_rung();
        }
    }
}

void tell_of_side() noexcept {
    if (current != nullptr && current->users != 0) {
        const std::uint64_t token = 1;
        sys::write(current->fd, &token, sizeof token);
        current = nullptr;
    }
}

}  // namespace shunt::preload
