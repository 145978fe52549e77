#include "preload/passing.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "preload/fd_table.hpp"
#include "preload/handover.hpp"
#include "preload/lock.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

using socket::Runtime;

template <class F>
void for_each_passed(const msghdr& message, F f) noexcept {
    for (const cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(c))) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len >= CMSG_LEN(0)) {
            for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
                int fd;
                std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                f(fd);
            }
        }
    }
}

// One of the stack's sockets has come under this number.
void install_passed(int fd) noexcept {
    const std::uint64_t inode = inode_of(fd);
    if (inode == 0 || !Runtime::instance().join()) {
        return;
    }
    socket::Socket* const found = socket::find_passed(inode);
    if (found == nullptr) {
        return;
    }
    const std::uint64_t flags = (socket::is_stream(*found) ? Word::stream_flag : 0) | (socket::is_v6(*found) ? Word::v6_flag : 0);
    Word before;
    if (!fds.try_set(fd, Word::of(*found, flags), before)) {
        socket::release(*found, fd);
        return;
    }
    release(before, fd);
}

// By the parent's numbers: the child may have put other descriptors there.
void mark_all_of(long parent) noexcept {
    for (int fd = 0; fd < fds.end(); ++fd) {
        socket::Socket* const socket = fds.socket_of(fd);
        char path[64];
        struct stat facts {};
        if (socket != nullptr && std::snprintf(path, sizeof path, "/proc/%ld/fd/%d", parent, fd) > 0 &&
            sys::call(SYS_stat, sys::word(path), sys::word(&facts)) == 0) {
            socket::mark(*socket, facts.st_ino);
        }
    }
}

}  // namespace

std::uint64_t inode_of(int fd) noexcept {
    struct stat facts {};
    int domain = 0;
    socklen_t size = sizeof domain;
    const bool is_socket = sys::call(SYS_fstat, fd, sys::word(&facts)) == 0 && S_ISSOCK(facts.st_mode);
    const bool is_inet = is_socket && sys::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && (domain == AF_INET || domain == AF_INET6);
    return is_inet ? facts.st_ino : 0;
}

void pass_on(const msghdr& message) noexcept {
    if (Runtime::instance().is_started()) {
        for_each_passed(message, [](int fd) {
            if (socket::Socket* socket = fds.socket_of(fd)) {
                socket::send_away(*socket, inode_of(fd));
            }
        });
    }
}

void take_back(const msghdr& message) noexcept {
    if (Runtime::instance().is_started()) {
        for_each_passed(message, [](int fd) {
            if (socket::Socket* socket = fds.socket_of(fd)) {
                socket::call_back(*socket);
            }
        });
    }
}

void take_in(const msghdr& message) noexcept {
    for_each_passed(message, install_passed);
}

void adopt_inherited() noexcept {
    std::ranges::for_each(open_descriptors(), install_passed);
    if (Runtime::instance().is_started()) {
        socket::bury_former_self();
    }
}

bool is_inherited(int fd) noexcept {
    const long flags = sys::fcntl(fd, F_GETFD);
    return flags >= 0 && (flags & FD_CLOEXEC) == 0;
}

void mark_for_exec(int fd) noexcept {
    if (socket::Socket* socket = fds.socket_of(fd)) {
        socket::mark(*socket, inode_of(fd));
    }
}

namespace {

// What one process takes along as it becomes another program: the ledger has a row for it from the first socket on.
class Departing {
public:
    explicit Departing(int pid) noexcept : pid_(pid) {}

    void take(std::uint64_t inode) noexcept {
        socket::Socket* const found = socket::find_passed(inode);
        if (found == nullptr) {
            return;
        }
        if (!has_any()) {
            row_ = socket::enter_departing(pid_);
        }
        socket::hold_for(row_, *found);
        socket::abandon(*found);
    }
    bool has_any() const noexcept { return row_ >= 0; }

private:
    int pid_;
    int row_ = -1;
};

}  // namespace

void hand_on_from_vfork() noexcept {
    mark_all_of(sys::call(SYS_getppid));
    const int highest = std::max(fds.end(), 3);  // among them standard input and output, where inetd puts a connection
    Departing departing(static_cast<int>(sys::getpid()));
    for (int fd = 0; fd < highest; ++fd) {
        if (const std::uint64_t inode = is_inherited(fd) ? inode_of(fd) : 0) {
            departing.take(inode);
        }
    }
}

void mark_for_spawn() noexcept {
    const Locked lock;
    mark_all_of(sys::getpid());
}

void hand_on_to_spawned(int pid) noexcept {
    Departing departing(pid);
    const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
    for (const int fd : open_descriptors(folder.c_str())) {
        struct stat facts {};
        const std::string path = folder + "/" + std::to_string(fd);
        if (sys::call(SYS_stat, sys::word(path.c_str()), sys::word(&facts)) == 0 && S_ISSOCK(facts.st_mode)) {
            departing.take(facts.st_ino);
        }
    }
    if (departing.has_any()) {
        socket::settle_departed(pid);
    }
}

}  // namespace shunt::preload
