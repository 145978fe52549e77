// Duplicates, fork, signals, files, wildcard listeners.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "checks.hpp"

using namespace checks;

extern char** environ;

CHECK(duplicates) {
    int client, server;
    pair(client, server);
    const int copy = dup(client);
    close(client);
    send_text(copy, "by the copy");
    say("%s", receive_text(server).c_str());
    const int high = fcntl(copy, F_DUPFD_CLOEXEC, 200);
    say("high=%d cloexec=%d", high >= 200, (fcntl(high, F_GETFD) & FD_CLOEXEC) != 0);
    fcntl(high, F_SETFL, O_NONBLOCK);
    say("%s", receive_text(copy).c_str());
    close(copy);
    send_text(high, "high");
    say("%s", receive_text(server).c_str());
    int pipe_ends[2];
    pipe(pipe_ends);
    say("dup2=%d", dup2(high, pipe_ends[0]) == pipe_ends[0]);
    close(high);
    send_text(pipe_ends[0], "where a pipe was");
    say("%s", receive_text(server).c_str());
    say_result("onto itself", dup3(server, server, 0));
    say("%d", dup2(server, server) == server);
    dup2(pipe_ends[1], pipe_ends[0]);
    say("%s", receive_text(server).c_str());
    close_all({pipe_ends[0], pipe_ends[1], server});
}

CHECK(duplicate_before_the_decision) {
    const int from = listener();
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int copy = dup(fd);
    const sockaddr_in name = at(port_of(from));
    say_result("connect", connect(copy, reinterpret_cast<const sockaddr*>(&name), sizeof name));
    send_text(fd, "by the other");
    const int server = accept(from, nullptr, nullptr);
    say("%s", receive_text(server).c_str());
    close(copy);
    send_text(fd, "still");
    say("%s", receive_text(server).c_str());
    close(fd);
    say("%s", receive_text(server).c_str());
    close_all({server, from});
}

CHECK(fork_shares_a_connection) {
    int client, server;
    pair(client, server);
    const pid_t child = fork();
    if (child == 0) {
        close(client);
        const std::string got = receive_text(server);
        send_text(server, got == "from the parent" ? "from the child" : got.c_str());
        close(server);
        _exit(7);
    }
    close(server);
    send_text(client, "from the parent");
    say("%s", receive_text(client).c_str());
    say("%s", receive_text(client).c_str());
    int status = 0;
    waitpid(child, &status, 0);
    say("status=%d", WEXITSTATUS(status));
    close(client);
}

// Sockets that are nobody's yet when their process forks: what the child makes of them, the parent has.
CHECK(fork_shares_what_is_decided_after_it) {
    const int to = bound(SOCK_DGRAM, address), datagrams = socket(AF_INET, SOCK_DGRAM, 0), stream = socket(AF_INET, SOCK_STREAM, 0);
    const int other = dup(datagrams), set = epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(set, EPOLL_CTL_ADD, datagrams, &event);
    const pid_t child = fork();
    if (child == 0) {
        const sockaddr_in name = at(port_of(to)), any_port = at(0);
        const bool is_done = connect(datagrams, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 &&
                             bind(stream, reinterpret_cast<const sockaddr*>(&any_port), sizeof any_port) == 0 && listen(stream, 5) == 0;
        receive_text(to);  // the parent has seen it
        _exit(is_done ? 7 : 1);
    }
    pollfd is_listening{stream, POLLIN, 0};
    while ((poll(&is_listening, 1, 0), is_listening.revents & POLLHUP) != 0) {
        nap_ms(1);
    }
    const int client = connected_to(port_of(stream)), server = accept(stream, nullptr, nullptr);
    send_text(client, "to the child's listener");
    say("%s", receive_text(server).c_str());
    send_text(other, "x");
    int status = 0;
    waitpid(child, &status, 0);
    sockaddr_in from = at(port_of(datagrams));
    sendto(to, "back", 4, 0, reinterpret_cast<const sockaddr*>(&from), sizeof from);
    say_result("epoll", epoll_wait(set, &event, 1, 1000));
    say("%s status=%d", receive_text(datagrams).c_str(), WEXITSTATUS(status));
    close_all({to, datagrams, other, stream, set, client, server});
}

CHECK(a_childs_end_changes_nothing) {
    int client, server;
    pair(client, server);
    const linger seconds{1, 5};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &seconds, sizeof seconds);
    const pid_t child = fork();
    if (child == 0) {
        exit(0);
    }
    waitpid(child, nullptr, 0);
    std::thread late([client] {
        nap_ms(50);
        send_text(client, "later");
    });
    say("%s", receive_text(server).c_str());
    late.join();
    close_all({client, server});
}

CHECK(fork_accepts_in_the_child) {
    const int from = listener();
    const pid_t child = fork();
    if (child == 0) {
        const int server = accept(from, nullptr, nullptr);
        send_text(server, "child");
        exit(0);
    }
    const int client = connected_to(port_of(from));
    say("%s", receive_text(client).c_str());
    say("%s", receive_text(client).c_str());
    waitpid(child, nullptr, 0);
    close_all({client, from});
}

CHECK(children_that_only_exec) {
    int client, server;
    pair(client, server);
    const pid_t child = vfork();
    if (child == 0) {
        close(client);
        close(server);
        dup2(2, 5);
        execlp("true", "true", nullptr);
        _exit(9);
    }
    int status = 0;
    waitpid(child, &status, 0);
    char* const arguments[] = {const_cast<char*>("true"), nullptr};
    pid_t spawned;
    say("spawn=%d", posix_spawnp(&spawned, "true", nullptr, nullptr, arguments, environ));
    waitpid(spawned, &status, 0);
    say("system=%d", system("exit 3") >> 8);
    send_text(client, "still there");
    say("%s", receive_text(server).c_str());
    close_all({client, server});
}

CHECK(interrupted) {
    int client, server;
    pair(client, server);
    const pthread_t self = pthread_self();
    const auto later = [self, client](const char* text) {
        return std::thread([=] {
            nap_ms(50);
            pthread_kill(self, SIGUSR1);
            nap_ms(50);
            if (text != nullptr) {
                send_text(client, text);
            }
        });
    };
    {
        const Handler handler(SIGUSR1, 0);
        std::thread other = later(nullptr);
        say("%s", receive_text(server).c_str());
        say("handled=%d", handler.count());
        other.join();
    }
    {
        const Handler handler(SIGUSR1, SA_RESTART);
        std::thread other = later("after the signal");
        say("%s", receive_text(server).c_str());
        say("handled=%d", handler.count());
        other.join();
    }
    {
        const Handler handler(SIGUSR1, 0);
        const int from = listener();
        std::thread other = later(nullptr);
        say_result("accept", accept(from, nullptr, nullptr));
        other.join();
        close(from);
    }
    close_all({client, server});
}

namespace {

int handler_fd = -1;
void send_from_handler(int) {
    send(handler_fd, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

CHECK(handlers_that_send) {
    int client, server;
    pair(client, server);
    handler_fd = client;
    const auto before = signal(SIGUSR2, send_from_handler);
    const pthread_t self = pthread_self();
    std::thread other([self] {
        for (int i = 0; i < 200; ++i) {
            pthread_kill(self, SIGUSR2);
            timespec pause{0, 200'000};
            nanosleep(&pause, nullptr);
        }
    });
    long marks = 0, others = 0;
    char data[512];
    const long end = now_ms() + 120;
    while (now_ms() < end) {
        send(client, "abcdefgh", 8, MSG_NOSIGNAL);
        const ssize_t n = recv(server, data, sizeof data, MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; ++i) {
            ++(data[i] == '!' ? marks : others);
        }
    }
    other.join();
    say("marks=%d others=%d mine=%d", marks > 0, others > 0 && others % 8 == 0, signal(SIGUSR2, before) == send_from_handler);
    close_all({client, server});
}

CHECK(handler_settings) {
    struct sigaction mine {}, seen {};
    mine.sa_handler = send_from_handler;
    mine.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    sigaddset(&mine.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &mine, nullptr);
    sigaction(SIGUSR1, nullptr, &seen);
    say("same=%d flags=%x mask=%d%d", seen.sa_handler == send_from_handler, static_cast<unsigned>(seen.sa_flags) & 0xd0000000U, sigismember(&seen.sa_mask, SIGUSR2),
        sigismember(&seen.sa_mask, SIGHUP));
    handler_fd = -1;
    raise(SIGUSR1);
    sigaction(SIGUSR1, nullptr, &seen);
    say("reset=%d", seen.sa_handler == SIG_DFL);
    say("ignored=%d", signal(SIGUSR1, SIG_IGN) == SIG_DFL && signal(SIGUSR1, SIG_DFL) == SIG_IGN);
    signal(SIGUSR1, send_from_handler);
    sigaction(SIGUSR1, nullptr, &seen);
    say("restart=%d", (seen.sa_flags & SA_RESTART) != 0);
    siginterrupt(SIGUSR1, 1);
    sigaction(SIGUSR1, nullptr, &seen);
    say("restart=%d same=%d", (seen.sa_flags & SA_RESTART) != 0, seen.sa_handler == send_from_handler);
    siginterrupt(SIGUSR1, 0);
    signal(SIGUSR1, SIG_DFL);
    say_result("kill", sigaction(SIGKILL, &mine, nullptr));
}

CHECK(files) {
    int client, server;
    pair(client, server);
    FILE* file = tmpfile();
    std::string text;
    for (int i = 0; i < 20'000; ++i) {
        text += static_cast<char>('a' + i % 26);
    }
    fwrite(text.data(), 1, text.size(), file);
    fflush(file);
    const int fd = fileno(file);
    lseek(fd, 0, SEEK_SET);
    off_t offset = 100;
    say_result("at", sendfile(client, fd, &offset, 19'000));
    say("offset=%ld position=%ld", static_cast<long>(offset), static_cast<long>(lseek(fd, 0, SEEK_CUR)));
    say_result("on", sendfile(client, fd, nullptr, 30'000));
    say("position=%ld", static_cast<long>(lseek(fd, 0, SEEK_CUR)));
    say_result("end", sendfile(client, fd, nullptr, 10));
    shutdown(client, SHUT_WR);
    std::string got;
    char data[4096];
    for (ssize_t n; (n = recv(server, data, sizeof data, 0)) > 0;) {
        got.append(data, static_cast<std::size_t>(n));
    }
    say("right=%d", got == text.substr(100, 19'000) + text);
    fclose(file);
    close_all({client, server});
}

CHECK(wildcard_listener) {
    const int from = listener(0, in_addr{INADDR_ANY});
    sockaddr_in name{};
    socklen_t length = sizeof name;
    getsockname(from, reinterpret_cast<sockaddr*>(&name), &length);
    say("any=%d", name.sin_addr.s_addr == INADDR_ANY && name.sin_port != 0);
    for (const in_addr where : {address, in_addr{htonl(INADDR_LOOPBACK)}, address}) {
        const int client = connected_to(port_of(from), where);
        const int server = accept(from, nullptr, nullptr);
        send_text(client, "hello");
        say("%s", receive_text(server).c_str());
        getsockname(server, reinterpret_cast<sockaddr*>(&name), &length);
        say("own=%d", name.sin_addr.s_addr == where.s_addr);
        close_all({client, server});
    }
    close(from);
}

CHECK(listen_without_bind) {
    const int from = socket(AF_INET, SOCK_STREAM, 0);
    say_result("listen", listen(from, 5));
    const int client = connected_to(port_of(from));
    const int server = accept(from, nullptr, nullptr);
    send_text(server, "hello");
    say("%s", receive_text(client).c_str());
    close_all({client, server, from});
}

CHECK(descriptors_run_out) {
    const int from = listener();
    const int client = connected_to(port_of(from));
    nap_ms(20);
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit few{256, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    int filler[256];
    int count = 0;
    while (count < 256 && (filler[count] = dup(0)) >= 0) {
        ++count;
    }
    say("full=%d", errno == EMFILE);
    say_result("accept", accept(from, nullptr, nullptr));
    setrlimit(RLIMIT_NOFILE, &before);
    while (count > 0) {
        close(filler[--count]);
    }
    const int server = accept(from, nullptr, nullptr);
    send_text(client, "kept");
    say("%s", receive_text(server).c_str());
    close_all({client, server, from});
}

CHECK(closing_everything_else) {
    int client, server;
    pair(client, server);
    const int keep = dup2(server, 40);
    close(server);
    const int other = dup2(client, 41);
    close(client);
    const pid_t child = fork();
    if (child == 0) {
        close_range(42, ~0U, 0);
        for (int fd = 3; fd < 1024; ++fd) {
            if (fd != keep) {
                close(fd);
            }
        }
        send_text(keep, "alive");
        _exit(0);
    }
    waitpid(child, nullptr, 0);
    say("%s", receive_text(other).c_str());
    send_text(other, "here too");
    say("%s", receive_text(keep).c_str());
    close_all({keep, other});
}

// A server that gives up its rights when it has bound its port: libc asks every thread of the process to do the same, by a signal of its own.
CHECK(rights_given_up_beside_the_stack) {
    int client, server;
    pair(client, server);
    alarm(5);
    say_result("setgid", setgid(getgid()));
    say_result("setuid", setuid(getuid()));
    alarm(0);
    send_text(client, "after");
    say("%s", receive_text(server).c_str());
    close_all({client, server});
}
