// Control messages of sendmsg and recvmsg, and the last reference of a description. Private to src/socket/.
#pragma once

#include "socket/guard.hpp"

namespace shunt::socket {

// Control messages one after the other; what does not fit sets MSG_CTRUNC.
class ControlWriter {
public:
    explicit ControlWriter(msghdr& message) noexcept : message_(message), room_(message.msg_controllen) { message.msg_controllen = 0; }
    void add(int level, int type, const void* data, std::size_t size) noexcept;
    void add_stamps(const Layer& layer, Time at) noexcept;  // SCM_TIMESTAMPING

private:
    msghdr& message_;
    std::size_t room_;
};

// Of a connection: TCP_CM_INQ, and when the last byte read had arrived (`stamp_ns`, not 0).
void write_stream_ancillary(const Layer& layer, const Socket& socket, std::int64_t stamp_ns, msghdr& message) noexcept;
// The oldest report of the error queue into `message`; -EAGAIN when there is none.
long receive_report(Layer& layer, Socket& socket, msghdr& message) noexcept;

// IP_PKTINFO, SO_TIMESTAMP, SO_TIMESTAMPNS of a datagram; sets msg_controllen and MSG_CTRUNC.
void write_ancillary(Layer& layer, const Socket& socket, const Packet& packet, msghdr& message) noexcept;

// What sendmsg's control data ask for (IP_PKTINFO, IPV6_PKTINFO of a v4-mapped address, IP_TTL, IP_TOS, UDP_SEGMENT), for one datagram; and MSG_DONTROUTE. With the lock held.
class SendControl {
public:
    SendControl(Stack& stack, UdpEndpoint& udp, const msghdr& message, int flags) noexcept;
    ~SendControl();
    SendControl(const SendControl&) = delete;
    SendControl& operator=(const SendControl&) = delete;
    // 0, -EINVAL (malformed, or not carried), -ENETUNREACH (the source is not an address of ours).
    long error() const noexcept { return error_; }

private:
    long apply(Stack& stack, const cmsghdr& header) noexcept;
    long apply_ip(Stack& stack, const cmsghdr& header) noexcept;
    long use_source(Stack& stack, std::uint32_t address, unsigned interface_index) noexcept;

    UdpEndpoint& udp_;
    std::uint32_t local_address_;  // as they were
    UdpDestination flow_to_;
    std::uint16_t segment_bytes_;
    std::uint8_t tos_, ttl_;
    bool has_source_ = false;
    bool has_own_way_ = false;
    long error_ = 0;
};

// What MSG_FASTOPEN does (calls.cpp): opens the connection with as much of the message as the SYN may carry, `taken`, and waits as connect(2) does.
long connect_with_data(Guard& guard, Socket& socket, const msghdr& message, bool nonblocking, std::size_t& taken) noexcept;

// The last reference of `socket` goes, which no process's ledger has any more. With the lock held.
void drop_last_reference(Guard& guard, Socket& socket) noexcept;
bool drop_reference(Guard& guard, Socket& socket) noexcept;  // true: it was the last

// Keeps a description alive through a call that may sleep; another thread may close its last descriptor meanwhile.
class Hold {
public:
    Hold(Guard& guard, Socket& socket) noexcept : guard_(guard), socket_(socket) { hold(guard.layer(), socket); }
    ~Hold() { drop_reference(guard_, socket_); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

private:
    Guard& guard_;
    Socket& socket_;
};

}  // namespace shunt::socket
