// TCP (RFC 9293): connections and listeners of one stack, and what happens to them. One class, one source file an activity:
//   table     who is where: lookup, ports, life and death of a connection
//   user      the calls of a program (RFC 9293, 3.10.1-3.10.6)
//   input     a segment arrives (RFC 9293, 3.10.7); listen: the same without a connection
//   acknowledge  what an ACK means: SACK scoreboard, RTT, leaving recovery
//   fast_open  data in the SYN (RFC 7413); syn_cookies  listening under a flood (RFC 4987)
//   ecn       marks instead of losses (RFC 3168)
//   recovery  what is lost and when it is sent again (RFC 6675, 6937, 8985)
//   output    what is sent, and when; segmentation: as large frames where the port cuts them apart
//   path_mtu   how large a segment may be (RFC 1191, 4821)
//   buffers   how much a program may write, a peer send; error_queue: time stamps, completions; urgent: MSG_OOB
//   timers    what happens when nothing does (RFC 6298, keep-alive, TIME_WAIT)
//   repair    after a process died in the middle of a change
#pragma once

#include <optional>
#include <span>

#include "base/arena.hpp"
#include "base/counters.hpp"
#include "base/pool.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "base/timer_wheel.hpp"
#include "base/tunables.hpp"
#include "ip/ipv4.hpp"
#include "tcp/connection.hpp"
#include "tcp/error_report.hpp"
#include "tcp/fast_open.hpp"
#include "tcp/rate.hpp"
#include "tcp/segment.hpp"

namespace shunt::tcp {

inline constexpr Duration delayed_ack_time = std::chrono::milliseconds(40);       // Linux: TCP_DELACK_MIN
inline constexpr Duration delayed_ack_time_max = std::chrono::milliseconds(200);  // and TCP_DELACK_MAX; a peer's at worst (RFC 8985, 7.2)

// What TCP needs of the stack; all of it outlives TCP.
struct Context {
    Ipv4& ipv4;
    TimerWheel& wheel;
    Counters& counters;
    ChangedList& changed;
    const Tunables& tunables;
    SecretKey key;
    Duration lan_rto_min;  // for peers on our own networks, instead of tcp_rto_min_us; 0: none
};

// How a program writes.
struct Write {
    bool more = false;           // hold back a partial segment (MSG_MORE)
    bool is_urgent = false;      // the last byte is (MSG_OOB)
    bool end_of_record = false;  // later writes start a segment of their own (MSG_EOR)
    bool may_wait = true;        // the rest follows when there is room: the stamps are its
    std::uint16_t stamps = 0;    // segment_flag::stamp_...: asked for the last byte
};

class Tcp {
public:
    static constexpr std::uint8_t timer_kind = 1;

    Tcp(const Context& context, Arena& arena, std::uint32_t connections_max, std::uint32_t listeners_max) noexcept;
    static std::size_t arena_bytes(std::uint32_t connections_max, std::uint32_t listeners_max) noexcept;

    // ---- from below
    void input(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept;   // takes ownership
    void on_timer(Timer& timer, Time now) noexcept;
    // An ICMP error quoted a segment from `source`:`source_port` to `destination`:`destination_port` (ours is source). `mtu` for fragmentation needed.
    void icmp_error(std::uint32_t source, std::uint16_t source_port, std::uint32_t destination, std::uint16_t destination_port, Seq seq, int error, bool is_hard, std::uint16_t mtu, Time now) noexcept;

    // ---- listeners
    // EADDRINUSE as Linux; `port` 0 picks one.
    Result<Listener*> listen(std::uint32_t address, std::uint16_t port, std::uint32_t backlog, const ConnectionOptions& options, bool reuse_port) noexcept;
    void close(Listener& listener, Time now) noexcept;  // half-open and unaccepted connections are reset
    Connection* accept(Listener& listener) noexcept;    // null: none waits

    // ---- connections
    // EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH, ENOBUFS. The connection is in SYN_SENT; news says when it is open or has failed.
    Result<Connection*> connect(std::uint32_t local_address, std::uint16_t local_port, std::uint32_t address, std::uint16_t port, const ConnectionOptions& options, Time now) noexcept;
    // The same in two steps: a connection in SYN_SENT that has not sent its SYN; it is sent by open, or with Fast Open by open_fast.
    Result<Connection*> prepare(std::uint32_t local_address, std::uint16_t local_port, std::uint32_t address, std::uint16_t port, const ConnectionOptions& options, Time now) noexcept;
    void open(Connection& c, Time now, const FastOpenCookie* cookie = nullptr) noexcept;
    // TCP_FASTOPEN_CONNECT: true when there is a cookie, so that the SYN had better wait for the first write.
    bool may_defer_connect(Connection& c, Time now) noexcept;
    // How many bytes the SYN may carry now (RFC 7413, 4.2.1).
    std::uint32_t fast_open_room(Connection& c, Time now) noexcept;
    // The SYN with `data`, filled up to fast_open_room and taken, or with null: with a cookie, or asking for one.
    void open_fast(Connection& c, Packet* data, Time now) noexcept;
    void forget_fast_open() noexcept { fast_open_cache_.clear(); }  // as `ip tcp_metrics flush`
    // Bytes that fit into the send buffer now, at least one segment when it is empty.
    std::uint32_t send_room(const Connection& c) const noexcept;
    bool has_send_memory(const Connection& c) const noexcept;  // what a blocked write waits for
    std::uint32_t notsent_limit(const ConnectionOptions& options) const noexcept;
    bool is_writable(const Connection& c) const noexcept;  // as poll's POLLOUT; set c.wants_room to hear when it becomes so
    // Queues up to data.size() bytes and sends what may be sent; returns how many were taken.
    std::uint32_t send(Connection& c, std::span<const std::byte> data, Write how, Time now) noexcept;
    std::uint32_t send(Connection& c, std::span<const std::byte> data, bool more, Time now) noexcept {
        Write how;
        how.more = more;
        return send(c, data, how, now);
    }
    // A packet to fill with at most mss bytes; null without memory. The caller owns it until send_packet, which takes it.
    Packet* claim(Connection& c) noexcept;
    void send_packet(Connection& c, Packet* packet, bool more, Time now) noexcept;
    // Sends what its options let go: after a change of them.
    void send_pending(Connection& c, Time now) noexcept { output(c, now); }
    // Sends held-back data. As on Linux, TCP_NODELAY, when it is set, goes before TCP_CORK for what is there.
    void push(Connection& c, Time now) noexcept;
    // Copies received bytes, or skips them when `to` is null; `peek` leaves them.
    std::uint32_t receive(Connection& c, std::byte* to, std::uint32_t size, bool peek, std::uint32_t peek_offset, Time now) noexcept;
    // The first received packet, now the caller's (data() is payload); null: none.
    Packet* take(Connection& c, Time now) noexcept;
    void shutdown_send(Connection& c, Time now) noexcept;
    void shutdown_receive(Connection& c) noexcept;
    // The program has let go. Unread data: RST (RFC 2525, 2.17); else FIN, and TCP finishes alone. `linger0`: RST at once.
    void release(Connection& c, bool linger0, Time now) noexcept;
    void apply_options(Connection& c, Time now) noexcept;  // after a change of c.options
    // The oldest report of the error queue, in `report`, and a packet with what it quotes, now the caller's; null: none.
    Packet* take_report(Connection& c, ErrorReport& report) noexcept;
    void complete_zerocopy(Connection& c) noexcept;        // a send with MSG_ZEROCOPY is done
    // MSG_OOB: the urgent byte, if it is there and has not been read.
    std::optional<std::byte> urgent_byte(Connection& c, bool peek) noexcept;

    // ---- ports
    // Whether a socket with these options may bind, as Linux decides it: listeners, bound sockets and connections, those in TIME_WAIT included, are in its way.
    bool is_port_free(std::uint32_t address, std::uint16_t port, const ConnectionOptions& options) const noexcept;
    bool has_listener_in_the_way(std::uint32_t address, std::uint16_t port, bool reuse_port) const noexcept;
    void hold(BoundPort& bound) noexcept;
    void let_go(BoundPort& bound) noexcept;
    // For a connection, or with remote_port 0 for a bind. EADDRNOTAVAIL: all are taken.
    Result<std::uint16_t> pick_port(std::uint32_t local, std::uint32_t remote, std::uint16_t remote_port, Time now) noexcept;

    // ---- facts
    std::uint32_t connections_used() const noexcept { return connections_.used(); }
    std::uint32_t listeners_used() const noexcept { return listeners_.used(); }
    std::uint32_t time_wait_count() const noexcept { return time_wait_count_; }
    std::uint32_t out_of_order_packets() const noexcept { return ooo_packets_; }  // of all connections
    // Frees the packets of all connections that are in the table or in an accept queue; for the stack's end.
    void free_packets() noexcept;
    // After a death in the middle of a change (socket/repair.cpp): start_over() empties the tables and forgets all that is half done; tell_peers() resets the
    // connections there were, as far as what is left of them tells; revive() makes one that a socket holds anew, at its place: closed, with ECONNRESET, or a
    // listener that listens; false: it is none. finish_repair() frees the rest.
    void start_over(Time now) noexcept;
    std::uint32_t tell_peers(Time now) noexcept;
    bool revive(Connection& c, void* owner, Time now) noexcept;
    bool revive(Listener& listener, void* owner) noexcept;
    void finish_repair() noexcept;
    // All packets of connections in the table or in an accept queue.
    template <class F>
    void for_each_packet(F f) const noexcept {
        for_each_connection([&f](const Connection& c) { for_each_packet_of(c, f); });
        for_each_listener([&f](const Listener& listener) {
            for (const Connection* c = listener.accept_head; c != nullptr; c = c->list_next) {
                for_each_packet_of(*c, f);
            }
        });
    }
    template <class F>
    static void for_each_packet_of(const Connection& c, F& f) noexcept {
        for (const PacketQueue* queue : {&c.rcv_queue, &c.snd_queue, &c.ooo_queue, &c.error_queue}) {
            queue->for_each(f);
        }
    }
    std::uint32_t orphans_with_data() const noexcept;  // released, but not all they wrote is acknowledged
    // Looks how many packets are left. Less than an eighth: pressure, and buffers and windows stay small. Less than a sixteenth: exhausted, and writes and data that
    // the program does not read have to wait, so that ACKs still find packets to come in. True when they are short.
    bool look_at_memory() noexcept;
    // Receive coalescing: whether the next packet of the burst goes on with the flow of the one that input() takes next. Then what there is to say to the peer (an ACK, new
    // data) waits for that one. end_burst() says it if that packet turns out to be none of the connection's.
    void announce(bool more_follows) noexcept { more_follows_ = more_follows; }
    void end_burst(Time now) noexcept {
        more_follows_ = false;
        if (held_ != nullptr) {
            release_held(now);
        }
    }
    template <class F>
    void for_each_connection(F f) const {
        for (std::uint32_t i = 0; i <= bucket_mask_; ++i) {
            for (const Connection* c = buckets_[i]; c != nullptr; c = c->hash_next) {
                f(*c);
            }
        }
    }
    template <class F>
    void for_each_listener(F f) const {
        for (std::uint32_t port = 0; port < 65536; ++port) {
            for (const Listener* l = listeners_by_port_[port]; l != nullptr; l = l->next) {
                f(*l);
            }
        }
    }
    std::uint32_t initial_rcv_window(const Connection& c) const noexcept;

private:
    // table.cpp
    std::uint32_t bucket_of(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote, std::uint16_t remote_port) const noexcept;
    Connection* find(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote, std::uint16_t remote_port) const noexcept;
    Listener* find_listener(const Segment& seg) const noexcept;
    void insert(Connection& c) noexcept;
    void erase(Connection& c) noexcept;
    Connection* create(Time now) noexcept;
    void destroy(Connection& c) noexcept;
    void finish(Connection& c, int error) noexcept;  // to CLOSED; frees it unless the program holds it
    void drop_buffers(Connection& c) noexcept;
    void enter_time_wait(Connection& c, Time now) noexcept;
    void leave_time_wait_list(Connection& c) noexcept;
    bool is_reusable_time_wait(const Connection& c, Time now) const noexcept;
    static bool is_safe_time_wait(const Connection& c) noexcept;
    void note(Connection& c, std::uint8_t news) noexcept { context_.changed.note(c, news); }
    void drop(Packet* packet, DropReason reason) noexcept {
        context_.counters.count(reason);
        packet->free();
    }

    // input.cpp
    std::optional<DropReason> parse(Packet& packet, const Ipv4Verdict& ip, Segment& seg) const noexcept;
    bool try_fast_path(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept;
    void segment_arrives(Connection& c, Segment& seg, Packet* packet, Time now) noexcept;
    void answer_syn(Connection& c, const Segment& seg, Time now) noexcept;
    void in_syn_sent(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept;
    bool is_answer_to_syn(const Connection& c, const Segment& seg, Time now) const noexcept;
    void resend_syn_soon(Connection& c, const Segment& seg, Time now) noexcept;
    void take_syn_ack(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept;
    bool check_timestamps(Connection& c, const Segment& seg, Time now) noexcept;
    bool check_sequence(Connection& c, const Segment& seg, Time now) noexcept;
    void answer_unacceptable(Connection& c, const Segment& seg, Time now) noexcept;
    void check_reset(Connection& c, const Segment& seg, Time now) noexcept;
    bool check_ack(Connection& c, const Segment& seg, Time now) noexcept;
    bool process_data(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept;
    std::optional<DropReason> cut_to_window(Connection& c, const Segment& seg, Packet& packet, Seq& seq, bool& with_fin) noexcept;
    void take_in_order(Connection& c, Packet* packet, bool with_fin, Time now) noexcept;
    void process_fin(Connection& c, Time now) noexcept;
    void process_close_states(Connection& c, Time now) noexcept;
    bool linger_alone(Connection& c, Time now) noexcept;
    void in_time_wait(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept;
    void established(Connection& c, const Segment& seg, Time now) noexcept;

    // listen.cpp
    // `used_before`: the last sequence number of an earlier connection between the same ports, in TIME_WAIT until now; ours shall be higher.
    void in_listen(Listener& listener, const Segment& seg, Packet* packet, Time now, std::optional<Seq> used_before = {}) noexcept;
    void reset_unknown(const Segment& seg, Time now) noexcept;
    bool send_bare(const Path& path, std::uint16_t from, std::uint16_t to, Seq seq, Seq ack, std::uint8_t flags, Time now) noexcept;
    void set_up_options(Connection& c, const wire::TcpOptions& offered) noexcept;
    void set_up_path(Connection& c, const Path& path) noexcept;
    void set_up_passive(Connection& c, const Listener& listener, const Segment& seg, const Path& path, Time now) noexcept;
    void start_sequence(Connection& c) noexcept;
    void start_sequence_after(Connection& c, Seq used_before) noexcept;
    void leave_path(Connection& c) noexcept;
    bool is_half_open_full(const Listener& listener) const noexcept;
    void queue_for_accept(Listener& listener, Connection& c) noexcept;
    bool defers_accept(Connection& c, const Segment& seg) noexcept;
    bool complete_handshake(Connection& c, const Segment& seg, Time now) noexcept;
    void detach_from_listener(Connection& c) noexcept;
    Seq initial_sequence_number(const Connection& c, Time now) const noexcept;
    std::uint32_t timestamp_offset(const Connection& c) const noexcept;

    // syn_cookies.cpp
    void answer_with_cookie(Listener& listener, const Segment& seg, const Path& path, Time now) noexcept;
    bool try_cookie(Listener& listener, const Segment& seg, Packet* packet, Time now) noexcept;

    // fast_open.cpp
    struct FastOpenPlan {
        bool may_carry_data = false;
        std::uint16_t mss = 0;
        FastOpenCookie cookie;
    };
    const FastOpenKeys& fast_open_keys(const Listener& listener) const noexcept;
    bool has_fast_open_room(Listener& listener, Time now) const noexcept;
    bool admits_fast_open(Listener& listener, const Segment& seg, FastOpenCookie& answer, Time now) noexcept;
    void open_early(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept;
    void end_early(Connection& c) noexcept;
    void note_early_reset(Connection& c, Time now) noexcept;
    FastOpenPlan plan_fast_open(Connection& c, Time now) noexcept;
    void take_fast_open_answer(Connection& c, const Segment& seg, Time now) noexcept;
    void take_data_acknowledgement(Connection& c, const Segment& seg, bool was_repeated, Time now) noexcept;
    void note_fast_open_timeout(const Connection& c, bool is_last, Time now) noexcept;
    bool is_fast_open_paused(Connection& c, Time now) const noexcept;

    // receive.cpp
    void deliver(Connection& c, Packet* packet, Time now) noexcept;
    std::optional<DropReason> refuse_out_of_order(const Connection& c, std::uint32_t len) const noexcept;
    void queue_out_of_order(Connection& c, Packet* packet, Seq seq, bool fin) noexcept;
    Packet* remove_out_of_order(Connection& c, Packet* before) noexcept;
    void clear_out_of_order(Connection& c) noexcept;
    void take_contiguous(Connection& c, Time now) noexcept;
    std::uint32_t receive_window(Connection& c) noexcept;
    void acknowledge_later(Connection& c, Time now) noexcept;
    void acknowledge_fin(Connection& c, Time now) noexcept;
    static constexpr std::uint8_t quick_acks_max = 16;
    static void adapt_ack_timeout(Connection& c, Duration gap) noexcept;
    static void enter_quick_ack(Connection& c, std::uint8_t count) noexcept;
    void on_delayed_ack_timer(Connection& c, Time now) noexcept;
    void update_window_after_read(Connection& c, std::uint32_t copied, Time now) noexcept;
    void note_duplicate(Connection& c, Seq left, Seq right) noexcept;
    static void note_sack_block(Connection& c, wire::SackBlock block) noexcept;
    void collect_sack_blocks(const Connection& c, wire::TcpOptions& options) const noexcept;

    // acknowledge.cpp
    // What one ACK has told.
    struct AckNews {
        std::uint32_t acked = 0;      // bytes; SND.UNA moved
        std::uint32_t sacked = 0;     // newly
        std::uint32_t delivered = 0;  // either, each byte once
        Seq high_sacked;              // before this ACK
        Duration rtt{-1};             // of a segment that was sent once; negative: none arrived
        bool is_ambiguous = false;    // something that was sent twice is acknowledged, too (Karn)
        bool is_duplicate = false;    // RFC 5681, 2
        bool has_dsack = false;       // something came twice
        bool dsack_of_probe = false;
        bool saw_original = false;    // what was sent once, before RECOVER, has arrived: after a time-out a sign that it was needless
    };
    void acknowledge(Connection& c, const Segment& seg, Time now) noexcept;
    bool try_acknowledge_all(Connection& c, const Segment& seg, Time now) noexcept;
    void measure(Connection& c, const Segment& seg, const AckNews& news, Time now) noexcept;
    std::uint32_t remove_acknowledged(Connection& c, Seq ack, AckNews& news, Time now) noexcept;
    void note_arrived(Connection& c, const Packet& packet, AckNews& news, Time now) noexcept;
    bool note_dsack(Connection& c, const Segment& seg, AckNews& news) noexcept;
    std::uint32_t mark_sacked(Connection& c, const Segment& seg, AckNews& news, Time now) noexcept;
    void sample_rtt(Connection& c, Duration rtt) noexcept;
    void update_rto(Connection& c, Duration rtt) noexcept;
    void update_send_window(Connection& c, const Segment& seg, Time now) noexcept;
    void note_delivered(Connection& c, const Packet& packet, Time now) noexcept;

    // ecn.cpp
    void ecn_answer(Connection& c, const Segment& seg) noexcept;
    void ecn_agree(Connection& c, const Segment& seg) noexcept;
    bool ecn_asks(const Connection& c) const noexcept;
    void ecn_receive(Connection& c, const Segment& seg) noexcept;
    void ecn_reduce(Connection& c) noexcept;
    static std::uint8_t ecn_mark(Connection& c, std::uint8_t& flags) noexcept;

    // recovery.cpp
    // What a look for losses has found.
    struct Losses {
        bool are_new = false;
        bool of_retransmission = false;
    };
    void after_ack(Connection& c, const Segment& seg, AckNews& news, Time now) noexcept;
    void in_loss(Connection& c, const Segment& seg, const AckNews& news) noexcept;
    Losses identify_losses(Connection& c, const AckNews& news, Time now) noexcept;
    bool detect_losses(Connection& c, Time now) noexcept;
    static void mark_lost(Connection& c, Packet& packet) noexcept;
    void on_reorder_timer(Connection& c, Time now) noexcept;
    Duration reorder_window(const Connection& c) const noexcept;
    void widen_reorder_window(Connection& c) noexcept;
    void begin_reduction(Connection& c) noexcept;
    void enter_recovery(Connection& c) noexcept;
    void leave_recovery(Connection& c, const Segment& seg) noexcept;
    static void reduce_proportionally(Connection& c, const AckNews& news, bool has_new_losses) noexcept;
    bool is_needless(const Connection& c, const Segment& seg) const noexcept;
    void undo(Connection& c) noexcept;
    void on_tail_loss_ack(Connection& c, const Segment& seg, const AckNews& news) noexcept;
    void on_retransmission_timeout(Connection& c, Time now) noexcept;
    void mark_lost_after_timeout(Connection& c, Time now) noexcept;
    void send_tail_loss_probe(Connection& c, Time now) noexcept;
    void retransmit_lost(Connection& c, Time now) noexcept;
    void finish_frto_step(Connection& c, Time now) noexcept;

    // buffers.cpp
    struct Room {
        std::uint32_t in_chunk = 0, in_next = 0;
    };
    Room room(const Connection& c) const noexcept;
    bool must_wait(const Connection& c) const noexcept { return is_exhausted_ && c.buffered() != 0; }  // it hears of its ACKs, at least
    void shed_data(Segment& seg, Packet& packet) noexcept;
    std::uint32_t sndbuf_now(const Connection& c) const noexcept;
    void expand_send_buffer(Connection& c) noexcept;
    void tell_of_room(Connection& c, Time now) noexcept;
    void tune_receive_buffer(Connection& c, std::uint32_t copied, Time now) noexcept;
    void grow_receive_buffer(Connection& c, std::uint64_t wanted) noexcept;
    void make_room_behind_hole(Connection& c) noexcept;
    void mark_end(Connection& c, const Write& how, bool is_complete) noexcept;  // user.cpp

    // error_queue.cpp
    void report(Connection& c, const ErrorReport& report, const Packet* quoted) noexcept;
    void report_stamp(Connection& c, const Packet& packet, std::uint32_t kind, Time now) noexcept;
    void report_sent(Connection& c, const Packet& packet, Time now) noexcept;
    void report_acked(Connection& c, const Packet& packet, Time now) noexcept;

    // path_mtu.cpp
    enum class Probe : std::uint8_t { no, wait, go };
    void fit_segments(Connection& c) noexcept;
    void resend_too_large(Connection& c, Time now) noexcept;
    void on_smaller_mtu(Connection& c, std::uint16_t mtu, Time now) noexcept;
    void start_mtu_search(Connection& c, Time now) noexcept;
    void suspect_black_hole(Connection& c, Time now) noexcept;
    void on_probe_arrived(Connection& c) noexcept;
    bool try_probe_lost(Connection& c, Time now) noexcept;
    std::uint16_t next_probe_size(Connection& c, Time now) noexcept;
    Probe may_probe(const Connection& c, std::uint32_t payload) const noexcept;
    Packet* build_probe(Connection& c, std::uint32_t payload) noexcept;
    bool probe_mtu(Connection& c, Time now) noexcept;

    // urgent.cpp
    void urgent_arrives(Connection& c, const Segment& seg, const Packet& packet, Time now) noexcept;
    static bool sends_urgent(const Connection& c) noexcept;
    static std::uint16_t urgent_pointer(Connection& c, Seq seq, std::uint8_t& flags) noexcept;

    // segmentation.cpp
    // What a port is to cut into segments, under construction.
    struct LargeFrame {
        Packet* packet = nullptr;  // headers to come; null: none begun, and the rest means nothing
        Packet* last;              // its last piece
        std::uint32_t seq;
        std::uint32_t segments;
        std::uint8_t ecn;
        bool ends_write;
    };
    static bool may_share_frame(const Connection& c, const Packet& packet) noexcept;
    bool try_join(Connection& c, LargeFrame& large, Packet& packet, Time now) noexcept;
    void send_large(Connection& c, LargeFrame& large, Time now) noexcept;
    void output_after_segment(Connection& c, Time now) noexcept;
    void release_held(Time now) noexcept;

    // output.cpp
    // Whether what is sent goes to the port before the books are brought up to date (a program waits), or with the rest of the poll's.
    enum class Flush : std::uint8_t { later, at_once };
    void output(Connection& c, Time now, Flush flush = Flush::later) noexcept {
        if (c.send_head != nullptr || c.ack_now || c.wants_room || c.lost_out > c.retrans_out || c.frto == FRto::sending_new) {
            output_now(c, now, flush);
        }
    }
    void output_now(Connection& c, Time now, Flush flush) noexcept;
    void output_corked(Connection& c, bool cork, Time now, Flush flush) noexcept;
    bool may_send_now(const Connection& c, const Packet& packet) const noexcept;
    void hold_back(Connection& c, Time now) noexcept;
    static void note_window_use(Connection& c, bool is_limited) noexcept;
    void note_sent(Connection& c, Packet& packet) noexcept;
    void send_new(Connection& c, Time now, Flush flush) noexcept;
    bool cut_to_send_window(Connection& c, Packet& packet) noexcept;
    // How far a round of sending came.
    struct Round {
        bool has_sent = false, hit_cwnd = false, hit_window = false;
    };
    void note_round(Connection& c, Round round, Time now) noexcept;
    static void note_limit(Connection& c, Round round, Time now) noexcept;
    void transmit(Connection& c, Packet& packet, Time now) noexcept;
    bool send_segment(Connection& c, Packet& packet, Time now) noexcept;
    void note_transmission(Connection& c, Packet& packet, std::uint32_t size, Time now) noexcept;
    void send_control(Connection& c, Seq seq, std::uint8_t flags, Time now) noexcept;
    void send_ack(Connection& c, Time now) noexcept { send_control(c, c.snd_nxt, wire::tcp_flag::ack, now); }
    void send_syn(Connection& c, Time now, const FastOpenCookie* cookie = nullptr) noexcept;
    void send_reset(Connection& c, Time now) noexcept;
    void challenge_ack(Connection& c, Time now) noexcept;
    void write_header(Connection& c, Packet& packet, Seq seq, std::uint8_t flags, Time now, const PacketMeta* summed = nullptr) noexcept;
    unsigned prepend_sack(Connection& c, Packet& packet, unsigned other_option_bytes) noexcept;
    void finish_checksum(Packet& packet, const Path& path, wire::Checksum sum = {}, std::uint32_t done = 0, const PacketMeta* summed = nullptr) noexcept;
    bool is_paced_out(Connection& c, Time now) noexcept;
    Packet* split(Connection& c, Packet& packet, std::uint32_t first_bytes) noexcept;
    bool queue_fin(Connection& c) noexcept;
    void append(Connection& c, Packet* packet) noexcept;
    static void put(const Connection& c, Packet& packet, const std::byte* from, std::uint32_t n) noexcept;
    std::uint32_t timestamp_now(const Connection& c, Time now) const noexcept {
        return static_cast<std::uint32_t>(count_ms(now.time_since_epoch())) + c.ts_offset;
    }

    // timers.cpp
    void arm(Connection& c) noexcept;
    void arm(Connection& c, Time at) noexcept;
    void set_retransmit(Connection& c, Time now, Time since) noexcept;
    void set_retransmit(Connection& c, Time now) noexcept { set_retransmit(c, now, now); }
    void on_handshake_timeout(Connection& c, Time now) noexcept;
    void on_retransmit_timer(Connection& c, Time now) noexcept;
    bool on_keepalive_timer(Connection& c, Time now) noexcept;
    void on_persist(Connection& c, Time now) noexcept;
    void hold_repair(Connection& c, Time now) noexcept;
    Duration probe_timeout(const Connection& c) const noexcept;
    Duration rto_min(const Connection& c) const noexcept;
    bool gives_up(const Connection& c, Time now) const noexcept;
    Duration keepalive_idle(const Connection& c) const noexcept;
    Duration keepalive_interval(const Connection& c) const noexcept;

    Context context_;
    Pool<Connection> connections_;
    Pool<Listener> listeners_;
    Connection** buckets_ = nullptr;
    Listener** listeners_by_port_ = nullptr;
    BoundPort** bound_by_port_ = nullptr;
    std::uint32_t* connections_by_port_ = nullptr;  // how many
    std::uint32_t bucket_mask_ = 0;
    Connection* time_wait_head_ = nullptr;  // oldest first
    Connection* time_wait_tail_ = nullptr;
    std::uint32_t time_wait_count_ = 0;
    std::uint32_t ooo_packets_ = 0;
    std::array<std::uint32_t, 1024> port_counters_{};  // RFC 6056, 3.3.4
    Connection* held_ = nullptr;   // has something to say when the run of its segments is through
    bool more_follows_ = false;
    bool memory_pressure_ = false;
    bool is_exhausted_ = false;
    std::uint32_t written_since_look_ = 0;  // bytes
    RateSample sample_;  // of the ACK at hand
    Time challenge_second_{};
    std::int32_t challenges_left_ = 0;
    FastOpenCache fast_open_cache_;
    FastOpenKeys own_fast_open_keys_;
    std::uint32_t fast_open_pauses_ = 0;
    Time fast_open_paused_at_{};
};

}  // namespace shunt::tcp
