// TCP_INFO, field by field. Counts of segments are made of bytes where the stack counts bytes.
#include "socket/tcp_info.hpp"

#include <linux/inet_diag.h>
#include <linux/tcp.h>

#include <algorithm>
#include <cstring>

#include "socket/guard.hpp"
#include "tcp/congestion.hpp"

namespace shunt::socket {
namespace {

using tcp::Connection;
using tcp::SendLimit;

// Linux 6.2 to 6.7 added these behind tcpi_snd_wnd.
struct TcpInfo {
    tcp_info base;
    std::uint32_t rcv_wnd;
    std::uint32_t rehash;
    std::uint16_t total_rto;
    std::uint16_t total_rto_recoveries;
    std::uint32_t total_rto_time;
};
constexpr std::size_t base_bytes = offsetof(tcp_info, tcpi_snd_wnd) + sizeof(tcp_info::tcpi_snd_wnd);
static_assert(sizeof(TcpInfo) <= tcp_info_bytes_max && sizeof(tcp_bbr_info) <= congestion_info_bytes_max);

// TCP_ESTABLISHED is 1, and so on: netinet/tcp.h's names, which cannot be included beside linux/tcp.h.
std::uint8_t state_of(const Socket& socket) noexcept {
    constexpr std::uint8_t closed = 7, listening = 10;
    constexpr std::uint8_t states[] = {closed, 2, 3, 1, 4, 5, 8, 11, 9, 6};
    if (socket.listener != nullptr) {
        return listening;
    }
    return socket.connection == nullptr ? closed : states[static_cast<std::size_t>(socket.connection->state)];
}

std::uint32_t to_us(Duration d) noexcept { return static_cast<std::uint32_t>(count_us(d)); }
std::uint32_t to_ms(Duration d) noexcept { return static_cast<std::uint32_t>(count_ms(d)); }
std::uint32_t segments(const Connection& c, std::uint32_t bytes) noexcept { return (bytes + c.mss - 1) / c.mss; }

void fill_options(const Connection& c, tcp_info& info) noexcept {
    info.tcpi_options = static_cast<std::uint8_t>((c.has_timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (c.has_sack ? TCPI_OPT_SACK : 0) | (c.has_wscale ? TCPI_OPT_WSCALE : 0) |
                                                  (c.has_ecn ? TCPI_OPT_ECN : 0) | (c.opening.data_accepted ? TCPI_OPT_SYN_DATA : 0));
    info.tcpi_fastopen_client_fail = static_cast<std::uint8_t>(c.opening.failure) & 3U;
    info.tcpi_snd_wscale = c.snd_wscale & 0xf;
    info.tcpi_rcv_wscale = c.rcv_wscale & 0xf;
}

void fill_sender(const Connection& c, tcp_info& info) noexcept {
    constexpr std::uint32_t unlimited = 0x7fff'ffff;
    constexpr std::uint32_t default_reordering = 3;
    info.tcpi_ca_state = static_cast<std::uint8_t>(c.recovery);  // in the kernel's order
    info.tcpi_retransmits = c.timeouts;
    info.tcpi_probes = static_cast<std::uint8_t>(c.probes);
    info.tcpi_backoff = c.backoff;
    info.tcpi_rto = to_us(c.rto);
    info.tcpi_snd_mss = c.mss;
    info.tcpi_unacked = segments(c, c.outstanding());
    info.tcpi_sacked = segments(c, c.sacked_out);
    info.tcpi_lost = segments(c, c.lost_out);
    info.tcpi_retrans = segments(c, c.retrans_out);
    info.tcpi_rtt = to_us(c.srtt);
    info.tcpi_rttvar = to_us(c.rttvar);
    info.tcpi_min_rtt = c.min_rtt == Duration{} ? ~0U : to_us(c.min_rtt);
    info.tcpi_snd_ssthresh = c.ssthresh == 0xffff'ffff ? unlimited : c.ssthresh / c.mss;
    info.tcpi_snd_cwnd = c.cwnd / c.mss;
    info.tcpi_reordering = default_reordering;  // RACK's window does what a threshold of duplicates did
    info.tcpi_notsent_bytes = c.unsent();
    info.tcpi_snd_wnd = c.snd_wnd;
}

// Where no model of the path says how fast to go, Linux shows what fq would pace with: two windows a round trip while they double, a fifth more than one later.
void fill_rates(const Connection& c, tcp_info& info) noexcept {
    const auto shown = [](double rate) { return rate == 0 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(rate); };
    double rate = c.pacing_rate;
    if (!tcp::congestion::is_model_based(c) && c.srtt != Duration{}) {
        const double windows = c.cwnd < c.ssthresh / 2 ? 2 : 1.2;
        const double natural = windows * 1e9 * std::max(c.cwnd, c.outstanding()) / static_cast<double>(c.srtt.count());
        rate = rate == 0 ? natural : std::min(rate, natural);
    }
    info.tcpi_pacing_rate = shown(rate);
    info.tcpi_max_pacing_rate = shown(c.options.max_pacing_rate);
    info.tcpi_delivery_rate = tcp::delivery_rate(c);
    info.tcpi_delivery_rate_app_limited = c.rate_is_app_limited ? 1 : 0;
}

void fill_receiver(const Connection& c, tcp_info& info) noexcept {
    constexpr std::uint32_t delayed_ack_us = 40'000;
    constexpr std::uint32_t headers = 40;
    info.tcpi_ato = delayed_ack_us;
    info.tcpi_rcv_mss = c.rcv_mss;
    info.tcpi_pmtu = c.path.mtu;
    info.tcpi_advmss = (c.path.link != nullptr ? c.path.link->port.mtu : std::uint32_t{c.path.mtu}) - headers;
    info.tcpi_rcv_ssthresh = c.rcvbuf;
    info.tcpi_rcv_rtt = to_us(c.srtt);
    info.tcpi_rcv_space = c.tune_space;
}

// Payload, without what was sent again. The sequence numbers say it exactly but wrap; the count of acknowledged bytes does not, but SYN and FIN are in it.
std::uint64_t bytes_first_sent(const Connection& c) noexcept {
    if (c.snd_nxt == c.iss) {
        return 0;
    }
    const std::uint32_t fin = c.fin_queued && c.snd_nxt == c.write_seq ? 1 : 0;
    const std::uint32_t sent = c.snd_nxt - (c.iss + 1) - fin;
    const std::uint64_t about = c.tally.bytes_acked + c.outstanding();
    return about - static_cast<std::uint64_t>(std::int64_t{static_cast<std::int32_t>(static_cast<std::uint32_t>(about) - sent)});
}

void fill_counts(const Connection& c, Time now, TcpInfo& all) noexcept {
    const tcp::Tally& tally = c.tally;
    tcp_info& info = all.base;
    const std::uint32_t syn_again = c.syn_tries > 1 ? c.syn_tries - 1U : 0;
    info.tcpi_total_retrans = static_cast<std::uint32_t>(c.retransmits) + syn_again;
    info.tcpi_last_data_sent = to_ms(now - c.last_sent_at);
    info.tcpi_last_data_recv = to_ms(now - tally.last_data_in);
    info.tcpi_last_ack_recv = to_ms(now - c.last_heard);
    info.tcpi_bytes_acked = tally.bytes_acked;
    info.tcpi_bytes_received = c.bytes_received + (c.fin_received ? 1 : 0);
    info.tcpi_bytes_sent = bytes_first_sent(c) + tally.bytes_retransmitted;
    info.tcpi_bytes_retrans = tally.bytes_retransmitted;
    info.tcpi_segs_in = tally.segments_in;
    info.tcpi_segs_out = tally.segments_out;
    info.tcpi_data_segs_in = tally.data_segments_in;
    info.tcpi_data_segs_out = tally.data_segments_out;
    info.tcpi_delivered = tally.delivered;
    info.tcpi_delivered_ce = tally.delivered_ce;
    info.tcpi_dsack_dups = tally.dsack_duplicates;
    info.tcpi_reord_seen = tally.reorderings;
    info.tcpi_rcv_ooopack = tally.out_of_order;
    const Duration window = tally.total(SendLimit::window, now), buffer = tally.total(SendLimit::buffer, now);
    info.tcpi_busy_time = static_cast<std::uint64_t>(count_us(tally.total(SendLimit::busy, now) + window + buffer));  // all three are a kind of busy
    info.tcpi_rwnd_limited = static_cast<std::uint64_t>(count_us(window));
    info.tcpi_sndbuf_limited = static_cast<std::uint64_t>(count_us(buffer));
    all.rcv_wnd = c.rcv_adv > c.rcv_nxt ? c.rcv_adv - c.rcv_nxt : 0;
}

}  // namespace

std::size_t fill_tcp_info(const Layer& layer, const Socket& socket, std::byte* to) noexcept {
    TcpInfo all{};
    all.base.tcpi_state = state_of(socket);
    if (const Connection* c = socket.connection) {
        fill_options(*c, all.base);
        fill_sender(*c, all.base);
        fill_rates(*c, all.base);
        fill_receiver(*c, all.base);
        fill_counts(*c, layer.now(), all);
    } else if (socket.listener != nullptr) {
        all.base.tcpi_unacked = socket.listener->queued;
        all.base.tcpi_sacked = socket.listener->backlog;
    }
    std::memcpy(to, &all.base, base_bytes);
    constexpr std::size_t tail = sizeof(TcpInfo) - offsetof(TcpInfo, rcv_wnd);
    std::memcpy(to + base_bytes, &all.rcv_wnd, tail);
    return base_bytes + tail;
}

CongestionControl congestion_of(const Layer& layer, const Socket& socket) noexcept {
    if (socket.connection != nullptr) {
        return socket.connection->cc.algorithm;
    }
    const CongestionControl asked = socket.options.congestion;
    return tcp::congestion::available(asked == CongestionControl::other ? layer.stack->tunables().tcp_congestion_control : asked);
}

std::size_t fill_congestion_info(const Layer& layer, const Socket& socket, std::byte* to) noexcept {
    if (congestion_of(layer, socket) != CongestionControl::bbr) {
        return 0;
    }
    tcp_bbr_info info{};
    if (const Connection* c = socket.connection; c != nullptr) {
        constexpr float unit = 256;
        const tcp::Bbr& b = c->cc.bbr;
        const auto bandwidth = static_cast<std::uint64_t>(b.bandwidth);
        const tcp::bbr::Gains gains = tcp::bbr::gains_of(*c);
        info.bbr_bw_lo = static_cast<std::uint32_t>(bandwidth);
        info.bbr_bw_hi = static_cast<std::uint32_t>(bandwidth >> 32);
        info.bbr_min_rtt = b.min_rtt_at == never ? ~0U : to_us(b.min_rtt);
        info.bbr_pacing_gain = static_cast<std::uint32_t>(gains.pacing * unit);
        info.bbr_cwnd_gain = static_cast<std::uint32_t>(gains.cwnd * unit);
    }
    std::memcpy(to, &info, sizeof info);
    return sizeof info;
}

}  // namespace shunt::socket
