#include "preload/handover.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "base/log.hpp"
#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "preload/epoll_records.hpp"
#include "preload/lock.hpp"
#include "preload/open_side.hpp"
#include "preload/passing.hpp"

namespace shunt::preload {
namespace {

using socket::Runtime;

std::mutex start_mutex;
bool has_failed = false;
thread_local bool is_starting = false;

// What is open now and was not before the stack started is the stack's: the program cannot close it by a loop over all numbers.
void protect_internal(const std::vector<int>& before) noexcept {
    for (const int fd : open_descriptors()) {
        if (!std::binary_search(before.begin(), before.end(), fd) && fds.find(fd).is_none()) {
            Word ignored;
            fds.try_set(fd, Word(Kind::internal, 0, 0), ignored);
        }
    }
}

// The same for what it opens later. The stack's lock may be held: no other is taken.
void protect_later(int fd, bool is_ours) noexcept {
    const Word internal(Kind::internal, 0, 0);
    Word ignored;
    if (is_ours && fds.find(fd).is_none()) {
        fds.try_set(fd, internal, ignored);
    } else if (!is_ours && fds.find(fd) == internal) {
        fds.try_replace(fd, internal, Word{});
    }
}

Stack* start() noexcept {
    const std::scoped_lock lock(start_mutex);
    if (Runtime::instance().is_started()) {
        return *Runtime::instance().stack();
    }
    if (has_failed) {
        return nullptr;
    }
    const std::vector<int> before = open_descriptors();
    is_starting = true;
    const auto stack = Runtime::instance().stack();
    is_starting = false;
    if (!stack) {
        has_failed = true;
        log::error("{}", stack.error().message);
        return nullptr;
    }
    protect_internal(before);
    set_descriptor_watcher(protect_later);
    return *stack;
}

std::string text_of(const sockaddr* address, socklen_t length) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address != nullptr && address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text.data(), text.size());
        return fmt::format("{}:{}", text.data(), port_of(address));
    }
    if (address != nullptr && address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text.data(), text.size());
        return fmt::format("[{}]:{}", text.data(), port_of(address));
    }
    return "no address";
}

const char* protocol_of(Word word) noexcept {
    return word.is_stream() ? "tcp" : "udp";
}

// Every descriptor that stands for the same thing as `word`. A candidate without duplicates is only where the caller found it.
template <class F>
void for_each_descriptor(int fd, Word word, F f) noexcept {
    if (word.is_candidate() && !word.is_shared()) {
        f(fd);
        return;
    }
    for (int each = 0; each < fds.end(); ++each) {
        if (fds.find(each) == word) {
            f(each);
        }
    }
}

}  // namespace

Stack* started_stack() noexcept {
    // Starting needs sockets of its own here and there; those are the kernel's.
    if (is_starting) {
        return nullptr;
    }
    return Runtime::instance().is_started() ? *Runtime::instance().stack() : start();
}

Result<socket::Socket*> open_for(int fd) noexcept {
    Stack* stack = started_stack();
    if (stack == nullptr) {
        return fail(ENETDOWN);
    }
    const auto made = socket::open(*stack, fd);
    if (made && fds.find(fd).is_shut()) {
        socket::shutdown(**made, SHUT_WR);
    }
    return made;
}

bool install(int fd, Word candidate, socket::Socket& socket, bool both) noexcept {
    socket::set_number_test([](int number, const socket::Socket& asked) noexcept { return fds.socket_of(number) == &asked; });
    socket::set_both(socket, both);
    const Word word = Word::of(socket, candidate.flags());
    bool is_first = true;
    {
        const Locked lock;
        if (const Word now = fds.find(fd); now.is_candidate() && now.is_same(candidate)) {
            candidate = now;  // duplicated or forked meanwhile
        }
        for_each_descriptor(fd, candidate, [&](int each) {
            if (!is_first) {
                socket::retain(socket);
            }
            if (fds.try_replace(each, candidate, word)) {
                is_first = false;
                move_to_ours(each, word);
            } else if (!is_first) {
                socket::release(socket, each);
            }
        });
        tell_of_side(candidate);
    }
    if (is_first) {
        socket::release(socket, fd);
    } else if (candidate.is_forked()) {
        socket::tell_other_processes(socket, inode_of(fd));
    }
    return !is_first;
}

void adopt_decided() noexcept {
    static std::atomic<std::uint32_t> seen{0};
    if (!Runtime::instance().is_started()) {
        return;
    }
    const std::uint32_t told = socket::told_to_other_processes();
    if (seen.exchange(told) == told) {
        return;
    }
    for (int fd = 0; fd < fds.end(); ++fd) {
        const Word word = fds.find(fd);
        socket::Socket* const found = word.is_forked() ? socket::find_told(inode_of(fd)) : nullptr;
        if (found != nullptr) {
            install(fd, word, *found, socket::is_both(*found));
        }
    }
    const Locked lock;
    fds.look_for_forked();
}

void leave_kernel_side(int fd, Word word) noexcept {
    const Locked lock;
    socket::set_both(word.socket(), false);
    if (has_registrations()) {
        for_each_descriptor(fd, word, [&](int each) { move_to_ours(each, word); });
    }
}

void give_to_kernel(int fd, Word word) noexcept {
    int count = 0;
    {
        const Locked lock;
        for_each_descriptor(fd, word, [&](int each) {
            if (fds.try_replace(each, word, Word{})) {
                ++count;
                move_to_kernel(each);
            }
        });
        if (word.is_forked()) {
            fds.look_for_forked();
        }
    }
    for (; count > 0; --count) {
        release(word, fd);
    }
}

std::uint16_t kernel_port(int fd) noexcept {
    AnyAddress name;
    name.length = sizeof name.storage;
    return sys::getsockname(fd, name.get(), &name.length) == 0 ? port_of(name.get()) : std::uint16_t{0};
}

AnyAddress wildcard(bool is_v6, std::uint16_t port) noexcept {
    AnyAddress address;
    address.storage.ss_family = is_v6 ? AF_INET6 : AF_INET;  // the rest is zero: any
    address.length = is_v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    set_port(address, port);
    return address;
}

long bind_our_side(socket::Socket& socket, bool is_v6, std::uint16_t port, bool was_chosen) noexcept {
    const AnyAddress same = wildcard(is_v6, port);
    const long result = socket::bind(socket, same.get(), same.length, was_chosen ? socket::PortFrom::kernel : socket::PortFrom::program);
    if (result != -EADDRINUSE || !was_chosen) {
        return result;
    }
    const AnyAddress any = wildcard(is_v6, 0);
    return socket::bind(socket, any.get(), any.length);
}

void set_port(AnyAddress& address, std::uint16_t port) noexcept {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(port);  // sin6_port lies in the same place
}

std::uint16_t port_of(const sockaddr* address) noexcept {
    return ntohs(reinterpret_cast<const sockaddr_in*>(address)->sin_port);
}

void note_shut(int fd, Word candidate) noexcept {
    const Locked lock;
    for_each_descriptor(fd, candidate, [&](int each) { fds.try_replace(each, candidate, candidate.shut()); });
}

bool must_be_ours() noexcept {
    return Runtime::instance().config().require;
}

void log_ours(int fd, Word word, const sockaddr* address, socklen_t length) noexcept {
    if (log::threshold() >= log::Level::info) {
        log::info("fd {}: {} {} accelerated", fd, protocol_of(word), text_of(address, length));
    }
}

void log_both(int fd, Word word, std::uint16_t port) noexcept {
    log::info("fd {}: {} port {} accelerated on Shunt's addresses, and the kernel's on the others", fd, protocol_of(word), port);
}

void log_kernel(int fd, const char* reason, const sockaddr* address, socklen_t length) noexcept {
    if (log::threshold() >= log::Level::info) {
        log::info("fd {}: kernel ({}), because {}", fd, text_of(address, length), reason);
    }
}

long open_datagram_socket(int fd, Word& word) noexcept {
    const auto made = open_for(fd);
    if (!made) {
        return -code_of(made.error());
    }
    if (kernel_port(fd) == 0) {
        const AnyAddress any = wildcard(word.is_v6(), 0);
        sys::bind(fd, any.get(), any.length);
    }
    const std::uint16_t port = kernel_port(fd);
    if (const long result = bind_our_side(**made, word.is_v6(), port, true); result != 0) {
        socket::release(**made, fd);
        return result;
    }
    socket::note_chosen_port(**made);
    log_both(fd, word, port);
    if (!install(fd, word, **made, true)) {
        return -EAGAIN;
    }
    word = fds.find(fd);
    return 0;
}

void follow_kernel_port(int fd, Word& word) noexcept {
    if (word.is_stream() || kernel_port(fd) == 0) {
        return;
    }
    if (word.is_candidate()) {
        open_datagram_socket(fd, word);
    } else if (bind_our_side(word.socket(), word.is_v6(), kernel_port(fd), true) == 0) {  // else it is bound already
        socket::note_chosen_port(word.socket());
    }
}

}  // namespace shunt::preload
