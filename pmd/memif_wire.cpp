// See memif_wire.hpp.
#include "pmd/memif_wire.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>

#include "base/sys.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/driver_calls.hpp"
#include "pmd/keeper_calls.hpp"
#include "pmd/memif_calls.hpp"
#include "pmd/memif_driver.hpp"

namespace shunt::pmd::memif {
namespace {

constexpr unsigned retry_us = 10'000;
#if RTE_VERSION >= RTE_VERSION_NUM(22, 11, 0, 0) && RTE_VERSION < RTE_VERSION_NUM(23, 0, 0, 0)
constexpr bool driver_is_known = true;
#else
constexpr bool driver_is_known = false;
#endif

struct Watch {
    std::atomic<bool> is_on{false};
    bool is_server = false;
    std::atomic<bool> was_up{false};
    driver::Device* device = nullptr;
    int control_fd = -1;
    int link_event_fd = -1;
    int doorbell = -1;   // the epoll set around the two
};
std::array<Watch, ports_max> watches;

const driver::Queue* queue_of(std::uint16_t port) noexcept {
    return driver_is_known ? static_cast<const driver::Queue*>(rte_eth_fp_ops[port].rxq.data[0]) : nullptr;
}
const driver::Queue* tx_queue_of(std::uint16_t port) noexcept {
    return driver_is_known ? static_cast<const driver::Queue*>(rte_eth_fp_ops[port].txq.data[0]) : nullptr;
}

driver::Device* device_of(std::uint16_t port) noexcept {
    std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
    if (!driver_is_known || rte_eth_dev_allocated == nullptr || rte_eth_dev_get_name_by_port(port, name.data()) != 0) {
        return nullptr;
    }
    auto* device = reinterpret_cast<driver::Device*>(rte_eth_dev_allocated(name.data()));
    return device != nullptr && device->data != nullptr && std::strcmp(device->data->name, name.data()) == 0 ? device : nullptr;
}

bool is_up(const driver::Device& device) noexcept {
    return (device.data->internals->flags & (driver::flag_connecting | driver::flag_connected)) == driver::flag_connected;
}

// The receive ring; null while the link is down or when it does not look like one. Only inside the gate.
driver::Ring* ring_of(std::uint16_t port) noexcept {
    const driver::Device* device = watches[port].device;
    const driver::Queue* queue = queue_of(port);
    if (device == nullptr || queue == nullptr || !is_up(*device) || device->regions[queue->region] == nullptr) {
        return nullptr;
    }
    char* address = device->regions[queue->region]->address;
    if (address == nullptr || !is_mapped_here(address)) {
        return nullptr;
    }
    auto* ring = reinterpret_cast<driver::Ring*>(address + queue->ring_offset);
    return ring->cookie == driver::ring_cookie ? ring : nullptr;
}

// What this process shares with those that use its ports: the bells of all links that are up. And the control channels, which nobody uses there: they only
// stay open when this process is killed, so that the link does.
void share_all() noexcept {
    std::array<int, 4 * ports_max> bells{};
    std::size_t count = 0;
    for (std::uint16_t port = 0; port < watches.size(); ++port) {
        if (watches[port].is_on.load() && is_up(*watches[port].device)) {
            bells[count++] = rte_intr_fd_get(queue_of(port)->interrupt);
            bells[count++] = rte_intr_fd_get(tx_queue_of(port)->interrupt);
        }
    }
    count += connected(std::span(bells).subspan(count));
    share(std::span(bells).first(count));
}

// The link has come up: who sleeps at the doorbell hears the rings from now on, and of this.
void welcome(std::uint16_t port) noexcept {
    Watch& watch = watches[port];
    share_all();
    if (watch.doorbell >= 0) {
        epoll_event event{};
        event.events = EPOLLIN;
        sys::epoll_ctl(watch.doorbell, EPOLL_CTL_ADD, rte_intr_fd_get(queue_of(port)->interrupt), &event);
        const std::uint64_t one = 1;
        sys::write(watch.link_event_fd, &one, sizeof one);
    }
}

// In EAL's loop, where memif's own handlers run: nothing of the driver's happens meanwhile.
void look_after(void* argument) {
    const auto port = static_cast<std::uint16_t>(reinterpret_cast<std::uintptr_t>(argument));
    Watch& watch = watches[port];
    if (!watch.is_on.load()) {
        return;
    }
    if (is_up(*watch.device)) {
        if (!watch.was_up.exchange(true)) {
            welcome(port);
        }
        return;   // when memif closes the connection, look_after_all comes back here
    }
    watch.was_up.store(false);
    if (!watch.is_server && (watch.control_fd < 0 || !is_still_open(watch.control_fd))) {
        watch.control_fd = memif_connect_client(reinterpret_cast<rte_eth_dev*>(watch.device)) == 0 ? last_connected() : -1;
    }
    rte_eal_alarm_set(retry_us, look_after, argument);
}

// Other processes hold a bell as well, so that closing it here does not take it from the sets.
void take_from_doorbells(int fd) {
    for (const Watch& watch : watches) {
        if (watch.doorbell >= 0) {
            sys::epoll_ctl(watch.doorbell, EPOLL_CTL_DEL, fd, nullptr);
        }
    }
}

void look_after_all() {
    for (std::size_t port = 0; port < watches.size(); ++port) {
        if (watches[port].is_on.load() && watches[port].was_up.exchange(false)) {
            rte_eal_alarm_set(retry_us / 10, look_after, reinterpret_cast<void*>(port));
        }
    }
}

}  // namespace

std::string end_name(const std::string& wire, bool is_server) {
    return fmt::format("shunt-{}-{}", is_server ? "server" : "client", wire);
}

// A holder that is just starting cannot answer yet: the other end is tried soon, and only then patience is had with both.
Outcome<End> claim_end(const std::string& wire) {
    for (const Duration silent : {Duration(std::chrono::milliseconds(50)), Patience{}.silent}) {
        for (const bool is_server : {true, false}) {
            const auto claim = try_claim(end_name(wire, is_server), {.silent = silent});
            if (claim) {
                return End{is_server, *claim};
            }
            if (claim.error().reason == Refusal::system) {
                return explain(claim.error().code, fmt::format("--link memif:{}: no socket for the wire ({}); is the limit of open files (ulimit -n) reached?",
                                                               wire, std::strerror(claim.error().code)));
            }
        }
    }
    return explain(EBUSY, fmt::format("--link memif:{}: two programs use this wire already, and it has two ends; end one of them or take another "
                                      "name",
                                      wire));
}

std::string device_arguments(const std::string& wire, const End& end) {
    // An end has the same address each time: a peer's neighbour is still right when a program has been started again.
    std::uint32_t hash = 2166136261U;  // FNV-1a
    for (const char each : wire) {
        hash = (hash ^ static_cast<unsigned char>(each)) * 16777619U;
    }
    // A buffer holds a frame; 1024 of them ride out a peer that sleeps for a moment. The last octet keeps the two ends apart.
    return fmt::format("role={},id=0,bsize=2048,rsize=10,socket-abstract=yes,socket=shunt-{},mac=02:53:{:02x}:{:02x}:{:02x}:{:02x}",
                       end.is_server ? "server" : "client", wire, hash & 0xff, hash >> 8 & 0xff, hash >> 16 & 0xff, end.is_server ? 1 : 2);
}

void note_end(std::uint16_t port, const End& end) noexcept {
    watches[port].is_server = end.is_server;
}

void watch(std::uint16_t port) noexcept {
    Watch& watch = watches[port];
    watch.device = device_of(port);
    if (watch.device == nullptr || (!watch.is_server && memif_connect_client == nullptr)) {
        return;
    }
    watch.was_up.store(false);
    watch.control_fd = watch.is_server ? -1 : last_connected();   // rte_eth_dev_start connected, in this thread
    watch.is_on.store(true);
    set_on_close(take_from_doorbells, look_after_all);
    rte_eal_alarm_set(1000, look_after, reinterpret_cast<void*>(std::uintptr_t{port}));
}

void unwatch(std::uint16_t port) noexcept {
    Watch& watch = watches[port];
    if (watch.is_on.exchange(false)) {
        rte_eal_alarm_cancel(look_after, reinterpret_cast<void*>(std::uintptr_t{port}));
        if (watch.link_event_fd >= 0) {
            close_ours(watch.link_event_fd);
            watch.link_event_fd = -1;
            watch.doorbell = -1;
        }
        watch.device = nullptr;
    }
}

int create_doorbell(std::uint16_t port, const void* pool) noexcept {
    const driver::Queue* queue = queue_of(port);
    if (queue == nullptr || queue->pool != pool || queue->port != port || watches[port].device == nullptr) {
        return -1;
    }
    const int set = move_up(sys::epoll_create1(EPOLL_CLOEXEC));
    const int link_event = move_up(sys::eventfd(0, O_NONBLOCK | O_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    if (set < 0 || link_event < 0 || sys::epoll_ctl(set, EPOLL_CTL_ADD, link_event, &event) < 0) {
        return -1;
    }
    watches[port].link_event_fd = link_event;
    watches[port].doorbell = set;
    return set;
}

void arm(std::uint16_t port) noexcept {
    const Inside inside(port);
    driver::Ring* ring = ring_of(port);
    if (ring == nullptr) {
        return;   // the link's coming up will wake
    }
    // A locked operation: the caller's next poll comes after it.
    ring->flags.fetch_and(static_cast<std::uint16_t>(~driver::ring_masks_interrupt));
    // The driver's sender has no fence between its "here is a frame" and its look at the flag: let what it stored arrive before
    // the caller polls once more, or the frame may lie there without a bell.
    rte_delay_us_block(2);
}

void disarm(std::uint16_t port) noexcept {
    const Inside inside(port);
    std::uint64_t count = 0;
    if (watches[port].link_event_fd >= 0) {
        sys::read(watches[port].link_event_fd, &count, sizeof count);
    }
    driver::Ring* ring = ring_of(port);
    if (ring == nullptr || (ring->flags.load(std::memory_order_relaxed) & driver::ring_masks_interrupt) != 0) {
        return;
    }
    ring->flags.fetch_or(driver::ring_masks_interrupt);
    if (const int fd = bell_here(rte_intr_fd_get(queue_of(port)->interrupt)); fd >= 0) {
        sys::read(fd, &count, sizeof count);   // does not block: the driver made it so
    }
}

bool may_touch_rings(std::uint16_t port) noexcept {
    const std::uint32_t generation = gates->generation.load(std::memory_order_acquire);
    if (!is_owner() && !fetch()) {
        return false;
    }
    const driver::Device* device = watches[port].device;
    if (device == nullptr) {
        seen[port] = generation;   // an unknown driver: no knowledge, no protection
        return true;
    }
    const driver::Queue* queue = queue_of(port);
    const driver::Region* region = queue == nullptr ? nullptr : device->regions[queue->region];
    if (region == nullptr || region->address == nullptr || !is_mapped_here(region->address)) {
        return false;
    }
    seen[port] = generation;
    return true;
}

}  // namespace shunt::pmd::memif

namespace shunt::pmd {

void give_up_links() noexcept {
    memif::set_owner(false);
}

void take_over_links() noexcept {
    memif::set_owner(true);
    if (std::ranges::any_of(memif::watches, [](const memif::Watch& each) { return each.is_on.load() && memif::is_up(*each.device); })) {
        memif::share_all();   // connected before the keeper lived
    }
    // One that has come after another has not its alarms.
    for (std::size_t port = 0; port < memif::watches.size(); ++port) {
        if (memif::watches[port].is_on.load()) {
            rte_eal_alarm_cancel(memif::look_after, reinterpret_cast<void*>(port));
            rte_eal_alarm_set(memif::retry_us / 10, memif::look_after, reinterpret_cast<void*>(port));
        }
    }
}

std::uint64_t links_state() noexcept {
    std::array<int, 4 * memif::ports_max> open{};
    std::uint64_t state = memif::gates != nullptr ? memif::gates->generation.load() : 0;
    for (const int fd : std::span(open).first(memif::connected(open))) {
        state = state * 1'000'003 + static_cast<std::uint64_t>(fd);
    }
    for (const memif::Watch& each : memif::watches) {
        state = state * 3 + (each.is_on.load() && memif::is_up(*each.device) ? 1 : 0);
    }
    return state;
}

void look_at_links() noexcept {
    for (std::uint16_t port = 0; port < memif::watches.size(); ++port) {
        memif::Watch& watch = memif::watches[port];
        if (watch.is_on.load() && memif::is_up(*watch.device) && !watch.was_up.exchange(true)) {
            memif::welcome(port);
        }
    }
}

}  // namespace shunt::pmd
