#include "differential/world.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

namespace differential {
namespace {

constexpr short watched = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND;
constexpr struct {
    short bit;
    char letter;
} letters[] = {{POLLIN, 'I'}, {POLLPRI, 'P'}, {POLLOUT, 'O'}, {POLLERR, 'E'}, {POLLHUP, 'H'}, {POLLNVAL, 'N'}, {POLLRDNORM, 'i'}, {POLLRDBAND, 'b'}, {POLLWRNORM, 'o'}, {POLLWRBAND, 'w'},
               {POLLRDHUP, 'R'}};

}  // namespace

void Outcome::set(long value) {
    error = value < 0 ? errno : 0;
    result = value;
}

sockaddr_in World::address(long host, in_port_t port) const {
    sockaddr_in found{};
    found.sin_family = AF_INET;
    found.sin_port = port;
    found.sin_addr = host == Host::one ? hosts.one : host == Host::two ? hosts.two : in_addr{host == Host::any ? INADDR_ANY : htonl(0xc0000201)};
    return found;
}

sockaddr_in World::address_of_slot(long slot) const {
    sockaddr_in found{};
    socklen_t length = sizeof found;
    if (getsockname(fd(slot), reinterpret_cast<sockaddr*>(&found), &length) != 0 || found.sin_family != AF_INET) {
        found = address(Host::one, 0);
    }
    if (found.sin_addr.s_addr == INADDR_ANY) {
        found.sin_addr = hosts.one;
    }
    return found;
}

in_port_t World::closed_port() const { return htons(1); }

std::string World::name_of(const void* address, socklen_t length) {
    sockaddr_in name{};
    memcpy(&name, address, std::min<std::size_t>(length, sizeof name));
    if (length < sizeof(sa_family_t)) {
        return "-";
    }
    if (name.sin_family != AF_INET || length < sizeof name) {
        return "family" + std::to_string(name.sin_family);
    }
    const auto is = [&](in_addr host) { return name.sin_addr.s_addr == host.s_addr; };
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &name.sin_addr, text.data(), text.size());
    std::string found = is(hosts.one) ? "one" : is(hosts.two) ? "two" : is({INADDR_ANY}) ? "any" : text.data();
    if (name.sin_port == 0) {
        return found + ":0";
    }
    return found + ":p" + std::to_string(port_names.emplace(name.sin_port, port_names.size()).first->second);
}

void World::put(const Outcome::Made& made) {
    if (made.slot < 0 || made.fd < 0) {
        return;
    }
    Slot& slot = slots[static_cast<std::size_t>(made.slot)];
    if (slot.fd >= 0) {
        close(slot.fd);
    }
    slot = {made.fd, made.is_set};
}

void World::close_all() {
    for (Slot& slot : slots) {
        if (slot.fd >= 0) {
            close(slot.fd);
        }
        slot = {};
    }
}

std::array<short, slot_count> World::ask() const {
    std::array<pollfd, slot_count> items{};
    for (std::size_t i = 0; i < slot_count; ++i) {
        items[i] = {slots[i].is_set ? -1 : slots[i].fd, watched, 0};
    }
    poll(items.data(), items.size(), 0);
    std::array<short, slot_count> found{};
    for (std::size_t i = 0; i < slot_count; ++i) {
        found[i] = static_cast<short>(compared(static_cast<unsigned>(items[i].revents)));
    }
    return found;
}

std::string World::settle(int pace_us) {
    std::array<short, slot_count> now = ask();
    for (int same = 0, rounds = 0; same < 2 && rounds < 100; ++rounds) {
        if (pace_us != 0) {
            usleep(static_cast<useconds_t>(pace_us));
        }
        const auto next = ask();
        same = next == now ? same + 1 : 0;
        now = next;
    }
    std::string text;
    for (std::size_t i = 0; i < slot_count; ++i) {
        if (now[i] != told[i]) {
            text += " s" + std::to_string(i) + "=";
            for (const auto& each : letters) {
                text += (now[i] & each.bit) != 0 ? std::string(1, each.letter) : "";
            }
        }
    }
    told = now;
    return text;
}

std::string error_name(int code) {
    const char* name = strerrorname_np(code);
    return name != nullptr ? name : std::to_string(code);
}

std::string runs_of(const char* data, std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < size;) {
        std::size_t end = i + 1;
        while (end < size && data[end] == data[i]) {
            ++end;
        }
        text += text.empty() ? "" : " ";
        const auto byte = static_cast<unsigned char>(data[i]);
        text += byte > ' ' && byte < 127 ? std::string(1, data[i]) : "\\" + std::to_string(byte);
        text += data[i] == 'F' ? "..." : end - i > 1 ? "*" + std::to_string(end - i) : "";
        i = end;
    }
    return text;
}

}  // namespace differential
