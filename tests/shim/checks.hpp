// A small frame for the differential test: each check prints one line of facts. It is a plain POSIX program and knows nothing of Shunt; what
// may differ between two right systems (ports, times, descriptor numbers) must not be printed.
#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <string>

namespace checks {

struct Check {
    const char* name;
    void (*run)();
    Check* next;
    Check(const char* name, void (*run)());
};

// Facts go to the line of the running check.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
// What a call gave: its value, or the name of errno.
void say_result(const char* what, long result);
const char* error_name(int code);

// ---- sockets on the address under test
extern in_addr address;
sockaddr_in at(in_addr where, int port);
sockaddr_in at(int port);
int port_of(int fd);                                     // its own
int bound(int type, in_addr where, int port = 0);        // SOCK_STREAM (| SOCK_NONBLOCK) or SOCK_DGRAM
int listener(int flags = 0, in_addr where = address);
int connected_to(int port, in_addr where = address);
void pair(int& client, int& server);                     // a connection's two ends
int closed_port();                                       // nobody listens there
void send_text(int fd, const char* text);
std::string receive_text(int fd, int flags = 0);         // "<EOF>", "<EAGAIN>"
void nap_ms(int ms);
long now_ms();
void close_all(std::initializer_list<int> list);

// A handler for `signal` while it lives; counts.
class Handler {
public:
    Handler(int signal, int flags);
    ~Handler();
    int count() const;

private:
    int signal_;
    struct sigaction before_ {};
};

}  // namespace checks

#define CHECK(name)                                          \
    static void check_##name();                              \
    static checks::Check register_##name{#name, check_##name}; \
    static void check_##name()
