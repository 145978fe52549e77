// System calls of scripts: arguments in, results compared.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <array>
#include <cstring>
#include <functional>
#include <unordered_map>
#include <vector>

#include "base/sys.hpp"
#include "packetdrill/cursor.hpp"
#include "packetdrill/session.hpp"
#include "wire/ipv4.hpp"

namespace shunt::packetdrill {
namespace {

class CallRunner {
public:
    CallRunner(Session& session, const SystemCall& call, int line) : session_(session), calls_(session.calls), call_(call), line_(line) {}

    void run();
    static bool is_known(const std::string& name) { return handlers().contains(name); }

private:
    using Handler = void (CallRunner::*)();
    static const std::unordered_map<std::string, Handler>& handlers();

    [[noreturn]] void fail(const std::string& what) const { throw ScriptError(line_, what); }
    const Expression& argument(std::size_t i) const {
        if (i >= call_.arguments.size()) {
            fail(fmt::format("{} lacks its argument {}", call_.name, i + 1));
        }
        return call_.arguments[i];
    }
    std::int64_t number(const Expression& value) const {
        if (value.kind == Expression::Kind::call && value.fields.size() == 1 && (value.text == "htons" || value.text == "htonl")) {
            return number(value.fields[0].second);  // kept in host order here
        }
        if (value.kind == Expression::Kind::list && value.fields.size() == 1) {
            return number(value.fields[0].second);
        }
        if (!value.is_number()) {
            fail(fmt::format("{}: a number is missing", call_.name));
        }
        return value.number;
    }
    int integer(std::size_t i) const { return static_cast<int>(number(argument(i))); }
    bool has(std::size_t i) const { return i < call_.arguments.size(); }
    int fd(std::size_t i) const { return session_.live_fd(integer(i), line_); }
    std::size_t size(std::size_t i) const { return static_cast<std::size_t>(number(argument(i))); }
    std::int64_t field(const Expression& record, std::string_view name, std::int64_t otherwise) const {
        const Expression* found = record.find(name);
        return found != nullptr && !found->is_ellipsis() ? number(*found) : otherwise;
    }
    sockaddr_in address(const Expression& value, std::uint32_t host, std::uint16_t port) const;
    void check(long actual) const;                       // the result, or the error
    void check_new_fd(long actual);
    void note_opening(int live, const sockaddr_in& to);
    void check_number(const char* what, std::int64_t expected, std::int64_t actual) const {
        if (expected != actual) {
            fail(fmt::format("{}: {}: expected {} but got {}", call_.name, what, expected, actual));
        }
    }

    // One a call.
    void socket();
    void bind();
    void listen();
    void accept();
    void connect();
    void shutdown();
    void close();
    void receive();
    void send();
    void receive_from();
    void send_to();
    void vector_call();
    void message_call();
    void get_option();
    void set_option();
    void fcntl();
    void ioctl();
    void poll();
    void epoll_create();
    void epoll_control();
    void epoll_wait();
    void pipe();
    void splice();
    void open();
    void send_file();

    struct Message {
        std::vector<std::vector<char>> buffers;
        std::vector<iovec> vector;
        sockaddr_in name{};
        std::array<char, 1024> control{};
        msghdr header{};
    };
    void fill_vector(Message& message, const Expression& list) const;
    std::vector<char> data(const Expression& content, std::size_t size) const;
    // Where a call reads or writes: `buffer`, or nowhere when the script says NULL.
    char* place(const Expression& said, std::vector<char>& buffer) const { return said.is_number() && said.text == "NULL" ? nullptr : buffer.data(); }

    Session& session_;
    Calls& calls_;
    const SystemCall& call_;
    int line_;
};

const std::unordered_map<std::string, CallRunner::Handler>& CallRunner::handlers() {
    using C = CallRunner;
    static const std::unordered_map<std::string, Handler> table = {
        {"socket", &C::socket}, {"bind", &C::bind}, {"listen", &C::listen}, {"accept", &C::accept}, {"accept4", &C::accept},
        {"connect", &C::connect}, {"shutdown", &C::shutdown}, {"close", &C::close}, {"read", &C::receive}, {"recv", &C::receive},
        {"write", &C::send}, {"send", &C::send}, {"recvfrom", &C::receive_from}, {"sendto", &C::send_to}, {"readv", &C::vector_call},
        {"writev", &C::vector_call}, {"recvmsg", &C::message_call}, {"sendmsg", &C::message_call}, {"getsockopt", &C::get_option},
        {"setsockopt", &C::set_option}, {"fcntl", &C::fcntl}, {"ioctl", &C::ioctl}, {"poll", &C::poll}, {"epoll_create", &C::epoll_create},
        {"epoll_ctl", &C::epoll_control}, {"epoll_wait", &C::epoll_wait}, {"pipe", &C::pipe}, {"splice", &C::splice}, {"open", &C::open},
        {"sendfile", &C::send_file},
    };
    return table;
}

void CallRunner::run() {
    const auto found = handlers().find(call_.name);
    if (found == handlers().end()) {
        fail(fmt::format("the system call {} is not known", call_.name));
    }
    (this->*found->second)();
}

void CallRunner::check(long actual) const {
    if (call_.result.is_ellipsis()) {
        return;
    }
    const std::int64_t expected = number(call_.result);
    const auto shown = [](long result) { return result >= 0 ? std::to_string(result) : fmt::format("-1 with errno {} ({})", strerrorname_np(static_cast<int>(-result)), std::strerror(static_cast<int>(-result))); };
    if (expected < 0) {
        if (actual >= 0 || (!call_.error.empty() && find_symbol(call_.error) != -actual)) {
            fail(fmt::format("runtime error in {} call: expected result -1 with errno {} but got {}", call_.name, call_.error, shown(actual)));
        }
    } else if (expected != actual) {
        fail(fmt::format("runtime error in {} call: expected result {} but got {}", call_.name, expected, shown(actual)));
    }
}

void CallRunner::check_new_fd(long actual) {
    if (actual < 0 || call_.result.number < 0) {
        return check(actual);
    }
    session_.fds[static_cast<int>(number(call_.result))] = static_cast<int>(actual);
}

sockaddr_in CallRunner::address(const Expression& value, std::uint32_t host, std::uint16_t port) const {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_addr.s_addr = htonl(host);
    result.sin_port = htons(port);
    if (value.is_number()) {
        result.sin_family = static_cast<sa_family_t>(value.number);
    }
    if (value.kind != Expression::Kind::record) {
        return result;
    }
    result.sin_family = static_cast<sa_family_t>(field(value, "sa_family", AF_INET));
    result.sin_port = htons(static_cast<std::uint16_t>(field(value, "sin_port", port)));
    if (const Expression* where = value.find("sin_addr"); where != nullptr && !where->is_ellipsis()) {
        if (where->kind == Expression::Kind::call && where->text == "inet_addr" && where->fields.size() == 1) {
            if (::inet_aton(where->fields[0].second.text.c_str(), &result.sin_addr) == 0) {
                fail(fmt::format("{} is no IPv4 address", where->fields[0].second.text));
            }
        } else {
            result.sin_addr.s_addr = htonl(static_cast<std::uint32_t>(number(*where)));
        }
    }
    return result;
}

void CallRunner::socket() {
    const int domain = argument(0).is_ellipsis() ? AF_INET : integer(0);
    check_new_fd(calls_.socket(domain, integer(1), integer(2)));
}

void CallRunner::bind() {
    const sockaddr_in to = address(argument(1), session_.world.setup().local, session_.settings.bind_port);
    const int live = fd(0);
    check(calls_.bind(live, reinterpret_cast<const sockaddr*>(&to), sizeof to));
    session_.ports[live] = ntohs(to.sin_port);
    int type = 0;
    socklen_t length = sizeof type;
    if (session_.current == nullptr && calls_.get_option(live, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_DGRAM) {
        session_.current = &session_.add_flow(wire::protocol_udp, ntohs(to.sin_port), session_.next_port);
    }
}

void CallRunner::listen() {
    check(calls_.listen(fd(0), integer(1)));
    if (session_.ports.contains(fd(0))) {
        session_.listening_port = session_.ports[fd(0)];
        if (session_.current != nullptr) {
            session_.current->is_closed = true;  // the next SYN is for this listener, whatever its number
        }
    }
}

void CallRunner::accept() {
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    const long result = calls_.accept(fd(0), reinterpret_cast<sockaddr*>(&peer), &length, has(3) ? integer(3) : 0);
    check_new_fd(result);
    for (Flow& flow : session_.flows) {
        if (result >= 0 && flow.remote_port == ntohs(peer.sin_port) && flow.fd < 0) {
            flow.fd = static_cast<int>(result);
        }
    }
}

// The socket opens a connection: its packets belong to a flow from now on.
void CallRunner::note_opening(int live, const sockaddr_in& to) {
    const bool is_new = to.sin_family == AF_INET && (session_.current == nullptr || session_.current->fd != live || session_.current->is_passive);
    if (is_new) {
        int type = 0;
        socklen_t length = sizeof type;
        calls_.get_option(live, SOL_SOCKET, SO_TYPE, &type, &length);
        Flow& flow = session_.add_flow(type == SOCK_DGRAM ? wire::protocol_udp : wire::protocol_tcp, 0, ntohs(to.sin_port));
        flow.remote = ntohl(to.sin_addr.s_addr);
        flow.fd = live;
        session_.current = &flow;
    }
}

void CallRunner::connect() {
    const sockaddr_in to = address(argument(1), session_.settings.remote, session_.settings.connect_port);
    note_opening(fd(0), to);
    check(calls_.connect(fd(0), reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

void CallRunner::shutdown() { check(calls_.shutdown(fd(0), integer(1))); }

void CallRunner::close() {
    const int script = integer(0), live = fd(0);
    session_.fds.erase(script);
    for (Flow& flow : session_.flows) {
        flow.fd = flow.fd == live ? -1 : flow.fd;
    }
    check(calls_.close(live));
}

std::vector<char> CallRunner::data(const Expression& content, std::size_t size) const {
    std::vector<char> bytes(std::max<std::size_t>(size, 1), 'x');
    if (content.kind == Expression::Kind::text) {
        std::memcpy(bytes.data(), content.text.data(), std::min(size, content.text.size()));
    }
    return bytes;
}

void CallRunner::receive() {
    std::vector<char> buffer = data({}, size(2));
    check(calls_.read(fd(0), place(argument(1), buffer), size(2), has(3) ? integer(3) : 0));
}

void CallRunner::send() {
    std::vector<char> buffer = data(argument(1), size(2));
    check(calls_.write(fd(0), place(argument(1), buffer), size(2), has(3) ? integer(3) : 0));
}

void CallRunner::receive_from() {
    Message message;
    message.buffers.push_back(data({}, size(2)));
    message.vector.push_back({place(argument(1), message.buffers[0]), size(2)});
    message.header.msg_iov = message.vector.data();
    message.header.msg_iovlen = 1;
    message.header.msg_name = &message.name;
    message.header.msg_namelen = sizeof message.name;
    check(calls_.receive_message(fd(0), message.header, integer(3)));
}

void CallRunner::send_to() {
    Message message;
    message.buffers.push_back(data(argument(1), size(2)));
    message.vector.push_back({place(argument(1), message.buffers[0]), size(2)});
    message.header.msg_iov = message.vector.data();
    message.header.msg_iovlen = 1;
    const bool has_name = has(4) && argument(4).text != "0";
    if (has_name) {
        message.name = address(argument(4), session_.settings.remote, session_.settings.connect_port);
        message.header.msg_name = &message.name;
        message.header.msg_namelen = sizeof message.name;
        if (session_.current != nullptr && session_.current->protocol == wire::protocol_udp) {
            session_.current->remote = ntohl(message.name.sin_addr.s_addr);
            session_.current->remote_port = ntohs(message.name.sin_port);
        }
    }
    if (has_name && (integer(3) & MSG_FASTOPEN) != 0) {
        note_opening(fd(0), message.name);
    }
    check(calls_.send_message(fd(0), message.header, integer(3)));
}

// [{..., 100}, {"text", 4}]
void CallRunner::fill_vector(Message& message, const Expression& list) const {
    for (const auto& [name, piece] : list.fields) {
        const Expression* base = piece.find("iov_base");
        const Expression* length = piece.find("iov_len");
        if (base == nullptr && piece.fields.size() == 2) {
            base = &piece.fields[0].second;
            length = &piece.fields[1].second;
        }
        if (base == nullptr || length == nullptr) {
            fail("an iovec is {..., length}");
        }
        const auto bytes = static_cast<std::size_t>(number(*length));
        message.buffers.push_back(data(*base, bytes));
        message.vector.push_back({message.buffers.back().data(), bytes});
    }
    message.header.msg_iov = message.vector.data();
    message.header.msg_iovlen = message.vector.size();
}

void CallRunner::vector_call() {
    Message message;
    fill_vector(message, argument(1));
    check(call_.name == "readv" ? calls_.receive_message(fd(0), message.header, 0) : calls_.send_message(fd(0), message.header, 0));
}

void CallRunner::message_call() {
    Message message;
    const Expression& record = argument(1);
    if (const Expression* vector = record.find("msg_iov")) {
        fill_vector(message, *vector);
    }
    if (const Expression* name = record.find("msg_name"); name != nullptr && !(name->is_number() && name->number == 0)) {
        message.name = address(*name, session_.settings.remote, session_.settings.connect_port);
        message.header.msg_name = &message.name;
        message.header.msg_namelen = sizeof message.name;
    }
    const int flags = integer(2);
    if (call_.name == "sendmsg") {
        if (message.header.msg_name != nullptr && (flags & MSG_FASTOPEN) != 0) {
            note_opening(fd(0), message.name);
        }
        return check(calls_.send_message(fd(0), message.header, flags));
    }
    message.header.msg_control = message.control.data();
    message.header.msg_controllen = message.control.size();
    check(calls_.receive_message(fd(0), message.header, flags));
    if (call_.result.number < 0) {
        return;
    }
    check_number("msg_flags", field(record, "msg_flags", message.header.msg_flags), message.header.msg_flags);
    if (const Expression* control = record.find("msg_control"); control != nullptr && !control->is_ellipsis()) {
        if (const std::string differs = compare_control(*control, message.header, session_.start, session_.settings.tolerance); !differs.empty()) {
            fail("recvmsg: " + differs);
        }
    }
}

void CallRunner::get_option() {
    const int level = integer(1), name = integer(2);
    const Expression& expected = argument(3);
    std::array<char, 512> value{};
    socklen_t length = sizeof value;
    if (has(4) && argument(4).kind == Expression::Kind::list) {
        length = static_cast<socklen_t>(number(argument(4)));
    }
    check(calls_.get_option(fd(0), level, name, value.data(), &length));
    if (call_.result.number < 0 || expected.is_ellipsis()) {
        return;
    }
    if (expected.kind == Expression::Kind::record) {
        std::array<int, 2> pair{};
        std::memcpy(pair.data(), value.data(), sizeof pair);
        std::array<long, 2> longs{};
        std::memcpy(longs.data(), value.data(), sizeof longs);
        check_number("onoff", field(expected, "onoff", pair[0]), pair[0]);
        check_number("linger", field(expected, "linger", pair[1]), pair[1]);
        check_number("tv_sec", field(expected, "tv_sec", longs[0]), longs[0]);
        check_number("tv_usec", field(expected, "tv_usec", longs[1]), longs[1]);
    } else if (expected.kind == Expression::Kind::text || (expected.fields.size() == 1 && expected.fields[0].second.kind == Expression::Kind::text)) {
        const std::string& text = expected.kind == Expression::Kind::text ? expected.text : expected.fields[0].second.text;
        if (text != value.data()) {
            fail(fmt::format("getsockopt: expected \"{}\" but got \"{}\"", text, value.data()));
        }
    } else if (expected.fields.size() != 1 || !expected.fields[0].second.is_ellipsis()) {
        int actual = 0;
        std::memcpy(&actual, value.data(), length == 1 ? 1 : sizeof actual);
        check_number("value", static_cast<int>(number(expected)), actual);
    }
}

void CallRunner::set_option() {
    const Expression& value = argument(3);
    std::array<char, 64> bytes{};
    std::size_t length = has(4) && !argument(4).is_ellipsis() ? size(4) : sizeof(int);
    if (value.kind == Expression::Kind::record && value.find("tv_sec") != nullptr) {
        const timeval timeout{field(value, "tv_sec", 0), field(value, "tv_usec", 0)};
        std::memcpy(bytes.data(), &timeout, sizeof timeout);
        length = sizeof timeout;
    } else if (value.kind == Expression::Kind::record) {
        const linger setting{static_cast<int>(field(value, "onoff", 0)), static_cast<int>(field(value, "linger", 0))};
        std::memcpy(bytes.data(), &setting, sizeof setting);
    } else if (value.kind == Expression::Kind::text || (value.fields.size() == 1 && value.fields[0].second.kind == Expression::Kind::text)) {
        const std::string& text = value.kind == Expression::Kind::text ? value.text : value.fields[0].second.text;
        std::memcpy(bytes.data(), text.data(), std::min(text.size(), bytes.size()));
    } else {
        const int setting = static_cast<int>(number(value));
        std::memcpy(bytes.data(), &setting, sizeof setting);
    }
    check(calls_.set_option(fd(0), integer(1), integer(2), bytes.data(), static_cast<socklen_t>(std::min(length, bytes.size()))));
}

void CallRunner::fcntl() {
    const long result = calls_.fcntl(fd(0), integer(1), has(2) ? integer(2) : 0);
    check(integer(1) == F_GETFL && result >= 0 ? result & (O_ACCMODE | O_NONBLOCK) : result);
}

void CallRunner::ioctl() {
    int value = has(2) ? static_cast<int>(number(argument(2))) : 0;
    const int expected = value;
    check(calls_.ioctl(fd(0), static_cast<unsigned long>(integer(1)), &value));
    if (call_.result.number >= 0 && static_cast<unsigned long>(integer(1)) != FIONBIO) {
        check_number("value", expected, value);
    }
}

void CallRunner::poll() {
    std::vector<pollfd> fds;
    for (const auto& [name, entry] : argument(0).fields) {
        fds.push_back({session_.live_fd(static_cast<int>(field(entry, "fd", -1)), line_), static_cast<short>(field(entry, "events", 0)), 0});
    }
    check(calls_.poll(fds.data(), fds.size(), integer(2)));
    for (std::size_t i = 0; i < fds.size(); ++i) {
        const Expression& entry = argument(0).fields[i].second;
        check_number(fmt::format("revents of entry {}", i).c_str(), field(entry, "revents", fds[i].revents), fds[i].revents);
    }
}

void CallRunner::epoll_create() { check_new_fd(calls_.epoll_create(0)); }

void CallRunner::epoll_control() {
    epoll_event event{};
    event.events = has(3) ? static_cast<std::uint32_t>(field(argument(3), "events", 0)) : 0;
    event.data.fd = has(3) ? static_cast<int>(field(argument(3), "fd", integer(2))) : 0;
    check(calls_.epoll_control(fd(0), integer(1), fd(2), &event));
}

void CallRunner::epoll_wait() {
    const int most = integer(2);
    std::vector<epoll_event> events(static_cast<std::size_t>(std::max(most, 1)));
    const long count = calls_.epoll_wait(fd(0), events.data(), most, integer(3));
    check(count);
    const Expression& expected = argument(1);
    const bool is_list = expected.kind == Expression::Kind::list;
    for (long i = 0; i < count; ++i) {
        if (is_list && static_cast<std::size_t>(i) >= expected.fields.size()) {
            return;
        }
        const Expression& one = is_list ? expected.fields[static_cast<std::size_t>(i)].second : expected;
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        check_number("events", field(one, "events", event.events), event.events);
        check_number("fd", field(one, "fd", event.data.fd), event.data.fd);
    }
}

void CallRunner::pipe() {
    std::array<int, 2> fds{};
    check(calls_.pipe(fds.data()));
    for (std::size_t i = 0; i < argument(0).fields.size() && i < fds.size(); ++i) {
        session_.fds[static_cast<int>(number(argument(0).fields[i].second))] = fds.at(i);
    }
}

void CallRunner::open() { check_new_fd(sys::call(SYS_openat, AT_FDCWD, sys::word(argument(0).text.c_str()), integer(1))); }

void CallRunner::send_file() {
    off_t offset = argument(2).kind == Expression::Kind::list ? static_cast<off_t>(number(argument(2))) : 0;
    check(calls_.send_file(fd(0), fd(1), argument(2).is_number() ? nullptr : &offset, size(3)));
}

void CallRunner::splice() { check(calls_.splice(fd(0), fd(2), size(4), static_cast<unsigned>(integer(5)))); }

}  // namespace

bool is_known_call(const std::string& name) { return CallRunner::is_known(name); }

void run_call(Session& session, const SystemCall& call, int line) { CallRunner(session, call, line).run(); }

}  // namespace shunt::packetdrill
