// System calls by descriptor on a World, as the shim would carry them out: ours goes to src/socket, the rest (pipes, files) to the kernel. Results are
// the system call's, or -errno.
#pragma once

#include <map>
#include <mutex>

#include "packetdrill/world.hpp"
#include "socket/socket.hpp"

namespace shunt::packetdrill {

class Calls {
public:
    explicit Calls(World& world) : world_(world) {}
    ~Calls();
    Calls(const Calls&) = delete;
    Calls& operator=(const Calls&) = delete;

    bool is_ours(int fd) const { return find(fd).socket != nullptr; }

    long socket(int domain, int type, int protocol);
    long bind(int fd, const sockaddr* address, socklen_t length);
    long listen(int fd, int backlog);
    long accept(int fd, sockaddr* address, socklen_t* length, int flags = 0);
    long connect(int fd, const sockaddr* address, socklen_t length);
    long shutdown(int fd, int how);
    long close(int fd);
    long receive_message(int fd, msghdr& message, int flags);
    long send_message(int fd, const msghdr& message, int flags);
    long get_option(int fd, int level, int name, void* value, socklen_t* length);
    long set_option(int fd, int level, int name, const void* value, socklen_t length);
    long fcntl(int fd, int command, long argument);
    long ioctl(int fd, unsigned long request, void* argument);
    long poll(pollfd* fds, std::size_t count, int timeout_ms);
    long epoll_create(int flags);
    long epoll_control(int set, int operation, int fd, epoll_event* event);
    long epoll_wait(int set, epoll_event* events, int max_events, int timeout_ms);
    long pipe(int fds[2]);
    long splice(int from, int to, std::size_t size, unsigned flags);
    long send_file(int to, int from, off_t* offset, std::size_t size);

    // The same in their other forms.
    long read(int fd, void* data, std::size_t size, int flags = 0);
    long write(int fd, const void* data, std::size_t size, int flags = 0);

private:
    struct Entry {
        socket::Socket* socket = nullptr;
        socket::EpollSet* set = nullptr;
    };
    Entry find(int fd) const;
    void install(int fd, Entry entry);

    World& world_;
    mutable std::mutex mutex_;
    std::map<int, Entry> entries_;
};

}  // namespace shunt::packetdrill
