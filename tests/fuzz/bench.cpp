#include "fuzz/bench.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "simulator/watch.hpp"

namespace shunt::fuzz {
namespace {

constexpr wire::Mac peer_mac{2, 0, 0, 0, 0, 9};
constexpr std::uint32_t peer_address = test::ip(10, 0, 0, 2);
constexpr std::uint32_t peer_tsval = 5000;

std::uint32_t count_free() {
    { const Station first(0, {}); }  // opens the pool
    return Station::packets_free();
}

std::uint32_t free_in_the_beginning() {
    static const std::uint32_t count = count_free();
    return count;
}

}  // namespace

std::uint8_t Input::byte() noexcept {
    if (left_.empty()) {
        return 0;
    }
    const std::uint8_t first = left_.front();
    left_ = left_.subspan(1);
    return first;
}

Bytes Input::bytes(std::size_t size) noexcept {
    const std::size_t n = std::min(size, left_.size());
    Bytes taken(reinterpret_cast<const char*>(left_.data()), n);
    left_ = left_.subspan(n);
    return taken;
}

Bytes stream_bytes(std::uint32_t at, std::size_t size) {
    Bytes bytes(size, '\0');
    for (char& each : bytes) {
        each = stream_byte(at++);
    }
    return bytes;
}

void require(bool holds, const char* rule) {
    if (!holds) {
        std::fprintf(stderr, "broken: %s\n", rule);
        std::abort();
    }
}

PacketCount::PacketCount() { free_in_the_beginning(); }

PacketCount::~PacketCount() { require(Station::packets_free() == free_in_the_beginning(), "every packet is free in the end"); }

Bench::Bench(const Tunables& tunables) : station(0, {.tunables = tunables}) {
    tcp::ConnectionOptions options;
    options.nodelay = true;
    listener_ = *station.tcp().listen(0, our_port, 8, options, false);
    listener_->owner = this;
    give(test::ethernet(station.mac(), peer_mac, wire::ethertype_arp, test::arp(wire::ArpPacket::reply, peer_mac, peer_address, station.mac(), station.address())));
}

Bench::~Bench() {
    if (c != nullptr) {
        station.tcp().release(*c, true, now);
    }
    station.tcp().close(*listener_, now);
    settle();
}

void Bench::drain() {
    while (Packet* packet = station.take()) {
        packet->free();
    }
}

void Bench::poll() {
    station.stack().poll(now);
    drain();
    accept();
    settle();
}

void Bench::settle() {
    station.stack().flush(now);
    drain();
    try {
        station.tcp().for_each_connection([this](const tcp::Connection& each) { simulator::check_connection(each, now); });
    } catch (const simulator::Violation& violation) {
        require(false, violation.what());
    }
    require(station.stack().is_valid(), "the timer wheel is valid");
}

void Bench::give(const Bytes& frame) {
    station.give(frame.data(), frame.size());
    poll();
}

void Bench::give_ip(const Bytes& packet) { give(test::ethernet(station.mac(), peer_mac, wire::ethertype_ipv4, packet)); }

void Bench::give_tcp(std::uint32_t seq, std::uint32_t ack, std::uint8_t flags, std::uint16_t window, const wire::TcpOptions& options, const Bytes& payload) {
    const test::TcpFields fields{.source_port = peer_port, .destination_port = our_port, .seq = seq, .ack = ack, .flags = flags, .window = window, .options = options};
    give_ip(test::ipv4({.source = peer_address, .destination = station.address(), .protocol = wire::protocol_tcp}, test::tcp(peer_address, station.address(), fields, payload)));
}

// The stack is called whenever it wants to be, as far as a bounded number of calls goes.
void Bench::pass(Duration time) {
    const Time end = now + time;
    for (unsigned i = 0; i < 200 && station.stack().next_deadline() <= end; ++i) {
        now = std::max(station.stack().next_deadline(), now + 10us);
        poll();
    }
    now = std::max(now, end);
    poll();
}

void Bench::accept() {
    while (tcp::Connection* accepted = station.tcp().accept(*listener_)) {
        accepted->owner = this;
        if (c == nullptr && accepted->remote_port == peer_port && accepted->remote_address == peer_address) {
            c = accepted;
            received = 0;
        } else {
            station.tcp().release(*accepted, false, now);
        }
    }
}

void Bench::begin_open(bool actively, const wire::TcpOptions& offered) {
    if (actively) {
        c = *station.tcp().connect(0, our_port, peer_address, peer_port, {}, now);
        c->owner = this;
        settle();
    } else {
        give_tcp(peer_iss, 0, test::flag::syn, 65535, offered, {});
    }
}

void Bench::open(bool actively, const wire::TcpOptions& offered) {
    begin_open(actively, offered);
    std::uint32_t iss = 0;
    station.tcp().for_each_connection([&](const tcp::Connection& each) { iss = each.iss.raw(); });
    if (actively) {
        give_tcp(peer_iss, iss + 1, test::flag::syn | test::flag::ack, 65535, offered, {});
    } else {
        wire::TcpOptions options;
        options.has_timestamp = offered.has_timestamp;
        options.tsval = offered.tsval;
        give_tcp(peer_iss + 1, iss + 1, test::flag::ack, 65535, options, {});
    }
    require(c != nullptr && c->state == tcp::State::established, "the handshake succeeds");
}

wire::TcpOptions Bench::plain_options() const {
    wire::TcpOptions options;
    if (c != nullptr && c->has_timestamps) {
        options.has_timestamp = true;
        options.tsval = peer_tsval;
        options.tsecr = static_cast<std::uint32_t>(count_ms(now.time_since_epoch())) + c->ts_offset;
    }
    return options;
}

void Bench::read(std::uint32_t size) {
    if (c == nullptr) {
        return;
    }
    Bytes data(size, '\0');
    const std::uint32_t copied = station.tcp().receive(*c, reinterpret_cast<std::byte*>(data.data()), size, false, 0, now);
    const std::uint32_t begin = c->irs.raw() - peer_iss;  // a SYN from anywhere may have opened it
    for (std::uint32_t i = 0; i < copied; ++i) {
        require(data[i] == stream_byte(begin + received + i), "a byte is read where it was written");
    }
    received += copied;
    settle();
}

void Bench::write(std::uint32_t size) {
    if (c != nullptr && c->can_send()) {
        const Bytes data(size, 'x');
        station.tcp().send(*c, std::as_bytes(std::span(data)), false, now);
        settle();
    }
}

void Bench::shutdown() {
    if (c != nullptr) {
        station.tcp().shutdown_send(*c, now);
        settle();
    }
}

void Bench::release(bool with_reset) {
    if (c != nullptr) {
        tcp::Connection* released = c;
        c = nullptr;
        station.tcp().release(*released, with_reset, now);
        settle();
    }
}

}  // namespace shunt::fuzz
