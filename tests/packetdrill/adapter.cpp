// libshunt_packetdrill.so: lets the real packetdrill drive Shunt, in virtual time (docs/packetdrill.md). The tool's clock is ours: each look at it takes
// a microsecond, usleep() as long as it says, and waiting for a packet as long as the stack's timers need.
//
// The tool asks some things of libc instead of the table (TCP_INFO in code blocks, close at its end): preloaded as well, this object answers them.
#include "packetdrill/tool_interface.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "base/sys.hpp"
#include "config/sysctl.hpp"
#include "packetdrill/calls.hpp"

namespace shunt::packetdrill {
namespace {

using namespace std::chrono_literals;

constexpr Duration receive_limit = 2h;  // virtual: nothing that a script waits for takes longer

struct Adapter {
    std::unique_ptr<World> world;
    std::unique_ptr<Calls> calls;
    std::string tunables_file, proc_folder;
    timespec tunables_at{};
};

Adapter* running = nullptr;

Adapter& of(void* userdata) { return *static_cast<Adapter*>(userdata); }

template <class Result = int>
Result answer(long result) {
    if (result < 0) {
        errno = static_cast<int>(-result);
        return -1;
    }
    return static_cast<Result>(result);
}

// Calls of the tool's own thread may have sent packets or woken its other one.
template <class Result = int>
Result answer(Adapter& a, long result) {
    if (a.world->is_driver()) {
        a.world->settle();
    }
    return answer<Result>(result);
}

[[noreturn]] void give_up(const std::string& why) {
    fmt::print(stderr, "libshunt_packetdrill: {}\n", why);
    std::exit(2);
}

void set_tunable(World& world, const std::string& line) {
    const std::size_t equals = line.find('=');
    const auto trimmed = [](std::string text) {
        text.erase(0, text.find_first_not_of(" \t"));
        text.erase(text.find_last_not_of(" \t\r") + 1);
        return text;
    };
    if (line.empty() || line[0] == '#') {
        return;
    }
    const auto done = equals != std::string::npos ? world.set_tunable(trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1))) : explain(EINVAL, "name=value is missing");
    if (!done) {
        fmt::print(stderr, "libshunt_packetdrill: {}\n", done.error().message);
    }
}

// The tool makes us before it runs a script's own set-up: what that set is looked at again and again.
void read_tunables(Adapter& a) {
    if (!a.proc_folder.empty()) {
        a.world->read_tunables(a.proc_folder);
    }
    struct stat about{};
    if (a.tunables_file.empty() || ::stat(a.tunables_file.c_str(), &about) != 0 || std::memcmp(&about.st_mtim, &a.tunables_at, sizeof about.st_mtim) == 0) {
        return;
    }
    a.tunables_at = about.st_mtim;
    std::ifstream in(a.tunables_file);
    for (std::string line; std::getline(in, line);) {
        set_tunable(*a.world, line);
    }
}

// local=A.B.C.D,prefix=N,mtu=N,tunables=FILE,proc=FOLDER,sysctl=NAME=VALUE
std::unique_ptr<Adapter> create(const std::string& flags) {
    auto adapter = std::make_unique<Adapter>();
    WorldSetup setup;
    std::vector<std::string> sysctls;
    std::istringstream in(flags);
    for (std::string flag; std::getline(in, flag, ',');) {
        const std::string name = flag.substr(0, flag.find('=')), value = flag.substr(std::min(flag.find('='), flag.size() - 1) + 1);
        in_addr address{};
        if (name == "local" && ::inet_aton(value.c_str(), &address) != 0) {
            setup.local = ntohl(address.s_addr);
        } else if (name == "prefix") {
            setup.prefix = static_cast<std::uint8_t>(std::atoi(value.c_str()));
        } else if (name == "mtu") {
            setup.mtu = static_cast<std::uint16_t>(std::atoi(value.c_str()));
        } else if (name == "tunables") {
            adapter->tunables_file = value;
        } else if (name == "proc") {
            adapter->proc_folder = value;
        } else if (name == "sysctl") {
            sysctls.push_back(value);
        } else {
            give_up(fmt::format("--so_flags: '{}' is not understood; local=, prefix=, mtu=, tunables=FILE, proc=FOLDER, sysctl=NAME=VALUE are", flag));
        }
    }
    auto world = World::create(setup);
    if (!world) {
        give_up(world.error().message);
    }
    adapter->world.reset(*world);
    adapter->calls = std::make_unique<Calls>(*adapter->world);
    for (const std::string& line : sysctls) {
        set_tunable(*adapter->world, line);
    }
    return adapter;
}

msghdr message_of(const iovec* vector, std::size_t count) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(vector);
    message.msg_iovlen = count;
    return message;
}

ssize_t receive_from(void* u, int fd, void* data, size_t size, int flags, sockaddr* address, socklen_t* length) {
    iovec piece{data, size};
    msghdr message = message_of(&piece, 1);
    message.msg_name = address;
    message.msg_namelen = address != nullptr && length != nullptr ? *length : 0;
    const long result = of(u).calls->receive_message(fd, message, flags);
    if (result >= 0 && length != nullptr) {
        *length = message.msg_namelen;
    }
    return answer<ssize_t>(of(u), result);
}

ssize_t send_to(void* u, int fd, const void* data, size_t size, int flags, const sockaddr* address, socklen_t length) {
    iovec piece{const_cast<void*>(data), size};
    msghdr message = message_of(&piece, 1);
    message.msg_name = const_cast<sockaddr*>(address);
    message.msg_namelen = length;
    return answer<ssize_t>(of(u), of(u).calls->send_message(fd, message, flags));
}

ssize_t receive_vector(void* u, int fd, const iovec* vector, int count) {
    msghdr message = message_of(vector, static_cast<std::size_t>(count));
    return answer<ssize_t>(of(u), of(u).calls->receive_message(fd, message, 0));
}

int file_control(void* u, int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    const long argument = va_arg(list, long);
    va_end(list);
    return answer(of(u), of(u).calls->fcntl(fd, command, argument));
}

int io_control(void* u, int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    void* argument = va_arg(list, void*);
    va_end(list);
    return answer(of(u), of(u).calls->ioctl(fd, request, argument));
}

int netdev_send(void* u, const void* packet, size_t size) {
    read_tunables(of(u));
    of(u).world->inject(Bytes(static_cast<const char*>(packet), size));
    return 0;
}

int netdev_receive(void* u, void* packet, size_t* size, long long* usecs) {
    World& world = *of(u).world;
    if (!world.advance_to_packet(world.now() + receive_limit)) {
        *size = 0;
        *usecs = count_us(world.now().time_since_epoch());
        return 0;
    }
    const Emission emission = world.take();
    *size = std::min(*size, emission.packet.size());
    std::memcpy(packet, emission.packet.data(), *size);
    *usecs = count_us(emission.at.time_since_epoch());
    return 0;
}

int sleep_for(void* u, useconds_t usecs) {
    World& world = *of(u).world;
    world.advance_to(world.now() + std::chrono::microseconds(usecs));
    return 0;
}

// The driver's look makes time pass. Another thread that looks has come back from its call: time stood still since then.
int time_of_day(void* u, struct timeval* tv, struct timezone*) {
    World& world = *of(u).world;
    if (world.is_driver()) {
        world.advance_to(world.now() + 1us);
    }
    const std::int64_t usecs = count_us(world.now().time_since_epoch());
    *tv = {usecs / 1'000'000, usecs % 1'000'000};
    world.end_call();
    return 0;
}

void destroy(void* u) {
    running = nullptr;
    delete static_cast<Adapter*>(u);
}

void fill_sockets(packetdrill_interface& t) {
    t.socket = [](void* u, int domain, int type, int protocol) {
        read_tunables(of(u));
        return answer(of(u), of(u).calls->socket(domain, type, protocol));
    };
    t.bind = [](void* u, int fd, const sockaddr* address, socklen_t length) { return answer(of(u), of(u).calls->bind(fd, address, length)); };
    t.listen = [](void* u, int fd, int backlog) { return answer(of(u), of(u).calls->listen(fd, backlog)); };
    t.accept = [](void* u, int fd, sockaddr* address, socklen_t* length) { return answer(of(u), of(u).calls->accept(fd, address, length)); };
    t.connect = [](void* u, int fd, const sockaddr* address, socklen_t length) {
        read_tunables(of(u));
        return answer(of(u), of(u).calls->connect(fd, address, length));
    };
    t.close = [](void* u, int fd) { return answer(of(u), of(u).calls->close(fd)); };
    t.shutdown = [](void* u, int fd, int how) { return answer(of(u), of(u).calls->shutdown(fd, how)); };
    t.getsockopt = [](void* u, int fd, int level, int name, void* value, socklen_t* length) { return answer(of(u), of(u).calls->get_option(fd, level, name, value, length)); };
    t.setsockopt = [](void* u, int fd, int level, int name, const void* value, socklen_t length) { return answer(of(u), of(u).calls->set_option(fd, level, name, value, length)); };
    t.fcntl = file_control;
    t.ioctl = io_control;
}

void fill_transfers(packetdrill_interface& t) {
    t.read = [](void* u, int fd, void* data, size_t size) { return answer<ssize_t>(of(u), of(u).calls->read(fd, data, size)); };
    t.readv = receive_vector;
    t.recv = [](void* u, int fd, void* data, size_t size, int flags) { return answer<ssize_t>(of(u), of(u).calls->read(fd, data, size, flags)); };
    t.recvfrom = receive_from;
    t.recvmsg = [](void* u, int fd, msghdr* message, int flags) { return answer<ssize_t>(of(u), of(u).calls->receive_message(fd, *message, flags)); };
    t.write = [](void* u, int fd, const void* data, size_t size) { return answer<ssize_t>(of(u), of(u).calls->write(fd, data, size)); };
    t.writev = [](void* u, int fd, const iovec* vector, int count) {
        return answer<ssize_t>(of(u), of(u).calls->send_message(fd, message_of(vector, static_cast<std::size_t>(count)), 0));
    };
    t.send = [](void* u, int fd, const void* data, size_t size, int flags) { return answer<ssize_t>(of(u), of(u).calls->write(fd, data, size, flags)); };
    t.sendto = send_to;
    t.sendmsg = [](void* u, int fd, const msghdr* message, int flags) { return answer<ssize_t>(of(u), of(u).calls->send_message(fd, *message, flags)); };
    t.pipe = [](void* u, int fds[2]) { return answer(of(u).calls->pipe(fds)); };
    t.splice = [](void* u, int from, loff_t*, int to, loff_t*, size_t size, unsigned flags) { return answer(of(u), of(u).calls->splice(from, to, size, flags)); };
}

void fill_waits(packetdrill_interface& t) {
    t.poll = [](void* u, pollfd* fds, nfds_t count, int timeout_ms) { return answer(of(u), of(u).calls->poll(fds, count, timeout_ms)); };
    t.epoll_create = [](void* u, int) { return answer(of(u), of(u).calls->epoll_create(0)); };
    t.epoll_ctl = [](void* u, int set, int operation, int fd, epoll_event* event) { return answer(of(u), of(u).calls->epoll_control(set, operation, fd, event)); };
    t.epoll_wait = [](void* u, int set, epoll_event* events, int most, int timeout_ms) { return answer(of(u), of(u).calls->epoll_wait(set, events, most, timeout_ms)); };
    t.netdev_send = netdev_send;
    t.netdev_receive = netdev_receive;
    t.usleep = sleep_for;
    t.gettimeofday = time_of_day;
}

bool is_ours(int fd) { return running != nullptr && running->calls->is_ours(fd); }

}  // namespace
}  // namespace shunt::packetdrill

using namespace shunt::packetdrill;
namespace sys = shunt::sys;

extern "C" {

[[gnu::visibility("default")]] void packetdrill_interface_init(const char* flags, packetdrill_interface* table) {
    *table = {};
    running = create(flags != nullptr ? flags : "").release();
    table->userdata = running;
    table->free = destroy;
    fill_sockets(*table);
    fill_transfers(*table);
    fill_waits(*table);
}

// ---- what the tool asks of libc, when this object is preloaded as well
[[gnu::visibility("default")]] int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
    return answer(is_ours(fd) ? running->calls->get_option(fd, level, name, value, length) : sys::getsockopt(fd, level, name, value, length));
}
[[gnu::visibility("default")]] int close(int fd) {
    return answer(is_ours(fd) ? running->calls->close(fd) : sys::close(fd));
}
[[gnu::visibility("default")]] ssize_t sendfile(int to, int from, off_t* offset, size_t size) noexcept {
    return answer<ssize_t>(is_ours(to) ? running->calls->send_file(to, from, offset, size) : sys::call(SYS_sendfile, to, from, sys::word(offset), static_cast<long>(size)));
}

}
