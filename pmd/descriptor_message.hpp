// One message over a unix socket with descriptors beside it (SCM_RIGHTS), for memif_sharing.cpp and invitation.cpp. Does not block, takes nothing from the heap.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/sys.hpp"

namespace shunt::pmd {

inline constexpr std::size_t message_descriptors_max = 253;  // Linux: SCM_MAX_FD

class DescriptorMessage {
public:
    // `to` is null for a connected socket. Bytes sent, or -errno.
    template <class T>
    long send(int socket, const T& message, std::span<const int> fds, const sockaddr* to = nullptr, socklen_t to_size = 0) noexcept {
        prepare(const_cast<T*>(&message), sizeof message);
        header_.msg_name = const_cast<sockaddr*>(to);
        header_.msg_namelen = to_size;
        header_.msg_controllen = CMSG_SPACE(fds.size_bytes());
        control_.header.cmsg_level = SOL_SOCKET;
        control_.header.cmsg_type = SCM_RIGHTS;
        control_.header.cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(&control_.header), fds.data(), fds.size_bytes());
        return sys::sendmsg(socket, &header_, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    // Bytes received, or -errno; what came beside them, close-on-exec and the caller's, goes into `fds` (more than it has room for is closed), and
    // `count` says how many.
    template <class T>
    long receive(int socket, T& message, std::span<int> fds, std::size_t& count, int flags = 0) noexcept {
        prepare(&message, sizeof message);
        header_.msg_controllen = std::min(sizeof control_.room, CMSG_SPACE(fds.size_bytes()));
        count = 0;
        const long size = sys::recvmsg(socket, &header_, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size >= 0 && header_.msg_controllen >= CMSG_LEN(0) && control_.header.cmsg_type == SCM_RIGHTS) {
            const auto* came = reinterpret_cast<const int*>(CMSG_DATA(&control_.header));
            const std::size_t came_count = (control_.header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
            count = std::min(came_count, fds.size());
            std::copy_n(came, count, fds.data());
            std::for_each(came + count, came + came_count, [](int fd) { sys::close(fd); });  // CMSG_SPACE rounds up
        }
        return size;
    }

private:
    void prepare(void* message, std::size_t size) noexcept {
        part_ = {message, size};
        header_ = {};
        header_.msg_iov = &part_;
        header_.msg_iovlen = 1;
        header_.msg_control = control_.room;
        header_.msg_controllen = sizeof control_.room;
    }

    iovec part_{};
    msghdr header_{};
    union Control {
        cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * message_descriptors_max)];
    } control_{};
};

}  // namespace shunt::pmd
