// The error queue of a connection (recvmsg with MSG_ERRQUEUE): time stamps of what was sent, completions of MSG_ZEROCOPY, ICMP errors.
#include "tcp/error_report.hpp"

#include <algorithm>
#include <cstring>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t report_memory = 1024;  // what one counts against the receive buffer
constexpr std::uint8_t zerocopy_copied = 1;    // SO_EE_CODE_ZEROCOPY_COPIED
constexpr std::uint32_t stamp_kind_sent = 0, stamp_kind_sched = 1, stamp_kind_acked = 2;  // SCM_TSTAMP_*

}  // namespace

// Dropped when nobody fetches them, as Linux drops them beyond the receive buffer.
void Tcp::report(Connection& c, const ErrorReport& report, const Packet* quoted) noexcept {
    Packet* packet = c.error_reports < std::max(c.rcvbuf / report_memory, 16U) && !memory_pressure_ ? claim(c) : nullptr;
    if (packet == nullptr) {
        return;
    }
    std::memcpy(packet->append(sizeof report), &report, sizeof report);
    if (quoted != nullptr) {
        const std::uint32_t size = std::min(payload_size(*quoted), packet->tailroom());
        quoted->copy_out(quoted->meta().payload_offset - quoted->headroom(), packet->append(size), size);
    }
    c.error_queue.push_back(packet);
    ++c.error_reports;
    note(c, ready::error);
}

Packet* Tcp::take_report(Connection& c, ErrorReport& report) noexcept {
    if (c.error_queue.is_empty()) {
        return nullptr;
    }
    Packet* packet = c.error_queue.pop_front();
    --c.error_reports;
    packet->copy_out(0, &report, sizeof report);
    packet->trim_front(sizeof report);
    return packet;
}

void Tcp::report_stamp(Connection& c, const Packet& packet, std::uint32_t kind, Time now) noexcept {
    ErrorReport stamp;
    stamp.origin = ErrorReport::Origin::timestamping;
    stamp.error = ENOMSG;
    stamp.info = kind;
    stamp.data = (c.options.timestamping & timestamping::opt_id) != 0 ? Seq(packet.meta().stamp_key) - c.stamp_base : 0;
    stamp.at = now;
    report(c, stamp, (c.options.timestamping & timestamping::opt_tsonly) != 0 ? nullptr : &packet);
}

// The stamps of a packet that leaves: queueing and sending are one moment here.
void Tcp::report_sent(Connection& c, const Packet& packet, Time now) noexcept {
    if ((packet.meta().flags & segment_flag::stamp_sched) != 0) {
        report_stamp(c, packet, stamp_kind_sched, now);
    }
    if ((packet.meta().flags & segment_flag::stamp_sent) != 0) {
        report_stamp(c, packet, stamp_kind_sent, now);
    }
}

void Tcp::report_acked(Connection& c, const Packet& packet, Time now) noexcept {
    if ((packet.meta().flags & segment_flag::stamp_acked) != 0) {
        report_stamp(c, packet, stamp_kind_acked, now);
    }
}

// What was sent with MSG_ZEROCOPY has been copied: the program may have its buffer back at once. Consecutive sends share a report.
void Tcp::complete_zerocopy(Connection& c) noexcept {
    const std::uint32_t number = c.zerocopy_next++;
    if (Packet* last = c.error_queue.back(); last != nullptr) {
        auto* previous = reinterpret_cast<ErrorReport*>(last->data());
        if (previous->origin == ErrorReport::Origin::zerocopy && previous->data + 1 == number) {
            previous->data = number;
            note(c, ready::error);
            return;
        }
    }
    ErrorReport done;
    done.origin = ErrorReport::Origin::zerocopy;
    done.code = zerocopy_copied;
    done.info = done.data = number;
    report(c, done, nullptr);
}

}  // namespace shunt::tcp
