#include "simulator/wire.hpp"

#include <algorithm>

namespace shunt::simulator {
namespace {

constexpr Duration burst_pause = std::chrono::milliseconds(10);

}  // namespace

bool Wire::happens(double share) noexcept {
    return share > 0 && static_cast<double>(random_.next() >> 11) * 0x1p-53 < share;
}

bool Wire::is_lost(Time now) noexcept {
    if (spec.burst > 0) {
        in_burst_ = in_burst_ && now - burst_seen_ < burst_pause ? !happens(1 / spec.burst_frames) : happens(spec.burst);
        if (in_burst_) {
            burst_seen_ = now;
            return true;
        }
    }
    return happens(spec.loss);
}

Wire::Fate Wire::carry(std::size_t bytes, Time now) noexcept {
    ++counters.frames;
    Time sent = now;
    if (spec.rate_bps != 0) {
        const Time start = std::max(now, free_at_);
        const auto waiting = static_cast<std::uint64_t>((start - now).count()) * spec.rate_bps / 8'000'000'000U;
        if (spec.buffer_bytes != 0 && waiting + bytes > spec.buffer_bytes) {
            ++counters.overflowed;
            return {};
        }
        free_at_ = sent = start + Duration(static_cast<std::int64_t>(bytes * 8'000'000'000U / spec.rate_bps));
    }
    if (is_lost(now)) {
        ++counters.lost;
        return {};
    }
    counters.bytes += bytes;
    Fate fate;
    Copy& copy = fate.copies[fate.count++];
    copy.arrives = sent + spec.delay;
    if (spec.jitter > Duration{}) {
        copy.arrives += Duration(random_.below(static_cast<std::uint32_t>(spec.jitter.count())));
    }
    if (happens(spec.reorder)) {
        ++counters.reordered;
        copy.arrives += spec.reorder_by;
    } else {
        last_arrival_ = copy.arrives = std::max(copy.arrives, last_arrival_);
    }
    if (happens(spec.duplicate)) {
        ++counters.duplicated;
        fate.copies[fate.count++] = {copy.arrives + std::chrono::microseconds(10), false};
    }
    if (happens(spec.corrupt)) {
        ++counters.corrupted;
        copy.is_corrupt = true;
    }
    return fate;
}

}  // namespace shunt::simulator
