// UDP: names, associations, sizes, errors.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "checks.hpp"

using namespace checks;

namespace {

long send_to(int fd, const char* text, const sockaddr_in& to) {
    return sendto(fd, text, strlen(text), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

// The text, and whether it came from `port`.
void say_received(int fd, int port, in_addr from = address) {
    char data[256]{};
    sockaddr_in name{};
    socklen_t length = sizeof name;
    const ssize_t size = recvfrom(fd, data, sizeof data - 1, 0, reinterpret_cast<sockaddr*>(&name), &length);
    if (size < 0) {
        say_result("recvfrom", size);
        return;
    }
    say("'%s' from right=%d len=%u", data, ntohs(name.sin_port) == port && name.sin_addr.s_addr == from.s_addr, length);
}

void wait_for_input(int fd) {
    pollfd item{fd, POLLIN, 0};
    poll(&item, 1, 1000);
}

}  // namespace

CHECK(datagrams) {
    const int a = bound(SOCK_DGRAM, address);
    const int b = bound(SOCK_DGRAM, address);
    say_result("sendto", send_to(a, "first", at(port_of(b))));
    send_to(a, "", at(port_of(b)));
    send_to(a, "third", at(port_of(b)));
    say_received(b, port_of(a));
    say_received(b, port_of(a));
    char data[4]{};
    say_result("cut", recv(b, data, 3, MSG_PEEK | MSG_TRUNC));
    say_result("cut", recv(b, data, 3, 0));
    say("%s", data);
    say("%s", receive_text(b, MSG_DONTWAIT).c_str());
    say_result("unconnected", send(a, "x", 1, 0));
    say_result("twice", bind(a, reinterpret_cast<const sockaddr*>(std::vector<sockaddr_in>{at(0)}.data()), sizeof(sockaddr_in)));
    const sockaddr_in used = at(port_of(b));
    const int other = socket(AF_INET, SOCK_DGRAM, 0);
    say_result("in use", bind(other, reinterpret_cast<const sockaddr*>(&used), sizeof used));
    say_result("listen", listen(a, 1));
    say_result("accept", accept(a, nullptr, nullptr));
    close_all({a, b, other});
}

CHECK(unbound_datagrams) {
    const int server = bound(SOCK_DGRAM, address);
    const int client = socket(AF_INET, SOCK_DGRAM, 0);
    say("port=%d", port_of(client));
    say_result("sendto", send_to(client, "hello", at(port_of(server))));
    say("bound=%d", port_of(client) != 0);
    say_received(server, port_of(client));
    send_to(server, "answer", at(port_of(client)));
    say_received(client, port_of(server));
    const int local = bound(SOCK_DGRAM, in_addr{htonl(INADDR_LOOPBACK)});
    say_result("other side", send_to(client, "kernel", at(in_addr{htonl(INADDR_LOOPBACK)}, port_of(local))));
    sockaddr_in from{};
    socklen_t length = sizeof from;
    char data[16]{};
    recvfrom(local, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&from), &length);
    say("%s", data);
    sendto(local, "back", 4, 0, reinterpret_cast<const sockaddr*>(&from), length);
    wait_for_input(client);
    say_received(client, port_of(local), in_addr{htonl(INADDR_LOOPBACK)});
    close_all({client, server, local});
}

CHECK(connected_datagrams) {
    const int a = bound(SOCK_DGRAM, address);
    const int b = bound(SOCK_DGRAM, address);
    const int stranger = bound(SOCK_DGRAM, address);
    const sockaddr_in to_b = at(port_of(b));
    say_result("connect", connect(a, reinterpret_cast<const sockaddr*>(&to_b), sizeof to_b));
    send_text(a, "hello");
    say_received(b, port_of(a));
    send_to(stranger, "not for you", at(port_of(a)));
    send_to(b, "answer", at(port_of(a)));
    say_received(a, port_of(b));
    say("%s", receive_text(a, MSG_DONTWAIT).c_str());
    sockaddr_in name{};
    socklen_t length = sizeof name;
    say_result("peer", getpeername(a, reinterpret_cast<sockaddr*>(&name), &length));
    say("right=%d", ntohs(name.sin_port) == port_of(b));
    say_result("elsewhere", send_to(a, "x", at(port_of(stranger))));
    say_received(stranger, port_of(a));
    sockaddr_in nobody{};
    nobody.sin_family = AF_UNSPEC;
    say_result("dissolve", connect(a, reinterpret_cast<const sockaddr*>(&nobody), sizeof nobody));
    say_result("peer", getpeername(a, reinterpret_cast<sockaddr*>(&name), &length));
    close_all({a, b, stranger});
}

CHECK(refused_datagram) {
    const int gone = bound(SOCK_DGRAM, address);
    const sockaddr_in to = at(port_of(gone));
    close(gone);
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    say_result("send", send(fd, "x", 1, 0));
    nap_ms(20);
    pollfd item{fd, POLLIN | POLLOUT, 0};
    poll(&item, 1, 100);
    say("revents=%x", item.revents);
    say("%s", receive_text(fd, MSG_DONTWAIT).c_str());
    say("%s", receive_text(fd, MSG_DONTWAIT).c_str());
    send(fd, "x", 1, 0);
    nap_ms(20);
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    say("error=%s", error_name(error));
    close(fd);
}

CHECK(datagram_sizes) {
    const int a = bound(SOCK_DGRAM, address);
    const int b = bound(SOCK_DGRAM, address);
    const sockaddr_in to = at(port_of(b));
    const auto* where = reinterpret_cast<const sockaddr*>(&to);
    std::vector<char> data(70'000, 'x');
    for (const std::size_t size : {1UL, 1472UL, 1473UL, 9000UL, 60'000UL, 65'507UL}) {
        say_result("sendto", sendto(a, data.data(), size, 0, where, sizeof to));
        wait_for_input(b);
        int bytes = 0;
        ioctl(b, FIONREAD, &bytes);
        say("%d", bytes);
        say_result("recv", recv(b, data.data(), data.size(), MSG_DONTWAIT));
    }
    say_result("too large", sendto(a, data.data(), 65'508, 0, where, sizeof to));
    close_all({a, b});
}

CHECK(scattered_datagrams) {
    const int a = bound(SOCK_DGRAM, address);
    const int b = bound(SOCK_DGRAM, address);
    sockaddr_in to = at(port_of(b));
    char one[] = "one", two[] = "two";
    iovec out[] = {{one, 3}, {two, 3}};
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof to;
    message.msg_iov = out;
    message.msg_iovlen = 2;
    say_result("sendmsg", sendmsg(a, &message, 0));
    char x[3]{}, y[3]{};
    iovec in[] = {{x, 2}, {y, 2}};
    message.msg_iov = in;
    message.msg_namelen = sizeof to;
    say_result("recvmsg", recvmsg(b, &message, 0));
    say("%s %s flags=%x right=%d", x, y, message.msg_flags, ntohs(to.sin_port) == port_of(a));
    close_all({a, b});
}

CHECK(several_datagrams_in_one_call) {
    const int a = bound(SOCK_DGRAM, address);
    const int b = bound(SOCK_DGRAM, address);
    sockaddr_in to = at(port_of(b));
    char text[3][4] = {"aaa", "bb", "c"};
    iovec pieces[3];
    mmsghdr messages[4]{};
    for (int i = 0; i < 3; ++i) {
        pieces[i] = {text[i], strlen(text[i])};
        messages[i].msg_hdr.msg_name = &to;
        messages[i].msg_hdr.msg_namelen = sizeof to;
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    say_result("sendmmsg", sendmmsg(a, messages, 3, 0));
    say("%u %u %u", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
    char room[4][8]{};
    sockaddr_in from[4]{};
    iovec places[4];
    for (int i = 0; i < 4; ++i) {
        places[i] = {room[i], 8};
        messages[i].msg_hdr = {};
        messages[i].msg_hdr.msg_name = &from[i];
        messages[i].msg_hdr.msg_namelen = sizeof from[i];
        messages[i].msg_hdr.msg_iov = &places[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    say_result("recvmmsg", recvmmsg(b, messages, 4, MSG_WAITFORONE, nullptr));
    say("%s %s %s %u right=%d", room[0], room[1], room[2], messages[1].msg_len, ntohs(from[2].sin_port) == port_of(a));
    say_result("none", recvmmsg(b, messages, 4, MSG_DONTWAIT, nullptr));
    close_all({a, b});
}

CHECK(datagrams_to_a_wildcard) {
    const int any = bound(SOCK_DGRAM, in_addr{INADDR_ANY});
    const in_addr loopback{htonl(INADDR_LOOPBACK)};
    for (const in_addr where : {address, loopback, address}) {
        const int client = bound(SOCK_DGRAM, where);
        send_to(client, "hello", at(where, port_of(any)));
        wait_for_input(any);
        say_received(any, port_of(client), where);
        say_result("answer", send_to(any, "answer", at(where, port_of(client))));
        say_received(client, port_of(any), where);
        close(client);
    }
    close(any);
}

CHECK(datagram_ends_and_time_outs) {
    const int fd = bound(SOCK_DGRAM, address);
    const timeval tenth{0, 100'000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tenth, sizeof tenth);
    const long start = now_ms();
    say("%s", receive_text(fd).c_str());
    say("waited=%d", now_ms() - start >= 95);
    say_result("shutdown", shutdown(fd, SHUT_RD));
    const sockaddr_in self = at(port_of(fd));
    connect(fd, reinterpret_cast<const sockaddr*>(&self), sizeof self);
    send_text(fd, "to myself");
    say("%s", receive_text(fd).c_str());
    say_result("shutdown", shutdown(fd, SHUT_RDWR));
    say("%s", receive_text(fd).c_str());
    say_result("send", send(fd, "x", 1, MSG_NOSIGNAL));
    pollfd item{fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&item, 1, 0);
    say("revents=%x", item.revents);
    close(fd);
}
