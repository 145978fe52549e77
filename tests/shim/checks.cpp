// Usage: posix_checks ADDRESS [name...]. Prints "name: facts" for each check.
#include "checks.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <thread>

namespace checks {
namespace {

Check* first = nullptr;
Check** last = &first;
std::string line;
std::atomic<int> finished{0};
std::atomic<const char*> running{""};
volatile int handled = 0;

void on_signal(int) {
    handled = handled + 1;
}

// A check that hangs must not take the rest with it silently.
void watch() {
    int seen = -1;
    while (true) {
        for (int tenths = 0; tenths < 150 && seen == finished; ++tenths) {
            nap_ms(100);
        }
        if (seen == finished) {
            printf("%s: HANGS\n", running.load());
            fflush(stdout);
            _exit(3);
        }
        seen = finished;
    }
}

}  // namespace

in_addr address;

Check::Check(const char* own_name, void (*own_run)()) : name(own_name), run(own_run), next(nullptr) {
    *last = this;
    last = &next;
}

void say(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    line += ' ';
    line += text;
}

const char* error_name(int code) {
    const char* name = strerrorname_np(code);
    return name != nullptr ? name : "?";
}

void say_result(const char* what, long result) {
    if (result < 0) {
        say("%s=%s", what, error_name(errno));
    } else {
        say("%s=%ld", what, result);
    }
}

sockaddr_in at(in_addr where, int port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_addr = where;
    result.sin_port = htons(static_cast<in_port_t>(port));
    return result;
}

sockaddr_in at(int port) {
    return at(address, port);
}

int port_of(int fd) {
    sockaddr_in name{};
    socklen_t length = sizeof name;
    getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
    return ntohs(name.sin_port);
}

int bound(int type, in_addr where, int port) {
    const int fd = socket(AF_INET, type, 0);
    const sockaddr_in name = at(where, port);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
        say("bind failed: %s", error_name(errno));
    }
    return fd;
}

int listener(int flags, in_addr where) {
    const int fd = bound(SOCK_STREAM | flags, where);
    if (listen(fd, 64) != 0) {
        say("listen failed: %s", error_name(errno));
    }
    return fd;
}

int connected_to(int port, in_addr where) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in name = at(where, port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
        say("connect failed: %s", error_name(errno));
    }
    return fd;
}

void pair(int& client, int& server) {
    const int from = listener();
    client = connected_to(port_of(from));
    server = accept(from, nullptr, nullptr);
    close(from);
}

int closed_port() {
    const int fd = bound(SOCK_STREAM, address);
    const int port = port_of(fd);
    close(fd);
    return port;
}

void send_text(int fd, const char* text) {
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != static_cast<ssize_t>(strlen(text))) {
        say("send failed: %s", error_name(errno));
    }
}

std::string receive_text(int fd, int flags) {
    char data[256];
    const ssize_t size = recv(fd, data, sizeof data, flags);
    if (size < 0) {
        return std::string("<") + error_name(errno) + ">";
    }
    return size == 0 ? "<EOF>" : std::string(data, static_cast<size_t>(size));
}

void nap_ms(int ms) {
    timespec left{ms / 1000, ms % 1000 * 1'000'000L};
    while (nanosleep(&left, &left) != 0) {
    }
}

long now_ms() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

void close_all(std::initializer_list<int> list) {
    for (const int fd : list) {
        close(fd);
    }
}

Handler::Handler(int signal, int flags) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    handled = 0;
    sigaction(signal_, &action, &before_);
}

Handler::~Handler() {
    sigaction(signal_, &before_, nullptr);
}

int Handler::count() const {
    return handled;
}

}  // namespace checks

int main(int argc, char** argv) {
    using namespace checks;
    if (argc < 2 || inet_pton(AF_INET, argv[1], &address) != 1) {
        fprintf(stderr, "usage: posix_checks ADDRESS [name...]\n");
        return 2;
    }
    std::thread(watch).detach();
    for (Check* check = first; check != nullptr; check = check->next) {
        bool is_wanted = argc == 2;
        for (int i = 2; i < argc; ++i) {
            is_wanted = is_wanted || strcmp(argv[i], check->name) == 0;
        }
        if (!is_wanted) {
            continue;
        }
        line.clear();
        running = check->name;
        check->run();
        printf("%s:%s\n", check->name, line.c_str());
        fflush(stdout);
        ++finished;
    }
    fflush(stdout);
    return 0;
}
