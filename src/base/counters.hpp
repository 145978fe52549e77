// Every event worth counting has a name here. A packet that is dropped is counted under exactly one drop reason,
// and each reason has a test.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace shunt {

// X(name, sentence)
#define SHUNT_DROP_REASONS(X)                                                     \
    X(ethernet_short, "frame shorter than an Ethernet header")                    \
    X(ethernet_not_for_us, "frame to another station's MAC address")              \
    X(ethernet_unknown_type, "EtherType that is neither IPv4 nor ARP")            \
    X(arp_malformed, "ARP packet with impossible lengths or addresses")           \
    X(ip_malformed, "IPv4 header short, of another version, or length beyond the frame") \
    X(ip_bad_checksum, "IPv4 header checksum wrong")                              \
    X(ip_not_for_us, "IPv4 destination is not an address of ours")                \
    X(ip_bad_source, "IPv4 source is broadcast, multicast or our own")            \
    X(ip_source_route, "IPv4 packet whose sender chose the route (RFC 7126)")      \
    X(ip_unknown_protocol, "IPv4 protocol that is not ICMP, TCP or UDP")          \
    X(ip_fragment_failed, "fragment that could not be reassembled")               \
    X(icmp_malformed, "ICMP message short or with a wrong checksum")              \
    X(icmp_ignored, "ICMP message of a type that we do not act on")               \
    X(udp_malformed, "UDP header short or length beyond the packet")              \
    X(udp_bad_checksum, "UDP checksum wrong")                                     \
    X(udp_no_socket, "UDP datagram to a port nobody listens on")                  \
    X(udp_queue_full, "UDP datagram beyond the socket's receive buffer")          \
    X(tcp_malformed, "TCP header short or data offset wrong")                     \
    X(tcp_bad_checksum, "TCP checksum wrong")                                     \
    X(tcp_no_connection, "TCP segment without a connection (answered by RST)")    \
    X(tcp_paws, "segment with an old timestamp (RFC 7323, 5)")                    \
    X(tcp_out_of_window, "segment outside the receive window")                    \
    X(tcp_bad_ack, "ACK of what was never sent or long ago (RFC 5961, 5)")        \
    X(tcp_bad_reset, "RST that is not at rcv_nxt (RFC 5961, 3)")                  \
    X(tcp_no_ack_bit, "segment without ACK in a synchronized state")              \
    X(tcp_backlog_full, "SYN or final ACK beyond the listener's backlog")         \
    X(tcp_no_memory, "no free connection for a SYN")                              \
    X(tcp_after_close, "data for a connection whose program has closed")          \
    X(tcp_duplicate, "segment whose data had all arrived before")                 \
    X(tcp_queue_full, "out-of-order data beyond the receive buffer")              \
    X(tcp_packets_exhausted, "data behind others that the program has not read, while packets are nearly used up") \
    X(tcp_out_of_order_full, "out-of-order data beyond the stack's share of packets") \
    X(neighbour_failed, "packet whose next hop did not answer ARP")               \
    X(neighbour_queue_full, "packet beyond the queue of an unresolved next hop")  \
    X(no_route, "packet to a destination without a route")                        \
    X(packet_pool_empty, "no packet to be had from the pool")

// X(name, sentence)
#define SHUNT_EVENTS(X)                                                          \
    X(rx_packets, "frames received")                                              \
    X(tx_packets, "frames sent")                                                  \
    X(polls, "polls of the ports")                                                \
    X(keeper_polls, "polls made by the keeper")                                   \
    X(arp_requests, "ARP requests sent")                                          \
    X(icmp_echo_replies, "pings answered")                                        \
    X(icmp_errors_sent, "ICMP errors sent")                                       \
    X(icmp_errors_received, "ICMP errors handed to a socket")                     \
    X(udp_received, "datagrams received")                                         \
    X(udp_sent, "datagrams sent")                                                 \
    X(tcp_active_opens, "connections opened by connect")                          \
    X(tcp_passive_opens, "connections accepted by a listener")                    \
    X(tcp_fast_opens, "connections opened by a SYN with a good cookie (RFC 7413)")  \
    X(tcp_fast_open_bad_cookies, "SYNs with a Fast Open cookie that is not ours")  \
    X(tcp_fast_open_overflows, "SYNs with Fast Open beyond the listener's TCP_FASTOPEN")  \
    X(tcp_fast_open_successes, "connections whose SYN's data the peer took")      \
    X(tcp_fast_open_failures, "connections whose SYN's data had to be sent again") \
    X(tcp_fast_open_black_holes, "times that Fast Open was paused after time-outs (RFC 7413, 7.1)") \
    X(tcp_syn_cookies_sent, "SYNs answered with a cookie (RFC 4987)")              \
    X(tcp_syn_cookies_accepted, "connections opened by an ACK with a cookie")      \
    X(tcp_syn_cookies_failed, "ACKs whose cookie was wrong or too old")            \
    X(tcp_deferred_acks, "last ACKs without data that TCP_DEFER_ACCEPT passed over") \
    X(tcp_time_wait_overflows, "TIME_WAITs cut short, beyond tcp_max_tw_buckets")  \
    X(tcp_segments_received, "TCP segments received")                             \
    X(tcp_segments_sent, "TCP segments sent")                                     \
    X(memory_shortages, "times that packets ran short: buffers and windows stay small then") \
    X(tcp_large_frames, "frames handed to the port to be cut into segments (TSO)")  \
    X(tcp_coalesced, "TCP segments received that were answered together with the next")  \
    X(tcp_retransmits, "TCP segments sent again")                                 \
    X(tcp_timeouts, "retransmission time-outs")                                   \
    X(tcp_fast_recoveries, "recoveries entered by duplicate ACKs or SACK")        \
    X(tcp_tail_loss_probes, "tail loss probes sent (RFC 8985, 7)")                \
    X(tcp_ecn_marks, "data segments received with a congestion mark (RFC 3168)")  \
    X(tcp_ecn_reductions, "windows reduced because the peer saw a mark")          \
    X(tcp_undo, "recoveries found spurious and undone")                           \
    X(tcp_spurious_timeouts, "time-outs found needless by F-RTO (RFC 5682)")      \
    X(tcp_probe_recoveries, "losses repaired by a tail loss probe (RFC 8985, 7.4)") \
    X(tcp_reneging, "peers that threw away what they had SACKed")                 \
    X(tcp_out_of_order, "segments queued out of order")                           \
    X(tcp_resets_sent, "RST sent")                                                \
    X(tcp_resets_received, "RST accepted")                                        \
    X(tcp_challenge_acks, "challenge ACKs sent (RFC 5961)")                       \
    X(tcp_mtu_probes, "segments sent to find the path's MTU (RFC 4821)")           \
    X(tcp_zero_window_probes, "zero-window probes sent")                          \
    X(tcp_keepalives, "keep-alive probes sent")                                   \
    X(tcp_rx_collapsed, "small segments copied together to save packets")         \
    X(holders_died, "processes that died while they changed the stack")           \
    X(tcp_lost_by_death, "connections reset because such a process may have left them half changed")

enum class DropReason : std::uint8_t {
#define SHUNT_NAME(name, sentence) name,
    SHUNT_DROP_REASONS(SHUNT_NAME)
#undef SHUNT_NAME
        count_
};

enum class Event : std::uint8_t {
#define SHUNT_NAME(name, sentence) name,
    SHUNT_EVENTS(SHUNT_NAME)
#undef SHUNT_NAME
        count_
};

struct Counters {
    std::array<std::uint64_t, static_cast<std::size_t>(DropReason::count_)> drops{};
    std::array<std::uint64_t, static_cast<std::size_t>(Event::count_)> events{};

    void count(DropReason reason) noexcept { ++drops[static_cast<std::size_t>(reason)]; }
    void count(Event event, std::uint64_t n = 1) noexcept { events[static_cast<std::size_t>(event)] += n; }
    std::uint64_t of(DropReason reason) const noexcept { return drops[static_cast<std::size_t>(reason)]; }
    std::uint64_t of(Event event) const noexcept { return events[static_cast<std::size_t>(event)]; }
};

std::string_view name_of(DropReason reason) noexcept;
std::string_view name_of(Event event) noexcept;

}  // namespace shunt
