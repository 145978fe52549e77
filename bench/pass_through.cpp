// What the shim costs calls on descriptors that are not Shunt's: each call through its name, which the shim answers, and straight through libc's own
// function, in turns in one process. Run it under the launcher, with any link: build/release/bin/shunt --link loop build/release/bin/pass_through
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "bench/ping.hpp"

namespace {

constexpr int batch = 2000, rounds = 301;

// One socket of the stack's, so that the shim's table of descriptors is there, as in a program that uses it.
void open_one_of_ours() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 || listen(fd, 1) != 0) {
        std::perror("pass_through: a socket on 127.0.0.1");
        std::exit(1);
    }
}

template <class Call>
double ns_of(const bench::Ticks& ticks, Call call) {
    const std::uint64_t start = __rdtsc();
    for (int i = 0; i < batch; ++i) {
        call();
    }
    return ticks.to_ns(static_cast<double>(__rdtsc() - start)) / batch;
}

double median(std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
    return values[values.size() / 2];
}

// `use(function)` makes the call. The difference is taken within each round, so that a slow moment is on both sides.
template <class Function, class Use>
void compare(const bench::Ticks& ticks, void* libc, const char* name, Function by_name, Use use) {
    const auto direct = reinterpret_cast<Function>(dlsym(libc, name));
    std::vector<double> libcs, differences;
    for (int round = 0; round < rounds; ++round) {
        const double with = ns_of(ticks, [&] { use(by_name); });
        const double without = ns_of(ticks, [&] { use(direct); });
        libcs.push_back(without);
        differences.push_back(with - without);
    }
    std::printf("%-12s %8.1f %8.1f\n", name, median(libcs), median(differences));
}

}  // namespace

int main() {
    void* libc = dlopen("libc.so.6", RTLD_NOW);
    open_one_of_ours();
    const bench::Ticks ticks;
    int ends[2], pair[2];
    if (pipe2(ends, O_NONBLOCK) != 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) {
        return 1;
    }
    const int null = open("/dev/null", O_WRONLY), epfd = epoll_create1(0);
    char data[8]{};
    pollfd item{ends[0], POLLIN, 0};
    epoll_event event{};
    std::printf("%s\n%-12s %8s %8s\n", dlsym(RTLD_DEFAULT, "read") == dlsym(libc, "read") ? "without the shim" : "with the shim", "call", "libc ns", "more");
    compare(ticks, libc, "read", ::read, [&](auto call) { call(ends[0], data, sizeof data); });
    compare(ticks, libc, "write", ::write, [&](auto call) { call(null, data, sizeof data); });
    compare(ticks, libc, "recv", ::recv, [&](auto call) { call(pair[0], data, sizeof data, 0); });
    compare(ticks, libc, "send", ::send, [&](auto call) { call(pair[0], data, 0, 0); });
    compare(ticks, libc, "poll", ::poll, [&](auto call) { call(&item, 1, 0); });
    compare(ticks, libc, "epoll_wait", ::epoll_wait, [&](auto call) { call(epfd, &event, 1, 0); });
    compare(ticks, libc, "fcntl", static_cast<int (*)(int, int, ...)>(::fcntl), [&](auto call) { call(null, F_GETFL, 0); });
    compare(ticks, libc, "close", ::close, [&](auto call) { call(-1); });
    compare(ticks, libc, "syscall", static_cast<long (*)(long, ...)>(::syscall), [&](auto call) { call(SYS_getppid, 0); });
    return 0;
}
