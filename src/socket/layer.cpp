// The layer's tables, news on their way to epoll sets and sleepers, addresses as programs write them and ask for them.
#include <sys/eventfd.h>

#include <cstring>
#include <utility>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

constexpr std::uint32_t sets_max = 8192;

// Our own descriptors stay out of the low numbers: the program's next open() gets the number it expects.
int lift(long fd) noexcept {
    return fd < 0 ? -1 : move_up(fd);
}

}  // namespace

std::size_t layer_bytes(std::uint32_t sockets_max) noexcept {
    return sizeof(Layer) + Pool<Socket>::bytes_for(sockets_max) + Pool<EpollSet>::bytes_for(sets_max) + Pool<Interest>::bytes_for(sockets_max * 2) +
           Ledger::bytes_for(sockets_max, sets_max) + 4 * 64;
}

Layer* create_layer(Stack& stack, const pmd::TscClock& clock, Duration spin, std::uint32_t sockets_max) {
    Arena& arena = stack.arena();
    auto* layer = new (arena.carve(sizeof(Layer), 64)) Layer;
    layer->stack = &stack;
    layer->clock = clock;
    layer->spin = spin;
    layer->sockets = Pool<Socket>(arena.carve(Pool<Socket>::bytes_for(sockets_max), 64), sockets_max);
    layer->sets = Pool<EpollSet>(arena.carve(Pool<EpollSet>::bytes_for(sets_max), 64), sets_max);
    layer->interests = Pool<Interest>(arena.carve(Pool<Interest>::bytes_for(sockets_max * 2), 64), sockets_max * 2);
    layer->ledger.create(arena, sockets_max, sets_max);
    layer->rx_events = lift(sys::epoll_create1(EPOLL_CLOEXEC));
    layer->has_interrupts = layer->rx_events >= 0;
    for (Link* link : stack.links()) {
        const int fd = link->port.rx_event_fd();
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        layer->has_interrupts = layer->has_interrupts && fd >= 0 && sys::epoll_ctl(layer->rx_events, EPOLL_CTL_ADD, fd, &event) == 0;
    }
    layer->keeper_fd = lift(sys::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (int& fd : layer->slot_fds) {
        fd = lift(sys::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
    }
    stack.layer_above = layer;
    return layer;
}

Socket* create_socket(Layer& layer) noexcept {
    Socket* socket = layer.sockets.try_create();
    if (socket != nullptr) {
        layer.ledger.add_socket(this_process, layer.sockets.index_of(socket));
    }
    return socket;
}

EpollSet* create_set(Layer& layer) noexcept {
    EpollSet* set = layer.sets.try_create();
    if (set != nullptr) {
        layer.ledger.add_set(this_process, layer.sets.index_of(set));
    }
    return set;
}

void hold(Layer& layer, Socket& socket) noexcept {
    ++socket.references;
    layer.ledger.add_socket(this_process, layer.sockets.index_of(&socket));
}

void hold(Layer& layer, EpollSet& set) noexcept {
    ++set.references;
    layer.ledger.add_set(this_process, layer.sets.index_of(&set));
}

void make_ready(EpollSet& set, Interest& interest) noexcept {
    if (interest.is_ready) {
        return;
    }
    interest.is_ready = true;
    interest.next_ready = nullptr;
    interest.previous_ready = set.ready_tail;
    (set.ready_tail != nullptr ? set.ready_tail->next_ready : set.ready_head) = &interest;
    set.ready_tail = &interest;
}

// Sets lie in sets no deeper than the kernel's beside them, which allow five.
void tell(Layer& layer, Interest& interest) noexcept {
    if (interest.is_disabled) {
        return;
    }
    EpollSet& set = *interest.set;
    make_ready(set, interest);
    layer.pending_wakes |= set.sleepers;
    for (Interest* outer = set.outer; outer != nullptr; outer = outer->next_of_source) {
        tell(layer, *outer);
    }
}

void tell(Layer& layer, Socket& socket) noexcept {
    layer.pending_wakes |= socket.sleepers;
    for (Interest* interest = socket.interests; interest != nullptr; interest = interest->next_of_source) {
        tell(layer, *interest);
    }
}

void tell_sent(Layer& layer, Socket& socket) noexcept {
    for (Interest* interest = socket.interests; interest != nullptr; interest = interest->next_of_source) {
        if ((interest->events & (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)) != 0) {
            tell(layer, *interest);
        }
    }
}

void dispatch(Layer& layer) noexcept {
    if (layer.stack->changed().is_empty()) {
        return;
    }
    layer.stack->change();
    while (Endpoint* endpoint = layer.stack->changed().pop()) {
        const std::uint8_t news = std::exchange(endpoint->news, std::uint8_t{0});
        auto* socket = static_cast<Socket*>(endpoint->owner);
        if (socket == nullptr) {
            continue;
        }
        if (socket->signals.id != 0) [[unlikely]] {
            send_signals(*socket, news);
        }
        tell(layer, *socket);
    }
}

namespace {

short readiness_of_connection(const Layer& layer, const Socket& socket) noexcept {
    tcp::Connection& c = *socket.connection;
    using tcp::State;
    int mask = 0;
    if (c.is_opening()) {
        mask |= c.opening.is_deferred ? POLLOUT | POLLWRNORM : 0;
        mask |= c.rcv_shut ? POLLIN | POLLRDNORM | POLLRDHUP : 0;
        return static_cast<short>(c.rcv_shut && c.opening.is_mute ? mask | POLLHUP : mask);
    }
    const bool is_over = c.state == State::closed || c.state == State::time_wait;
    const bool no_more_input = c.fin_received || c.rcv_shut || is_over;
    const bool no_more_output = c.fin_queued || c.opening.is_mute || is_over;
    const bool hides_byte = c.urgent != tcp::Urgent::none && c.rcv_up == c.copied_seq() && !c.options.oob_inline;
    const bool is_full = c.rcv_queued > (hides_byte ? 1U : 0U) && c.rcv_adv - c.rcv_nxt <= c.rcv_mss;  // waiting for more would be in vain
    if (c.rcv_queued >= socket.rcvlowat + (hides_byte ? 1 : 0) || is_full || no_more_input) {
        mask |= POLLIN | POLLRDNORM;
    }
    if (c.urgent == tcp::Urgent::valid) {
        mask |= POLLPRI;
    }
    if (no_more_input) {
        mask |= POLLRDHUP;
    }
    if (no_more_input && no_more_output) {
        mask |= POLLHUP;
    }
    if (no_more_output) {
        mask |= POLLOUT | POLLWRNORM;
    } else if (layer.stack->tcp().is_writable(c)) {
        mask |= POLLOUT | POLLWRNORM;
    } else {
        c.wants_room = true;
    }
    if (c.error != 0 || !c.error_queue.is_empty()) {
        mask |= POLLERR;
    }
    return static_cast<short>(mask);
}

}  // namespace

namespace {

// Of a datagram socket. What it sends leaves at once; parts that wait for the rest of their datagram count.
bool has_room(const Layer& layer, const Socket& socket) noexcept {
    const std::uint32_t limit = socket.options.sndbuf_locked ? socket.options.sndbuf : static_cast<std::uint32_t>(layer.stack->tunables().wmem_default);
    return !socket.udp->has_corked || 2 * (socket.udp->corked_memory + 1) < limit;
}

}  // namespace

short readiness_of(const Layer& layer, const Socket& socket) noexcept {
    if (socket.connection != nullptr) {
        return readiness_of_connection(layer, socket);
    }
    if (socket.listener != nullptr) {
        return socket.listener->accept_head != nullptr ? POLLIN | POLLRDNORM : 0;
    }
    if (socket.udp != nullptr) {
        const UdpEndpoint& udp = *socket.udp;
        int mask = has_room(layer, socket) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0;
        if (!udp.rcv_queue.is_empty() || udp.is_shut_for_receive) {
            mask |= POLLIN | POLLRDNORM;
        }
        if (udp.is_shut_for_receive) {
            mask |= POLLRDHUP | (udp.is_shut_for_send ? POLLHUP : 0);
        }
        if (udp.error != 0 || !udp.error_queue.is_empty()) {
            mask |= POLLERR;
        }
        return static_cast<short>(mask);
    }
    int mask = POLLHUP;  // a TCP socket that is not connected
    const bool is_full = socket.unsent_gap != 0 && std::uint64_t{socket.unsent_gap} * 2 >= layer.stack->tcp().notsent_limit(socket.options);
    if (!is_full || (socket.shut & shut_for_send) != 0) {
        mask |= POLLOUT | POLLWRNORM;
    }
    if ((socket.shut & shut_for_receive) != 0) {
        mask |= POLLIN | POLLRDNORM | POLLRDHUP;
    }
    return static_cast<short>(socket.error != 0 ? mask | POLLERR : mask);
}

Result<Address> read_address(const sockaddr* address, socklen_t length, bool is_v6) noexcept {
    if (address == nullptr || length < (is_v6 ? sizeof(sa_family_t) : sizeof(sockaddr_in)) || length > sizeof(sockaddr_storage)) {
        return fail(EINVAL);
    }
    if (address->sa_family == AF_INET && !is_v6) {
        sockaddr_in v4;
        std::memcpy(&v4, address, sizeof v4);
        return Address{ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port)};
    }
    if (address->sa_family != AF_INET6 || !is_v6) {
        return fail(EAFNOSUPPORT);
    }
    constexpr socklen_t without_scope = 24;
    sockaddr_in6 v6{};
    if (length < without_scope) {
        return fail(EINVAL);
    }
    std::memcpy(&v6, address, length < sizeof v6 ? length : sizeof v6);
    if (IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)) {
        return Address{0, ntohs(v6.sin6_port)};
    }
    if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
        return fail(ENETUNREACH);
    }
    std::uint32_t raw;
    std::memcpy(&raw, v6.sin6_addr.s6_addr + 12, 4);
    return Address{ntohl(raw), ntohs(v6.sin6_port)};
}

long write_address(Address from, bool is_v6, sockaddr* address, socklen_t* length) noexcept {
    if (address == nullptr || length == nullptr) {
        return 0;
    }
    if (static_cast<int>(*length) < 0) {
        return -EINVAL;
    }
    if (!is_v6) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(from.port);
        v4.sin_addr.s_addr = htonl(from.address);
        std::memcpy(address, &v4, *length < sizeof v4 ? *length : sizeof v4);
        *length = sizeof v4;
        return 0;
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(from.port);
    if (from.address != 0) {
        v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
        const std::uint32_t raw = htonl(from.address);
        std::memcpy(v6.sin6_addr.s6_addr + 12, &raw, 4);
    }
    std::memcpy(address, &v6, *length < sizeof v6 ? *length : sizeof v6);
    *length = sizeof v6;
    return 0;
}

long local_name(Socket& socket, sockaddr* address, socklen_t* length) noexcept {
    if (address == nullptr || length == nullptr) {
        return -EFAULT;
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    Address name{socket.bound_address, socket.bound_port};
    if (socket.udp != nullptr) {
        name = {socket.udp->local_address, socket.udp->local_port};
    } else if (socket.connection != nullptr && !socket.is_bound_anew) {
        name = {socket.connection->local_address, socket.connection->local_port};
    }
    return write_address(name, socket.is_v6, address, length);
}

long name_of_peer(const Socket& socket, sockaddr* address, socklen_t* length) noexcept {
    if (socket.udp != nullptr && socket.udp->remote_port != 0) {  // Linux: a peer's port 0 is none
        return write_address({socket.udp->remote_address, socket.udp->remote_port}, socket.is_v6, address, length);
    }
    const tcp::Connection* c = socket.connection;
    if (c == nullptr || c->state == tcp::State::syn_sent || c->state == tcp::State::closed || c->state == tcp::State::time_wait) {
        return -ENOTCONN;
    }
    return write_address({c->remote_address, c->remote_port}, socket.is_v6, address, length);
}

long peer_name(Socket& socket, sockaddr* address, socklen_t* length) noexcept {
    if (address == nullptr || length == nullptr) {
        return -EFAULT;
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    return name_of_peer(socket, address, length);
}

}  // namespace shunt::socket
