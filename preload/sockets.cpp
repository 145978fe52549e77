// socket, bind, listen, accept, connect, shutdown and names: where the side of a socket is decided.
#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "base/user_memory.hpp"
#include "preload/cancel.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

using socket::Decision;
using socket::Runtime;
using Side = Decision::Side;

bool may_be_ours(int domain, int type, int protocol) noexcept {
    const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    const bool is_tcp = kind == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP);
    const bool is_udp = kind == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP);
    return (domain == AF_INET || domain == AF_INET6) && (is_tcp || is_udp);
}

bool is_v6only(int fd, Word word) noexcept {
    int value = 0;
    socklen_t length = sizeof value;
    return word.is_v6() && sys::getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length) == 0 && value != 0;
}

// A name that the program gives: a copy, or not good: memory that is not there, a length that no name has.
class Name {
public:
    Name(const sockaddr* address, socklen_t length) noexcept
        : is_good_(length <= sizeof storage_ && (length == 0 || (!is_bad_pointer(address) && copy_from_program(&storage_, address, length) == 0))) {}
    bool is_good() const noexcept { return is_good_; }
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }

private:
    sockaddr_storage storage_{};
    bool is_good_;
};

// A name for the program, of `own`(address, length).
template <class Own>
long give_name(sockaddr* address, socklen_t* length, Own own) noexcept {
    sockaddr_storage storage;
    socklen_t size = sizeof storage;
    if (const long error = own(reinterpret_cast<sockaddr*>(&storage), &size); error != 0) {
        return error;
    }
    socklen_t room = 0;
    if (is_bad_pointer(length) || copy_from_program(&room, length, sizeof room) != 0) {
        return -EFAULT;
    }
    if (static_cast<int>(room) < 0) {
        return -EINVAL;
    }
    const socklen_t given = std::min(room, size);
    if (given != 0 && (is_bad_pointer(address) || copy_to_program(address, &storage, given) != 0)) {
        return -EFAULT;
    }
    return copy_to_program(length, &size, sizeof size);
}

// May it fall back? With --require the call fails, as on a host that has no such address or route.
long ask_kernel_side(int fd, const Decision& decision, const sockaddr* address, socklen_t length, int refusal) noexcept {
    log_kernel(fd, decision.reason, address, length);
    return must_be_ours() && !decision.is_wish ? -refusal : 0;
}

// ---------------------------------------------------------------- bind and listen

long bind_ours(int fd, Word word, const sockaddr* address, socklen_t length) noexcept {
    const auto made = open_for(fd);
    if (!made) {
        return -code_of(made.error());
    }
    if (const long result = socket::bind(**made, address, length); result != 0) {
        socket::release(**made, fd);
        return result;
    }
    log_ours(fd, word, address, length);
    return install(fd, word, **made, false) ? 0 : -EINVAL;
}

long bind_without_stack(int fd, Word word, const sockaddr* address, socklen_t length, int why) noexcept {
    long result = sys::bind(fd, address, length);
    if (result == 0) {
        result = ask_kernel_side(fd, {Side::kernel, "there is no stack, or no room in it"}, address, length, why);
    }
    if (result == 0) {
        give_to_kernel(fd, word);
    }
    return result;
}

// A port that the program names: ours first, which can be taken back, unlike the kernel's. One that the kernel chooses: the kernel's first.
long bind_both(int fd, Word word, const sockaddr* address, socklen_t length) noexcept {
    const auto made = open_for(fd);
    if (!made) {
        return bind_without_stack(fd, word, address, length, code_of(made.error()));
    }
    const std::uint16_t wanted = port_of(address);
    long result = wanted != 0 ? bind_our_side(**made, word.is_v6(), wanted, false) : 0;
    if (result == 0) {
        result = sys::bind(fd, address, length);
    }
    if (result == 0 && wanted == 0) {
        result = bind_our_side(**made, word.is_v6(), kernel_port(fd), true);
        socket::note_chosen_port(**made);
    }
    if (result != 0) {
        socket::release(**made, fd);
        return result;
    }
    log_both(fd, word, kernel_port(fd));
    return install(fd, word, **made, true) ? 0 : -EINVAL;
}

// Linux asks whether the socket is bound already only behind the address, which may be anybody's with IP_FREEBIND or IP_TRANSPARENT: the kernel's descriptor
// keeps them.
bool is_bound_and_free(int fd, Word word) noexcept {
    int freebind = 0, transparent = 0;
    socklen_t length = sizeof freebind;
    sys::getsockopt(fd, IPPROTO_IP, IP_FREEBIND, &freebind, &length);
    sys::getsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &transparent, &length);
    AnyAddress name;
    name.length = sizeof name.storage;
    return (freebind != 0 || transparent != 0) && socket::local_name(word.socket(), name.get(), &name.length) == 0 && port_of(name.get()) != 0;
}

// What a send had bound, and connect(AF_UNSPEC) has let go, is free for another address, which is ours alone or nobody's.
long bind_again(int fd, Word word, const sockaddr* address, socklen_t length) noexcept {
    const long result = socket::bind(word.socket(), address, length);
    if (result == -EADDRNOTAVAIL && is_bound_and_free(fd, word)) {
        return -EINVAL;
    }
    if (result == 0 && socket::is_both(word.socket()) && Runtime::instance().decide_bind(word.is_stream(), address, length).side == Side::ours) {
        leave_kernel_side(fd, word);
    }
    return result;
}

long bind_candidate(int fd, Word word, const sockaddr* address, socklen_t length) noexcept {
    Decision decision = Runtime::instance().decide_bind(word.is_stream(), address, length);
    if (decision.side != Side::kernel && kernel_port(fd) != 0) {  // bound by the kernel: a send that failed does that
        return -EINVAL;
    }
    if (decision.side == Side::ours) {
        return bind_ours(fd, word, address, length);
    }
    if (decision.side == Side::both && !is_v6only(fd, word)) {
        return bind_both(fd, word, address, length);
    }
    if (decision.side == Side::both) {
        decision.reason = "it is for IPv6 only";
    }
    long result = ask_kernel_side(fd, decision, address, length, EADDRNOTAVAIL);
    if (result == 0) {
        result = sys::bind(fd, address, length);
        if (result == 0) {
            give_to_kernel(fd, word);
        }
    }
    return result;
}

long listen_ours(int fd, Word word, int backlog) noexcept {
    if (socket::is_both(word.socket())) {
        if (const long result = sys::call(SYS_listen, fd, backlog); result != 0) {
            return result;
        }
    }
    return socket::listen(word.socket(), backlog);
}

// listen without bind: every address, a port that the kernel chooses.
long listen_candidate(int fd, Word word, int backlog) noexcept {
    const AnyAddress any = wildcard(word.is_v6(), 0);
    if (!word.is_stream()) {
        return sys::call(SYS_listen, fd, backlog);
    }
    if (const long result = bind_candidate(fd, word, any.get(), any.length); result != 0) {
        return result;
    }
    const Word now = fds.find(fd);
    return now.is_socket() ? listen_ours(fd, now, backlog) : sys::call(SYS_listen, fd, backlog);
}

// ---------------------------------------------------------------- connect

long connect_candidate(int fd, Word word, const sockaddr* address, socklen_t length) {
    const long result = take_for_connect(fd, word, address, length);
    return result == 0 ? cancellable([&] { return socket::connect(word.socket(), address, length); }) : result;
}

// The kernel connects; a socket whose attempt fails at once may still become ours.
int connect_by_kernel(int fd, Word& word, const Decision& decision, const sockaddr* address, socklen_t length) {
    if (const long result = ask_kernel_side(fd, decision, address, length, ENETUNREACH); result != 0) {
        return answer(result);
    }
    const int result = real.connect(fd, address, length);
    const int error = errno;
    if (result == 0 || error == EINPROGRESS || error == EINTR) {
        give_to_kernel(fd, word);
    } else {
        follow_kernel_port(fd, word);
    }
    errno = error;
    return result;
}

int connect_any(int fd, const sockaddr* given, socklen_t length) {
    Word word = settled(fd);
    if (word.is_none()) {
        return real.connect(fd, given, length);
    }
    const Name name(given, length);
    if (!name.is_good()) {
        return real.connect(fd, given, length);  // which says what is wrong
    }
    const sockaddr* address = name.get();
    const auto again = [&] { return connect_any(fd, given, length); };
    const bool is_open = word.is_candidate() || (word.is_socket() && socket::is_both(word.socket()));
    if (is_open && length >= sizeof(sa_family_t) && address->sa_family != AF_UNSPEC) {
        const Decision decision = Runtime::instance().decide_peer(word.is_stream(), address, length);
        if (decision.side == Side::kernel) {
            return connect_by_kernel(fd, word, decision, address, length);
        }
        if (word.is_candidate()) {
            return answer(connect_candidate(fd, word, address, length), again);
        }
        leave_kernel_side(fd, word);
        log_ours(fd, word, address, length);
    }
    if (word.is_socket() && socket::is_both(word.socket()) && length >= sizeof(sa_family_t)) {
        sys::call(SYS_connect, fd, sys::word(address), length);  // dissolved on both sides
    }
    return word.is_socket() ? answer(cancellable([&] { return socket::connect(word.socket(), address, length); }), again) : real.connect(fd, address, length);
}

// ---------------------------------------------------------------- accept

// A loop that accepts until EAGAIN ends here, without making a descriptor in vain.
bool would_block(int fd, Word listener) noexcept {
    if (!socket::is_nonblocking(listener.socket()) || !socket::is_listener(listener.socket()) || socket::readiness(listener.socket()) != 0) {
        return false;
    }
    pollfd kernel{fd, POLLIN, 0};
    const timespec zero{0, 0};
    return !socket::is_both(listener.socket()) || sys::ppoll(&kernel, 1, &zero, nullptr) == 0;
}

// A descriptor that is closed unless it is kept.
class Number {
public:
    explicit Number(int fd) noexcept : fd_(fd) {}
    ~Number() { close(); }
    Number(const Number&) = delete;
    Number& operator=(const Number&) = delete;
    int get() const noexcept { return fd_; }
    int keep() noexcept { return std::exchange(fd_, -1); }
    void close() noexcept {
        if (fd_ >= 0) {
            sys::close(keep());
        }
    }

private:
    int fd_;
};

int accept_any(int fd, sockaddr* address, socklen_t* length, int flags) {
    const Word listener = settled(fd);
    if (!listener.is_socket()) {
        const int accepted = real.accept4(fd, address, length, flags);
        if (accepted >= 0) {
            release(fds.take(accepted), accepted);
        }
        return accepted;
    }
    if ((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0) {
        return answer(-EINVAL);
    }
    if (would_block(fd, listener)) {
        return answer(-EAGAIN);
    }
    // The number first, as Linux does: without one the connection stays in the queue.
    const long number = sys::socket(listener.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | flags, 0);
    if (number < 0) {
        return answer(number);
    }
    Number made(static_cast<int>(number));
    socket::Socket* accepted = nullptr;
    const long result = cancellable([&] { return socket::accept(listener.socket(), fd, &accepted, address, length); });
    if (accepted == nullptr) {
        made.close();
        return result < 0 ? answer(result, [&] { return accept_any(fd, address, length, flags); }) : real.accept4(fd, address, length, flags);
    }
    socket::set_nonblocking(*accepted, (flags & SOCK_NONBLOCK) != 0);
    if (passes_on_options) [[unlikely]] {
        socket::pass_on_options(fd, made.get());
    }
    Word before;
    if (!fds.try_set(made.get(), Word::of(*accepted, listener.flags()), before)) {
        socket::release(*accepted, made.get());
        return answer(-EMFILE);
    }
    release(before, made.get());
    return made.keep();
}

}  // namespace

long take_for_connect(int fd, Word& word, const sockaddr* address, socklen_t length) noexcept {
    const auto made = open_for(fd);
    if (!made) {
        return -code_of(made.error());
    }
    if (const std::uint16_t port = kernel_port(fd); port != 0) {  // it has sent datagrams by the kernel before
        if (const long result = bind_our_side(**made, word.is_v6(), port, true); result != 0) {
            socket::release(**made, fd);
            return result;
        }
    }
    log_ours(fd, word, address, length);
    if (!install(fd, word, **made, false)) {
        return -EALREADY;
    }
    word = fds.find(fd);
    return word.is_socket() ? 0 : -EBADF;
}

}  // namespace shunt::preload

using namespace shunt::preload;
namespace socket_layer = shunt::socket;
namespace sys = shunt::sys;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int socket(int domain, int type, int protocol) noexcept {
    const int fd = real.socket(domain, type, protocol);
    if (active && fd >= 0) {
        if (may_be_ours(domain, type, protocol)) {
            fds.add_candidate(fd, (type & 0xf) == SOCK_STREAM, domain == AF_INET6);
        } else {
            release(fds.take(fd), fd);
        }
    }
    return fd;
}
SHUNT_EXPORT int __socket(int domain, int type, int protocol) noexcept {
    return ::socket(domain, type, protocol);
}
SHUNT_EXPORT int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
    const Word word = settled(fd);
    if (word.is_none()) {
        return real.bind(fd, address, length);
    }
    const Name name(address, length);
    if (!name.is_good()) {
        return real.bind(fd, address, length);  // which says what is wrong
    }
    if (word.is_socket()) {
        return answer(bind_again(fd, word, name.get(), length));
    }
    return word.is_candidate() && length >= sizeof(sa_family_t) ? answer(bind_candidate(fd, word, name.get(), length)) : real.bind(fd, address, length);
}
SHUNT_EXPORT int listen(int fd, int backlog) noexcept {
    const Word word = settled(fd);
    if (word.is_socket()) {
        return answer(listen_ours(fd, word, backlog));
    }
    return word.is_candidate() ? answer(listen_candidate(fd, word, backlog)) : real.listen(fd, backlog);
}
SHUNT_EXPORT int accept(int fd, sockaddr* address, socklen_t* length) {
    return accept_any(fd, address, length, 0);
}
SHUNT_EXPORT int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
    return accept_any(fd, address, length, flags);
}
SHUNT_EXPORT int connect(int fd, const sockaddr* address, socklen_t length) {
    return connect_any(fd, address, length);
}
SHUNT_EXPORT int __connect(int fd, const sockaddr* address, socklen_t length) {
    return connect_any(fd, address, length);
}
SHUNT_EXPORT int shutdown(int fd, int how) noexcept {
    const Word word = settled(fd);
    if (!word.is_socket()) {
        if (word.is_candidate() && (how == SHUT_WR || how == SHUT_RDWR)) {
            note_shut(fd, word);
        }
        return real.shutdown(fd, how);
    }
    const long result = socket_layer::shutdown(word.socket(), how);
    if ((result == 0 || result == -ENOTCONN) && socket_layer::is_both(word.socket())) {  // readers there are woken in any case
        shunt::sys::call(SYS_shutdown, fd, how);
    }
    return answer(result);
}
SHUNT_EXPORT int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
    const Word word = settled(fd);
    if (!word.is_socket()) {
        return real.getsockname(fd, address, length);
    }
    return answer(give_name(address, length, [&](sockaddr* to, socklen_t* size) { return socket_layer::local_name(word.socket(), to, size); }));
}
SHUNT_EXPORT int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
    const Word word = settled(fd);
    if (!word.is_socket()) {
        return real.getpeername(fd, address, length);
    }
    return answer(give_name(address, length, [&](sockaddr* to, socklen_t* size) { return socket_layer::peer_name(word.socket(), to, size); }));
}
}
