// The state of one TCP connection, with the variables of RFC 9293 (3.3.1), RFC 6298, RFC 6675 and RFC 8985 under their names. Data only:
// what happens to it is in input, output, recovery, timers and user.
#pragma once

#include <array>
#include <cstdint>

#include "base/seq.hpp"
#include "base/timer_wheel.hpp"
#include "base/tunables.hpp"
#include "ip/endpoint.hpp"
#include "ip/ipv4.hpp"
#include "pmd/packet.hpp"
#include "tcp/fast_open.hpp"
#include "tcp/tally.hpp"
#include "wire/tcp.hpp"

namespace shunt::tcp {

enum class State : std::uint8_t { closed, syn_sent, syn_received, established, fin_wait_1, fin_wait_2, close_wait, closing, last_ack, time_wait };

// Bits of PacketMeta::flags in the send queue.
namespace segment_flag {
inline constexpr std::uint16_t fin = 1;             // takes a sequence number behind the payload
inline constexpr std::uint16_t psh = 2;             // end of a program's write
inline constexpr std::uint16_t sacked = 4;
inline constexpr std::uint16_t lost = 8;
inline constexpr std::uint16_t retransmitted = 16;  // sent more than once (Karn's rule)
inline constexpr std::uint16_t resent = 32;         // the retransmission is counted in retrans_out
inline constexpr std::uint16_t app_limited = 64;    // sent while the program, not the network, set the pace
inline constexpr std::uint16_t eor = 128;           // MSG_EOR: nothing is appended
inline constexpr std::uint16_t stamp_sched = 256;   // SO_TIMESTAMPING asks when the byte meta.stamp_key is handed down,
inline constexpr std::uint16_t stamp_sent = 512;    // goes to the port,
inline constexpr std::uint16_t stamp_acked = 1024;  // is acknowledged
inline constexpr std::uint16_t stamps = stamp_sched | stamp_sent | stamp_acked;
}  // namespace segment_flag

// How the retransmission timer was last armed; there is one deadline for all of them.
enum class RetransmitKind : std::uint8_t { none, rto, tail_loss_probe, persist };

// RFC 5681 and RFC 8985 in five words: nothing lost; something SACKed; slowing down after an ECN mark; repairing; after a time-out.
enum class Recovery : std::uint8_t { open, disorder, cwr, recovery, loss };

// F-RTO (RFC 5682, 3.1): was the time-out needless? The first ACK after it lets new data out, the second tells.
enum class FRto : std::uint8_t { off, on, sending_new };

// Urgent data (RFC 9293, 3.8.5, as Linux has it): one byte, announced, there, or read.
enum class Urgent : std::uint8_t { none, not_yet, valid, read };

// The search for the path's MTU (RFC 4821); sizes of whole packets.
struct MtuSearch {
    Time begun_at{};
    Seq start, end;          // of the probe's bytes
    std::uint16_t low = 0;   // known to pass
    std::uint16_t high = 0;  // the largest that may
    std::uint16_t size = 0;  // of the probe under way; 0: none is
    bool is_on = false;
};

struct Listener;

// How a connection opens, where that is more than SYN, SYN-ACK, ACK.
struct Opening {
    bool is_early : 1 = false;         // passive: data flow, but our SYN-ACK is not acknowledged yet (RFC 7413, 4.2.2)
    bool is_deferred : 1 = false;      // TCP_FASTOPEN_CONNECT: the SYN waits for the first write
    bool writer_waits : 1 = false;     // more data follow at once: they carry the ACK of the SYN-ACK
    bool asked : 1 = false;            // our SYN had the Fast Open option
    bool asked_experimental : 1 = false;
    bool sent_data : 1 = false;        // our SYN carried data
    bool data_accepted : 1 = false;    // the SYN's data were taken: TCPI_OPT_SYN_DATA
    bool is_probation : 1 = false;     // the first to open fast again after a black hole
    bool has_last_ack : 1 = false;     // TCP_DEFER_ACCEPT: established for the peer, but without data
    bool is_mute : 1 = false;          // shut for sending before it was connected: nothing goes, and no FIN says so, as on Linux
    FastOpenFailure failure = FastOpenFailure::unspecified;
};

// CUBIC's variables (RFC 9438, 4.1); windows in segments. Floats: enough for sixteen million segments, and half the room.
struct Cubic {
    Time epoch = never;      // when this congestion avoidance began; never: not yet
    float w_max = 0;
    float k_s = 0;
    float w_est = 0;
    float cwnd_prior = 0;    // when it was last reduced
    float credit_bytes = 0;  // growth that is not yet a segment
};

// HyStart++ (RFC 9406, 4.2).
struct HyStart {
    Seq window_end;
    Duration last_min{}, current_min{}, css_baseline{};
    std::uint8_t samples = 0;
    std::uint8_t css_rounds = 0;
    bool in_css = false;
};

// What Reno and CUBIC keep.
struct LossBased {
    Cubic cubic;
    Cubic before_loss;       // for when the loss turns out to be none
    HyStart hystart;
};

// BBR (draft-cardwell-iccrg-bbr-congestion-control-00, 4): rates in bytes a second.
struct Bbr {
    enum class Mode : std::uint8_t { startup, drain, probe_bw, probe_rtt };
    static constexpr unsigned bandwidth_rounds = 10;

    std::array<float, bandwidth_rounds> best_of_round{};
    float bandwidth = 0;            // BtlBw, the maximum of these
    float full_bandwidth = 0;       // what startup must outgrow by a quarter
    Duration min_rtt{};             // RTprop: of the last ten seconds
    Time min_rtt_at = never;
    Time cycle_at{};                // this phase of probe_bw began
    Time probe_rtt_until = never;
    std::uint32_t round = 0;
    std::uint32_t next_round_delivered = 0;
    std::uint32_t prior_cwnd = 0;   // to return to after recovery and probe_rtt
    Mode mode = Mode::startup;
    Recovery previous_recovery{};
    std::uint8_t cycle_phase = 0;
    std::uint8_t full_rounds = 0;   // rounds without growth
    bool filled_pipe = false;       // startup is over for good
    bool round_began = false;       // by the ACK at hand
    bool conserves_packets = false;
    bool restarts_from_idle = false;
    bool probe_rtt_round_done = false;
};

struct CongestionState {
    CongestionState() noexcept : loss_based() {}
    CongestionControl algorithm = CongestionControl::cubic;
    union {
        LossBased loss_based;
        Bbr bbr;
    };
};

// What setsockopt can change; inherited from the listener.
struct ConnectionOptions {
    bool nodelay : 1 = false;
    bool cork : 1 = false;
    bool quickack : 1 = true;        // TCP_QUICKACK; ends when the program answers within a delayed ACK's time
    bool keepalive : 1 = false;
    bool reuse_address : 1 = false;
    bool rcvbuf_locked : 1 = false;  // SO_RCVBUF was set: no auto-tuning
    bool sndbuf_locked : 1 = false;
    bool fast_open_connect : 1 = false;
    bool fast_open_no_cookie : 1 = false;
    bool oob_inline : 1 = false;
    bool reuse_port : 1 = false;
    bool recverr : 1 = false;        // IP_RECVERR: ICMP errors are told at once
    CongestionControl congestion = CongestionControl::other;  // other: the default
    std::uint8_t mtu_discover = 1;   // IP_MTU_DISCOVER: IP_PMTUDISC_WANT
    std::uint8_t tos = 0;
    std::uint8_t ttl = 0;            // 0: the default
    std::uint8_t keepcnt = 0;
    std::uint8_t syn_retries = 0;
    std::uint8_t defer_accept = 0;   // SYN-ACK time-outs to wait for data; 0: off
    std::uint16_t maxseg = 0;
    std::uint16_t keepidle_s = 0;    // 0: the default
    std::uint16_t keepintvl_s = 0;
    std::uint32_t rcvbuf = 0;        // bytes; 0: the default
    std::uint32_t sndbuf = 0;
    std::uint32_t user_timeout_ms = 0;
    std::uint16_t fast_open_queue = 0;  // a listener's: how many may be early
    std::int16_t linger2_s = 0;
    float max_pacing_rate = 0;       // bytes a second; 0: no limit
    std::uint32_t notsent_lowat = 0; // 0: the default
    std::uint32_t window_clamp = 0;  // 0: none
    std::uint32_t timestamping = 0;  // SO_TIMESTAMPING
};

struct Connection : Endpoint {
    Connection() noexcept : Endpoint(EndpointKind::tcp_connection) {}

    // --- first cache lines: what every segment touches
    State state = State::closed;
    Recovery recovery = Recovery::open;
    RetransmitKind retransmit_kind = RetransmitKind::none;
    bool has_timestamps = false;
    bool has_sack = false;
    bool has_wscale = false;       // both offered it; a shift may be 0 all the same
    bool has_ecn = false;
    bool ecn_echo = false;         // the peer has not yet said that it heard of the mark
    bool ecn_tell_cwr = false;     // the next new data say that we slowed down
    bool ack_now = false;          // an ACK is due before we return
    bool wants_room = false;       // a program waits for the send buffer: tell it
    bool is_stamped = false;       // a packet in the send queue has stamps to report
    bool has_urgent = false;       // snd_up is ahead of snd_una
    Urgent urgent = Urgent::none;
    std::uint8_t snd_wscale = 0;
    std::uint8_t rcv_wscale = 0;
    Seq snd_una, snd_nxt;
    std::uint32_t snd_wnd = 0;
    Seq snd_wl1, snd_wl2;
    Seq rcv_nxt;
    Seq rcv_adv;                   // right edge of the window last advertised
    Seq last_ack_sent;
    std::uint32_t ts_recent = 0;
    std::uint32_t ts_offset = 0;   // our timestamps start at a secret point (RFC 7323, 5.4)
    std::uint16_t mss = 536;       // eff.snd.MSS: payload bytes a segment, options already taken off
    std::uint16_t unacked_segments = 0;  // small ones, received since our last ACK
    std::uint32_t cwnd = 0;        // bytes
    PacketQueue rcv_queue;         // in order, not yet read
    std::uint32_t rcv_queued = 0;  // bytes
    std::uint32_t rcv_packets = 0;
    std::uint32_t rcvbuf = 0;
    std::uint32_t max_snd_wnd = 0;
    PacketQueue snd_queue;         // from snd_una on: sent and not acknowledged, then not sent
    Packet* send_head = nullptr;   // first never sent; null: all sent
    Packet* last_sent = nullptr;   // the packet before send_head; null: none outstanding
    Seq snd_sml;                   // end of the last segment that was not full (Minshall's Nagle)
    Seq write_seq;                 // behind the last queued byte
    Seq chunk_start;               // the send buffer is used in chunks: where the last one begins
    std::uint32_t sndbuf = 0;
    Path path;

    // --- timers: one wheel entry at the earliest of these
    Timer timer;
    Time retransmit_at = never;
    Time delack_at = never;
    Time keepalive_at = never;     // also FIN_WAIT_2 and TIME_WAIT
    Time reorder_at = never;       // RACK's (RFC 8985, 6.3)

    // --- round-trip time (RFC 6298)
    Duration srtt{}, rttvar{}, rto{}, min_rtt{};
    std::uint8_t backoff = 0;      // doublings of the RTO, until a round trip is measured (Karn)
    std::uint8_t timeouts = 0;     // of the retransmission timer, since something was acknowledged
    std::uint8_t syn_tries = 0;
    std::uint8_t soft_error = 0;   // errno of the last ICMP error that did not end the connection
    std::uint16_t probes = 0;      // unanswered keep-alive or window probes
    std::uint16_t dup_acks = 0;

    // --- congestion and recovery
    std::uint32_t ssthresh = 0xffff'ffff;
    std::uint32_t acked_in_avoidance = 0;
    bool cwnd_limited = false;     // the flight was as large as the window
    bool tlp_is_retransmission = false;
    bool has_tlp = false;
    bool reordering_seen = false;
    std::uint32_t flight_size = 0; // at most, until flight_end is acknowledged
    Seq flight_end;
    Seq recover;                   // snd_nxt when recovery began
    CongestionState cc;
    Seq tlp_high;
    Seq high_sacked;
    std::uint32_t sacked_out = 0, lost_out = 0, retrans_out = 0;  // bytes
    std::uint32_t prr_delivered = 0, prr_out = 0;
    std::uint32_t prior_cwnd = 0, prior_ssthresh = 0;
    Seq undo_marker;               // snd_una when the window was reduced
    Time retrans_at = never;       // first retransmission of this episode: an ACK of something older proves it needless
    std::int32_t undo_retrans = 0; // segments sent again and not reported as duplicates; -1: none sent yet
    bool may_undo = false;
    FRto frto = FRto::off;
    std::uint8_t rack_reo_mult = 1;     // quarters of min_rtt that reordering may take
    std::uint8_t rack_reo_persist = 0;  // recoveries until the next look whether it may be one again
    Time rack_xmit{};
    Duration rack_rtt{};
    Seq rack_end;
    Seq rack_dsack_round;               // one step a round trip: until this is acknowledged
    std::uint64_t delivered = 0;   // bytes
    Seq soft_error_una;            // snd_una when soft_error came: it counts as long as nothing more is acknowledged
    std::uint32_t bytes_lost = 0;  // ever; wraps

    // --- pacing, and how fast data arrive (rate.hpp)
    float pacing_rate = 0;         // bytes a second; 0: none
    bool is_paced_out = false;     // something waits for that
    bool is_app_limited = false;   // until app_limited_until has been delivered
    bool rate_is_app_limited = true;
    bool has_dsack_round : 1 = false;
    bool is_near : 1 = false;      // Context::lan_rto_min holds
    Time pace_next{};              // the next segment may go
    std::uint32_t app_limited_until = 0;
    std::uint32_t delivered_at = 0;     // ticks: when `delivered` last grew
    std::uint32_t flight_began_at = 0;  // ticks: the newest segment delivered so far was sent
    std::uint32_t rate_delivered = 0;   // the newest sample that counts: bytes ...
    std::uint32_t rate_ticks = 0;       // ... in this time
    std::uint32_t retransmits = 0;      // segments, ever
    Time first_unanswered = never; // when the oldest unanswered thing was first sent: for user time-out and give-up
    Time last_sent_at{};
    Time last_heard{};

    // --- receiver
    PacketQueue ooo_queue;         // out of order, sorted, without overlap
    std::uint32_t ooo_bytes = 0;
    std::uint32_t ooo_packets = 0;
    std::array<wire::SackBlock, 4> sack_blocks{};  // to be reported, the one that changed last first (RFC 2018, 4)
    wire::SackBlock dsack{};
    std::uint8_t sack_block_count = 0;
    bool has_dsack = false;
    bool fin_received = false;     // rcv_nxt is behind the peer's FIN
    bool fin_queued = false;       // our FIN is in the send queue
    bool rcv_shut = false;         // the program reads no more
    bool sent_reset = false;
    std::uint8_t quick_acks = 0;   // so many are not delayed
    std::byte urgent_byte{};       // received out of line
    Duration ack_timeout = std::chrono::milliseconds(40);  // Linux's ATO: how long an ACK waits for data to ride on
    Time last_data_at{};           // when data last came in order
    Time ts_recent_at{};
    std::uint32_t tune_at = 0;     // receive auto-tuning: when the measurement began, in ticks (rate.hpp)
    std::uint32_t tune_copied = 0; // since then
    std::uint32_t tune_space = 0;  // the most that was read in a round trip
    std::uint16_t rcv_mss = 536;   // guess of the peer's segment size (RFC 9293, 3.8.6.2.2 and ACK policy)
    std::uint16_t peer_mss = 536;
    Seq iss, irs;
    Seq snd_up;                    // behind the last urgent byte written
    Seq rcv_up;                    // the urgent byte received
    Time challenge_at{};
    Opening opening;
    bool is_hashed = false;
    bool in_time_wait_list = false;
    bool in_accept_queue = false;
    std::uint16_t error_reports = 0;

    MtuSearch mtu_search;

    // --- news for the program that are no data: time stamps, completions (recvmsg with MSG_ERRQUEUE)
    PacketQueue error_queue;       // of ErrorReport
    std::uint32_t zerocopy_next = 0;  // number of the next send with MSG_ZEROCOPY
    Seq stamp_base;                // SOF_TIMESTAMPING_OPT_ID counts from here

    ConnectionOptions options;
    Tally tally;
    std::uint64_t bytes_received = 0;

    // --- membership
    Connection* hash_next = nullptr;
    Connection* list_next = nullptr;      // accept queue, or TIME_WAIT list
    Connection* list_previous = nullptr;
    Listener* listener = nullptr;  // while half-open, early or in its accept queue

    bool is_synchronized() const noexcept { return state >= State::established; }
    bool can_send() const noexcept {
        return !opening.is_mute && (state == State::established || state == State::close_wait || (opening.is_early && state == State::syn_received));
    }
    bool is_opening() const noexcept { return (state == State::syn_sent || state == State::syn_received) && !opening.is_early; }
    bool can_transfer() const noexcept { return is_synchronized() || opening.is_early; }
    // What of the receive buffer may be promised while it holds `queued` bytes. TCP_WINDOW_CLAMP bounds the window, not what is kept.
    std::uint32_t window_room(std::uint32_t queued) const noexcept {
        const std::uint32_t room = rcvbuf > queued ? rcvbuf - queued : 0;
        return options.window_clamp != 0 ? std::min(room, options.window_clamp) : room;
    }
    std::uint16_t path_mss() const noexcept { return static_cast<std::uint16_t>(path.mtu - sizeof(wire::Ipv4Header) - sizeof(wire::TcpHeader)); }
    bool can_receive_data() const noexcept { return state == State::established || state == State::fin_wait_1 || state == State::fin_wait_2 || opening.is_early; }
    std::uint32_t outstanding() const noexcept { return snd_nxt - snd_una; }
    // RFC 6675's pipe: bytes thought to be in the network.
    std::uint32_t pipe() const noexcept { return outstanding() - sacked_out - lost_out + retrans_out; }
    std::uint32_t buffered() const noexcept { return write_seq - snd_una; }
    std::uint32_t unsent() const noexcept { return write_seq - snd_nxt; }
    Seq copied_seq() const noexcept { return rcv_nxt - rcv_queued - (fin_received ? 1 : 0); }  // the program's next byte
    bool is_valid() const noexcept;
};

struct Listener : Endpoint {
    Listener() noexcept : Endpoint(EndpointKind::tcp_listener) {}
    std::uint32_t backlog = 0;
    std::uint32_t half_open = 0;
    std::uint32_t queued = 0;
    std::uint32_t fast_open_pending = 0;  // early connections
    std::uint32_t fast_open_resets = 0;   // early ones that ended by RST, until ...
    Time fast_open_reset_until{};
    FastOpenKeys fast_open_keys{};        // TCP_FASTOPEN_KEY; count 0: the stack's
    Time cookies_sent_at{};               // the last SYN cookie
    Time cookie_refused_at{};             // the last that came back while the accept queue was full
    Connection* accept_head = nullptr;
    Connection* accept_tail = nullptr;
    Listener* next = nullptr;      // on the same port
    ConnectionOptions options;
    bool reuse_port = false;
    bool rcv_shut = false, snd_shut = false;  // its connections begin so
};

// A program's bind: from then on until its socket goes, whether it listens, is connected, or neither.
struct BoundPort {
    std::uint32_t address = 0;
    std::uint16_t port = 0;
    const ConnectionOptions* options = nullptr;  // the socket's: what SO_REUSEADDR and SO_REUSEPORT say now
    BoundPort* next = nullptr;                   // on the same port
};

static_assert(sizeof(Connection) <= 1008);  // with its place in the table below a KiB: a million of them fit into a gigabyte

inline std::uint32_t payload_size(const Packet& packet) noexcept {
    return packet.size() - (packet.meta().payload_offset - packet.headroom());
}
inline std::uint32_t seq_size(const Packet& packet) noexcept {
    return payload_size(packet) + ((packet.meta().flags & segment_flag::fin) != 0 ? 1 : 0);
}
inline Seq seq_of(const Packet& packet) noexcept { return Seq(packet.meta().seq); }
inline Seq end_of(const Packet& packet) noexcept { return seq_of(packet) + seq_size(packet); }

}  // namespace shunt::tcp
