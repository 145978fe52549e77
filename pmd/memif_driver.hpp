// The parts of DPDK 22.11's memif driver and ethdev that memif_wire.cpp looks into; they are in no public header. Offsets were read off the
// Debian archives; memif_wire.cpp checks cookie, port number and pool at run time before it believes them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

struct rte_eth_dev;
struct rte_intr_handle;

extern "C" {
[[gnu::weak]] int memif_connect_client(rte_eth_dev* device);
[[gnu::weak]] rte_eth_dev* rte_eth_dev_allocated(const char* name);
}

namespace shunt::pmd::memif::driver {

struct Ring {
    std::uint32_t cookie;
    std::atomic<std::uint16_t> flags;
};
inline constexpr std::uint32_t ring_cookie = 0x3E31F20;
inline constexpr std::uint16_t ring_masks_interrupt = 1;

struct Region {
    char* address;
};
struct Queue {
    const void* pool;
    const void* pmd;
    std::uint32_t type;
    std::uint16_t region;
    std::uint16_t port;
    std::uint32_t ring_offset;
    std::uint16_t last_head, last_tail;
    const void* buffers;
    std::uint64_t packets, bytes;
    rte_intr_handle* interrupt;
};
static_assert(offsetof(Queue, port) == 0x16 && offsetof(Queue, ring_offset) == 0x18 && offsetof(Queue, interrupt) == 0x38);

struct Internals {
    std::uint32_t id, role, flags;
};
inline constexpr std::uint32_t flag_connecting = 1, flag_connected = 2;

struct DeviceData {
    char name[64];
    void* rx_queues;
    void* tx_queues;
    std::uint16_t rx_count, tx_count;
    char sriov[12];
    Internals* internals;
};
static_assert(offsetof(DeviceData, internals) == 0x60);

struct Device {
    void* functions[6];
    DeviceData* data;
    Region* const* regions;   // process_private, whose first member is this array
};

}  // namespace shunt::pmd::memif::driver
