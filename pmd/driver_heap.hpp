// The heap that DPDK's objects are given (driver_heap.cpp). Nobody else allocates there.
#pragma once

namespace shunt::pmd {

// In the keeper, at its birth: the program's heap is gone, and no other thread is left that could hold the heap's lock. From then on a full heap is
// an error for the driver that asks.
void keep_own_heap_only() noexcept;

}  // namespace shunt::pmd
