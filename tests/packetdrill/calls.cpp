#include "packetdrill/calls.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/sys.hpp"

namespace shunt::packetdrill {
namespace {

constexpr std::size_t copy_bytes = 65536;

timespec to_timespec(int timeout_ms) { return {timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L}; }

}  // namespace

Calls::~Calls() {
    while (!entries_.empty()) {
        close(entries_.begin()->first);
    }
}

Calls::Entry Calls::find(int fd) const {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(fd);
    return found != entries_.end() ? found->second : Entry{};
}

void Calls::install(int fd, Entry entry) {
    const std::scoped_lock lock(mutex_);
    entries_[fd] = entry;
}

long Calls::socket(int domain, int type, int protocol) {
    const long fd = sys::socket(domain, type, protocol);
    const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 || (domain != AF_INET && domain != AF_INET6) || (kind != SOCK_STREAM && kind != SOCK_DGRAM)) {
        return fd;
    }
    const auto made = socket::open(world_.stack(), static_cast<int>(fd));
    if (!made) {
        sys::close(static_cast<int>(fd));
        return -code_of(made.error());
    }
    install(static_cast<int>(fd), {*made, nullptr});
    return fd;
}

long Calls::bind(int fd, const sockaddr* address, socklen_t length) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::bind(*entry.socket, address, length) : sys::call(SYS_bind, fd, sys::word(address), length);
}

long Calls::listen(int fd, int backlog) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::listen(*entry.socket, backlog) : sys::call(SYS_listen, fd, backlog);
}

long Calls::accept(int fd, sockaddr* address, socklen_t* length, int flags) {
    const Entry entry = find(fd);
    if (entry.socket == nullptr) {
        return sys::accept4(fd, address, length, flags);
    }
    socket::Socket* made = nullptr;
    const long result = socket::accept(*entry.socket, fd, &made, address, length);
    if (result < 0 || made == nullptr) {
        return result;
    }
    const long accepted = sys::socket(AF_INET, SOCK_STREAM | flags, 0);
    if (accepted < 0) {
        socket::release(*made, -1);
        return accepted;
    }
    socket::set_nonblocking(*made, (flags & SOCK_NONBLOCK) != 0);
    install(static_cast<int>(accepted), {made, nullptr});
    return accepted;
}

long Calls::connect(int fd, const sockaddr* address, socklen_t length) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::connect(*entry.socket, address, length) : sys::call(SYS_connect, fd, sys::word(address), length);
}

long Calls::shutdown(int fd, int how) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::shutdown(*entry.socket, how) : sys::call(SYS_shutdown, fd, how);
}

long Calls::close(int fd) {
    const Entry entry = find(fd);
    {
        const std::scoped_lock lock(mutex_);
        entries_.erase(fd);
    }
    if (entry.socket != nullptr) {
        socket::release(*entry.socket, fd);
    }
    if (entry.set != nullptr) {
        socket::release(*entry.set);
    }
    return sys::close(fd);
}

long Calls::receive_message(int fd, msghdr& message, int flags) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::receive_message(*entry.socket, fd, &message, flags) : sys::recvmsg(fd, &message, flags);
}

long Calls::send_message(int fd, const msghdr& message, int flags) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::send_message(*entry.socket, &message, flags) : sys::sendmsg(fd, &message, flags);
}

long Calls::read(int fd, void* data, std::size_t size, int flags) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::receive(*entry.socket, fd, data, size, flags) : sys::read(fd, data, size);
}

long Calls::write(int fd, const void* data, std::size_t size, int flags) {
    const Entry entry = find(fd);
    return entry.socket != nullptr ? socket::send(*entry.socket, data, size, flags) : sys::write(fd, data, size);
}

long Calls::get_option(int fd, int level, int name, void* value, socklen_t* length) {
    const Entry entry = find(fd);
    const long result = entry.socket != nullptr ? socket::get_option(*entry.socket, level, name, value, length) : -ENOPROTOOPT;
    return result == -ENOPROTOOPT ? sys::getsockopt(fd, level, name, value, length) : result;
}

// As the shim: the kernel's socket first, which also knows what is no option at all.
long Calls::set_option(int fd, int level, int name, const void* value, socklen_t length) {
    const Entry entry = find(fd);
    const bool is_ours_alone = entry.socket != nullptr && socket::is_ours_alone(socket::is_stream(*entry.socket), level, name);
    const long result = is_ours_alone ? 0 : sys::setsockopt(fd, level, name, value, length);
    if (entry.socket == nullptr || result != 0) {
        return result;
    }
    const long ours = socket::set_option(*entry.socket, level, name, value, length);
    return ours == -ENOPROTOOPT ? 0 : ours;
}

long Calls::fcntl(int fd, int command, long argument) {
    const Entry entry = find(fd);
    const long result = sys::fcntl(fd, command, argument);
    if (result >= 0 && command == F_SETFL && entry.socket != nullptr) {
        socket::set_nonblocking(*entry.socket, (argument & O_NONBLOCK) != 0);
    }
    return result;
}

long Calls::ioctl(int fd, unsigned long request, void* argument) {
    const Entry entry = find(fd);
    if (entry.socket == nullptr || request == FIONBIO) {
        const long result = sys::call(SYS_ioctl, fd, static_cast<long>(request), sys::word(argument));
        if (result < 0 || entry.socket == nullptr) {
            return result;
        }
    }
    const long ours = socket::control(*entry.socket, request, argument);
    return ours == -ENOTTY ? sys::call(SYS_ioctl, fd, static_cast<long>(request), sys::word(argument)) : ours;
}

long Calls::poll(pollfd* fds, std::size_t count, int timeout_ms) {
    std::vector<socket::PollItem> items(count);
    std::transform(fds, fds + count, items.begin(), [this](const pollfd& each) { return socket::PollItem{find(each.fd).socket, nullptr, each.fd, each.events, 0}; });
    const timespec timeout = to_timespec(timeout_ms);
    const long result = socket::poll(world_.stack(), items, timeout_ms >= 0 ? &timeout : nullptr, nullptr);
    std::transform(items.begin(), items.end(), fds, fds, [](const socket::PollItem& item, pollfd each) {
        each.revents = item.revents;
        return each;
    });
    return result;
}

long Calls::epoll_create(int flags) {
    const long fd = sys::epoll_create1(flags);
    if (fd < 0) {
        return fd;
    }
    const auto set = socket::open_epoll(world_.stack());
    if (!set) {
        sys::close(static_cast<int>(fd));
        return -code_of(set.error());
    }
    install(static_cast<int>(fd), {nullptr, *set});
    return fd;
}

long Calls::epoll_control(int set, int operation, int fd, epoll_event* event) {
    const Entry sets = find(set), entry = find(fd);
    if (sets.set == nullptr || entry.socket == nullptr) {
        return sys::epoll_ctl(set, operation, fd, event);
    }
    return socket::epoll_control(*sets.set, operation, fd, *entry.socket, event);
}

long Calls::epoll_wait(int set, epoll_event* events, int max_events, int timeout_ms) {
    const Entry entry = find(set);
    if (entry.set == nullptr) {
        return sys::epoll_pwait(set, events, max_events, timeout_ms, nullptr);
    }
    const timespec timeout = to_timespec(timeout_ms);
    return socket::epoll_wait(*entry.set, set, events, max_events, timeout_ms >= 0 ? &timeout : nullptr, nullptr);
}

long Calls::pipe(int fds[2]) { return sys::call(SYS_pipe2, sys::word(fds), 0); }

// A copy in between does for a test what the kernel does without.
long Calls::splice(int from, int to, std::size_t size, unsigned flags) {
    std::vector<char> buffer(std::min(size, copy_bytes));
    const int call_flags = (flags & SPLICE_F_NONBLOCK) != 0 ? MSG_DONTWAIT : 0;
    const long got = read(from, buffer.data(), buffer.size(), is_ours(from) ? call_flags | socket::receive_up_to_urgent : 0);
    if (got <= 0) {
        return got;
    }
    const int more = (flags & SPLICE_F_MORE) != 0 ? MSG_MORE : 0;
    return write(to, buffer.data(), static_cast<std::size_t>(got), is_ours(to) ? call_flags | more : 0);
}

long Calls::send_file(int to, int from, off_t* offset, std::size_t size) {
    if (!is_ours(to)) {
        return sys::call(SYS_sendfile, to, from, sys::word(offset), static_cast<long>(size));
    }
    std::vector<char> buffer(std::min(size, copy_bytes));
    long total = 0;
    while (size != 0) {
        const auto want = static_cast<long>(std::min(size, buffer.size()));
        const long got = offset != nullptr ? sys::call(SYS_pread64, from, sys::word(buffer.data()), want, *offset) : sys::read(from, buffer.data(), static_cast<std::size_t>(want));
        const long sent = got > 0 ? write(to, buffer.data(), static_cast<std::size_t>(got)) : got;
        if (sent <= 0) {
            return total != 0 ? total : sent;
        }
        if (offset != nullptr) {
            *offset += sent;
        } else if (sent < got) {
            sys::call(SYS_lseek, from, sent - got, SEEK_CUR);
        }
        total += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return total;
}

}  // namespace shunt::packetdrill
