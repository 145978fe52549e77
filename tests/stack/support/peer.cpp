#include "stack/support/peer.hpp"

namespace shunt::test {

Peer::Peer(Host& host, std::uint16_t own_port, std::uint16_t its_port, std::uint32_t own_address) : address(own_address), port(own_port), host_port(its_port), host_(host) {
    host.stations.emplace(address, wire::Mac{2, 0, 0, 0, 0, 9});
}

wire::TcpOptions Peer::options() const {
    wire::TcpOptions result;
    result.has_timestamp = has_timestamps;
    result.tsval = tsval();
    result.tsecr = ts_recent;
    return result;
}

wire::TcpOptions Peer::syn_options() const {
    wire::TcpOptions result = options();
    result.mss = mss;
    result.wscale = wscale;
    result.sack_permitted = has_sack;
    return result;
}

Bytes Peer::segment(std::uint32_t seq, std::uint32_t ack_number, std::uint8_t flags, const wire::TcpOptions& with, const Bytes& payload) const {
    TcpFields fields;
    fields.source_port = port;
    fields.destination_port = host_port;
    fields.seq = seq;
    fields.ack = ack_number;
    fields.flags = flags;
    fields.window = window;
    fields.options = with;
    return tcp(address, host_.address(), fields, payload);
}

void Peer::give(const Bytes& tcp_segment) {
    IpFields fields;
    fields.source = address;
    fields.destination = host_.address();
    fields.protocol = wire::protocol_tcp;
    fields.tos = tos;
    host_.give_ip(ipv4(fields, tcp_segment));
}

void Peer::send_at(std::uint32_t seq, std::uint8_t flags, const Bytes& payload) {
    const bool is_syn = (flags & flag::syn) != 0;
    give(segment(seq, (flags & flag::ack) != 0 ? rcv_nxt : 0, flags, is_syn ? syn_options() : options(), payload));
}

void Peer::send(std::uint8_t flags, const Bytes& payload) {
    const std::uint32_t seq = snd_nxt;
    snd_nxt += static_cast<std::uint32_t>(payload.size()) + ((flags & flag::syn) != 0 ? 1U : 0U) + ((flags & flag::fin) != 0 ? 1U : 0U);
    send_at(seq, flags, payload);
}

void Peer::ack_with_sack(std::uint32_t ack_number, std::initializer_list<wire::SackBlock> blocks) {
    wire::TcpOptions with = options();
    for (const wire::SackBlock& block : blocks) {
        with.sack[with.sack_count++] = block;
    }
    give(segment(snd_nxt, ack_number, flag::ack, with, {}));
}

Frame Peer::expect() {
    const auto frame = host_.next();
    if (!frame) {
        ADD_FAILURE() << "the stack sent nothing";
        return {};
    }
    EXPECT_TRUE(frame->is_tcp() && frame->destination == address && frame->destination_port == port && frame->source_port == host_port) << *frame;
    EXPECT_TRUE(frame->has_good_checksums) << *frame;
    if (frame->has(flag::syn) || frame->seq == rcv_nxt) {
        rcv_nxt = frame->end();
    }
    if (frame->options.has_timestamp) {
        ts_recent = frame->options.tsval;
    }
    return *frame;
}

std::vector<Frame> Peer::expect_all() {
    std::vector<Frame> frames;
    while (!host_.sent.empty()) {
        frames.push_back(expect());
    }
    return frames;
}

bool Peer::is_silent() {
    for (const Frame& frame : host_.sent) {
        ADD_FAILURE() << "unexpected: " << frame;
    }
    return host_.sent.empty();
}

tcp::Connection* Peer::connect_to(tcp::Listener& listener) {
    host_.sent.clear();
    send(flag::syn);
    const Frame answer = expect();
    EXPECT_TRUE(answer.has(flag::syn | flag::ack)) << answer;
    EXPECT_EQ(answer.ack, snd_nxt);
    if (round_trip != Duration{}) {
        host_.advance(round_trip);
    }
    send(flag::ack);
    tcp::Connection* c = host_.tcp().accept(listener);
    EXPECT_NE(c, nullptr);
    if (c != nullptr) {
        c->owner = this;
        EXPECT_EQ(c->state, tcp::State::established);
    }
    EXPECT_TRUE(is_silent());
    return c;
}

tcp::Connection* Peer::accept_from(const tcp::ConnectionOptions& with) {
    const auto opened = host_.tcp().connect(0, 0, address, port, with, host_.now);
    EXPECT_TRUE(opened.has_value());
    tcp::Connection* c = *opened;
    c->owner = this;
    host_port = c->local_port;
    host_.flush();
    const Frame syn = expect();
    EXPECT_EQ(syn.flags, flag::syn);
    send(flag::syn | flag::ack);
    const Frame last = expect();
    EXPECT_EQ(last.flags, flag::ack);
    EXPECT_EQ(c->state, tcp::State::established);
    return c;
}

void TcpTest::listen(std::uint32_t backlog, const tcp::ConnectionOptions& options) {
    const auto result = host.tcp().listen(0, 80, backlog, options, false);
    ASSERT_TRUE(result.has_value());
    listener = *result;
    listener->owner = this;
}

void TcpTest::open(const tcp::ConnectionOptions& options) {
    if (listener == nullptr) {
        listen(16, options);
    }
    c = peer.connect_to(*listener);
    ASSERT_NE(c, nullptr);
}

std::uint32_t TcpTest::write(const Bytes& data, bool more) {
    const std::uint32_t taken = host.tcp().send(*c, as_bytes(data), more, host.now);
    host.flush();
    EXPECT_TRUE(c->is_valid());
    return taken;
}

Bytes TcpTest::read(std::size_t size) {
    Bytes data(size, '\0');
    data.resize(host.tcp().receive(*c, reinterpret_cast<std::byte*>(data.data()), static_cast<std::uint32_t>(size), false, 0, host.now));
    host.flush();
    EXPECT_TRUE(c->is_valid());
    return data;
}

void TcpTest::close(bool linger0) {
    tcp::Connection* closed = c;
    c = nullptr;
    host.tcp().release(*closed, linger0, host.now);
    host.flush();
}

void TcpTest::shutdown() {
    host.tcp().shutdown_send(*c, host.now);
    host.flush();
}

void TcpTest::give_icmp(std::uint8_t type, std::uint8_t code, std::uint32_t seq, std::uint32_t last_word) {
    IpFields quoted;
    quoted.source = host.address();
    quoted.destination = peer.address;
    quoted.protocol = wire::protocol_tcp;
    TcpFields segment;
    segment.source_port = peer.host_port;
    segment.destination_port = peer.port;
    segment.seq = seq;
    IpFields router;
    router.source = ip(10, 0, 0, 254);
    router.destination = host.address();
    router.protocol = wire::protocol_icmp;
    host.give_ip(ipv4(router, icmp(type, code, last_word, ipv4(quoted, tcp(host.address(), peer.address, segment, {})))));
}

void TcpTest::make_ordinary() {
    c->quick_acks = 0;
    c->options.quickack = false;
    c->last_data_at = host.now;
    c->cwnd = 100'000;
}

}  // namespace shunt::test
