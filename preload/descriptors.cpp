// close and its wider forms, duplicates, fcntl: what the table must follow. The kernel's descriptor goes along each time.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/descriptors.hpp"
#include "preload/epoll_records.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/process.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {

Word remove_descriptor(int fd) noexcept {
    const Word word = fds.take(fd);
    if (!word.is_none() && (has_registrations() || word.is_forked())) {
        const Locked lock;
        forget(fd);
        if (word.is_forked()) {
            fds.look_for_forked();
        }
    }
    return word;
}

namespace {

int close_any(int fd) {
    const Word word = fds.find(fd);
    if (__builtin_expect(word.is_none() || !is_this_process(), true)) {
        return real.close(fd);
    }
    if (word.kind() == Kind::internal) {
        return answer(-EBADF);
    }
    const Word removed = remove_descriptor(fd);
    const int result = real.close(fd);
    const int error = errno;
    release(removed, fd);
    errno = error;
    return result;
}

// `made` is a duplicate of `fd`.
void share(int fd, int made) noexcept {
    Word before;
    {
        const Locked lock;
        Word word = fds.find(fd);
        if (word.is_candidate() && !word.is_shared() && fds.try_replace(fd, word, word.shared())) {
            word = word.shared();
        }
        if (word.kind() == Kind::internal) {
            word = {};
        }
        retain(word);
        if (!word.is_none() || !fds.find(made).is_none()) {
            fds.try_set(made, word, before);
            forget(made);
        }
    }
    release(before, made);
}

int duplicate_to(int fd, int wanted, int flags, bool is_dup2) noexcept {
    const bool is_known = !fds.find(fd).is_none() || !fds.find(wanted).is_none();
    if (is_known && fds.find(wanted).kind() == Kind::internal && is_this_process()) {
        return answer(-EBUSY);  // what Linux says while a number is being given to something else
    }
    const int made = is_dup2 ? real.dup2(fd, wanted) : real.dup3(fd, wanted, flags);
    if (made >= 0 && made != fd && is_known && is_this_process()) {
        share(fd, made);
    }
    return made;
}

int after_duplicate(int fd, int made) noexcept {
    if (made >= 0 && (!fds.find(fd).is_none() || !fds.find(made).is_none()) && is_this_process()) {
        share(fd, made);
    }
    return made;
}

int control(int fd, int command, long argument) noexcept {
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        return after_duplicate(fd, real.fcntl64(fd, command, argument));
    }
    const int result = real.fcntl64(fd, command, argument);
    const bool is_setting = command == F_SETFL || command == F_SETOWN || command == F_SETOWN_EX || command == F_SETSIG;
    const Word word = is_setting && result == 0 ? settled(fd) : Word{};
    socket::Socket* socket = word.is_socket() ? &word.socket() : nullptr;
    if (socket != nullptr) {
        if (command == F_SETFL) {
            socket::set_nonblocking(*socket, (argument & O_NONBLOCK) != 0);
        }
        socket::follow_signals(*socket, fd);
    }
    return result;
}

// What is not ours is libc's at once: a frame more between a system call and its caller costs as much as all the rest here.
int control_any(int fd, int command, long argument) noexcept {
    const bool is_duplicate = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    return fds.find(fd).is_none() && !is_duplicate ? real.fcntl64(fd, command, argument) : control(fd, command, argument);
}

// Closes [first, last], but what is the stack's.
int close_all(unsigned first, unsigned last, int flags) noexcept {
    const auto end = static_cast<unsigned>(fds.end());
    if (end == 0 || first > last || (flags & ~static_cast<int>(CLOSE_RANGE_UNSHARE)) != 0 || !is_this_process()) {
        return real.close_range(first, last, flags);  // nothing of ours is open, or only close-on-exec is set
    }
    unsigned begin = first;
    for (unsigned fd = first; fd < end && fd <= last; ++fd) {
        const Word word = fds.find(static_cast<int>(fd));
        if (word.kind() == Kind::internal) {
            if (begin < fd) {
                real.close_range(begin, fd - 1, flags);
            }
            begin = fd + 1;
        } else if (!word.is_none()) {
            close_any(static_cast<int>(fd));
        }
    }
    // What the stack opened later lies above too.
    const unsigned top = socket::Runtime::instance().is_started() ? static_cast<unsigned>(internal_fd_base()) - 1 : last;
    return begin <= std::min(last, top) ? real.close_range(begin, std::min(last, top), flags) : 0;
}

}  // namespace


}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int close(int fd) {
    return close_any(fd);
}
SHUNT_EXPORT int __close(int fd) {
    return close_any(fd);
}
SHUNT_EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
    return close_all(first, last, flags);
}
SHUNT_EXPORT void closefrom(int first) noexcept {
    close_all(static_cast<unsigned>(std::max(first, 0)), ~0U, 0);
}
SHUNT_EXPORT int dup(int fd) noexcept {
    return after_duplicate(fd, real.dup(fd));
}
SHUNT_EXPORT int dup2(int fd, int wanted) noexcept {
    return duplicate_to(fd, wanted, 0, true);
}
SHUNT_EXPORT int __dup2(int fd, int wanted) noexcept {
    return duplicate_to(fd, wanted, 0, true);
}
SHUNT_EXPORT int dup3(int fd, int wanted, int flags) noexcept {
    return duplicate_to(fd, wanted, flags, false);
}
// The third argument, where there is one, is an int or a pointer: it is where a long would be, whatever the declarations with dots say.
SHUNT_EXPORT int control_descriptor(int fd, int command, long argument) __asm__("fcntl");
int control_descriptor(int fd, int command, long argument) {
    return control_any(fd, command, argument);
}
SHUNT_EXPORT int control_descriptor_64(int fd, int command, long argument) __asm__("fcntl64");
int control_descriptor_64(int fd, int command, long argument) {
    return control_any(fd, command, argument);
}
SHUNT_EXPORT int control_descriptor_of_libc(int fd, int command, long argument) __asm__("__fcntl");
int control_descriptor_of_libc(int fd, int command, long argument) {
    return control_any(fd, command, argument);
}
}
