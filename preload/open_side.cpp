#include "preload/open_side.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/slab.hpp"
#include "socket/socket.hpp"

namespace shunt::preload {
// Of one who waits. They stay for the next: as many as ever waited at once.
struct Bell {
    int fd = -1;
    bool is_used = false;
    std::span<const Word> words;
    Bell* next = nullptr;
};

namespace {

constinit Slab<Bell> slab;
constinit Bell* bells = nullptr;

Bell* find_bell() noexcept {
    Bell* bell = bells;
    while (bell != nullptr && bell->is_used) {
        bell = bell->next;
    }
    if (bell == nullptr && (bell = slab.create()) != nullptr) {
        bell->fd = move_up(sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        bell->next = bells;
        bells = bell;
    }
    return bell;
}

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

Listening::Listening(std::span<const Word> words) noexcept {
    const Locked lock;
    bell_ = find_bell();
    if (bell_ != nullptr) {
        bell_->is_used = true;
        bell_->words = words;
    }
}

Listening::~Listening() {
    const Locked lock;
    if (bell_ != nullptr) {
        silence();
        bell_->is_used = false;
    }
}

int Listening::fd() const noexcept { return bell_ != nullptr ? bell_->fd : -1; }

void Listening::silence() const noexcept {
    std::uint64_t rung = 0;
    sys::read(bell_->fd, &rung, sizeof rung);
}

long wait_for_open_side(int fd, Word& word, int flags) {
    const long mode = sys::fcntl(fd, F_GETFL);
    if ((flags & (MSG_DONTWAIT | MSG_ERRQUEUE)) != 0 || mode < 0 || (mode & O_NONBLOCK) != 0) {
        return 0;
    }
    const long limit = time_limit(fd), until = limit != 0 ? now_ns() + limit : 0;
    socket::begin_outer_wait();
    const std::uint32_t signals = socket::handled_signals();
    const Word candidate = word;
    const Listening listening(std::span(&candidate, 1));
    while (true) {
        word = settled(fd);  // looked at after the bell hangs: tell_of_side() comes before, or rings
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
            // poll looks at the number anew when a signal comes: it may be closed by then, or another's, or one of ours.
            if (!fds.find(fd).is_same(candidate) && socket::handled_signals() != signals && socket::ends_outer_wait(limit == 0)) {
                return -EINTR;
            }
            if (!fds.find(fd).is_socket()) {
                return 0;
            }
        }
        if (count > 0) {
            listening.silence();
        }
    }
}

void tell_of_side(Word word) noexcept {
    const std::uint64_t token = 1;
    const auto is_it = [word](Word each) { return each.shut().is_same(word.shut()); };
    for (const Bell* bell = bells; bell != nullptr; bell = bell->next) {
        if (bell->is_used && std::any_of(bell->words.begin(), bell->words.end(), is_it)) {
            sys::write(bell->fd, &token, sizeof token);
        }
    }
}

void forget_waiters() noexcept {
    while (bells != nullptr) {
        Bell* bell = std::exchange(bells, bells->next);
        close_ours(bell->fd);
        slab.destroy(bell);
    }
}

}  // namespace shunt::preload
