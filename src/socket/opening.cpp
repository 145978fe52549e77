#include "socket/opening.hpp"

#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>

#include "tcp/fast_open.hpp"

namespace shunt::socket {
namespace {

// As Linux says CLOSE: TIME_WAIT is no socket's state there.
bool is_closed(const tcp::Connection* c) noexcept { return c == nullptr || c->state == tcp::State::closed || c->state == tcp::State::time_wait; }

}  // namespace

std::uint8_t to_timeouts(int seconds) noexcept {
    std::uint8_t count = 0;
    for (int period = 0, next = 1; period < seconds && count < 255; ++count, next = std::min(next * 2, 120)) {
        period += next;
    }
    return count;
}

int to_seconds(std::uint32_t timeouts) noexcept {
    int period = 0;
    for (int next = 1; timeouts != 0; --timeouts, next = std::min(next * 2, 120)) {
        period += next;
    }
    return period;
}

long set_fast_open_queue(Layer& layer, Socket& socket, int value) noexcept {
    if (value < 0 || !is_closed(socket.connection)) {
        return -EINVAL;
    }
    tcp::ConnectionOptions& options = socket.listener != nullptr ? socket.listener->options : socket.options;
    options.fast_open_queue = static_cast<std::uint16_t>(std::min({value, layer.stack->tunables().somaxconn, 65535}));
    return 0;
}

long set_fast_open_connect(Layer& layer, Socket& socket, int value) noexcept {
    if (value < 0 || value > 1) {
        return -EINVAL;
    }
    if ((layer.stack->tunables().tcp_fastopen & tcp::fast_open_bit::client) == 0) {
        return -EOPNOTSUPP;
    }
    if (!is_closed(socket.connection) || socket.listener != nullptr) {
        return -EINVAL;
    }
    socket.options.fast_open_connect = value != 0;
    return 0;
}

long set_fast_open_no_cookie(Layer&, Socket& socket, int value) noexcept {
    if (value < 0 || value > 1 || !is_closed(socket.connection)) {
        return -EINVAL;
    }
    (socket.listener != nullptr ? socket.listener->options : socket.options).fast_open_no_cookie = value != 0;
    return 0;
}

long set_fast_open_keys(Socket& socket, const void* value, std::size_t length) noexcept {
    if ((length != sizeof(SecretKey) && length != 2 * sizeof(SecretKey)) || socket.connection != nullptr) {
        return -EINVAL;
    }
    FastOpenKeys& keys = socket.listener != nullptr ? socket.listener->fast_open_keys : socket.fast_open_keys;
    std::memcpy(keys.keys.data(), value, length);
    keys.count = length / sizeof(SecretKey);
    return 0;
}

const FastOpenKeys& fast_open_keys_of(const Layer& layer, const Socket& socket) noexcept {
    const FastOpenKeys& own = socket.listener != nullptr ? socket.listener->fast_open_keys : socket.fast_open_keys;
    return own.count != 0 ? own : layer.stack->tunables().tcp_fastopen_key;
}

}  // namespace shunt::socket
