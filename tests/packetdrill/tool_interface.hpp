// The table through which Google's packetdrill drives a stack in a shared object (--so_filename): order and types are the tool's. Every function's
// first argument is `userdata`; errors go through errno.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

extern "C" {

struct packetdrill_interface {
    void* userdata;
    void (*free)(void*);
    int (*socket)(void*, int domain, int type, int protocol);
    int (*bind)(void*, int fd, const sockaddr*, socklen_t);
    int (*listen)(void*, int fd, int backlog);
    int (*accept)(void*, int fd, sockaddr*, socklen_t*);
    int (*connect)(void*, int fd, const sockaddr*, socklen_t);
    ssize_t (*read)(void*, int fd, void*, size_t);
    ssize_t (*readv)(void*, int fd, const iovec*, int count);
    ssize_t (*recv)(void*, int fd, void*, size_t, int flags);
    ssize_t (*recvfrom)(void*, int fd, void*, size_t, int flags, sockaddr*, socklen_t*);
    ssize_t (*recvmsg)(void*, int fd, msghdr*, int flags);
    ssize_t (*write)(void*, int fd, const void*, size_t);
    ssize_t (*writev)(void*, int fd, const iovec*, int count);
    ssize_t (*send)(void*, int fd, const void*, size_t, int flags);
    ssize_t (*sendto)(void*, int fd, const void*, size_t, int flags, const sockaddr*, socklen_t);
    ssize_t (*sendmsg)(void*, int fd, const msghdr*, int flags);
    int (*fcntl)(void*, int fd, int command, ...);
    int (*ioctl)(void*, int fd, unsigned long request, ...);
    int (*close)(void*, int fd);
    int (*shutdown)(void*, int fd, int how);
    int (*getsockopt)(void*, int fd, int level, int name, void*, socklen_t*);
    int (*setsockopt)(void*, int fd, int level, int name, const void*, socklen_t);
    int (*poll)(void*, pollfd*, nfds_t, int timeout_ms);
    int (*netdev_send)(void*, const void* packet, size_t);                   // to the stack
    int (*netdev_receive)(void*, void* packet, size_t*, long long* usecs);   // from the stack; length 0: nothing more comes
    int (*usleep)(void*, useconds_t);
    int (*gettimeofday)(void*, struct timeval*, struct timezone*);
    int (*epoll_create)(void*, int size);
    int (*epoll_ctl)(void*, int set, int operation, int fd, epoll_event*);
    int (*epoll_wait)(void*, int set, epoll_event*, int max_events, int timeout_ms);
    int (*pipe)(void*, int fds[2]);
    int (*splice)(void*, int from, loff_t*, int to, loff_t*, size_t, unsigned flags);
};

void packetdrill_interface_init(const char* flags, packetdrill_interface* table);

}
