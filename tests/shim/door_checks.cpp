// Doors that are seldom used: system calls by their number, signals of sockets, cancellation, asynchronous I/O, freopen.
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include "checks.hpp"

using namespace checks;

CHECK(system_calls_by_number) {
    const long from = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    const sockaddr_in any = at(0);
    say_result("bind", syscall(SYS_bind, from, &any, sizeof any));
    say_result("listen", syscall(SYS_listen, from, 5));
    sockaddr_in name{};
    socklen_t length = sizeof name;
    say_result("getsockname", syscall(SYS_getsockname, from, &name, &length));
    const long client = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    say_result("connect", syscall(SYS_connect, client, &name, sizeof name));
    const long server = syscall(SYS_accept4, from, nullptr, nullptr, SOCK_NONBLOCK);
    say("%d", server >= 0);
    char data[8]{};
    say_result("empty", syscall(SYS_read, server, data, sizeof data));
    say_result("write", syscall(SYS_write, client, "abc", 3));
    pollfd item{static_cast<int>(server), POLLIN, 0};
    say_result("poll", syscall(SYS_poll, &item, 1, 1000));
    say_result("recvfrom", syscall(SYS_recvfrom, server, data, 2, 0, nullptr, nullptr));
    iovec piece{data, sizeof data};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    say_result("recvmsg", syscall(SYS_recvmsg, server, &message, 0));
    say_result("sendto", syscall(SYS_sendto, client, "xy", 2, 0, nullptr, 0));
    say_result("ppoll", syscall(SYS_ppoll, &item, 1, nullptr, nullptr, 8));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(server, &set);
    say_result("pselect6", syscall(SYS_pselect6, server + 1, &set, nullptr, nullptr, nullptr, nullptr));
    const long copy = syscall(SYS_dup, server);
    say_result("dup", syscall(SYS_readv, copy, &piece, 1));
    say_result("fcntl", syscall(SYS_fcntl, copy, F_GETFL) & O_NONBLOCK ? 1 : 0);
    int on = 0;
    say_result("ioctl", syscall(SYS_ioctl, copy, FIONREAD, &on));
    say_result("shutdown", syscall(SYS_shutdown, client, SHUT_WR));
    for (const long fd : {from, client, server, copy}) {
        say_result("close", syscall(SYS_close, fd));
    }
    say_result("close again", syscall(SYS_close, client));
    say("%d", syscall(SYS_getpid) == getpid());
}

namespace {

enum Way { by_recv, by_read, by_accept, by_poll, by_select, by_epoll, by_recvmsg, by_send, ways };

struct Blocked {
    Way way;
    int fd;
    int listener;
    bool has_cleaned = false;
};

void clean(void* argument) {
    static_cast<Blocked*>(argument)->has_cleaned = true;
}

void block(const Blocked& blocked) {
    char data[4096]{};
    pollfd item{blocked.fd, POLLIN, 0};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(blocked.fd, &set);
    iovec piece{data, sizeof data};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    epoll_event event{};
    event.events = EPOLLIN;
    const int epfd = blocked.way == by_epoll ? epoll_create1(0) : -1;
    epoll_ctl(epfd, EPOLL_CTL_ADD, blocked.fd, &event);
    while (true) {
        switch (blocked.way) {
            case by_recv: recv(blocked.fd, data, sizeof data, 0); break;
            case by_read: read(blocked.fd, data, sizeof data); break;
            case by_accept: accept(blocked.listener, nullptr, nullptr); break;
            case by_poll: poll(&item, 1, -1); break;
            case by_select: select(blocked.fd + 1, &set, nullptr, nullptr, nullptr); break;
            case by_epoll: epoll_wait(epfd, &event, 1, -1); break;
            case by_recvmsg: recvmsg(blocked.fd, &message, 0); break;
            case by_send: send(blocked.fd, data, sizeof data, 0); break;
            default: return;
        }
    }
}

void* run_blocked(void* argument) {
    pthread_cleanup_push(clean, argument);
    block(*static_cast<Blocked*>(argument));
    pthread_cleanup_pop(0);
    return nullptr;
}

struct Disabled {
    int fd;
    long received;
};

// Not cancelled while it may not be; then at the next call, though there is something to read.
void* run_disabled(void* argument) {
    auto* disabled = static_cast<Disabled*>(argument);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    char data[8];
    disabled->received = recv(disabled->fd, data, 1, 0);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    disabled->received += 10 * recv(disabled->fd, data, 1, 0);
    return nullptr;
}

}  // namespace

CHECK(cancellation_points) {
    int client, server;
    pair(client, server);
    const int from = listener();
    for (int way = 0; way < ways; ++way) {
        Blocked blocked{static_cast<Way>(way), server, from};
        pthread_t thread;
        pthread_create(&thread, nullptr, run_blocked, &blocked);
        nap_ms(30);
        pthread_cancel(thread);
        void* result = nullptr;
        pthread_join(thread, &result);
        say("%d%d", result == PTHREAD_CANCELED, blocked.has_cleaned);
    }
    close_all({client, server});
    pair(client, server);
    Disabled disabled{server, 0};
    pthread_t thread;
    pthread_create(&thread, nullptr, run_disabled, &disabled);
    nap_ms(20);
    pthread_cancel(thread);
    nap_ms(20);
    send_text(client, "abc");
    void* result = nullptr;
    pthread_join(thread, &result);
    say("disabled: %d %ld", result == PTHREAD_CANCELED, disabled.received);
    send_text(client, "d");  // nothing is held, nothing is lost
    nap_ms(20);
    say("%s", receive_text(server, MSG_DONTWAIT).c_str());
    close_all({client, server, from});
}

namespace {

// In and out of calls all the time, and to be cancelled anywhere.
void* run_asynchronous(void* argument) {
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
    const int fd = *static_cast<int*>(argument);
    char data[4096]{};
    while (true) {
        recv(fd, data, sizeof data, MSG_DONTWAIT);
        pollfd item{fd, POLLIN, 0};
        poll(&item, 1, 1);
    }
    return nullptr;
}

}  // namespace

CHECK(asynchronous_cancellation) {
    int client, server;
    pair(client, server);
    for (int round = 0; round < 20; ++round) {
        pthread_t thread;
        pthread_create(&thread, nullptr, run_asynchronous, &server);
        nap_ms(3);
        pthread_cancel(thread);
        void* result = nullptr;
        pthread_join(thread, &result);
        say("%d", result == PTHREAD_CANCELED);
    }
    send_text(client, "still there");
    say("%s", receive_text(server).c_str());
    close_all({client, server});
}

namespace {

volatile int signals_seen = 0;
volatile int signal_fd = -1;
volatile int signal_code = 0;

void on_io(int, siginfo_t* info, void*) {
    signals_seen = signals_seen + 1;
    signal_fd = info->si_fd;
    signal_code = info->si_code;
}

}  // namespace

CHECK(signals_of_sockets) {
    int client, server;
    pair(client, server);
    const Handler handler(SIGIO, 0);
    say_result("owner", fcntl(server, F_SETOWN, getpid()));
    say("%d", fcntl(server, F_GETOWN) == getpid());
    say_result("async", fcntl(server, F_SETFL, O_ASYNC | O_NONBLOCK));
    send_text(client, "x");
    nap_ms(30);
    receive_text(server);  // a call of ours looks
    say("%s", handler.count() > 0 ? "told" : "not told");
    struct sigaction action{}, before{};
    action.sa_sigaction = on_io;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGRTMIN + 3, &action, &before);
    say_result("signal", fcntl(server, F_SETSIG, SIGRTMIN + 3));
    send_text(client, "y");
    nap_ms(30);
    receive_text(server);
    say("%d %d", signals_seen > 0 && signal_fd == server, signal_code);
    int off = 0;
    say_result("FIOASYNC", ioctl(server, FIOASYNC, &off));
    const int seen = signals_seen;
    send_text(client, "z");
    nap_ms(30);
    receive_text(server);
    say("%d", signals_seen - seen);
    sigaction(SIGRTMIN + 3, &before, nullptr);
    close_all({client, server});
}

// Natural refusals: the kernel's socket behind the number gives them.
CHECK(calls_that_sockets_refuse) {
    int client, server, ends[2];
    pair(client, server);
    pipe(ends);
    char data[8];
    iovec piece{data, sizeof data};
    say_result("pread", pread(server, data, 1, 0));
    say_result("pwrite", pwrite(server, data, 1, 0));
    say_result("preadv", preadv(server, &piece, 1, 0));
    say_result("pwritev", pwritev(server, &piece, 1, 0));
    say_result("lseek", lseek(server, 0, SEEK_SET));
    say_result("fsync", fsync(server));
    say_result("ftruncate", ftruncate(server, 0));
    say_result("readahead", readahead(server, 0, 1));
    say_result("tee", tee(server, ends[1], 1, 0));
    say_result("vmsplice", vmsplice(server, &piece, 1, 0));
    say_result("copy", copy_file_range(server, nullptr, ends[1], nullptr, 1, 0));
    say_result("isfdtype", isfdtype(server, S_IFSOCK));
    struct stat facts{};
    say_result("fstat", fstat(server, &facts));
    say("%d", S_ISSOCK(facts.st_mode));
    close_all({client, server, ends[0], ends[1]});
}

CHECK(a_stream_is_opened_again) {
    int client, server;
    pair(client, server);
    FILE* stream = fdopen(server, "r+");
    setvbuf(stream, nullptr, _IOFBF, 16);
    send_text(client, "line\nrest");
    char line[32];
    say("%s", fgets(line, sizeof line, stream) != nullptr && strcmp(line, "line\n") == 0 ? "read" : "not read");
    fprintf(stream, "%d-%s", 7, "seven");
    fflush(stream);
    nap_ms(20);
    say("%s", receive_text(client, MSG_DONTWAIT).c_str());
    FILE* again = freopen("/proc/self/comm", "r", stream);
    say("%d", again == stream && fgetc(again) == 'p' && fputs("x", again) < 0);
    nap_ms(20);
    const std::string end = receive_text(client, MSG_DONTWAIT);
    say("%s", end == "<EOF>" || end == "<ECONNRESET>" ? "closed" : end.c_str());
    if (again != nullptr) {
        fclose(again);
    }
    close(client);
}

// Where Linux says EFAULT: addresses that cannot be, and for names and lengths pages that are not there.
CHECK(memory_that_is_not_there) {
    int client, server;
    pair(client, server);
    const int datagram = bound(SOCK_DGRAM, address), fresh = socket(AF_INET, SOCK_STREAM, 0);
    void* const page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const sockaddr_in name = at(port_of(datagram));
    send_text(client, "abc");
    sendto(datagram, "abc", 3, 0, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    nap_ms(20);
    char* volatile nowhere = reinterpret_cast<char*>(-1L);
    say_result("send", send(client, nowhere, 3, 0));
    say_result("write", write(client, nowhere, 3));
    say_result("recv", recv(server, nowhere, 3, MSG_DONTWAIT));
    say_result("read", read(server, nowhere, 3));
    say_result("sendto", sendto(datagram, nowhere, 3, 0, reinterpret_cast<const sockaddr*>(&name), sizeof name));
    say_result("recvfrom", recv(datagram, nowhere, 3, MSG_DONTWAIT));
    say_result("sendmsg", sendmsg(client, reinterpret_cast<msghdr*>(nowhere), 0));
    say_result("recvmsg", recvmsg(server, reinterpret_cast<msghdr*>(nowhere), MSG_DONTWAIT));
    for (void* where : {static_cast<void*>(nowhere), page}) {
        auto* bad = static_cast<sockaddr*>(where);
        auto* bad_length = static_cast<socklen_t*>(where);
        sockaddr_in good{};
        socklen_t length = sizeof good;
        say_result("bind", bind(fresh, bad, sizeof good));
        say_result("connect", connect(fresh, bad, sizeof good));
        say_result("connect of datagrams", connect(datagram, bad, sizeof good));
        say_result("getsockname", getsockname(client, bad, &length));
        say_result("length", getsockname(client, reinterpret_cast<sockaddr*>(&good), bad_length));
        say_result("getpeername", getpeername(client, bad, &length));
        length = static_cast<socklen_t>(-1);
        say_result("negative", getpeername(client, reinterpret_cast<sockaddr*>(&good), &length));
        say_result("setsockopt", setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, where, 4));
    }
    int value = 0;
    socklen_t length = sizeof value;
    say_result("getsockopt", getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, nowhere, &length));
    say_result("length", getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, reinterpret_cast<socklen_t*>(nowhere)));
    say("%s", receive_text(server, MSG_DONTWAIT).c_str());
    munmap(page, 4096);
    close_all({client, server, datagram, fresh});
}
