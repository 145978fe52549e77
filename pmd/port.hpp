// A port as the stack sees it: bursts in, bursts out, and what the hardware can do. Plain data, so that it may live in
// the shared arena and be used by every process that has the arena; all DPDK calls are in port.cpp and port_inline.hpp.
// rx_burst, tx_burst, allocate, request_*, rx_*_checksum and borrow_lcore are inline: a caller includes pmd/port_inline.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/link_spec.hpp"
#include "pmd/packet.hpp"

namespace shunt::pmd {

struct FaultInjector;  // pmd/fault.hpp

// What the port does for us; what it does not, the stack does in software.
struct Offloads {
    bool rx_checksum = false;        // good/bad flags on receive can be believed
    bool tx_ipv4_checksum = false;
    bool tx_tcp_checksum = false;
    bool tx_udp_checksum = false;
    bool tcp_segmentation = false;   // TSO
    std::uint16_t tx_pieces_max = 1; // segments (mbufs) that a frame for TSO may have
    bool rx_interrupt = false;       // rx_event_fd() wakes
    bool multi_segment = false;      // chained mbufs may be sent
};

class Port {
public:
    std::uint16_t id = 0;
    std::uint16_t queue = 0;
    std::array<std::uint8_t, 6> mac{};
    std::uint16_t mtu = 1500;        // IP bytes a frame may carry
    Offloads offloads;
    bool is_gated = false;           // memif: its rings may be unmapped by EAL's thread, see memif_calls.hpp
    FaultInjector* faults = nullptr; // null: none; set by spoil_with()
    void* pool = nullptr;            // the rte_mempool of this port's packets

    // Up to packets.size() received frames; the caller owns them. Never blocks.
    std::uint16_t rx_burst(Time now, std::span<Packet*> packets) noexcept;
    // Sends the frames and takes ownership of all of them: what the port does not take at once is retried a bounded number of
    // times, then freed and counted. Returns how many the port took.
    std::uint16_t tx_burst(Time now, std::span<Packet*> packets) noexcept;

    // An empty packet with `headroom_bytes` in front, one reference; null when the pool is exhausted.
    Packet* allocate() noexcept;
    // Free packets left in the pool, as far as who holds the lock can see (what other lcores' caches hold is not counted), and its size.
    std::uint32_t pool_available() const noexcept;
    std::uint32_t pool_size() const noexcept;

    // Checksum of a received packet's L3 and L4, as the port reports it.
    ChecksumState rx_ipv4_checksum(const Packet& packet) const noexcept;
    ChecksumState rx_l4_checksum(const Packet& packet) const noexcept;
    // Asks the port to fill in checksums of an IPv4 packet; lengths in bytes, of headers that may still have to be written. Only where `offloads`
    // says so. The pseudo-header sum must already stand in the L4 checksum field.
    static void request_tx_checksum(Packet& packet, std::uint16_t l2_bytes, std::uint16_t l3_bytes, bool ip, bool tcp, bool udp) noexcept;
    // Also segmentation: `l4_bytes` of TCP header, `mss` bytes of payload each. Here the sum is that of a pseudo-header without a length.
    static void request_segmentation(Packet& packet, std::uint16_t l2_bytes, std::uint16_t l3_bytes, std::uint16_t l4_bytes, std::uint16_t mss) noexcept;

    // All frames go through the injector from now on. A fault is to hit one frame of the wire, so the port is asked for no segmentation.
    void spoil_with(FaultInjector* injector) noexcept {
        faults = injector;
        offloads.tcp_segmentation = false;
    }

    bool is_link_up() const noexcept;
    // When a delayed frame of the fault injector must be looked at; never where there is none.
    Time next_deadline() const noexcept;

    // Receive interrupt, for sleeping: a descriptor that becomes readable; -1 where the driver has none. After arm_rx_interrupt() poll
    // once more before sleeping. disarm_rx_interrupt() also drains the descriptor; call it before polling goes on, because an armed
    // port costs system calls in each burst, here (memif reads the descriptor) and at the peer (it writes one a burst).
    int rx_event_fd() const noexcept;
    void arm_rx_interrupt() noexcept;
    void disarm_rx_interrupt() noexcept;

    struct Statistics {
        std::uint64_t rx_frames, tx_frames, rx_bytes, tx_bytes, rx_missed, rx_errors, rx_no_buffer, tx_errors, tx_dropped;
    };
    Statistics statistics() const noexcept;

    std::uint64_t tx_dropped = 0;    // frames that the port would not take

private:
    std::uint16_t driver_rx_burst(std::span<Packet*> packets) noexcept;
    std::uint16_t driver_tx_burst(std::span<Packet*> packets) noexcept;
    std::uint16_t faulty_rx_burst(Time now, std::span<Packet*> packets) noexcept;
    std::uint16_t faulty_tx_burst(Time now, std::span<Packet*> packets) noexcept;
    std::uint16_t gated_rx_burst(std::span<Packet*> packets) noexcept;
    std::uint16_t ungated_tx_once(Packet** packets, std::uint16_t count) noexcept;
    std::uint16_t gated_tx_once(Packet** packets, std::uint16_t count) noexcept;
    std::uint16_t tx_retry(std::span<Packet*> packets, std::uint16_t sent) noexcept;
    void make_contiguous(std::span<Packet*> packets) noexcept;

    bool prepares_tx_ = false;       // the driver wants to see frames with offloads before they are sent
    int rx_event_fd_ = -1;
    bool rx_event_is_frames_ = false;  // the descriptor is where frames are read from: never armed, never to be read here
    friend struct PortAccess;        // port_access.hpp
};

struct PortOptions {
    std::uint32_t packets = 16384;         // in the pool
    std::uint16_t rx_descriptors = 1024;
    std::uint16_t tx_descriptors = 1024;
    std::uint16_t mtu = 0;                 // 0: as the port is set
    std::optional<std::array<std::uint8_t, 6>> mac;  // none: the port's own
    unsigned index = 0;                    // which of the program's ports; distinguishes virtual devices
    bool rx_interrupt = true;              // where the driver has it
};

// Creates the device if it is a virtual one, and starts it with one receive and one transmit queue. EAL must run (pmd/eal.hpp).
// The error is one line with the remedy.
Outcome<Port> open_port(const LinkSpec& spec, const PortOptions& options = {});
// For a stack without a port (--link loop): packets and no device. Of its functions only allocate() and pool_*() may be called. EAL must run.
Outcome<Port> open_packet_source(std::uint32_t packets);
// Stops the port and gives back what it held; packets of its pool must be free by then (else the pool stays).
void close_port(Port& port) noexcept;

// Makes the calling thread the one that uses packet pools' caches. The caches are per "lcore", and everything that allocates or frees
// packets does so under the stack's lock, so whoever takes the lock borrows the stack's lcore id. One store.
void borrow_lcore(unsigned lcore_id) noexcept;

}  // namespace shunt::pmd
