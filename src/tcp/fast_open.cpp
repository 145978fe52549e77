// TCP Fast Open (RFC 7413), both sides, as Linux does it. A server: may this SYN open a connection at once, and which cookie goes into the answer. A
// client: what the SYN carries, and what the SYN-ACK teaches. Black holes: RFC 7413, 7.1, with Linux's back-off.
#include "tcp/fast_open.hpp"

#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/rate.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr Duration reset_counts_for = std::chrono::seconds(60);
constexpr std::uint16_t options_max = 40;  // left free in a SYN with data, for options that others put in

}  // namespace

FastOpenCookie make_fast_open_cookie(SecretKey key, std::uint32_t client, std::uint32_t server) noexcept {
    const std::uint64_t words[] = {static_cast<std::uint64_t>(__builtin_bswap32(server)) << 32 | __builtin_bswap32(client)};
    const std::uint64_t hash = siphash(key, words);
    FastOpenCookie cookie{.size = sizeof hash};
    std::memcpy(cookie.bytes.data(), &hash, sizeof hash);
    return cookie;
}

FastOpenCache::Entry* FastOpenCache::set_of(std::uint32_t local, std::uint32_t remote) const noexcept {
    const std::uint64_t words[] = {static_cast<std::uint64_t>(local) << 32 | remote};
    return entries_ + siphash(key_, words) % sets * ways;
}

const FastOpenCache::Entry* FastOpenCache::find(std::uint32_t local, std::uint32_t remote) const noexcept {
    const Entry* set = set_of(local, remote);
    const Entry* found = std::find_if(set, set + ways, [&](const Entry& each) { return each.remote == remote && each.local == local; });
    return found != set + ways ? found : nullptr;
}

// It moves to the front of its set; who falls out at the end is forgotten.
FastOpenCache::Entry& FastOpenCache::find_or_make(std::uint32_t local, std::uint32_t remote) noexcept {
    Entry* set = set_of(local, remote);
    Entry* found = std::find_if(set, set + ways, [&](const Entry& each) { return each.remote == remote && each.local == local; });
    if (found == set + ways) {
        found = set + ways - 1;
        *found = Entry{.local = local, .remote = remote};
    }
    std::rotate(set, found, found + 1);
    return *set;
}

// ---------------------------------------------------------------- server

const FastOpenKeys& Tcp::fast_open_keys(const Listener& listener) const noexcept {
    if (listener.fast_open_keys.count != 0) {
        return listener.fast_open_keys;
    }
    return context_.tunables.tcp_fastopen_key.count != 0 ? context_.tunables.tcp_fastopen_key : own_fast_open_keys_;
}

// RFC 7413, 5.1: each client may cost an attacker's victim a connection; those that ended by RST before they were complete count on for a while.
bool Tcp::has_fast_open_room(Listener& listener, Time now) const noexcept {
    if (listener.fast_open_resets != 0 && now >= listener.fast_open_reset_until) {
        listener.fast_open_resets = 0;
    }
    return listener.fast_open_pending + listener.fast_open_resets < listener.options.fast_open_queue;
}

// True: the SYN opens the connection at once. `answer` becomes the cookie for the SYN-ACK, if there is to be one.
bool Tcp::admits_fast_open(Listener& listener, const Segment& seg, FastOpenCookie& answer, Time now) noexcept {
    const std::int32_t bits = context_.tunables.tcp_fastopen;
    const FastOpenCookie offered = FastOpenCookie::of(seg.options);
    if ((bits & fast_open_bit::server) == 0 || (seg.len == 0 && offered.size < 0) || listener.options.fast_open_queue == 0) {
        return false;
    }
    if (!has_fast_open_room(listener, now)) {
        context_.counters.count(Event::tcp_fast_open_overflows);
        return false;
    }
    if ((bits & fast_open_bit::server_without_cookie) != 0 || listener.options.fast_open_no_cookie) {
        return true;
    }
    if (offered.size < 0) {
        return false;
    }
    const FastOpenKeys& keys = fast_open_keys(listener);
    const FastOpenCookie valid = make_fast_open_cookie(keys.keys[0], seg.source, seg.destination);
    if (offered.equals(valid)) {
        return true;
    }
    answer = valid;
    answer.is_experimental = offered.is_experimental;
    const bool is_older = offered.size > 0 && keys.count > 1 && offered.equals(make_fast_open_cookie(keys.keys[1], seg.source, seg.destination));
    if (offered.size > 0 && !is_older) {
        context_.counters.count(Event::tcp_fast_open_bad_cookies);
    }
    return is_older;
}

// The connection is open for data before its SYN-ACK is acknowledged.
void Tcp::open_early(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept {
    Listener& listener = *c.listener;
    --listener.half_open;
    ++listener.fast_open_pending;
    c.opening.is_early = true;
    c.snd_una = c.snd_nxt;  // the SYN has a timer of its own
    c.max_snd_wnd = c.snd_wnd;
    c.rcv_adv = c.rcv_nxt + initial_rcv_window(c);
    c.tune_at = rate_ticks(now);
    c.tally.last_data_in = now;
    c.tally.segments_in = 1;  // the SYN
    c.tally.data_segments_in = seg.len != 0;
    queue_for_accept(listener, c);
    if (seg.len != 0) {
        c.opening.data_accepted = true;
        process_data(c, seg.behind_syn(), packet, now);
        c.last_data_at = Time{};  // as Linux: the conversation has not begun with these
    } else {
        packet->free();
    }
    context_.counters.count(Event::tcp_fast_opens);
}

// The SYN-ACK is acknowledged, or the connection over.
void Tcp::end_early(Connection& c) noexcept {
    c.opening.is_early = false;
    if (c.listener == nullptr) {
        return;  // closed meanwhile
    }
    --c.listener->fast_open_pending;
    if (!c.in_accept_queue) {
        c.listener = nullptr;
    }
}

void Tcp::note_early_reset(Connection& c, Time now) noexcept {
    if (c.listener != nullptr && c.in_accept_queue) {
        ++c.listener->fast_open_resets;
        c.listener->fast_open_reset_until = now + reset_counts_for;
    }
}

// ---------------------------------------------------------------- client

Tcp::FastOpenPlan Tcp::plan_fast_open(Connection& c, Time now) noexcept {
    FastOpenPlan plan;
    plan.mss = c.path_mss();
    if (const FastOpenCache::Entry* known = fast_open_cache_.find(c.local_address, c.remote_address)) {
        plan.mss = known->mss != 0 ? std::min(plan.mss, known->mss) : plan.mss;
        plan.cookie = known->cookie;
        plan.cookie.is_experimental = known->cookie.is_experimental || (known->cookie.size <= 0 && known->tried_experimental == 1);
    } else {
        plan.cookie.size = 0;
    }
    if (c.options.maxseg != 0) {
        plan.mss = std::min(plan.mss, c.options.maxseg);
    }
    if (is_fast_open_paused(c, now)) {
        plan.cookie.size = -1;
    } else if ((context_.tunables.tcp_fastopen & fast_open_bit::client_without_cookie) != 0 || c.options.fast_open_no_cookie) {
        plan.cookie.size = -1;
        plan.may_carry_data = true;
    } else if (plan.cookie.size > 0) {
        plan.may_carry_data = true;
    } else {
        c.opening.failure = FastOpenFailure::no_cookie;
    }
    return plan;
}

bool Tcp::may_defer_connect(Connection& c, Time now) noexcept {
    c.opening.is_deferred = plan_fast_open(c, now).may_carry_data;
    return c.opening.is_deferred;
}

std::uint32_t Tcp::fast_open_room(Connection& c, Time now) noexcept {
    const FastOpenPlan plan = plan_fast_open(c, now);
    return plan.may_carry_data && plan.mss > options_max ? plan.mss - options_max : 0;
}

void Tcp::open_fast(Connection& c, Packet* data, Time now) noexcept {
    const FastOpenPlan plan = plan_fast_open(c, now);
    c.opening.is_deferred = false;
    c.opening.asked = plan.cookie.size >= 0;
    c.opening.asked_experimental = plan.cookie.is_experimental;
    if (data != nullptr) {
        append(c, data);
        PacketMeta& meta = data->meta();
        meta.flags = segment_flag::psh;
        meta.transmits = 1;
        meta.stamp_ns = now.time_since_epoch().count();
        c.write_seq += data->size();
        c.snd_nxt = c.write_seq;
        c.send_head = nullptr;
        c.last_sent = data;
        ++c.tally.data_segments_out;
        c.tally.begin(SendLimit::busy, now);
        c.opening.sent_data = true;
    }
    open(c, now, &plan.cookie);
}

// What the SYN-ACK says of cookies and of the data in our SYN. SND.UNA is behind the SYN.
void Tcp::take_fast_open_answer(Connection& c, const Segment& seg, Time now) noexcept {
    const bool was_repeated = c.syn_tries > 1;
    FastOpenCookie cookie;
    bool tries_next = false;
    if (c.opening.asked) {
        cookie = FastOpenCookie::of(seg.options);
        tries_next = !was_repeated && cookie.size < 0 && !c.opening.sent_data;
    }
    FastOpenCache::Entry& entry = fast_open_cache_.find_or_make(c.local_address, c.remote_address);
    entry.mss = c.peer_mss;
    const std::uint8_t next = c.opening.asked_experimental ? 2 : 1;
    if (cookie.size > 0) {
        entry.cookie = cookie;
    } else if (tries_next && next > entry.tried_experimental && entry.cookie.size <= 0) {
        entry.tried_experimental = next;
    }
    if (c.opening.sent_data) {
        take_data_acknowledgement(c, seg, was_repeated, now);
    }
}

// All of it, a part, or only the SYN: what was not taken goes again at once, as segments of the size that the peer has told by now.
void Tcp::take_data_acknowledgement(Connection& c, const Segment& seg, bool was_repeated, Time now) noexcept {
    Packet* data = c.snd_queue.front();
    PacketMeta& meta = data->meta();
    const std::uint32_t taken = seg.ack - c.snd_una;
    c.snd_una = seg.ack;
    c.delivered += taken;
    c.tally.bytes_acked += taken;
    if (taken == payload_size(*data)) {
        c.snd_queue.pop_front()->free();
        c.last_sent = nullptr;
        c.first_unanswered = never;
        set_retransmit(c, now);  // nothing is under way any more
        c.opening.data_accepted = true;
        context_.counters.count(Event::tcp_fast_open_successes);
        if (c.opening.is_probation) {
            fast_open_pauses_ = 0;
        }
        return;
    }
    c.opening.failure = was_repeated ? FastOpenFailure::syn_retransmitted : FastOpenFailure::data_not_acked;
    context_.counters.count(Event::tcp_fast_open_failures);
    data->trim_front(meta.payload_offset - data->headroom() + taken);
    meta.payload_offset = static_cast<std::uint16_t>(data->headroom());
    meta.seq = seg.ack.raw();
    meta.summed_bytes = 0;
    mark_lost(c, *data);
    c.first_unanswered = now;
    set_retransmit(c, now);
}

// ---------------------------------------------------------------- black holes

// Linux: after the third time-out of a connection that was opened fast, nobody opens fast for a while; each time again twice as long.
void Tcp::note_fast_open_timeout(const Connection& c, bool is_last, Time now) noexcept {
    const bool was_fast = c.opening.asked || c.opening.sent_data || c.opening.data_accepted;
    if (!was_fast || context_.tunables.tcp_fastopen_blackhole_timeout_sec == 0 || (c.backoff != 2 && !(c.backoff < 2 && is_last))) {
        return;
    }
    fast_open_paused_at_ = now;
    ++fast_open_pauses_;
    context_.counters.count(Event::tcp_fast_open_black_holes);
}

bool Tcp::is_fast_open_paused(Connection& c, Time now) const noexcept {
    const std::int32_t seconds = context_.tunables.tcp_fastopen_blackhole_timeout_sec;
    if (seconds == 0 || fast_open_pauses_ == 0) {
        return false;
    }
    const std::int64_t times = std::int64_t{1} << std::min(fast_open_pauses_ - 1, 6U);
    if (now < fast_open_paused_at_ + std::chrono::seconds(seconds * times)) {
        return true;
    }
    c.opening.is_probation = true;
    return false;
}

}  // namespace shunt::tcp
