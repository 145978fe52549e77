// UDP: names, associations, sizes, errors.
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
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

namespace {

long send_with(int fd, sockaddr_in& to, int level, int type, const void* value, std::size_t size) {
    alignas(cmsghdr) char control[64]{};
    iovec piece{const_cast<char*>("x"), 1};
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof to;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), value, size);
    return sendmsg(fd, &message, 0);
}

// Of the interface that has our address.
int index_of_ours() {
    ifaddrs* all = nullptr;
    getifaddrs(&all);
    int index = 0;
    for (const ifaddrs* each = all; each != nullptr && index == 0; each = each->ifa_next) {
        if (each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET && reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr.s_addr == address.s_addr) {
            index = static_cast<int>(if_nametoindex(each->ifa_name));
        }
    }
    freeifaddrs(all);
    return index;
}

}  // namespace

CHECK(control_data_of_what_is_sent) {
    const int a = bound(SOCK_DGRAM, address);
    const int b = bound(SOCK_DGRAM, address);
    sockaddr_in to = at(port_of(b));
    in_pktinfo info{};
    info.ipi_spec_dst = address;
    say_result("source", send_with(a, to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    wait_for_input(b);
    say_received(b, port_of(a));
    inet_pton(AF_INET, "203.0.113.9", &info.ipi_spec_dst);
    say_result("not ours", send_with(a, to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    const int ttl = 7, wrong = 256, tos = 0x10;
    say_result("ttl", send_with(a, to, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl));
    say_result("tos", send_with(a, to, IPPROTO_IP, IP_TOS, &tos, sizeof tos));
    say_result("wrong", send_with(a, to, IPPROTO_IP, IP_TTL, &wrong, sizeof wrong));
    say_result("short", send_with(a, to, IPPROTO_IP, IP_TTL, &ttl, 2));
    say_result("unknown", send_with(a, to, IPPROTO_IP, 99, &ttl, sizeof ttl));
    say_result("unknown", send_with(a, to, SOL_SOCKET, 99, &ttl, sizeof ttl));
    say_result("other level", send_with(a, to, IPPROTO_TCP, 99, &ttl, sizeof ttl));
    int left = -1;
    socklen_t length = sizeof left;
    getsockopt(a, IPPROTO_IP, IP_TTL, &left, &length);
    say("ttl=%d", left == 7);
    close_all({a, b});
}

CHECK(control_data_of_what_arrives) {
    const int any = bound(SOCK_DGRAM, in_addr{INADDR_ANY});
    const int client = bound(SOCK_DGRAM, address);
    const int on = 1;
    setsockopt(any, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    setsockopt(any, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    for (const std::size_t room : {256UL, 0UL, 10UL}) {
        send_to(client, "hello", at(port_of(any)));
        wait_for_input(any);
        alignas(cmsghdr) char control[256]{};
        char data[16];
        iovec piece{data, sizeof data};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = room;
        say_result("recvmsg", recvmsg(any, &message, 0));
        bool is_here = false, is_now = false;
        int interface = -1;
        for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
            if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO) {
                in_pktinfo info;
                memcpy(&info, CMSG_DATA(each), sizeof info);
                interface = info.ipi_ifindex;
                is_here = info.ipi_addr.s_addr == address.s_addr && info.ipi_spec_dst.s_addr == address.s_addr;
            } else if (each->cmsg_level == SOL_SOCKET && each->cmsg_type == SO_TIMESTAMPNS) {
                timespec stamp, now;
                memcpy(&stamp, CMSG_DATA(each), sizeof stamp);
                clock_gettime(CLOCK_REALTIME, &now);
                is_now = now.tv_sec - stamp.tv_sec <= 1;
            }
        }
        say("pktinfo=%d interface=%d time=%d flags=%x", is_here, interface == index_of_ours(), is_now, message.msg_flags);
    }
    close_all({any, client});
}

CHECK(names_of_wildcard_sockets) {
    const int any = bound(SOCK_DGRAM, in_addr{INADDR_ANY});
    const int peer = bound(SOCK_DGRAM, address);
    sockaddr_in name{};
    socklen_t length = sizeof name;
    getsockname(any, reinterpret_cast<sockaddr*>(&name), &length);
    say("any=%d port=%d", name.sin_addr.s_addr == INADDR_ANY, name.sin_port != 0);
    const sockaddr_in to = at(port_of(peer));
    say_result("connect", connect(any, reinterpret_cast<const sockaddr*>(&to), sizeof to));
    getsockname(any, reinterpret_cast<sockaddr*>(&name), &length);
    say("own=%d", name.sin_addr.s_addr == address.s_addr);
    const int again = socket(AF_INET, SOCK_DGRAM, 0);
    const sockaddr_in same = at(in_addr{INADDR_ANY}, port_of(peer));
    say_result("in use", bind(again, reinterpret_cast<const sockaddr*>(&same), sizeof same));
    close_all({any, peer, again});
}

// Everything that recvmsg can tell of a datagram, in Linux's order.
CHECK(what_a_datagram_brings_along) {
    const int to = bound(SOCK_DGRAM, address), from = bound(SOCK_DGRAM, address);
    const int on = 1, ttl = 9, tos = 0x28, stamps = (1 << 3) | (1 << 4);
    for (const int name : {IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR}) {
        setsockopt(to, IPPROTO_IP, name, &on, sizeof on);
    }
    setsockopt(to, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    setsockopt(to, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps);
    setsockopt(from, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    setsockopt(from, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
    const sockaddr_in name = at(port_of(to));
    sendto(from, "x", 1, 0, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    char data[4];
    alignas(cmsghdr) char control[512];
    iovec piece{data, sizeof data};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    say_result("received", recvmsg(to, &message, 0));
    for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
        say("%d.%d/%zu", each->cmsg_level, each->cmsg_type, each->cmsg_len);
        if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_TTL) {
            say("ttl %d", *reinterpret_cast<int*>(CMSG_DATA(each)));
        } else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_TOS) {
            say("tos %x", *CMSG_DATA(each));
        } else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_ORIGDSTADDR) {
            const auto* own = reinterpret_cast<const sockaddr_in*>(CMSG_DATA(each));
            say("to %d", own->sin_addr.s_addr == address.s_addr && own->sin_port == name.sin_port);
        }
    }
    close_all({to, from});
}

// Parts of a datagram: MSG_MORE, UDP_CORK.
CHECK(corked_datagrams) {
    const int to = bound(SOCK_DGRAM, address), from = bound(SOCK_DGRAM, address);
    const sockaddr_in name = at(port_of(to));
    const auto* where = reinterpret_cast<const sockaddr*>(&name);
    say_result("more", sendto(from, "ab", 2, MSG_MORE, where, sizeof name));
    nap_ms(10);
    say("%s", receive_text(to, MSG_DONTWAIT).c_str());
    say_result("last", sendto(from, "cd", 2, 0, where, sizeof name));
    nap_ms(10);
    say("%s %s", receive_text(to, MSG_DONTWAIT).c_str(), receive_text(to, MSG_DONTWAIT).c_str());
    const int on = 1, off = 0;
    say_result("cork", setsockopt(from, IPPROTO_UDP, UDP_CORK, &on, sizeof on));
    for (int i = 0; i < 3; ++i) {
        sendto(from, "xyz", 3, 0, where, sizeof name);
    }
    nap_ms(10);
    say("%s", receive_text(to, MSG_DONTWAIT).c_str());
    say_result("uncork", setsockopt(from, IPPROTO_UDP, UDP_CORK, &off, sizeof off));
    nap_ms(10);
    say("%s %s", receive_text(to, MSG_DONTWAIT).c_str(), receive_text(to, MSG_DONTWAIT).c_str());
    setsockopt(from, IPPROTO_UDP, UDP_CORK, &on, sizeof on);
    std::vector<char> much(40'000, 'm');
    say_result("much", sendto(from, much.data(), much.size(), 0, where, sizeof name));
    say_result("too much", sendto(from, much.data(), much.size(), 0, where, sizeof name));
    setsockopt(from, IPPROTO_UDP, UDP_CORK, &off, sizeof off);
    say("%s", receive_text(to, MSG_DONTWAIT).c_str());
    say_result("nowhere", send(from, "x", 1, MSG_MORE));
    const int peer = bound(SOCK_DGRAM, address);
    const sockaddr_in name_of_peer = at(port_of(peer));
    connect(from, reinterpret_cast<const sockaddr*>(&name_of_peer), sizeof name_of_peer);
    sendto(from, "else", 4, MSG_MORE, where, sizeof name);
    sendto(from, "where", 5, 0, where, sizeof name);
    send(from, "to the ", 7, MSG_MORE);  // not where the last parts went
    send(from, "peer", 4, 0);
    nap_ms(10);
    say("%s; %s", receive_text(to, MSG_DONTWAIT).c_str(), receive_text(peer, MSG_DONTWAIT).c_str());
    close_all({to, from, peer});
}

CHECK(segmented_datagrams) {
    const int to = bound(SOCK_DGRAM, address), from = bound(SOCK_DGRAM, address);
    const sockaddr_in name = at(port_of(to));
    const int three = 3;
    say_result("segment", setsockopt(from, IPPROTO_UDP, UDP_SEGMENT, &three, sizeof three));
    char one[] = "abcd", two[] = "efgh";
    iovec pieces[] = {{one, 4}, {nullptr, 0}, {two, 4}};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(unsigned short))]{};
    msghdr message{};
    message.msg_name = const_cast<sockaddr_in*>(&name);
    message.msg_namelen = sizeof name;
    message.msg_iov = pieces;
    message.msg_iovlen = 3;
    say_result("sent", sendmsg(from, &message, 0));
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(unsigned short));
    const unsigned short five = 5;
    memcpy(CMSG_DATA(header), &five, sizeof five);
    say_result("sent", sendmsg(from, &message, 0));
    nap_ms(20);
    for (int i = 0; i < 6; ++i) {
        say("%s", receive_text(to, MSG_DONTWAIT).c_str());
    }
    std::vector<char> many(1000, 'm');
    say_result("too many", sendto(from, many.data(), many.size(), 0, reinterpret_cast<const sockaddr*>(&name), sizeof name));
    close_all({to, from});
}

namespace {

// One report of the error queue: what it says, where the datagram was going, who complained, what is quoted.
void say_report(int fd, const sockaddr_in& destination) {
    char data[64];
    alignas(cmsghdr) char control[256];
    sockaddr_in name{};
    iovec piece{data, sizeof data};
    msghdr message{};
    message.msg_name = &name;
    message.msg_namelen = sizeof name;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(fd, &message, MSG_ERRQUEUE);
    if (size < 0) {
        say_result("report", size);
        return;
    }
    say("report %.*s flags=%x to=%d", static_cast<int>(size), data, message.msg_flags, name.sin_addr.s_addr == destination.sin_addr.s_addr && name.sin_port == destination.sin_port);
    for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
        const auto* error = reinterpret_cast<const sock_extended_err*>(CMSG_DATA(each));
        const auto* offender = reinterpret_cast<const sockaddr_in*>(SO_EE_OFFENDER(error));
        say("%d.%d/%zu %s origin=%d type=%d code=%d info=%d by=%d", each->cmsg_level, each->cmsg_type, each->cmsg_len, error_name(static_cast<int>(error->ee_errno)), error->ee_origin, error->ee_type,
            error->ee_code, error->ee_info != 0, offender->sin_family == AF_INET && offender->sin_addr.s_addr == address.s_addr);
    }
}

}  // namespace

CHECK(errors_of_datagrams) {
    const int from = bound(SOCK_DGRAM, address), connected = bound(SOCK_DGRAM, address), gone = bound(SOCK_DGRAM, address);
    const sockaddr_in name = at(port_of(gone));
    const auto* where = reinterpret_cast<const sockaddr*>(&name);
    close(gone);
    sendto(from, "lost", 4, 0, where, sizeof name);
    nap_ms(20);
    say("%s", receive_text(from, MSG_DONTWAIT).c_str());  // one that is not connected hears nothing
    const int on = 1, off = 0;
    setsockopt(from, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    sendto(from, "first", 5, 0, where, sizeof name);
    nap_ms(20);
    say_result("second", sendto(from, "second", 6, 0, where, sizeof name));
    say_result("second", sendto(from, "second", 6, 0, where, sizeof name));
    nap_ms(20);
    pollfd item{from, POLLIN, 0};
    say_result("poll", poll(&item, 1, 0));
    say("%x", item.revents);
    say_report(from, name);
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(from, SOL_SOCKET, SO_ERROR, &error, &length);
    say("pending %s", error_name(error));
    say_report(from, name);
    say_report(from, name);
    getsockopt(from, SOL_SOCKET, SO_ERROR, &error, &length);
    say("pending %d", error);
    sendto(from, "third", 5, 0, where, sizeof name);
    nap_ms(20);
    setsockopt(from, IPPROTO_IP, IP_RECVERR, &off, sizeof off);
    say_report(from, name);
    connect(connected, where, sizeof name);
    setsockopt(connected, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    send(connected, "fourth", 6, 0);
    nap_ms(20);
    say("%s", receive_text(connected, MSG_DONTWAIT).c_str());
    say_report(connected, name);
    close_all({from, connected});
}

CHECK(null_buffers) {
    const int to = bound(SOCK_DGRAM, address), from = bound(SOCK_DGRAM, address);
    const sockaddr_in name = at(port_of(to));
    const auto* where = reinterpret_cast<const sockaddr*>(&name);
    char* volatile nothing = nullptr;
    say_result("send", sendto(from, nothing, 5, 0, where, sizeof name));
    say_result("empty", sendto(from, nothing, 0, 0, where, sizeof name));
    sendto(from, "abc", 3, 0, where, sizeof name);
    nap_ms(10);
    say_result("empty", recv(to, nothing, 0, MSG_DONTWAIT));
    say_result("recv", recv(to, nothing, 5, MSG_DONTWAIT));
    say_result("again", recv(to, nothing, 0, MSG_DONTWAIT));
    int client, server;
    pair(client, server);
    say_result("send", send(client, nothing, 5, 0));
    send_text(client, "abc");
    nap_ms(10);
    say_result("recv", recv(server, nothing, 5, MSG_DONTWAIT));
    say("%s", receive_text(server, MSG_DONTWAIT).c_str());
    close_all({to, from, client, server});
}

// 0.0.0.0 is this host; which of its addresses is not said, since it is 127.0.0.1 only on Linux and on the loop.
CHECK(datagrams_to_this_host) {
    const int to = bound(SOCK_DGRAM, in_addr{}), from = socket(AF_INET, SOCK_DGRAM, 0), own = bound(SOCK_DGRAM, address);
    const sockaddr_in host = at(in_addr{}, port_of(to));
    const auto* where = reinterpret_cast<const sockaddr*>(&host);
    say_result("connect", connect(from, where, sizeof host));
    send_text(from, "connected");
    say("%s", receive_text(to).c_str());
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    say_result("getpeername", getpeername(from, reinterpret_cast<sockaddr*>(&peer), &length));
    say("%s", peer.sin_addr.s_addr == 0 ? "nobody" : "somebody");
    say_result("sendto", sendto(own, "by address", 10, 0, where, sizeof host));
    say("%s", receive_text(to).c_str());
    say_result("MSG_MORE", sendto(own, "in ", 3, MSG_MORE, where, sizeof host));
    say_result("sendto", sendto(own, "parts", 5, 0, where, sizeof host));
    say("%s", receive_text(to).c_str());
    say_result("connect", connect(own, where, sizeof host));
    length = sizeof peer;
    getpeername(own, reinterpret_cast<sockaddr*>(&peer), &length);
    say("%s", peer.sin_addr.s_addr == address.s_addr ? "its own address" : "another");
    close_all({to, from, own});
}
