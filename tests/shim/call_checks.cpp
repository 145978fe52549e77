// The less usual names: streams over sockets, splice, positions, checked twins, exec.
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "checks.hpp"

using namespace checks;

extern "C" {
ssize_t __read_chk(int fd, void* data, size_t size, size_t room);
ssize_t __recv_chk(int fd, void* data, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void* data, size_t size, size_t room, int flags, sockaddr* from, socklen_t* length);
int __poll_chk(pollfd* list, nfds_t count, int timeout, size_t room);
int __ppoll_chk(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t room);
}

CHECK(streams) {
    int client, server;
    pair(client, server);
    FILE* in = fdopen(server, "r");
    FILE* out = fdopen(dup(server), "w");
    say("fileno=%d", fileno(in) == server);
    send_text(client, "first line\nsecond\n");
    char line[64];
    say("%.10s", fgets(line, sizeof line, in));
    say("%.6s", fgets(line, sizeof line, in));
    fprintf(out, "%d and %s", 42, "text");
    say_result("unflushed", recv(client, line, sizeof line, MSG_DONTWAIT));
    say_result("flush", fflush(out));
    nap_ms(10);
    say("%s", receive_text(client).c_str());
    say_result("seek", fseek(in, 0, SEEK_SET));
    shutdown(client, SHUT_WR);
    say("%d eof=%d", fgetc(in), feof(in) != 0);
    signal(SIGPIPE, SIG_IGN);
    fputs("more", out);
    say_result("close", fclose(out));
    say("%s", receive_text(client).c_str());
    say_result("close", fclose(in));
    say("%s", receive_text(client).c_str());
    say_result("gone", fcntl(server, F_GETFD));
    close(client);
    signal(SIGPIPE, SIG_DFL);
}

CHECK(streams_that_do_both) {
    int client, server;
    pair(client, server);
    FILE* both = fdopen(server, "r+");
    setvbuf(both, nullptr, _IONBF, 0);
    fputs("question", both);
    nap_ms(10);
    say("%s", receive_text(client).c_str());
    send_text(client, "answer!");
    char text[8]{};
    say("%zu %s", fread(text, 1, 7, both), text);
    say_result("dprintf", dprintf(server, "%s-%d", "formatted", 7));
    nap_ms(10);
    say("%s", receive_text(client).c_str());
    fclose(both);
    say("%s", receive_text(client).c_str());
    close(client);
}

CHECK(positions) {
    int client, server;
    pair(client, server);
    char data[8] = "abc";
    iovec piece{data, 3};
    say_result("pwrite", pwrite(client, data, 3, 0));
    say_result("pread", pread(client, data, 3, 0));
    say_result("lseek", lseek(client, 0, SEEK_CUR));
    say_result("preadv", preadv(server, &piece, 1, 0));
    say_result("pwritev2", pwritev2(client, &piece, 1, -1, 0));
    nap_ms(10);
    memset(data, 0, sizeof data);
    say_result("preadv2", preadv2(server, &piece, 1, -1, 0));
    say("%s", data);
    say_result("nothing there", preadv2(server, &piece, 1, -1, RWF_NOWAIT));
    say_result("at a place", preadv2(server, &piece, 1, 0, 0));
    say_result("flag", preadv2(server, &piece, 1, -1, 0x40000000));
    say_result("fsync", fsync(client));
    say_result("ftruncate", ftruncate(client, 0));
    close_all({client, server});
}

CHECK(splices) {
    int client, server, pipe_ends[2];
    pair(client, server);
    pipe(pipe_ends);
    write(pipe_ends[1], "through a pipe", 14);
    say_result("out", splice(pipe_ends[0], nullptr, client, nullptr, 100, 0));
    nap_ms(10);
    say_result("in", splice(server, nullptr, pipe_ends[1], nullptr, 7, 0));
    char data[64]{};
    say_result("read", read(pipe_ends[0], data, sizeof data));
    say("%s", data);
    say("%s", receive_text(server).c_str());
    fcntl(server, F_SETFL, O_NONBLOCK);
    say_result("nothing", splice(server, nullptr, pipe_ends[1], nullptr, 7, 0));
    fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
    say_result("empty pipe", splice(pipe_ends[0], nullptr, client, nullptr, 7, SPLICE_F_NONBLOCK));
    say_result("no pipe", splice(server, nullptr, client, nullptr, 7, 0));
    loff_t place = 0;
    say_result("offset", splice(server, &place, pipe_ends[1], nullptr, 7, 0));
    say_result("tee", tee(server, pipe_ends[1], 7, 0));
    shutdown(client, SHUT_WR);
    say_result("end", splice(server, nullptr, pipe_ends[1], nullptr, 7, 0));
    say_result("sendfile from socket", sendfile(client, server, nullptr, 7));
    say_result("nothing wanted", splice(server, nullptr, pipe_ends[1], nullptr, 0, 0));
    close_all({client, server, pipe_ends[0], pipe_ends[1]});
}

CHECK(checked_twins) {
    int client, server;
    pair(client, server);
    char data[8]{};
    send_text(client, "abcdef");
    nap_ms(10);
    say_result("read", __read_chk(server, data, 2, sizeof data));
    say_result("recv", __recv_chk(server, data + 2, 2, sizeof data - 2, 0));
    say_result("recvfrom", __recvfrom_chk(server, data + 4, 2, sizeof data - 4, 0, nullptr, nullptr));
    say("%s", data);
    pollfd item{client, POLLOUT, 0};
    say_result("poll", __poll_chk(&item, 1, 0, sizeof item));
    say_result("ppoll", __ppoll_chk(&item, 1, nullptr, nullptr, sizeof item));
    say_result("fcntl64", fcntl64(client, F_GETFL, 0));
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        close(2);  // libc's words
        __read_chk(server, data, sizeof data + 1, sizeof data);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    say("overflow: signal=%d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    close_all({client, server});
}

CHECK(urgent_data) {
    int client, server;
    pair(client, server);
    char data[16]{};
    say_result("none", recv(server, data, 1, MSG_OOB));
    const Handler urgent(SIGURG, SA_RESTART);
    fcntl(server, F_SETOWN, getpid());
    send_text(client, "before");
    say_result("send", send(client, "!", 1, MSG_OOB));
    pollfd item{server, POLLPRI, 0};
    say_result("poll", poll(&item, 1, 2000));
    say("exceptional=%d signals=%d", (item.revents & POLLPRI) != 0, urgent.count());
    say_result("out of line", recv(server, data, 1, MSG_OOB));
    say("byte=%c at_mark=%d", data[0], sockatmark(server));
    say_result("up to the mark", recv(server, data, sizeof data, 0));
    say("%.6s at_mark=%d", data, sockatmark(server));
    send_text(client, "after");
    say("%s at_mark=%d", receive_text(server).c_str(), sockatmark(server));
    const int fd = bound(SOCK_DGRAM, address);
    const sockaddr_in to = at(port_of(fd));
    say_result("datagram", sendto(fd, "x", 1, MSG_OOB, reinterpret_cast<const sockaddr*>(&to), sizeof to));
    close_all({client, server, fd});
}

CHECK(error_queue) {
    int client, server;
    pair(client, server);
    const int on = 1;
    say_result("zerocopy", setsockopt(client, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
    say_result("send", send(client, "hello", 5, MSG_ZEROCOPY));
    say("%s", receive_text(server).c_str());
    pollfd item{client, 0, 0};
    say_result("poll", poll(&item, 1, 2000));
    char control[256];
    msghdr message{};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    say_result("report", recvmsg(client, &message, MSG_ERRQUEUE));
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    say("flags=%x level=%d type=%d", static_cast<unsigned>(message.msg_flags), header != nullptr ? header->cmsg_level : -1, header != nullptr ? header->cmsg_type : -1);
    say_result("no more", recvmsg(client, &message, MSG_ERRQUEUE));
    close_all({client, server});
}

CHECK(bytes_left_to_read) {
    int client, server;
    pair(client, server);
    const int on = 1;
    say_result("inq", setsockopt(server, IPPROTO_TCP, TCP_INQ, &on, sizeof on));
    send_text(client, "hello");
    nap_ms(20);
    char data[2];
    iovec piece{data, sizeof data};
    char control[64];
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    say_result("recvmsg", recvmsg(server, &message, 0));
    int left = -1;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_type == TCP_CM_INQ) {
        memcpy(&left, CMSG_DATA(header), sizeof left);
    }
    say("left=%d", left);
    close_all({client, server});
}

CHECK(a_failed_recvmsg_leaves_the_message_as_it_was) {
    int client, server;
    pair(client, server);
    char data[2], control[64];
    sockaddr_in name{};
    iovec piece{data, sizeof data};
    msghdr message{&name, sizeof name, &piece, 1, control, sizeof control, 77};
    for (const int flags : {MSG_DONTWAIT, MSG_OOB, MSG_ERRQUEUE}) {
        say_result("recvmsg", recvmsg(server, &message, flags));
        say("name=%u control=%zu flags=%d", message.msg_namelen, message.msg_controllen, message.msg_flags);
    }
    close_all({client, server});
}

CHECK(exec_lets_go_of_what_closes) {
    int client, server;
    pair(client, server);
    fcntl(client, F_SETFD, FD_CLOEXEC);
    fcntl(server, F_SETFD, FD_CLOEXEC);
    const pid_t child = fork();
    if (child == 0) {
        execlp("sleep", "sleep", "1", nullptr);
        _exit(9);
    }
    nap_ms(200);
    send_text(client, "alive");
    say("%s", receive_text(server).c_str());
    close(client);
    pollfd item{server, POLLIN, 0};
    say_result("end", poll(&item, 1, 500));
    say("%s", receive_text(server, MSG_DONTWAIT).c_str());
    close(server);
    int status = 0;
    waitpid(child, &status, 0);
    say("status=%d", WEXITSTATUS(status));
}

CHECK(a_failed_exec_changes_nothing) {
    int client, server;
    pair(client, server);
    fcntl(client, F_SETFD, FD_CLOEXEC);
    const pid_t child = fork();
    if (child == 0) {
        char* const arguments[] = {const_cast<char*>("x"), nullptr};
        execv("/no/such/program", arguments);
        const int error = errno;
        send_text(client, error == ENOENT ? "no such program" : "another error");
        _exit(0);
    }
    waitpid(child, nullptr, 0);
    say("%s", receive_text(server).c_str());
    send_text(client, "and the parent");
    say("%s", receive_text(server).c_str());
    close_all({client, server});
}

CHECK(helper_programs) {
    int client, server;
    pair(client, server);
    FILE* helper = popen("echo from the helper", "r");
    char text[64]{};
    fgets(text, sizeof text, helper);
    say("%.15s status=%d", text, pclose(helper));
    const pid_t child = fork();
    if (child == 0) {
        dup2(open("/dev/null", O_WRONLY), 1);
        execl("/bin/sh", "sh", "-c", "exit 5", nullptr);
        _exit(9);
    }
    int status = 0;
    waitpid(child, &status, 0);
    say("status=%d", WEXITSTATUS(status));
    send_text(client, "still");
    say("%s", receive_text(server).c_str());
    close(client);
    pollfd item{server, POLLIN, 0};
    say_result("end", poll(&item, 1, 500));
    close(server);
}
