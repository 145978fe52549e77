#include "base/arena.hpp"

#include <sys/mman.h>

#include "base/check.hpp"

namespace shunt {

Outcome<Arena> Arena::map(std::size_t bytes) {
    constexpr std::size_t page = 4096;
    bytes = (bytes + page - 1) / page * page;
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return explain(ENOMEM, fmt::format("cannot reserve {} MiB for the stack's tables; lower --connections or raise ulimit -v", bytes >> 20));
    }
    Arena arena;
    arena.base_ = static_cast<std::byte*>(base);
    arena.size_ = bytes;
    return arena;
}

void Arena::unmap() noexcept {
    munmap(base_, size_);
    base_ = nullptr;
}

void* Arena::carve(std::size_t bytes, std::size_t alignment) noexcept {
    const std::size_t start = (used_ + alignment - 1) & ~(alignment - 1);
    SHUNT_CHECK(start + bytes <= size_);
    used_ = start + bytes;
    return base_ + start;
}

}  // namespace shunt
