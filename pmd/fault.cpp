// See fault.hpp. A frame's way: dropped or not, copied or not, corrupted or not, then through the delay, then held back or not.
#include "pmd/fault.hpp"

#include <algorithm>
#include <cmath>

#include "base/check.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/port.hpp"

namespace shunt::pmd {
namespace {

constexpr Duration hold_back_min = std::chrono::milliseconds(1), hold_back_spread = std::chrono::milliseconds(1);
constexpr std::uint32_t overtakers_max = 4;

// --- chance ---

bool happens(Random& random, double rate) noexcept {
    return rate > 0 && std::ldexp(static_cast<double>(random.next() >> 11), -53) < rate;
}

Duration up_to(Random& random, Duration span) noexcept {
    const auto choices = static_cast<std::uint64_t>(span.count()) + 1;
    return span <= Duration::zero() ? Duration::zero() : Duration(static_cast<std::int64_t>(random.next() % choices));
}

// --- frames ---

// Nobody else refers to any of its bytes.
bool is_ours_alone(const Packet& packet) noexcept {
    for (const rte_mbuf* segment = packet.mbuf(); segment != nullptr; segment = segment->next) {
        if (rte_mbuf_refcnt_read(segment) > 1 || !RTE_MBUF_DIRECT(segment)) {
            return false;
        }
    }
    return true;
}

// Null when the pool is exhausted. Offload requests and flags are copied, too.
Packet* copy(Port& port, const Packet& packet) noexcept {
    rte_mbuf* mbuf = rte_pktmbuf_copy(packet.mbuf(), static_cast<rte_mempool*>(port.pool), 0, UINT32_MAX);
    if (mbuf == nullptr) {
        return nullptr;
    }
    Packet* copied = Packet::from(mbuf);
    copied->meta() = packet.meta();
    copied->meta().next = nullptr;
    return copied;
}

// `packet` when it is ours alone, else a copy in its place; null, and `packet` untouched, when there is no memory for that.
Packet* own(Port& port, Packet* packet) noexcept {
    if (is_ours_alone(*packet)) {
        return packet;
    }
    Packet* copied = copy(port, *packet);
    if (copied != nullptr) {
        packet->free();
    }
    return copied;
}

bool is_ipv4(const Packet& packet) noexcept {
    const auto* ether = reinterpret_cast<const rte_ether_hdr*>(packet.data());
    return packet.first_size() >= sizeof(rte_ether_hdr) + sizeof(rte_ipv4_hdr) && ether->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4);
}

std::uint32_t l4_offset(const rte_mbuf& mbuf) noexcept {
    return static_cast<std::uint32_t>(mbuf.l2_len + mbuf.l3_len);
}

// Does what the port was asked to do, so that what is spoilt afterwards shows. Segmentation is not asked for: Port::spoil_with().
void fill_in_checksums(Packet& packet) noexcept {
    rte_mbuf* mbuf = packet.mbuf();
    const std::uint32_t l4 = l4_offset(*mbuf);
    const std::uint64_t kind = mbuf->ol_flags & RTE_MBUF_F_TX_L4_MASK;
    const std::uint32_t field = l4 + (kind == RTE_MBUF_F_TX_TCP_CKSUM ? 16U : 6U);
    std::uint16_t sum = 0;
    if (kind != 0 && field + sizeof sum <= packet.first_size() && rte_raw_cksum_mbuf(mbuf, l4, packet.size() - l4, &sum) == 0) {
        sum = static_cast<std::uint16_t>(~sum);
        sum = sum == 0 && kind == RTE_MBUF_F_TX_UDP_CKSUM ? std::uint16_t{0xffff} : sum;  // RFC 768: 0 means none
        std::memcpy(packet.data() + field, &sum, sizeof sum);
    }
    if ((mbuf->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
        auto* header = rte_pktmbuf_mtod_offset(mbuf, rte_ipv4_hdr*, mbuf->l2_len);
        header->hdr_checksum = 0;
        header->hdr_checksum = rte_ipv4_cksum(header);
    }
    mbuf->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
}

std::byte& byte_at(Packet& packet, std::uint32_t offset) noexcept {
    rte_mbuf* segment = packet.mbuf();
    for (; offset >= segment->data_len; segment = segment->next) {
        offset -= segment->data_len;
    }
    return *rte_pktmbuf_mtod_offset(segment, std::byte*, offset);
}

// Flips one or more bits of one byte: a change that the Internet checksum always shows, where it covers the byte.
void spoil(Random& random, Packet& packet) noexcept {
    rte_mbuf* mbuf = packet.mbuf();
    const std::uint32_t first = random.below(16) == 0 ? 0 : static_cast<std::uint32_t>(sizeof(rte_ether_hdr));
    fill_in_checksums(packet);
    byte_at(packet, first + random.below(packet.size() - first)) ^= std::byte(1 + random.below(255));
    // The port's opinion was of the frame before.
    mbuf->ol_flags &= ~(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);
}

// --- one direction ---

bool is_later(const FaultDirection::Delayed& a, const FaultDirection::Delayed& b) noexcept {
    return a.release != b.release ? a.release > b.release : a.order > b.order;
}

// One burst's way through the injector.
class Passage {
public:
    Passage(FaultInjector& faults, FaultDirection& direction, Port& port, Time now, std::span<Packet*> out) noexcept
        : counters_(faults.counters), options_(faults.options), direction_(direction), random_(direction.random), port_(port), now_(now), out_(out) {}

    std::uint16_t run(std::span<Packet* const> in) noexcept {
        to_come_ = in.size();
        for (Packet* packet : in) {
            --to_come_;
            enter(packet);
        }
        release_delayed();
        release_held_back();
        return static_cast<std::uint16_t>(filled_);
    }

private:
    // Each frame still to come must find room; the rest may be used for others.
    bool has_spare_room() const noexcept { return filled_ + to_come_ < out_.size(); }
    bool is_delayed() const noexcept { return options_.delay > Duration::zero() || options_.jitter > Duration::zero(); }

    void enter(Packet* packet) noexcept;
    void duplicate(Packet* twin) noexcept;
    void delay(Packet* packet) noexcept;
    void leave(Packet* packet) noexcept;
    void emit(Packet* packet) noexcept;
    bool hold_back(Packet* packet) noexcept;
    void count_overtaking() noexcept;
    void release_delayed() noexcept;
    void release_held_back() noexcept;
    void let_go(std::uint32_t index) noexcept;

    FaultCounters& counters_;
    const FaultOptions& options_;
    FaultDirection& direction_;
    Random& random_;
    Port& port_;
    Time now_;
    std::span<Packet*> out_;
    std::size_t filled_ = 0;
    std::size_t to_come_ = 0;  // frames of the burst behind the present one
};

void Passage::enter(Packet* packet) noexcept {
    if (happens(random_, options_.drop)) {
        ++counters_.dropped;
        return packet->free();
    }
    Packet* twin = happens(random_, options_.duplicate) ? copy(port_, *packet) : nullptr;
    if (happens(random_, options_.corrupt) && is_ipv4(*packet)) {
        if (Packet* ours = own(port_, packet); ours != nullptr) {
            packet = ours;
            spoil(random_, *packet);
            ++counters_.corrupted;
        }
    }
    is_delayed() ? delay(packet) : leave(packet);
    if (twin != nullptr) {
        duplicate(twin);
    }
}

void Passage::duplicate(Packet* twin) noexcept {
    if (!is_delayed() && !has_spare_room()) {
        return twin->free();
    }
    ++counters_.duplicated;
    is_delayed() ? delay(twin) : leave(twin);
}

void Passage::delay(Packet* packet) noexcept {
    const Time release = saturating_add(now_, options_.delay + up_to(random_, options_.jitter));
    Packet* ours = own(port_, packet);
    if (ours == nullptr) {
        return leave(packet);
    }
    if (direction_.delayed_count == FaultDirection::delayed_max) {
        ++counters_.overflowed;
        return ours->free();
    }
    direction_.delayed[direction_.delayed_count++] = {ours, release, direction_.order++};
    std::push_heap(direction_.delayed.begin(), direction_.delayed.begin() + direction_.delayed_count, is_later);
    ++counters_.delayed;
}

// The frame goes out, unless it is held back.
void Passage::leave(Packet* packet) noexcept {
    if (!happens(random_, options_.reorder) || !hold_back(packet)) {
        emit(packet);
        count_overtaking();
    }
}

void Passage::emit(Packet* packet) noexcept {
    if (filled_ == out_.size()) {  // a caller who gave less room than frames
        ++counters_.overflowed;
        return packet->free();
    }
    out_[filled_++] = packet;
}

bool Passage::hold_back(Packet* packet) noexcept {
    if (direction_.held_back_count == FaultDirection::held_back_max) {
        return false;
    }
    Packet* ours = own(port_, packet);
    if (ours == nullptr) {
        return false;
    }
    const Time release = saturating_add(now_, hold_back_min + up_to(random_, hold_back_spread));
    direction_.held_back[direction_.held_back_count++] = {ours, release, 1 + random_.below(overtakers_max)};
    ++counters_.reordered;
    return true;
}

// A frame went by: those held back that have seen their number of frames pass follow it.
void Passage::count_overtaking() noexcept {
    for (std::uint32_t i = 0; i < direction_.held_back_count;) {
        std::uint32_t& to_pass = direction_.held_back[i].to_pass;
        to_pass -= to_pass != 0 ? 1 : 0;
        to_pass == 0 && has_spare_room() ? let_go(i) : static_cast<void>(++i);
    }
}

void Passage::release_delayed() noexcept {
    auto& delayed = direction_.delayed;
    while (direction_.delayed_count != 0 && delayed.front().release <= now_ && has_spare_room()) {
        std::pop_heap(delayed.begin(), delayed.begin() + direction_.delayed_count, is_later);
        leave(delayed[--direction_.delayed_count].packet);
    }
}

void Passage::release_held_back() noexcept {
    for (std::uint32_t i = 0; i < direction_.held_back_count && has_spare_room();) {
        const auto& held = direction_.held_back[i];
        held.to_pass == 0 || held.release <= now_ ? let_go(i) : static_cast<void>(++i);
    }
}

void Passage::let_go(std::uint32_t index) noexcept {
    auto& held_back = direction_.held_back;
    emit(held_back[index].packet);
    std::copy(held_back.begin() + index + 1, held_back.begin() + direction_.held_back_count, held_back.begin() + index);
    --direction_.held_back_count;
}

bool acts_on(const FaultInjector& faults, FaultSide side) noexcept {
    return (static_cast<unsigned>(faults.options.side) & static_cast<unsigned>(side)) != 0;
}

Time next_release(const FaultDirection& direction) noexcept {
    Time next = direction.delayed_count == 0 ? never : direction.delayed.front().release;
    for (std::uint32_t i = 0; i < direction.held_back_count; ++i) {
        const auto& held = direction.held_back[i];
        next = std::min(next, held.to_pass == 0 ? Time{} : held.release);  // overtaken already: only room lacked
    }
    return next;
}

void discard(FaultDirection& direction) noexcept {
    for (std::uint32_t i = 0; i < direction.delayed_count; ++i) {
        direction.delayed[i].packet->free();
    }
    for (std::uint32_t i = 0; i < direction.held_back_count; ++i) {
        direction.held_back[i].packet->free();
    }
    direction.delayed_count = direction.held_back_count = 0;
}

// Another sequence for each direction, so that what is received does not change what happens to what is sent.
Random seeded(std::uint64_t seed, FaultSide side) noexcept {
    const std::uint64_t words[] = {seed};
    return Random(siphash({static_cast<std::uint64_t>(side), 0}, words));
}

}  // namespace

FaultInjector::FaultInjector(const FaultOptions& fault_options) noexcept
    : options(fault_options), rx(seeded(fault_options.seed, FaultSide::rx)), tx(seeded(fault_options.seed, FaultSide::tx)) {}

std::uint16_t filter_rx(FaultInjector& faults, Port& port, Time now, std::span<Packet*> packets, std::uint16_t count) noexcept {
    if (!acts_on(faults, FaultSide::rx)) {
        return count;
    }
    SHUNT_CHECK(count <= filter_rx_max && count <= packets.size());
    std::array<Packet*, filter_rx_max> in;
    std::copy_n(packets.begin(), count, in.begin());
    return Passage(faults, faults.rx, port, now, packets).run(std::span(in).first(count));
}

std::uint16_t filter_tx(FaultInjector& faults, Port& port, Time now, std::span<Packet*> in, std::span<Packet*> out) noexcept {
    if (!acts_on(faults, FaultSide::tx)) {
        const std::size_t count = std::min(in.size(), out.size());
        std::copy_n(in.begin(), count, out.begin());
        std::ranges::for_each(in.subspan(count), &Packet::free);
        return static_cast<std::uint16_t>(count);
    }
    return Passage(faults, faults.tx, port, now, out).run(in);
}

Time next_deadline(const FaultInjector& faults) noexcept {
    return std::min(next_release(faults.rx), next_release(faults.tx));
}

void discard_held(FaultInjector& faults) noexcept {
    discard(faults.rx);
    discard(faults.tx);
}

}  // namespace shunt::pmd
