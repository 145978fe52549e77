// Usage: option_sweep ADDRESS. Every option of a level, in every state of a socket, with many lengths and values; a line for each: what it said and what
// reads back. A plain POSIX program that knows nothing of Shunt: option_sweep.py compares its lines on the kernel and on Shunt.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>

namespace {

in_addr address;

struct State {
    const char* name;
    int domain, type;
    bool is_bound, is_listening, is_connected, is_accepted, peer_has_closed;
};

constexpr State states[] = {
    {"tcp", AF_INET, SOCK_STREAM, false, false, false, false, false},
    {"tcp-bound", AF_INET, SOCK_STREAM, true, false, false, false, false},
    {"tcp-listening", AF_INET, SOCK_STREAM, true, true, false, false, false},
    {"tcp-connected", AF_INET, SOCK_STREAM, false, false, true, false, false},
    {"tcp-accepted", AF_INET, SOCK_STREAM, true, true, true, true, false},
    {"tcp-peer-closed", AF_INET, SOCK_STREAM, false, false, true, false, true},
    {"tcp6-connected", AF_INET6, SOCK_STREAM, false, false, true, false, false},
    {"udp", AF_INET, SOCK_DGRAM, false, false, false, false, false},
    {"udp-bound", AF_INET, SOCK_DGRAM, true, false, false, false, false},
    {"udp-connected", AF_INET, SOCK_DGRAM, true, false, true, false, false},
    {"udp6-bound", AF_INET6, SOCK_DGRAM, true, false, false, false, false},
};

struct Level {
    const char* name;
    int level, first, last;
};
constexpr Level levels[] = {
    {"SOCKET", SOL_SOCKET, 0, 76}, {"IP", IPPROTO_IP, 0, 53}, {"TCP", IPPROTO_TCP, 0, 40}, {"UDP", IPPROTO_UDP, 0, 2}, {"UDP", IPPROTO_UDP, 100, 105}, {"IPV6", IPPROTO_IPV6, 0, 80},
};

sockaddr_storage name_of(int domain, int port, socklen_t& length) {
    sockaddr_storage storage{};
    if (domain == AF_INET) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
        v4.sin_family = AF_INET;
        v4.sin_addr = address;
        v4.sin_port = htons(static_cast<in_port_t>(port));
        length = sizeof v4;
        return storage;
    }
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<in_port_t>(port));
    v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(v6.sin6_addr.s6_addr + 12, &address, sizeof address);
    length = sizeof v6;
    return storage;
}

int port_of(int fd) {
    sockaddr_in6 name{};  // the port lies in the same place
    socklen_t length = sizeof name;
    getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
    return ntohs(name.sin6_port);
}

// A socket in a state, and who keeps it there.
class Subject {
public:
    explicit Subject(const State& state) {
        if (state.is_connected) {
            peer_listener_ = made(state, true, state.type == SOCK_STREAM);
        }
        const int client = made(state, state.is_bound && !state.is_accepted, state.is_listening && !state.is_accepted);
        fd_ = client;
        if (state.is_connected) {
            socklen_t length = 0;
            const sockaddr_storage to = name_of(state.domain, port_of(peer_listener_), length);
            must(connect(client, reinterpret_cast<const sockaddr*>(&to), length), "connect");
        }
        if (state.is_connected && state.type == SOCK_STREAM) {
            const int server = accept(peer_listener_, nullptr, nullptr);
            fd_ = state.is_accepted ? server : client;
            peer_ = state.is_accepted ? client : server;
        }
        if (state.peer_has_closed) {
            close(peer_);
            peer_ = -1;
            pollfd end{fd_, POLLIN, 0};
            poll(&end, 1, 1000);
        }
    }
    ~Subject() {
        close(fd_);
        close(peer_);
        close(peer_listener_);
    }
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;
    int fd() const { return fd_; }

private:
    static void must(int result, const char* what) {
        if (result != 0) {
            perror(what);
            _exit(3);
        }
    }
    static int made(const State& state, bool binds, bool listens) {
        const int fd = socket(state.domain, state.type, 0);
        socklen_t length = 0;
        const sockaddr_storage name = name_of(state.domain, 0, length);
        if (binds) {
            must(bind(fd, reinterpret_cast<const sockaddr*>(&name), length), "bind");
        }
        if (listens) {
            must(listen(fd, 8), "listen");
        }
        return fd;
    }
    int fd_ = -1, peer_ = -1, peer_listener_ = -1;
};

const char* error_name() {
    const char* name = strerrorname_np(errno);
    return name != nullptr ? name : "?";
}

// Numbers that are a clock's, a port or a path's, and buffers that grow by themselves: how they are given is compared, not what they are.
bool is_connection = false;
bool varies(int level, int name) {
    if (is_connection && level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_SNDBUF)) {
        return true;
    }
    if (level == SOL_SOCKET) {
        return name == SO_INCOMING_CPU || name == SO_COOKIE || name == SO_INCOMING_NAPI_ID || name == SO_MEMINFO || name == SO_PEERNAME;
    }
    if (level == IPPROTO_TCP) {
        return name == TCP_INFO || name == TCP_CC_INFO || name == TCP_MAXSEG || name == TCP_WINDOW_CLAMP || name == TCP_TIMESTAMP || name == TCP_ZEROCOPY_RECEIVE;
    }
    return (level == IPPROTO_IP && (name == IP_MTU || name == 52 /* IP_PROTOCOL: a port */)) || (level == IPPROTO_IPV6 && (name == IPV6_MTU || name == IPV6_PATHMTU));
}

std::string value_of(int fd, int level, int name, socklen_t room) {
    std::array<unsigned char, 512> data;
    data.fill(0xa5);
    socklen_t length = room;
    if (getsockopt(fd, level, name, data.data(), &length) != 0) {
        return error_name();
    }
    std::string text = std::to_string(static_cast<int>(length)) + ":";
    for (socklen_t i = 0; i < length && i < 24 && !varies(level, name); ++i) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", data.at(i));
        text += hex;
    }
    return text + (length < data.size() && data.at(length) != 0xa5 ? " and beyond" : "");
}

// What it makes of a number depends on what is open.
bool takes_descriptor(int level, int name) {
    return level == SOL_SOCKET && (name == SO_ATTACH_BPF || name == SO_ATTACH_REUSEPORT_EBPF);
}

void sweep_gets(const State& state, const Level& level, int name) {
    const Subject subject(state);
    std::string line;
    for (const socklen_t room : {0U, 1U, 2U, 3U, 4U, 5U, 8U, 16U, 64U, 512U, ~0U}) {
        line += " " + std::to_string(static_cast<int>(room)) + "=" + value_of(subject.fd(), level.level, name, room);
    }
    socklen_t length = 4;
    line += getsockopt(subject.fd(), level.level, name, nullptr, &length) == 0 ? " nowhere=ok" : std::string(" nowhere=") + error_name();
    int value = 0;
    line += getsockopt(subject.fd(), level.level, name, &value, nullptr) == 0 ? " unlimited=ok" : std::string(" unlimited=") + error_name();
    printf("%s %s.%d get:%s\n", state.name, level.name, name, line.c_str());
}

std::string set_and_get(int fd, const Level& level, int name, const void* value, socklen_t length) {
    const int result = setsockopt(fd, level.level, name, value, length);
    const std::string said = result == 0 ? "ok" : error_name();
    return said + "," + value_of(fd, level.level, name, 64);
}

void sweep_sets(const State& state, const Level& level, int name) {
    std::string line;
    {
        const Subject subject(state);
        for (const int value : {1, 0, -1, 2, 3, 7, 64, 88, 127, 255, 256, 1000, 32767, 32768, 65536, 1'000'000, 0x7fff'ffff, static_cast<int>(0x8000'0000)}) {
            if (takes_descriptor(level.level, name) && value >= 0) {
                continue;
            }
            line += " " + std::to_string(value) + "=" + set_and_get(subject.fd(), level, name, &value, sizeof value);
        }
    }
    const Subject subject(state);
    std::array<unsigned char, 256> data{};
    data[0] = 1;
    for (const socklen_t length : {0U, 1U, 2U, 3U, 5U, 8U, 16U, 40U, 136U, ~0U}) {
        line += " /" + std::to_string(static_cast<int>(length)) + "=" + set_and_get(subject.fd(), level, name, data.data(), length);
    }
    line += " nowhere=" + set_and_get(subject.fd(), level, name, nullptr, 4) + " nothing=" + set_and_get(subject.fd(), level, name, nullptr, 0);
    printf("%s %s.%d set:%s\n", state.name, level.name, name, line.c_str());
}

// What an accepted connection has of an option that was set on its listener, before or after listen().
std::string inherited(const Level& level, int name, int value, bool is_listening) {
    const State& state = states[1];
    socklen_t length = 0;
    const sockaddr_storage any = name_of(state.domain, 0, length);
    const int listener = socket(state.domain, state.type | SOCK_NONBLOCK, 0), client = socket(state.domain, state.type | SOCK_NONBLOCK, 0);
    bind(listener, reinterpret_cast<const sockaddr*>(&any), length);
    if (is_listening) {
        listen(listener, 8);
    }
    std::string text = setsockopt(listener, level.level, name, &value, sizeof value) == 0 ? "" : "(refused) ";
    if (!is_listening) {
        listen(listener, 8);
    }
    const sockaddr_storage to = name_of(state.domain, port_of(listener), length);
    connect(client, reinterpret_cast<const sockaddr*>(&to), length);
    pollfd arrival{listener, POLLIN, 0};
    poll(&arrival, 1, 20);
    const int accepted = accept(listener, nullptr, nullptr);
    text += accepted >= 0 ? value_of(accepted, level.level, name, 64) : "none";
    close(accepted);
    close(client);
    close(listener);
    return text;
}

void sweep_inheritance(const Level& level, int name) {
    std::string line;
    for (const int value : {0, 1, 9}) {
        line += " before/" + std::to_string(value) + "=" + inherited(level, name, value, false) + " after/" + std::to_string(value) + "=" + inherited(level, name, value, true);
    }
    printf("tcp-inherits %s.%d get:%s\n", level.name, name, line.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 || inet_pton(AF_INET, argv[1], &address) != 1) {
        fprintf(stderr, "usage: option_sweep ADDRESS\n");
        return 2;
    }
    for (const State& state : states) {
        is_connection = state.is_connected && state.type == SOCK_STREAM;
        for (const Level& level : levels) {
            for (int name = level.first; name <= level.last; ++name) {
                sweep_gets(state, level, name);
                sweep_sets(state, level, name);
            }
        }
    }
    is_connection = true;
    for (const Level& level : levels) {
        for (int name = level.first; name <= level.last && level.level != IPPROTO_IPV6; ++name) {
            sweep_inheritance(level, name);
        }
    }
    return 0;
}
