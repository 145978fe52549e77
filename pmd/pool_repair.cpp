// See pool_repair.hpp. The pool is a ring and one cache (borrow_lcore), both used under the stack's lock alone.
#include "pmd/pool_repair.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "pmd/dpdk.hpp"
#include "pmd/fault.hpp"
#include "pmd/guest.hpp"
#include "pmd/memif_sharing.hpp"

namespace shunt::pmd {
namespace {

constexpr std::uint16_t kept = 0x8000;  // a bit of PacketMeta::lent_to, between keep() and finish()

// tap reads frames into a chain of packets that its receive queue keeps from one burst to the next. Where in the queue the chain's head stands is in no
// public header: a word that is the address of a packet of the pool's is taken for it.
constexpr std::size_t queue_words = 32;

}  // namespace

PoolRepair::PoolRepair(const Port& packet_source) noexcept : pool_(static_cast<rte_mempool*>(packet_source.pool)) {
    for_each([](Packet& packet, void*) { packet.meta().lent_to &= static_cast<std::uint16_t>(~kept); }, nullptr);  // of one who died over this
}

void PoolRepair::for_each(void (*f)(Packet&, void*), void* context) noexcept {
    struct Call {
        void (*f)(Packet&, void*);
        void* context;
    } call{f, context};
    rte_mempool_obj_iter(
        pool_, [](rte_mempool*, void* each, void* object, unsigned) {
            const auto& to = *static_cast<Call*>(each);
            to.f(*Packet::from(static_cast<rte_mbuf*>(object)), to.context);
        },
        &call);
}

bool PoolRepair::has(const void* object) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(object);
    const rte_mempool_memhdr* piece = nullptr;
    STAILQ_FOREACH(piece, &pool_->mem_list, next) {
        const auto begin = reinterpret_cast<std::uintptr_t>(piece->addr);
        if (at % RTE_MEMPOOL_ALIGN == 0 && at >= begin + sizeof(rte_mempool_objhdr) && at < begin + piece->len) {
            return rte_mempool_from_obj(const_cast<void*>(object)) == pool_;
        }
    }
    return false;
}

// A packet stands in one queue, and what was on its way out is given up: so one reference is right, whatever the dead one took or gave back.
void PoolRepair::keep(Packet& packet) noexcept {
    for (rte_mbuf* segment = packet.mbuf(); segment != nullptr && has(segment) && !is_kept(segment); segment = segment->next) {
        keep_one(segment);
    }
}

bool PoolRepair::is_kept(rte_mbuf* buffer) noexcept { return (Packet::from(buffer)->meta().lent_to & kept) != 0; }

void PoolRepair::keep_one(rte_mbuf* buffer) noexcept {
    Packet::from(buffer)->meta().lent_to |= kept;
    if (knows_all_) {
        rte_mbuf_refcnt_set(buffer, 1);
    }
}

// Of a packet that has its bytes in another (Packet::view).
void PoolRepair::keep_viewed(rte_mbuf* view) noexcept {
    rte_mbuf* viewed = rte_mbuf_from_indirect(view);
    if (has(viewed) && is_kept(viewed)) {
        rte_mbuf_refcnt_update(viewed, 1);
    } else if (has(viewed)) {
        keep_one(viewed);
    }
}

void PoolRepair::visit(Port& port) noexcept {
    if (is_guest()) {  // the driver is elsewhere
        knows_all_ = false;
        return;
    }
    if (port.faults != nullptr) {
        port.faults->rx.delayed_count = port.faults->rx.held_back_count = 0;
        port.faults->tx.delayed_count = port.faults->tx.held_back_count = 0;
    }
    if (port.is_gated) {
        memif::gates->of[port.id].busy.store(0, std::memory_order_release);
    }
    rte_eth_dev_info info{};
    const bool is_known = rte_eth_dev_info_get(port.id, &info) == 0 && info.driver_name != nullptr;
    const std::string_view driver = is_known ? info.driver_name : "";
    if (driver == "net_tap") {
        const auto* words = static_cast<void* const*>(rte_eth_fp_ops[port.id].rxq.data[port.queue]);
        std::for_each(words, words + queue_words, [this](void* word) { has(word) ? keep(*Packet::from(static_cast<rte_mbuf*>(word))) : void(); });
    }
    knows_all_ = knows_all_ && (driver == "net_tap" || driver == "net_memif" || driver == "net_af_packet");  // these copy
}

bool PoolRepair::finish() noexcept {
    auto* ring = static_cast<rte_ring*>(pool_->pool_data);
    for (unsigned lcore = 0; pool_->local_cache != nullptr && lcore < RTE_MAX_LCORE; ++lcore) {
        pool_->local_cache[lcore].len = 0;
    }
    ring->prod.head = ring->prod.tail;
    ring->cons.head = ring->cons.tail;
    if (knows_all_) {
        rte_ring_reset(ring);
        for_each(
            [](Packet& packet, void* self) {
                if (is_kept(packet.mbuf()) && RTE_MBUF_CLONED(packet.mbuf())) {
                    static_cast<PoolRepair*>(self)->keep_viewed(packet.mbuf());
                }
            },
            this);
    }
    for_each(
        [](Packet& packet, void* self) {
            const auto& repair = *static_cast<PoolRepair*>(self);
            if (is_kept(packet.mbuf())) {
                packet.meta().lent_to &= static_cast<std::uint16_t>(~kept);
            } else if (repair.knows_all_) {
                rte_pktmbuf_init(repair.pool_, nullptr, packet.mbuf(), 0);
                void* object = packet.mbuf();
                rte_mempool_ops_enqueue_bulk(repair.pool_, &object, 1);
            }
        },
        this);
    return knows_all_;
}

}  // namespace shunt::pmd
