#include "base/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/check.hpp"
#include "base/descriptors.hpp"
#include "base/sys.hpp"

namespace shunt {
namespace {

constinit std::array<SharedPiece, shared_pieces_max> pieces{};

void note_piece(const SharedPiece& piece) noexcept {
    const auto place = std::ranges::find(pieces, std::size_t{0}, &SharedPiece::size);
    if (place != pieces.end()) {
        *place = piece;
    }
}

// -1 where there is none: then only those who fork share it.
int create_file(std::size_t bytes) noexcept {
    const int fd = move_up(sys::call(SYS_memfd_create, sys::word("shunt"), MFD_CLOEXEC));
    if (fd >= 0 && sys::call(SYS_ftruncate, fd, static_cast<long>(bytes)) != 0) {
        close_ours(fd);
        return -1;
    }
    return fd;
}

// Away from where programs and libraries are loaded, so that another program has room at the same address. A wish: the kernel takes another place where
// this one is taken.
std::uintptr_t wanted_address() noexcept {
#if defined(__SANITIZE_THREAD__)
    return 0;  // it allows certain ranges only
#else
    constexpr std::uintptr_t first = 0x2100'0000'0000, step = std::uintptr_t{1} << 28;
    return first + (__builtin_ia32_rdtsc() >> 6) % 4096 * step;
#endif
}

}  // namespace

std::span<const SharedPiece> shared_pieces() noexcept {
    return pieces;
}

Outcome<Arena> Arena::map(std::size_t bytes) {
    constexpr std::size_t page = 4096;
    bytes = (bytes + page - 1) / page * page;
    const int fd = create_file(bytes);
    void* base = mmap(reinterpret_cast<void*>(wanted_address()), bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (base == MAP_FAILED) {
        close_ours(fd);
        return explain(ENOMEM, fmt::format("cannot reserve {} MiB for the stack's tables; lower --connections or raise ulimit -v", bytes >> 20));
    }
    note_piece({base, bytes, 0, fd});
    Arena arena;
    arena.base_ = static_cast<std::byte*>(base);
    arena.size_ = bytes;
    return arena;
}

void Arena::unmap() noexcept {
    for (SharedPiece& each : pieces) {
        if (each.base == base_ && each.size != 0) {
            close_ours(each.fd);
            each = {};
        }
    }
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
