// The packet pool after a process died while it changed the stack: whatever half-done get or put it left behind, every packet that nobody holds is free again,
// and none is free that somebody holds. The caller holds the stack's lock and says who holds what.
#pragma once

#include <cstdint>

#include "pmd/packet.hpp"
#include "pmd/port.hpp"

struct rte_mbuf;
struct rte_mempool;

namespace shunt::pmd {

class PoolRepair {
public:
    explicit PoolRepair(const Port& packet_source) noexcept;

    // What a port holds: its driver's packets are kept, those of its fault injector are lost, as frames on a wire are.
    void visit(Port& port) noexcept;
    // A packet that stays out, with its segments.
    void keep(Packet& packet) noexcept;
    // Calls f(packet) for each that a program has on loan (PacketMeta::lent_to).
    template <class F>
    void for_each_lent(F f) noexcept {
        for_each([](Packet& packet, void* context) { packet.meta().lent_to != 0 ? (*static_cast<F*>(context))(packet) : void(); }, &f);
    }

    // Everything else goes back. Where a driver's rings hold packets that cannot be told from lost ones, what is out stays out, and only the pool's own
    // books are put right: false.
    bool finish() noexcept;

private:
    void for_each(void (*f)(Packet& packet, void* context), void* context) noexcept;
    bool has(const void* object) const noexcept;
    static bool is_kept(rte_mbuf* buffer) noexcept;
    void keep_one(rte_mbuf* buffer) noexcept;
    void keep_viewed(rte_mbuf* view) noexcept;

    rte_mempool* pool_;
    bool knows_all_ = true;
};

}  // namespace shunt::pmd
