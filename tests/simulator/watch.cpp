#include "simulator/watch.hpp"

#include <fmt/core.h>

namespace shunt::simulator {
namespace {

using tcp::Connection;
using tcp::State;

constexpr Duration longest_wait = 121s;  // no retransmission or probe is later than Linux's TCP_RTO_MAX
constexpr std::uint32_t delayed_segments = 2;

void require(bool holds, const Connection& c, std::string_view rule) {
    if (!holds) {
        throw Violation(fmt::format("{}\n    {}", rule, describe(c)));
    }
}

void check_sender(const Connection& c) {
    require(c.cwnd >= c.mss, c, "the congestion window is smaller than a segment");
    require(c.ssthresh >= c.mss, c, "ssthresh is smaller than a segment");
    require(c.sacked_out + c.lost_out <= c.outstanding() && c.retrans_out <= c.outstanding(), c, "more is SACKed, lost or sent again than is under way");
    require((c.send_head == nullptr) == (c.snd_nxt == c.write_seq), c, "send_head and snd_nxt disagree");
    const bool has_only_syn_out = c.snd_una == c.iss && c.snd_nxt == c.iss + 1;  // it stands in no packet of the queue
    require((c.last_sent == nullptr) == (c.snd_nxt == c.snd_una || has_only_syn_out) || c.snd_queue.is_empty(), c, "last_sent and snd_una disagree");
    require(c.send_head == nullptr || tcp::seq_of(*c.send_head) == c.snd_nxt, c, "the first unsent packet is not at snd_nxt");
}

void check_receiver(const Connection& c) {
    std::uint32_t bytes = 0, packets = 0;
    Seq at = c.rcv_nxt;
    for (Packet* packet = c.ooo_queue.front(); packet != nullptr; packet = packet->meta().next) {
        const Seq seq(packet->meta().seq);
        require(seq >= at && (packets != 0 || seq > c.rcv_nxt), c, "the out-of-order queue is not in order, or begins at rcv_nxt");
        require(packet->size() != 0 || (packet->meta().flags & tcp::segment_flag::fin) != 0, c, "an empty packet waits out of order");
        at = seq + packet->size();
        bytes += packet->size();
        ++packets;
    }
    require(bytes == c.ooo_bytes && packets == c.ooo_packets, c, "the out-of-order queue is miscounted");
    require(at <= later(c.rcv_adv, c.rcv_nxt), c, "data beyond the window were kept");
    require(c.fin_received ? c.ooo_queue.is_empty() : true, c, "data behind the FIN are kept");
    packets = 0;
    for (Packet* packet = c.rcv_queue.front(); packet != nullptr; packet = packet->meta().next) {
        ++packets;
    }
    require(packets == c.rcv_packets, c, "received packets are miscounted");
}

void check_timers(const Connection& c, Time now) {
    const bool opens = c.state == State::syn_sent || c.state == State::syn_received;
    const bool waits = opens || c.outstanding() != 0 || (c.send_head != nullptr && !c.options.cork);
    if (waits || c.state == State::time_wait) {
        require(c.timer.is_armed && c.timer.deadline <= now + longest_wait, c, "something is under way, but no timer runs");
    }
    if (c.delack_at != never) {
        require(c.timer.is_armed && c.timer.deadline <= c.delack_at, c, "a delayed ACK has no timer");
    }
    if (c.is_synchronized() && c.state != State::time_wait) {
        require(!c.ack_now, c, "an ACK that was due has not been sent");
        require(c.rcv_nxt - c.last_ack_sent <= delayed_segments * std::uint32_t{c.rcv_mss}, c, "more than two segments are unacknowledged (RFC 9293, 3.8.6.3)");
        require(c.delack_at != never || c.last_ack_sent == c.rcv_nxt, c, "data are unacknowledged, and no ACK is planned");
    }
}

}  // namespace

std::string describe(const Connection& c) {
    return fmt::format("{}:{} > {}:{} state {} recovery {} snd_una +{} snd_nxt +{} write_seq +{} snd_wnd {} cwnd {} ssthresh {} mss {} sacked {} lost {} resent {} rcv_nxt +{} "
                       "rcv_adv +{} last_ack +{} rcv_queued {} ooo {}/{} rcvbuf {} retransmit {} backoff {} error {} owner {}",
                       test::name_of_address(c.local_address), c.local_port, test::name_of_address(c.remote_address), c.remote_port, static_cast<int>(c.state),
                       static_cast<int>(c.recovery), c.snd_una - c.iss, c.snd_nxt - c.iss, c.write_seq - c.iss, c.snd_wnd, c.cwnd, c.ssthresh, c.mss, c.sacked_out, c.lost_out,
                       c.retrans_out, c.rcv_nxt - c.irs, c.rcv_adv - c.irs, c.last_ack_sent - c.irs, c.rcv_queued, c.ooo_packets, c.ooo_bytes, c.rcvbuf,
                       static_cast<int>(c.retransmit_kind), c.backoff, c.error, c.owner != nullptr);
}

void check_connection(const Connection& c, Time now) {
    require(c.is_valid(), c, "is_valid() is false");
    if (c.state == State::closed) {
        return;
    }
    check_timers(c, now);
    if (c.is_synchronized() && c.state != State::time_wait) {
        check_sender(c);
        check_receiver(c);
    }
}

void Watch::check(Station& station, Time now) {
    std::uint32_t found = 0, waiting = 0;
    station.tcp().for_each_connection([&](const Connection& c) {
        ++found;
        waiting += c.state == State::time_wait;
        check_connection(c, now);
        Seen& seen = seen_[{&station, &c}];
        if (seen.iss != c.iss || seen.irs != c.irs) {
            seen = {c.iss, c.irs, c.snd_una, c.rcv_nxt, c.rcv_adv};
        }
        require(seen.snd_una <= c.snd_una && seen.rcv_nxt <= c.rcv_nxt, c, "snd_una or rcv_nxt moved back");
        require(seen.rcv_adv <= c.rcv_adv, c, "the window shrank");
        seen = {c.iss, c.irs, c.snd_una, c.rcv_nxt, c.rcv_adv};
    });
    if (waiting != station.tcp().time_wait_count() || found > station.tcp().connections_used()) {
        throw Violation(fmt::format("{} connections, {} in TIME_WAIT; the books say {} and {}", found, waiting, station.tcp().connections_used(), station.tcp().time_wait_count()));
    }
    if (!station.stack().is_valid()) {
        throw Violation("the timer wheel is not valid");
    }
}

void Watch::on_sent(const Bytes& frame) {
    const test::Frame sent = test::decode(frame);
    if (!sent.is_tcp()) {
        return;
    }
    if (!sent.has_good_checksums) {
        throw Violation("a segment was sent with a wrong checksum");
    }
    if (!sent.has(test::flag::ack) && !sent.has(test::flag::syn)) {
        return;
    }
    const Flow flow{sent.source, sent.source_port, sent.destination, sent.destination_port};
    if (sent.has(test::flag::syn)) {
        edges_[flow] = {Seq(sent.ack) + sent.window, sent.options.wscale >= 0 ? static_cast<std::uint8_t>(sent.options.wscale) : std::uint8_t{0}, sent.options.wscale >= 0, sent.has(test::flag::ack)};
        return;
    }
    if (sent.has(test::flag::rst)) {
        return;
    }
    const auto ours = edges_.find(flow), theirs = edges_.find({sent.destination, sent.destination_port, sent.source, sent.source_port});
    if (ours == edges_.end() || theirs == edges_.end()) {
        return;
    }
    Edge& edge = ours->second;
    const bool scales = edge.has_scale_option && theirs->second.has_scale_option;
    const Seq right = Seq(sent.ack) + (std::uint32_t{sent.window} << (scales ? edge.scale : 0));
    if (edge.is_known && right < edge.right) {
        throw Violation(fmt::format("{}:{} took back {} bytes of the window it had promised to {}:{}", test::name_of_address(sent.source), sent.source_port, edge.right - right,
                                    test::name_of_address(sent.destination), sent.destination_port));
    }
    edge.right = right;
    edge.is_known = true;
}

void Watch::forget(const Station& station) {
    std::erase_if(seen_, [&](const auto& each) { return each.first.first == &station; });
    std::erase_if(edges_, [&](const auto& each) { return std::get<0>(each.first) == station.address() || std::get<2>(each.first) == station.address(); });
}

}  // namespace shunt::simulator
