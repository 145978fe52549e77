// What TCP_INFO tells of a connection's past: counts, and how long what kept it from sending (RFC 4898's names in Linux's words).
#pragma once

#include <array>
#include <cstdint>

#include "base/time.hpp"

namespace shunt::tcp {

// What the sender waits for, the later the stronger: it has data under way; the peer's window; a program whose buffer is too small.
enum class SendLimit : std::uint8_t { none, busy, window, buffer };

struct Tally {
    std::uint64_t bytes_acked = 0;        // SYN and FIN count, as Linux's
    std::uint64_t bytes_retransmitted = 0;
    std::uint32_t segments_in = 0, segments_out = 0;
    std::uint32_t data_segments_in = 0, data_segments_out = 0;
    std::uint32_t delivered = 1;          // segments; the SYN is one
    std::uint32_t delivered_ce = 0;       // of them marked (RFC 3168)
    std::uint32_t dsack_duplicates = 0;   // segments that the peer says came twice
    std::uint32_t reorderings = 0;
    std::uint32_t out_of_order = 0;       // segments queued behind a hole
    SendLimit limit = SendLimit::none;
    Time limit_since{};
    std::array<Duration, 3> limited{};    // busy, window, buffer; without what `limit` has lasted
    Time last_data_in{};

    // `stronger`: only a stronger limit takes the place of the one that is.
    void begin(SendLimit stronger, Time now) noexcept {
        if (stronger > limit) {
            change(stronger, now);
        }
    }
    // It is over; what is left is being busy.
    void end(SendLimit over, Time now) noexcept {
        if (limit == over) {
            change(SendLimit::busy, now);
        }
    }
    // All is acknowledged, or given up.
    void rest(Time now) noexcept { change(SendLimit::none, now); }
    Duration total(SendLimit of, Time now) const noexcept {
        return limited[static_cast<std::size_t>(of) - 1] + (of == limit ? now - limit_since : Duration{});
    }

private:
    void change(SendLimit to, Time now) noexcept {
        if (limit != SendLimit::none) {
            limited[static_cast<std::size_t>(limit) - 1] += now - limit_since;
        }
        limit = to;
        limit_since = now;
    }
};

}  // namespace shunt::tcp
