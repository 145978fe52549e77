#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "differential/calls.hpp"

namespace differential::calls {
namespace {

constexpr std::size_t fill_max = 64 << 20;

// Pieces of one buffer in the ways that vectors are right and wrong.
struct Pieces {
    Pieces(long shape, char letter) : bytes(room, letter) {
        static const std::vector<std::size_t> sizes[] = {{}, {64}, {1, 7, 64}, {0, 7, 0, 3}, {0, 0}, std::vector<std::size_t>(40, 2), std::vector<std::size_t>(IOV_MAX + 1, 1)};
        if (shape == Shape::null_base) {
            vector = {{nullptr, 5}};
            return;
        }
        if (shape == Shape::huge_length) {
            vector = {{bytes.data(), SIZE_MAX}};
            return;
        }
        for (const std::size_t size : sizes[shape]) {
            vector.push_back({bytes.data() + used, size});
            used += size;
        }
    }
    int count() const { return static_cast<int>(vector.size()); }

    static constexpr std::size_t room = 2048;
    std::vector<char> bytes;
    std::vector<iovec> vector;
    std::size_t used = 0;
};

void tell_bytes(Outcome& outcome, const std::vector<char>& bytes) {
    if (outcome.result > 0) {
        outcome.data += runs_of(bytes.data(), std::min(bytes.size(), static_cast<std::size_t>(outcome.result)));
    }
}

void tell_control(Outcome& outcome, const msghdr& message) {
    for (const cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(each))) {
        outcome.data += " control " + std::to_string(each->cmsg_level) + "/" + std::to_string(each->cmsg_type) + "/" + std::to_string(each->cmsg_len);
    }
}

bool is_stream(int fd) {
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

}  // namespace

void send_some(World& world, const long* a, Outcome& outcome) {
    const std::vector<char> bytes(static_cast<std::size_t>(a[1]), outcome.letter);
    outcome.set(send(world.fd(a[0]), bytes.data(), bytes.size(), static_cast<int>(a[2])));
}

void send_to(World& world, const long* a, Outcome& outcome) {
    const std::vector<char> bytes(static_cast<std::size_t>(a[1]), outcome.letter);
    const Target target = target_of(world, a[3]);
    struct {
        sockaddr_in name;
        char rest[256];
    } address{target.name, {}};
    outcome.set(sendto(world.fd(a[0]), bytes.data(), bytes.size(), static_cast<int>(a[2]), target.is_null ? nullptr : reinterpret_cast<sockaddr*>(&address),
                       target.is_null ? 0 : length_of(a[4])));
}

void write_some(World& world, const long* a, Outcome& outcome) {
    const std::vector<char> bytes(static_cast<std::size_t>(a[1]), outcome.letter);
    outcome.set(write(world.fd(a[0]), bytes.data(), bytes.size()));
}

void write_pieces(World& world, const long* a, Outcome& outcome) {
    const Pieces pieces(a[1], outcome.letter);
    outcome.set(writev(world.fd(a[0]), pieces.vector.data(), pieces.count()));
}

void send_message(World& world, const long* a, Outcome& outcome) {
    Pieces pieces(a[1], outcome.letter);
    Target target = target_of(world, a[3]);
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(target.get());
    message.msg_namelen = target.is_null ? 0 : target.length;
    message.msg_iov = pieces.vector.data();
    message.msg_iovlen = pieces.vector.size();
    outcome.set(sendmsg(world.fd(a[0]), &message, static_cast<int>(a[2])));
}

void send_messages(World& world, const long* a, Outcome& outcome) {
    Pieces pieces(Shape::three, outcome.letter);
    Target target = target_of(world, a[2]);
    std::array<mmsghdr, 3> messages{};
    for (std::size_t i = 0; i < messages.size(); ++i) {
        messages[i].msg_hdr = {const_cast<sockaddr*>(target.get()), target.is_null ? 0 : target.length, &pieces.vector[i], 1, nullptr, 0, 0};
    }
    outcome.set(sendmmsg(world.fd(a[0]), messages.data(), messages.size(), static_cast<int>(a[1])));
    for (const mmsghdr& each : messages) {
        outcome.data += " " + std::to_string(each.msg_len);
    }
}

void receive_some(World& world, const long* a, Outcome& outcome) {
    std::vector<char> bytes(static_cast<std::size_t>(a[1]), '.');
    outcome.set(recv(world.fd(a[0]), bytes.data(), bytes.size(), static_cast<int>(a[2])));
    tell_bytes(outcome, bytes);
}

void receive_from(World& world, const long* a, Outcome& outcome) {
    std::vector<char> bytes(static_cast<std::size_t>(a[1]), '.');
    std::array<char, 256> name{};
    const socklen_t room = length_of(a[3]);
    socklen_t length = room;
    outcome.set(recvfrom(world.fd(a[0]), bytes.data(), bytes.size(), static_cast<int>(a[2]), reinterpret_cast<sockaddr*>(name.data()), &length));
    tell_bytes(outcome, bytes);
    outcome.data += " length " + std::to_string(static_cast<int>(length));
    if (outcome.result >= 0 && static_cast<int>(length) >= 0) {
        outcome.data += " from " + world.name_of(name.data(), std::min({length, room, static_cast<socklen_t>(name.size())}));
    }
}

void read_some(World& world, const long* a, Outcome& outcome) {
    std::vector<char> bytes(static_cast<std::size_t>(a[1]), '.');
    outcome.set(read(world.fd(a[0]), bytes.data(), bytes.size()));
    tell_bytes(outcome, bytes);
}

void read_pieces(World& world, const long* a, Outcome& outcome) {
    const Pieces pieces(a[1], '.');
    outcome.set(readv(world.fd(a[0]), pieces.vector.data(), pieces.count()));
    tell_bytes(outcome, pieces.bytes);
}

void receive_message(World& world, const long* a, Outcome& outcome) {
    Pieces pieces(a[1], '.');
    sockaddr_in name{};
    alignas(cmsghdr) std::array<char, 256> control{};
    msghdr message{&name, sizeof name, pieces.vector.data(), pieces.vector.size(), control.data(), control.size(), 0};
    outcome.set(recvmsg(world.fd(a[0]), &message, static_cast<int>(a[2])));
    tell_bytes(outcome, pieces.bytes);
    if (outcome.result >= 0) {
        outcome.data += " flags " + std::to_string(message.msg_flags) + " from " + world.name_of(&name, message.msg_namelen);
        tell_control(outcome, message);
    }
}

void receive_messages(World& world, const long* a, Outcome& outcome) {
    std::array<mmsghdr, 3> messages{};
    std::array<sockaddr_in, 3> names{};
    std::vector<char> bytes(messages.size() * 16, '.');
    std::array<iovec, 3> vector{};
    for (std::size_t i = 0; i < messages.size(); ++i) {
        vector[i] = {bytes.data() + i * 16, 16};
        messages[i].msg_hdr = {&names[i], sizeof names[i], &vector[i], 1, nullptr, 0, 0};
    }
    outcome.set(recvmmsg(world.fd(a[0]), messages.data(), messages.size(), static_cast<int>(a[1]), nullptr));
    for (long i = 0; i < outcome.result; ++i) {
        const mmsghdr& each = messages[static_cast<std::size_t>(i)];
        outcome.data += " " + std::to_string(each.msg_len) + "/" + std::to_string(each.msg_hdr.msg_flags) + "/" + world.name_of(each.msg_hdr.msg_name, each.msg_hdr.msg_namelen);
    }
    outcome.data += " " + runs_of(bytes.data(), bytes.size());
}

// Until nothing more fits: how much that is, is the system's own.
void fill(World& world, const long* a, Outcome& outcome) {
    const int fd = world.fd(a[0]);
    const std::vector<char> bytes(16384, 'F');
    std::size_t total = 0;
    if (!is_stream(fd)) {
        outcome.set(send(fd, bytes.data(), 0, MSG_DONTWAIT | MSG_NOSIGNAL));
        return;
    }
    world.has_filled = true;
    do {
        outcome.set(send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
        total += outcome.result > 0 ? static_cast<std::size_t>(outcome.result) : 0;
    } while (outcome.result > 0 && total < fill_max);
    outcome.data = total != 0 ? "some" : "nothing";
}

// All that comes until it is quiet.
void drain(World& world, const long* a, Outcome& outcome) {
    std::vector<char> bytes;
    std::array<char, 16384> piece;
    constexpr int misses_max = 20;  // a socket may be ready for ever with nothing to read
    int misses = 0;
    for (std::size_t total = 0; total < fill_max && misses < misses_max; ++misses) {
        outcome.set(recv(world.fd(a[0]), piece.data(), piece.size(), MSG_DONTWAIT));
        if (outcome.result > 0) {
            bytes.insert(bytes.end(), piece.begin(), piece.begin() + outcome.result);
            total += static_cast<std::size_t>(outcome.result);
            misses = 0;
            continue;
        }
        pollfd wait{world.fd(a[0]), POLLIN, 0};
        if (outcome.result == 0 || outcome.error != EAGAIN || total == 0 || poll(&wait, 1, 3) <= 0) {
            break;
        }
    }
    outcome.data = runs_of(bytes.data(), bytes.size());
}

void splice_some(World& world, const long* a, Outcome& outcome) {
    outcome.set(splice(world.fd(a[0]), nullptr, world.fd(a[1]), nullptr, static_cast<std::size_t>(a[2]), static_cast<unsigned>(a[3])));
}

void send_file(World& world, const long* a, Outcome& outcome) { outcome.set(sendfile(world.fd(a[0]), world.fd(a[1]), nullptr, static_cast<std::size_t>(a[2]))); }

}  // namespace differential::calls
