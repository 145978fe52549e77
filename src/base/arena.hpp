// One region of memory, mapped shared before any fork, from which a stack's pools and tables are carved. Pages are touched
// lazily: reserving a large arena costs address space only.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.hpp"

namespace shunt {

// What is mapped shared here, by which file: for another program to map it at the same address.
struct SharedPiece {
    void* base = nullptr;
    std::size_t size = 0;  // 0: none
    std::size_t offset = 0;
    int fd = -1;           // none where the kernel gave none
};
inline constexpr std::size_t shared_pieces_max = 16;
// The arenas of this process.
std::span<const SharedPiece> shared_pieces() noexcept;

class Arena {
public:
    // Maps `bytes` (rounded up to pages), shared and zeroed. ENOMEM with the size and the remedy.
    static Outcome<Arena> map(std::size_t bytes);
    void unmap() noexcept;

    // `alignment` is a power of two. The region is sized by the one who carves: running out is a bug of ours.
    void* carve(std::size_t bytes, std::size_t alignment) noexcept;
    template <class T>
    T* carve_array(std::size_t count) noexcept {
        return static_cast<T*>(carve(sizeof(T) * count, alignof(T) < 64 ? 64 : alignof(T)));
    }

    std::size_t size() const noexcept { return size_; }
    std::size_t used() const noexcept { return used_; }

private:
    std::byte* base_ = nullptr;
    std::size_t size_ = 0;
    std::size_t used_ = 0;
};

}  // namespace shunt
