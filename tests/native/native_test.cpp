// The library's calls: what they give, and what they refuse.
#include <cerrno>

#include "native/one_stack.hpp"

namespace shunt {
namespace {

TEST_F(Native, AWrongOptionIsNamedInOneLine) {
    Stack::Options options = test_options();
    options.more = {"mtu=9"};
    const auto refused = Stack::open(options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EINVAL);
    EXPECT_NE(refused.error().message.find("mtu"), std::string::npos) << refused.error().message;
    EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
}

TEST_F(Native, AProcessHasOneStack) {
    const auto refused = Stack::open(test_options());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EBUSY);
}

TEST(SocketAddressText, IsReadAndWritten) {
    EXPECT_EQ(SocketAddress::parse("10.0.0.2:7000"), (SocketAddress{0x0a000002, 7000}));
    EXPECT_EQ(SocketAddress::parse("10.0.0.2"), (SocketAddress{0x0a000002, 0}));
    EXPECT_EQ(SocketAddress::parse(":80"), (SocketAddress{0, 80}));
    for (const char* wrong : {"", ":", "10.0.0:1", "10.0.0.2:65536", "10.0.0.2:x", "host:1"}) {
        EXPECT_FALSE(SocketAddress::parse(wrong)) << wrong;
    }
    EXPECT_EQ((SocketAddress{0x0a000002, 7000}).to_string(), "10.0.0.2:7000");
    EXPECT_EQ(Error{ECONNREFUSED}.message(), "Connection refused");
}

TEST_F(Native, AClaimedBufferArrivesAsABorrowedOne) {
    open_pair();
    auto buffer = client.claim(100);
    ASSERT_TRUE(buffer);
    ASSERT_EQ(buffer->size(), 100U);
    const auto sent = pattern(60);
    std::ranges::copy(sent, buffer->bytes().begin());
    ASSERT_TRUE(client.commit(std::move(*buffer), 60));
    ASSERT_TRUE(server.wait(soon()));
    const auto received = server.receive();
    ASSERT_TRUE(received);
    EXPECT_TRUE(std::ranges::equal(received->bytes(), sent));
    EXPECT_TRUE(received->is_contiguous());
    EXPECT_EQ(server.receive().error().code, EAGAIN);
}

TEST_F(Native, ABorrowedBufferOutlivesItsSocket) {
    open_pair();
    const auto sent = pattern(50);
    ASSERT_TRUE(client.send(sent));
    ASSERT_TRUE(server.wait(soon()));
    const auto received = server.receive();
    server.close();
    client.close();
    EXPECT_TRUE(std::ranges::equal(received->bytes(), sent));
}

TEST_F(Native, BytesArriveInOrderAndIntactBothWays) {
    open_pair();
    const auto data = pattern(1'000'000);
    std::vector<std::byte> received;
    std::size_t sent = 0;
    std::vector<std::byte> chunk(3000);
    while (received.size() < data.size()) {
        if (sent < data.size()) {
            const auto n = client.send(std::span(data).subspan(sent));
            sent += n.value_or(0);
        }
        const auto n = server.receive(chunk);
        if (n) {
            received.insert(received.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(*n));
        } else {
            ASSERT_EQ(n.error().code, EAGAIN);
            server.wait(stack.now() + std::chrono::milliseconds(10));
        }
    }
    EXPECT_EQ(received, data);
    ASSERT_TRUE(server.send(std::span(data).first(5000)));
    EXPECT_TRUE(std::ranges::equal(receive_all(client, 5000), std::span(data).first(5000)));
}

TEST_F(Native, MoreHoldsAPartialSegmentBack) {
    open_pair();
    const auto data = pattern(20);
    ASSERT_TRUE(client.send(std::span(data).first(10), More::yes));
    EXPECT_FALSE(server.wait(stack.now() + std::chrono::milliseconds(5)));
    ASSERT_TRUE(client.send(std::span(data).last(10), More::no));
    EXPECT_EQ(receive_all(server, 20), data);
}

TEST_F(Native, TheEndOfTheStreamIsAnEmptyBuffer) {
    open_pair();
    ASSERT_TRUE(client.send(pattern(5)));
    ASSERT_TRUE(client.shutdown());
    EXPECT_EQ(client.claim(1).error().code, EPIPE);
    EXPECT_EQ(receive_all(server, 5).size(), 5U);
    ASSERT_TRUE(server.wait(soon()));
    const auto end = server.receive();
    ASSERT_TRUE(end);
    EXPECT_TRUE(end->empty());
    EXPECT_TRUE(server.send(pattern(3)));  // the other direction is open still
    EXPECT_EQ(receive_all(client, 3).size(), 3U);
}

TEST_F(Native, ARefusedConnectionSaysSoOnce) {
    auto socket = TcpSocket::connect(stack, {our_address, 1});
    ASSERT_TRUE(socket);
    const auto opened = socket->wait_connected(soon());
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ECONNREFUSED);
    EXPECT_FALSE(socket->is_connected());
    EXPECT_EQ(socket->claim(1).error().code, EPIPE);
}

TEST_F(Native, AnAbortedConnectionIsReset) {
    open_pair();
    client.abort();
    EXPECT_FALSE(client.is_open());
    ASSERT_TRUE(server.wait(soon()));
    EXPECT_EQ(server.receive().error().code, ECONNRESET);
    EXPECT_TRUE(server.receive()->empty());
}

TEST_F(Native, AClaimHasBounds) {
    open_pair();
    EXPECT_EQ(client.claim(client.claim_max() + 1).error().code, EMSGSIZE);
    auto buffer = client.claim(10);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(client.commit(std::move(*buffer), 11).error().code, EINVAL);
}

TEST_F(Native, AFullSendBufferAnswersTryAgain) {
    open_pair({.send_buffer_bytes = 8192, .receive_buffer_bytes = 8192});
    const auto data = pattern(1000);
    Expected<std::size_t> sent = 0;
    for (int i = 0; i < 1000 && sent; ++i) {
        sent = client.send(data);
    }
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, EAGAIN);
    EXPECT_FALSE(client.wait_writable(stack.now() + std::chrono::milliseconds(1)));
    std::vector<std::byte> sink(100'000);
    while (!client.wait_writable(at_once) && server.receive(sink)) {
    }
    EXPECT_TRUE(client.send(data));
}

TEST_F(Native, CallsOnAClosedHandleAreRefused) {
    EXPECT_FALSE(client.is_open());
    EXPECT_EQ(client.receive().error().code, EBADF);
    EXPECT_EQ(client.claim(1).error().code, EBADF);
    EXPECT_EQ(listener.accept().error().code, EBADF);
    EXPECT_EQ(UdpSocket().receive().error().code, EBADF);
    EXPECT_FALSE(client.wait(forever));
    client.close();
}

TEST_F(Native, AddressesAreChecked) {
    EXPECT_EQ(TcpListener::listen(stack, {0x0a630009, 80}).error().code, EADDRNOTAVAIL);
    listener = *TcpListener::listen(stack, {0, 0});
    EXPECT_EQ(TcpListener::listen(stack, listener.local_address()).error().code, EADDRINUSE);
    EXPECT_EQ(TcpSocket::connect(stack, {0x08080808, 80}).error().code, ENETUNREACH);
}

class NativeUdp : public Native {
protected:
    void SetUp() override {
        a = *UdpSocket::open(stack);
        b = *UdpSocket::open(stack);
        ASSERT_TRUE(a.bind({our_address, 0}));
        ASSERT_TRUE(b.bind({our_address, 0}));
    }
    UdpSocket a, b;
};

TEST_F(NativeUdp, ADatagramSaysWhereItCameFromAndWhen) {
    const Instant before = stack.now();
    const auto data = pattern(30);
    ASSERT_TRUE(a.send_to(data, b.local_address()));
    ASSERT_TRUE(b.wait(soon()));
    const auto datagram = b.receive();
    ASSERT_TRUE(datagram);
    EXPECT_TRUE(std::ranges::equal(datagram->payload.bytes(), data));
    EXPECT_EQ(datagram->source, a.local_address());
    EXPECT_EQ(datagram->destination, b.local_address());
    EXPECT_GE(datagram->received_at, before);
    EXPECT_LE(datagram->received_at, stack.now());
    const auto age = std::chrono::system_clock::now() - stack.to_system_time(datagram->received_at);
    EXPECT_LT(age, std::chrono::seconds(2));
    EXPECT_GE(age, std::chrono::seconds(-1));
}

TEST_F(NativeUdp, ClaimedDatagramsGoToTheConnectedPeer) {
    auto lonely = a.claim(5);
    ASSERT_TRUE(lonely);
    EXPECT_EQ(a.commit(std::move(*lonely), 5).error().code, EDESTADDRREQ);
    ASSERT_TRUE(a.connect(b.local_address()));
    auto buffer = a.claim(10);
    ASSERT_TRUE(buffer);
    const auto data = pattern(8);
    std::ranges::copy(data, buffer->bytes().begin());
    ASSERT_TRUE(a.commit(std::move(*buffer), 8));
    std::vector<std::byte> short_of(4);
    SocketAddress source;
    EXPECT_EQ(b.receive(short_of, &source), 8U);
    EXPECT_TRUE(std::ranges::equal(short_of, std::span(data).first(4)));
    EXPECT_EQ(source, a.local_address());
}

TEST_F(NativeUdp, AnEmptyDatagramArrives) {
    ASSERT_TRUE(a.send_to({}, b.local_address()));
    ASSERT_TRUE(b.wait(soon()));
    const auto datagram = b.receive();
    ASSERT_TRUE(datagram);
    EXPECT_TRUE(datagram->payload.empty());
}

TEST_F(NativeUdp, ALargeDatagramIsReadRunByRun) {
    const auto data = pattern(10'000);
    ASSERT_TRUE(a.send_to(data, b.local_address()));
    ASSERT_TRUE(b.wait(soon()));
    auto datagram = b.receive();
    ASSERT_TRUE(datagram);
    ASSERT_EQ(datagram->payload.size(), data.size());
    std::vector<std::byte> copy(data.size()), joined;
    EXPECT_EQ(datagram->payload.copy_to(copy), data.size());
    EXPECT_EQ(copy, data);
    do {
        joined.insert(joined.end(), datagram->payload.bytes().begin(), datagram->payload.bytes().end());
    } while (datagram->payload.next_run());
    EXPECT_EQ(joined, data);
}

TEST_F(NativeUdp, AnAbsentReceiverIsHeardOf) {
    ASSERT_TRUE(a.connect({our_address, 1}));
    ASSERT_TRUE(a.send(pattern(3)));
    ASSERT_TRUE(a.wait(soon()));
    EXPECT_EQ(a.receive().error().code, ECONNREFUSED);
    EXPECT_EQ(a.receive().error().code, EAGAIN);
}

}  // namespace
}  // namespace shunt
