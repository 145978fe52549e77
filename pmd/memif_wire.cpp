// See memif_wire.hpp.
#include "pmd/memif_wire.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "base/sys.hpp"
#include "pmd/driver_calls.hpp"
#include "pmd/memif_calls.hpp"

namespace shunt::pmd::memif {
namespace {

std::array<int, ports_max> kept = [] {
    std::array<int, ports_max> none{};
    none.fill(-1);
    return none;
}();

// A bound socket's descriptor, or -errno. Nobody ever connects to it.
int bind_abstract(const std::string& name) noexcept {
    const int fd = move_up(sys::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd < 0) {
        return fd;
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t length = std::min(name.size(), sizeof address.sun_path - 1);
    std::memcpy(address.sun_path + 1, name.data(), length);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
    const long result = sys::bind(fd, reinterpret_cast<const sockaddr*>(&address), size);
    if (result < 0) {
        sys::close(fd);
        return static_cast<int>(result);
    }
    return fd;
}

}  // namespace

Outcome<Claim> claim_end(const std::string& wire) {
    int code = 0;
    for (const bool is_server : {true, false}) {
        const int fd = bind_abstract(fmt::format("shunt-{}-{}", is_server ? "server" : "client", wire));
        if (fd >= 0) {
            return Claim{is_server, fd};
        }
        code = -fd;
    }
    if (code != EADDRINUSE) {
        return explain(code, fmt::format("--link memif:{}: no socket for the wire ({}); is the limit of open files (ulimit -n) reached?", wire,
                                         std::strerror(code)));
    }
    return explain(EBUSY, fmt::format("--link memif:{}: two programs use this wire already, and it has two ends; end one of them or take another "
                                      "name",
                                      wire));
}

std::string device_arguments(const std::string& wire, const Claim& claim) {
    return fmt::format("role={},id=0,bsize=2048,rsize=10,socket-abstract=yes,socket=shunt-{}", claim.is_server ? "server" : "client", wire);
}

void keep(std::uint16_t port, const Claim& claim) noexcept {
    kept[port] = claim.fd;
}

void give_back(std::uint16_t port) noexcept {
    if (kept[port] >= 0) {
        sys::close(kept[port]);
        kept[port] = -1;
    }
}

}  // namespace shunt::pmd::memif
