// The other end of a TCP connection, played by hand: it sends what the test says and shows what the stack answers.
#pragma once

#include "stack/support/host.hpp"

namespace shunt::test {

class Peer {
public:
    explicit Peer(Host& host, std::uint16_t port = 40000, std::uint16_t host_port = 80, std::uint32_t address = ip(10, 0, 0, 2));

    // A segment at snd_nxt, which moves on; with ACK of rcv_nxt unless the flags lack it.
    void send(std::uint8_t flags, const Bytes& payload = {});
    // A segment anywhere; nothing moves.
    void send_at(std::uint32_t seq, std::uint8_t flags, const Bytes& payload = {});
    void ack() { send(flag::ack); }
    void ack_with_sack(std::uint32_t ack, std::initializer_list<wire::SackBlock> blocks);
    // The next TCP segment for this peer; fails when there is none. Data in order move rcv_nxt.
    Frame expect();
    // All that is waiting.
    std::vector<Frame> expect_all();
    bool is_silent();

    wire::TcpOptions syn_options() const;
    Bytes segment(std::uint32_t seq, std::uint32_t ack, std::uint8_t flags, const wire::TcpOptions& options, const Bytes& payload) const;
    void give(const Bytes& tcp_segment);

    // Handshakes. The result is the stack's connection, owned by the test.
    tcp::Connection* connect_to(tcp::Listener& listener);
    tcp::Connection* accept_from(const tcp::ConnectionOptions& options = {});

    std::uint32_t address;
    std::uint16_t port, host_port;
    std::uint32_t iss = 1'000'000, snd_nxt = 1'000'000, rcv_nxt = 0;
    std::uint16_t window = 65535, mss = 1460;
    std::int8_t wscale = 7;
    bool has_timestamps = true, has_sack = true;
    std::uint8_t tos = 0;
    std::uint32_t ts_recent = 0, ts_skew = 0;
    Duration round_trip{};  // of the handshake

private:
    std::uint32_t tsval() const { return static_cast<std::uint32_t>(count_ms(host_.now.time_since_epoch())) + 77 + ts_skew; }
    wire::TcpOptions options() const;
    Host& host_;
};

// A host with a listener on port 80, one peer, and a connection between them.
class TcpTest : public ::testing::Test {
protected:
    TcpTest() : TcpTest(HostSetup{}) {}
    explicit TcpTest(const HostSetup& setup) : host(setup), peer(host) {}
    ~TcpTest() override { EXPECT_TRUE(c == nullptr || c->is_valid()); }

    void listen(std::uint32_t backlog = 16, const tcp::ConnectionOptions& options = {});
    void open(const tcp::ConnectionOptions& options = {});   // by the peer's SYN
    std::uint32_t write(const Bytes& data, bool more = false);
    Bytes read(std::size_t size = 1 << 20);
    void close(bool linger0 = false);
    void shutdown();
    // An ICMP message about the segment that starts at `seq`, from a router.
    void give_icmp(std::uint8_t type, std::uint8_t code, std::uint32_t seq, std::uint32_t last_word = 0);
    // From here on the stack has used up its first quick ACKs, and the congestion window stands open.
    void make_ordinary();

    Host host;
    Peer peer;
    tcp::Listener* listener = nullptr;
    tcp::Connection* c = nullptr;
};

}  // namespace shunt::test
