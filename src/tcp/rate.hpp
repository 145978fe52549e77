// Pacing, and how fast data arrive at the peer (draft-ietf-ccwg-bbr, 4.1.1; Linux's tcp_rate): each segment remembers how much had been delivered, and when, as it was
// sent; the ACK that delivers it says how much has been since, and in what time. Times are in ticks of 1.024 us, which wrap after 73 minutes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tcp/connection.hpp"

namespace shunt::tcp {

inline std::uint32_t rate_ticks(Time t) noexcept { return static_cast<std::uint32_t>(t.time_since_epoch().count() >> 10); }
inline constexpr Duration rate_duration(std::uint32_t ticks) noexcept { return Duration(std::int64_t{ticks} << 10); }
inline constexpr float rate_ticks_per_second = 1e9F / 1024;

// What one ACK tells congestion control.
struct RateSample {
    std::uint32_t prior_delivered = 0;   // the connection's count when the newest of what was delivered was sent
    std::uint32_t prior_delivered_at = 0;
    std::uint32_t send_ticks = 0;        // between the sending of that and of what had been delivered then
    bool exists = false;                 // something was delivered
    bool is_app_limited = false;
    std::uint32_t ticks = 0;             // 0: no rate
    std::uint32_t delivered = 0;         // bytes in these ticks
    std::uint32_t acked = 0;             // bytes that this ACK delivered
    std::uint32_t lost = 0;              // bytes that it showed to be lost
    std::uint32_t prior_in_flight = 0;   // before it
    Duration rtt{-1};                    // negative: none
    float bytes_per_second() const noexcept { return static_cast<float>(delivered) * rate_ticks_per_second / static_cast<float>(ticks); }
};

// Pacing: how long a segment takes at the connection's rate. Timers are late by up to a tick and programs by more, so a burst may make up for that.
inline constexpr Duration pacing_burst = std::chrono::milliseconds(1);
inline Duration pacing_time(const Connection& c, std::uint32_t bytes) noexcept {
    return Duration(static_cast<std::int64_t>(static_cast<float>(bytes) / c.pacing_rate * 1e9F));
}

// A segment goes out. `starts_flight`: nothing else is under way.
inline void rate_on_send(Connection& c, PacketMeta& meta, bool starts_flight, Time now) noexcept {
    if (starts_flight) {
        c.delivered_at = c.flight_began_at = rate_ticks(now);
    }
    meta.delivered = static_cast<std::uint32_t>(c.delivered);
    meta.delivered_at = c.delivered_at;
    meta.flight_began_at = c.flight_began_at;
    meta.flags = static_cast<std::uint16_t>(c.is_app_limited ? meta.flags | segment_flag::app_limited : meta.flags & ~segment_flag::app_limited);
}

// It has arrived: the most recently sent of an ACK's segments makes the sample.
inline void rate_on_delivery(Connection& c, const PacketMeta& meta, RateSample& sample) noexcept {
    if (sample.exists && static_cast<std::int32_t>(meta.delivered - sample.prior_delivered) < 0) {
        return;
    }
    const std::uint32_t sent_at = rate_ticks(Time{Duration(meta.stamp_ns)});
    sample.exists = true;
    sample.prior_delivered = meta.delivered;
    sample.prior_delivered_at = meta.delivered_at;
    sample.send_ticks = sent_at - meta.flight_began_at;
    sample.is_app_limited = (meta.flags & segment_flag::app_limited) != 0;
    c.flight_began_at = sent_at;
}

// The ACK is through. A rate over less than the shortest round trip is none: the segment was taken for lost and was not.
inline void rate_on_ack(Connection& c, RateSample& sample, Time now) noexcept {
    const auto delivered = static_cast<std::uint32_t>(c.delivered);
    if (c.is_app_limited && static_cast<std::int32_t>(delivered - c.app_limited_until) > 0) {
        c.is_app_limited = false;
    }
    if (!sample.exists) {
        return;
    }
    c.delivered_at = rate_ticks(now);
    sample.delivered = delivered - sample.prior_delivered;
    sample.ticks = std::max(sample.send_ticks, c.delivered_at - sample.prior_delivered_at);
    if (std::int64_t{sample.ticks} * 1024 + 1024 < c.min_rtt.count()) {
        sample.ticks = 0;
        return;
    }
    sample.ticks = std::max(sample.ticks, 1U);
    if (!sample.is_app_limited || std::uint64_t{sample.delivered} * c.rate_ticks >= std::uint64_t{c.rate_delivered} * sample.ticks) {
        c.rate_delivered = sample.delivered;
        c.rate_ticks = sample.ticks;
        c.rate_is_app_limited = sample.is_app_limited;
    }
}

// The newest sample that counts, in bytes a second; 0: none yet.
inline std::uint64_t delivery_rate(const Connection& c) noexcept {
    return c.rate_ticks == 0 ? 0 : static_cast<std::uint64_t>(double{rate_ticks_per_second} * c.rate_delivered / c.rate_ticks);
}

// The program, not the network, sets the pace: what is sent until all that is under way now has arrived says nothing of the network.
inline void rate_on_app_limited(Connection& c) noexcept {
    c.is_app_limited = true;
    c.app_limited_until = static_cast<std::uint32_t>(c.delivered) + c.pipe();
}

// A program writes: had all that it gave before been sent, with room for more? (As Linux, before the write.)
inline void rate_on_write(Connection& c) noexcept {
    if (c.unsent() < c.mss && c.pipe() < c.cwnd && c.lost_out <= c.retrans_out) {
        rate_on_app_limited(c);
    }
}

}  // namespace shunt::tcp
