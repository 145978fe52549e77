// Sending and receiving. On ours: straight to the socket layer; a datagram of a socket that serves both sides goes where its address leads.
#include <limits.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/user_memory.hpp"
#include "preload/cancel.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/open_side.hpp"
#include "preload/passing.hpp"
#include "preload/process.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

using socket::Decision;
using socket::Runtime;

// Writing to a connection that cannot be written to any more raises SIGPIPE, as libc's callers expect.
template <class T = ssize_t, class Again>
T sent(long result, Word word, int flags, Again again) {
    if (__builtin_expect(result == -EPIPE, false) && word.is_stream() && (flags & MSG_NOSIGNAL) == 0) {
        raise_sigpipe();
    }
    return answer<T>(result, again);
}

// Where a message goes: 1 ours, 0 the kernel's, or -errno. A candidate may become ours here.
long route(int fd, Word& word, const void* name, socklen_t length, int flags) noexcept {
    if (word.is_socket() && (word.is_stream() || !socket::is_both(word.socket()) || socket::has_corked(word.socket()))) {
        return 1;  // a part of a datagram goes where the first one did, whatever it says
    }
    if (!word.is_socket() && (!word.is_candidate() || (word.is_stream() && (flags & MSG_FASTOPEN) == 0))) {
        return 0;
    }
    const auto* address = static_cast<const sockaddr*>(name);
    if (address != nullptr && length > sizeof(sockaddr_storage)) [[unlikely]] {
        return word.is_socket() ? 1 : 0;  // EINVAL, before anything is bound
    }
    const bool has_family = address != nullptr && length >= sizeof(sa_family_t);
    const bool leads_nowhere = !has_family || length < sizeof(sockaddr_in) || (address->sa_family != AF_INET && !word.is_v6());
    if (leads_nowhere && word.is_candidate() && !word.is_stream()) {  // Linux binds it all the same
        const long result = open_datagram_socket(fd, word);
        return result != 0 ? result : 1;
    }
    if (!has_family || (leads_nowhere && word.is_socket())) {
        return word.is_socket() ? 1 : 0;
    }
    const Decision decision = Runtime::instance().decide_peer(word.is_stream(), address, length);
    if (decision.side == Decision::Side::kernel) {
        if (must_be_ours() && !decision.is_wish) {
            log_kernel(fd, decision.reason, address, length);
            return -ENETUNREACH;
        }
        return 0;
    }
    if (word.is_candidate()) {
        const long result = word.is_stream() ? take_for_connect(fd, word, address, length) : open_datagram_socket(fd, word);
        if (result != 0) {
            return result;
        }
    }
    return word.is_socket() ? 1 : 0;
}

ssize_t send_named(int fd, const void* data, size_t size, int flags, const sockaddr* address, socklen_t length) {
    Word word = settled(fd);
    if (__builtin_expect(word.is_none(), false)) {
        return real.sendto(fd, data, size, flags, address, length);
    }
    const long side = route(fd, word, address, length, flags);
    if (side <= 0) {
        return side < 0 ? answer<ssize_t>(side) : real.sendto(fd, data, size, flags, address, length);
    }
    if (address != nullptr && length > sizeof(sockaddr_storage)) {
        return answer<ssize_t>(-EINVAL);
    }
    const auto again = [&] { return send_named(fd, data, size, flags, address, length); };
    if (address == nullptr || (word.is_stream() && (flags & MSG_FASTOPEN) == 0)) {
        return sent(cancellable([&] { return socket::send(word.socket(), data, size, flags); }), word, flags, again);
    }
    iovec piece{const_cast<void*>(data), size};
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(address);
    message.msg_namelen = std::max(length, socklen_t{1});  // an empty name is one too short, where sendmsg's is none
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    return sent(cancellable([&] { return socket::send_message(word.socket(), &message, flags); }), word, flags, again);
}

ssize_t receive_named(int fd, Word word, void* data, size_t size, int flags, sockaddr* address, socklen_t* length) {
    iovec piece{data, size};
    msghdr message{};
    message.msg_name = address;
    message.msg_namelen = length != nullptr && static_cast<int>(*length) > 0 ? *length : 0;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const long result = cancellable([&] { return socket::receive_message(word.socket(), fd, &message, flags); });
    if (result >= 0 && address != nullptr && length != nullptr) {
        if (static_cast<int>(*length) < 0) {
            return answer<ssize_t>(-EINVAL);  // what was received is gone all the same
        }
        *length = message.msg_namelen;
    }
    return answer<ssize_t>(result, [&] { return ::recvfrom(fd, data, size, flags, address, length); });
}

bool is_good_vector(const iovec* vector, int count) noexcept {
    return count >= 0 && count <= IOV_MAX && std::none_of(vector, vector + count, [](const iovec& each) { return each.iov_len > SSIZE_MAX; });
}

// What the kernel looks at before anything else.
long check(const msghdr& message) noexcept {
    if (message.msg_name != nullptr && static_cast<int>(message.msg_namelen) < 0) {
        return -EINVAL;
    }
    return message.msg_iovlen > IOV_MAX ? -EMSGSIZE : is_good_vector(message.msg_iov, static_cast<int>(message.msg_iovlen)) ? 0 : -EINVAL;
}

// As route, of a message that is fit to be sent.
long route_message(int fd, Word& word, const msghdr& message, int flags) noexcept {
    const long error = word.is_socket() || word.is_candidate() ? check(message) : 0;
    return error != 0 ? error : route(fd, word, message.msg_name, message.msg_namelen, flags);
}

long receive_checked(int fd, Word word, msghdr* message, int flags) noexcept {
    const long error = check(*message);
    return error != 0 ? error : socket::receive_message(word.socket(), fd, message, flags);
}

bool is_empty(const iovec* vector, int count) noexcept {
    return std::all_of(vector, vector + count, [](const iovec& each) { return each.iov_len == 0; });
}

msghdr message_of(const iovec* vector, int count) noexcept {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(vector);
    message.msg_iovlen = static_cast<size_t>(count);
    return message;
}

// Whether a receive call with such pieces waits at all: 0, or MSG_DONTWAIT where the kernel has something against them, or read nothing.
int waits(const iovec* vector, int count) noexcept {
    return !is_bad_pointer(vector) && is_good_vector(vector, count) && !is_empty(vector, count) ? 0 : MSG_DONTWAIT;
}
int waits(const msghdr& message) noexcept {
    return (message.msg_iovlen == 0 || !is_bad_pointer(message.msg_iov)) && check(message) == 0 ? 0 : MSG_DONTWAIT;
}
int waits(const mmsghdr* messages, unsigned count) noexcept {
    return count != 0 && !is_bad_pointer(messages) ? waits(messages[0].msg_hdr) : MSG_DONTWAIT;
}

// A receive call on what is not ours: made by `call`, unless the socket becomes ours while it would wait.
template <class T, class Call>
bool is_kernels(int fd, Word& word, int flags, T& result, Call call) {
    const long side = side_of(fd, word, flags);
    if (side > 0) {
        return false;
    }
    result = side < 0 ? answer<T>(side) : call();
    return true;
}

ssize_t read_any(int fd, void* data, size_t size) {
    Word word = settled(fd);
    ssize_t result = 0;
    if (__builtin_expect(!word.is_socket(), false) && is_kernels(fd, word, size != 0 ? 0 : MSG_DONTWAIT, result, [&] { return real.read(fd, data, size); })) {
        return result;
    }
    return size == 0 ? 0 : answer<ssize_t>(cancellable([&] { return socket::receive(word.socket(), fd, data, size, 0); }), [&] { return read_any(fd, data, size); });
}

ssize_t write_any(int fd, const void* data, size_t size) {
    const Word word = settled(fd);
    if (__builtin_expect(!word.is_socket(), false)) {
        return word.is_candidate() ? send_named(fd, data, size, 0, nullptr, 0) : real.write(fd, data, size);
    }
    return sent(cancellable([&] { return socket::send(word.socket(), data, size, 0); }), word, 0, [&] { return write_any(fd, data, size); });
}

ssize_t send_any(int fd, const void* data, size_t size, int flags) {
    const Word word = settled(fd);
    if (__builtin_expect(!word.is_socket(), false)) {
        return word.is_candidate() ? send_named(fd, data, size, flags, nullptr, 0) : real.send(fd, data, size, flags);
    }
    return sent(cancellable([&] { return socket::send(word.socket(), data, size, flags); }), word, flags, [&] { return send_any(fd, data, size, flags); });
}

ssize_t receive_any(int fd, void* data, size_t size, int flags) {
    Word word = settled(fd);
    ssize_t result = 0;
    if (__builtin_expect(!word.is_socket(), false) && is_kernels(fd, word, flags, result, [&] { return real.recv(fd, data, size, flags); })) {
        return result;
    }
    return answer<ssize_t>(cancellable([&] { return socket::receive(word.socket(), fd, data, size, flags); }), [&] { return receive_any(fd, data, size, flags); });
}

ssize_t receive_from(int fd, void* data, size_t size, int flags, sockaddr* address, socklen_t* length) {
    Word word = settled(fd);
    ssize_t result = 0;
    if (__builtin_expect(!word.is_socket(), false) && is_kernels(fd, word, flags, result, [&] { return real.recvfrom(fd, data, size, flags, address, length); })) {
        return result;
    }
    return receive_named(fd, word, data, size, flags, address, length);
}

// A socket has no positions: -1 means "here", and nothing else will do. RWF_NOWAIT makes the one call non-blocking.
long flags_of(const iovec* vector, int count, off_t offset, int flags, int& message_flags) noexcept {
    constexpr int known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND;
    message_flags = (flags & RWF_NOWAIT) != 0 ? MSG_DONTWAIT : 0;
    if (offset != -1) {
        return -ESPIPE;
    }
    return !is_good_vector(vector, count) ? -EINVAL : (flags & ~known) != 0 ? -EOPNOTSUPP : 0;
}

ssize_t read_vector(int fd, const iovec* vector, int count, off_t offset, int flags) {
    Word word = settled(fd);
    ssize_t passed = 0;
    const int wait_flags = (flags & RWF_NOWAIT) != 0 ? MSG_DONTWAIT : waits(vector, count);
    if (!word.is_socket() && is_kernels(fd, word, wait_flags, passed, [&] { return real.preadv2(fd, vector, count, offset, flags); })) {
        return passed;
    }
    int message_flags = 0;
    if (const long error = flags_of(vector, count, offset, flags, message_flags); error != 0) {
        return answer<ssize_t>(error);
    }
    if (is_empty(vector, count)) {
        return 0;
    }
    msghdr message = message_of(vector, count);
    const long result = cancellable([&] { return socket::receive_message(word.socket(), fd, &message, message_flags); });
    return answer<ssize_t>(result, [&] { return read_vector(fd, vector, count, offset, flags); });
}

ssize_t write_vector(int fd, const iovec* vector, int count, off_t offset, int flags) {
    const Word word = settled(fd);
    if (!word.is_socket()) {
        return real.pwritev2(fd, vector, count, offset, flags);
    }
    int message_flags = 0;
    if (const long error = flags_of(vector, count, offset, flags, message_flags); error != 0) {
        return answer<ssize_t>(error);
    }
    if (is_empty(vector, count)) {
        return 0;
    }
    const msghdr message = message_of(vector, count);
    const long result = cancellable([&] { return socket::send_message(word.socket(), &message, message_flags); });
    return sent(result, word, message_flags, [&] { return write_vector(fd, vector, count, offset, flags); });
}

bool is_past(const timespec& deadline) noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec != deadline.tv_sec ? now.tv_sec > deadline.tv_sec : now.tv_nsec >= deadline.tv_nsec;
}

timespec deadline_after(const timespec& span) noexcept {
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += span.tv_sec;
    end.tv_nsec += span.tv_nsec;
    if (end.tv_nsec >= 1'000'000'000) {
        ++end.tv_sec;
        end.tv_nsec -= 1'000'000'000;
    }
    return end;
}

// A call of several waits keeps its socket, as a call of one does: another thread may close the number meanwhile.
class Kept {
public:
    Kept(Word word, int fd, bool waits) noexcept : word_(word), fd_(fd), is_kept_(waits && socket::try_retain(word.socket())) {}
    ~Kept() {
        if (is_kept_) {
            socket::release(word_.socket(), fd_);
        }
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

private:
    Word word_;
    int fd_;
    bool is_kept_;
};

// As the kernel does it: the time-out is looked at after each message only.
int receive_many(int fd, Word word, mmsghdr* messages, unsigned count, int flags, const timespec* timeout) {
    const timespec deadline = timeout != nullptr ? deadline_after(*timeout) : timespec{};
    const bool may_wait = (flags & (MSG_DONTWAIT | MSG_WAITFORONE)) == 0 && !socket::is_nonblocking(word.socket());
    const Kept kept(word, fd, count > 1 && may_wait);
    unsigned done = 0;
    if (const int error = (flags & MSG_ERRQUEUE) != 0 ? 0 : socket::take_error(word.socket()); error != 0) {
        return answer(-error);
    }
    const std::uint32_t signals = socket::handled_signals();
    while (done < count) {
        // On Linux a signal is pending until recvmmsg returns: what it has cut short, or what comes behind, waits no more.
        const bool is_interrupted = done != 0 && may_wait && socket::handled_signals() != signals;
        const int how = (flags & ~MSG_WAITFORONE) | (is_interrupted ? MSG_DONTWAIT : 0);
        long result = cancellable([&] { return receive_checked(fd, word, &messages[done].msg_hdr, how); });
        if (result == -EAGAIN && is_interrupted) {
            result = -EINTR;
        }
        if (result < 0) {
            if (done != 0 && result != -EAGAIN) {
                socket::leave_error(word.socket(), result == -socket::call_again ? EINTR : static_cast<int>(-result));
            }
            return done != 0 ? static_cast<int>(done) : answer(result, [&] { return ::recvmmsg(fd, messages, count, flags, const_cast<timespec*>(timeout)); });
        }
        messages[done++].msg_len = static_cast<unsigned>(result);
        if ((flags & MSG_WAITFORONE) != 0) {
            flags |= MSG_DONTWAIT;
        }
        if ((timeout != nullptr && is_past(deadline)) || (messages[done - 1].msg_hdr.msg_flags & MSG_OOB) != 0) {
            break;
        }
    }
    return static_cast<int>(done);
}

// Each message where it leads; runs of the kernel's could go in one call, but are rare on such sockets.
int send_many(int fd, Word word, mmsghdr* messages, unsigned count, int flags) {
    count = std::min(count, static_cast<unsigned>(IOV_MAX));
    for (unsigned done = 0; done < count; ++done) {
        msghdr& message = messages[done].msg_hdr;
        const long side = route_message(fd, word, message, flags);
        const long result = side < 0 ? side : cancellable([&] { return side > 0 ? socket::send_message(word.socket(), &message, flags) : sys::sendmsg(fd, &message, flags); });
        if (result < 0) {
            const auto again = [&] { return done != 0 ? 0 : ::sendmmsg(fd, messages, count, flags); };
            const int answered = side > 0 ? sent<int>(result, word, flags, again) : answer<int>(result);  // SIGPIPE also after some have gone
            return done != 0 ? static_cast<int>(done) : answered;
        }
        messages[done].msg_len = static_cast<unsigned>(result);
    }
    return static_cast<int>(count);
}

// Descriptors of ours may be in it.
bool may_carry(const msghdr& message) noexcept {
    return message.msg_controllen >= CMSG_LEN(sizeof(int)) && active && is_this_process();
}

ssize_t send_by_kernel(int fd, const msghdr* message, int flags) {
    if (is_bad_pointer(message) || !may_carry(*message)) [[likely]] {
        return real.sendmsg(fd, message, flags);
    }
    pass_on(*message);
    const ssize_t result = real.sendmsg(fd, message, flags);
    if (result < 0) {
        const int error = errno;
        take_back(*message);
        errno = error;
    }
    return result;
}
ssize_t receive_by_kernel(int fd, msghdr* message, int flags) {
    const ssize_t result = real.recvmsg(fd, message, flags);
    if (result >= 0 && may_carry(*message)) [[unlikely]] {
        const int error = errno;
        take_in(*message);
        errno = error;
    }
    return result;
}

int send_many_by_kernel(int fd, mmsghdr* messages, unsigned count, int flags) {
    const std::span all(messages, is_bad_pointer(messages) ? 0 : count);
    const auto carries = [](const mmsghdr& each) { return may_carry(each.msg_hdr); };
    if (std::ranges::none_of(all, carries)) [[likely]] {
        return real.sendmmsg(fd, messages, count, flags);
    }
    const auto for_those_from = [&](int first, auto act) {
        for (const mmsghdr& each : all.subspan(static_cast<std::size_t>(first))) {
            carries(each) ? act(each.msg_hdr) : void();
        }
    };
    for_those_from(0, pass_on);
    const int sent = real.sendmmsg(fd, messages, count, flags);
    const int error = errno;
    for_those_from(std::max(sent, 0), take_back);
    errno = error;
    return sent;
}
int receive_many_by_kernel(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
    const int got = real.recvmmsg(fd, messages, count, flags, timeout);
    const int error = errno;
    for (const mmsghdr& each : std::span(messages, static_cast<std::size_t>(std::max(got, 0)))) {
        may_carry(each.msg_hdr) ? take_in(each.msg_hdr) : void();
    }
    errno = error;
    return got;
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
[[noreturn]] void __chk_fail();

SHUNT_EXPORT ssize_t read(int fd, void* data, size_t size) {
    return read_any(fd, data, size);
}
SHUNT_EXPORT ssize_t __read(int fd, void* data, size_t size) {
    return read_any(fd, data, size);
}
SHUNT_EXPORT ssize_t __read_chk(int fd, void* data, size_t size, size_t room) {
    return size > room ? (__chk_fail(), 0) : read_any(fd, data, size);
}
SHUNT_EXPORT ssize_t write(int fd, const void* data, size_t size) {
    return write_any(fd, data, size);
}
SHUNT_EXPORT ssize_t __write(int fd, const void* data, size_t size) {
    return write_any(fd, data, size);
}
SHUNT_EXPORT ssize_t readv(int fd, const iovec* vector, int count) {
    Word word = settled(fd);
    ssize_t passed = 0;
    if (!word.is_socket() && is_kernels(fd, word, waits(vector, count), passed, [&] { return real.readv(fd, vector, count); })) {
        return passed;
    }
    if (!is_good_vector(vector, count)) {
        return answer<ssize_t>(-EINVAL);
    }
    if (is_empty(vector, count)) {
        return 0;
    }
    msghdr message = message_of(vector, count);
    return answer<ssize_t>(cancellable([&] { return shunt::socket::receive_message(word.socket(), fd, &message, 0); }), [&] { return ::readv(fd, vector, count); });
}
SHUNT_EXPORT ssize_t writev(int fd, const iovec* vector, int count) {
    const Word word = settled(fd);
    if (!word.is_socket() && !word.is_candidate()) {
        return real.writev(fd, vector, count);
    }
    if (!is_good_vector(vector, count)) {
        return answer<ssize_t>(-EINVAL);
    }
    const msghdr message = message_of(vector, count);
    return is_empty(vector, count) ? 0 : sendmsg(fd, &message, 0);
}
SHUNT_EXPORT ssize_t preadv2(int fd, const iovec* vector, int count, off_t offset, int flags) {
    return read_vector(fd, vector, count, offset, flags);
}
SHUNT_EXPORT ssize_t preadv64v2(int fd, const iovec* vector, int count, off64_t offset, int flags) {
    return read_vector(fd, vector, count, offset, flags);
}
SHUNT_EXPORT ssize_t pwritev2(int fd, const iovec* vector, int count, off_t offset, int flags) {
    return write_vector(fd, vector, count, offset, flags);
}
SHUNT_EXPORT ssize_t pwritev64v2(int fd, const iovec* vector, int count, off64_t offset, int flags) {
    return write_vector(fd, vector, count, offset, flags);
}
SHUNT_EXPORT ssize_t send(int fd, const void* data, size_t size, int flags) {
    return send_any(fd, data, size, flags);
}
SHUNT_EXPORT ssize_t __send(int fd, const void* data, size_t size, int flags) {
    return send_any(fd, data, size, flags);
}
SHUNT_EXPORT ssize_t sendto(int fd, const void* data, size_t size, int flags, const sockaddr* address, socklen_t length) {
    return send_named(fd, data, size, flags, address, length);
}
SHUNT_EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
    Word word = settled(fd);
    if (word.is_none() || shunt::is_bad_pointer(message)) {
        return send_by_kernel(fd, message, flags);
    }
    const long side = route_message(fd, word, *message, flags);
    if (side <= 0) {
        return side < 0 ? answer<ssize_t>(side) : real.sendmsg(fd, message, flags);
    }
    return sent(cancellable([&] { return shunt::socket::send_message(word.socket(), message, flags); }), word, flags, [&] { return ::sendmsg(fd, message, flags); });
}
SHUNT_EXPORT int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
    const Word word = settled(fd);
    return word.is_socket() || word.is_candidate() ? send_many(fd, word, messages, count, flags) : send_many_by_kernel(fd, messages, count, flags);
}
SHUNT_EXPORT int __sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
    return sendmmsg(fd, messages, count, flags);
}
SHUNT_EXPORT ssize_t recv(int fd, void* data, size_t size, int flags) {
    return receive_any(fd, data, size, flags);
}
SHUNT_EXPORT ssize_t __recv(int fd, void* data, size_t size, int flags) {
    return receive_any(fd, data, size, flags);
}
SHUNT_EXPORT ssize_t __recv_chk(int fd, void* data, size_t size, size_t room, int flags) {
    return size > room ? (__chk_fail(), 0) : receive_any(fd, data, size, flags);
}
SHUNT_EXPORT ssize_t recvfrom(int fd, void* data, size_t size, int flags, sockaddr* address, socklen_t* length) {
    return receive_from(fd, data, size, flags, address, length);
}
SHUNT_EXPORT ssize_t __recvfrom_chk(int fd, void* data, size_t size, size_t room, int flags, sockaddr* address, socklen_t* length) {
    return size > room ? (__chk_fail(), 0) : receive_from(fd, data, size, flags, address, length);
}
SHUNT_EXPORT ssize_t recvmsg(int fd, msghdr* message, int flags) {
    Word word = settled(fd);
    ssize_t passed = 0;
    if (shunt::is_bad_pointer(message)) {
        return real.recvmsg(fd, message, flags);
    }
    if (!word.is_socket() && is_kernels(fd, word, flags | waits(*message), passed, [&] { return receive_by_kernel(fd, message, flags); })) {
        return passed;
    }
    return answer<ssize_t>(cancellable([&] { return receive_checked(fd, word, message, flags); }), [&] { return ::recvmsg(fd, message, flags); });
}
SHUNT_EXPORT int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
    Word word = settled(fd);
    int passed = 0;
    if (!word.is_socket() && is_kernels(fd, word, flags | waits(messages, count), passed, [&] { return receive_many_by_kernel(fd, messages, count, flags, timeout); })) {
        return passed;
    }
    return receive_many(fd, word, messages, count, flags, timeout);
}
}
