// The heap of DPDK and its drivers: memory of this library's own, which the keeper has as well, whose process keeps nothing of the program's heap.
// The build renames DPDK's calls (library_calls.syms). DPDK's constructors come here before anything else does, so nothing in here wants to be
// constructed. What does not fit comes from the program's heap; free() knows both.
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/sys.hpp"
#include "pmd/driver_heap.hpp"

namespace shunt::pmd {
namespace {

// A well-kept best-fit heap over a fixed piece of memory; its own mutex is left out, since a lock must be mended in the keeper.
using Algorithm = boost::interprocess::rbtree_best_fit<boost::interprocess::null_mutex_family>;

constexpr std::size_t heap_bytes = 8 << 20;  // of addresses; touched as it is used
alignas(4096) constinit std::byte memory[heap_bytes]{};
constinit std::atomic<bool> is_locked{false};
constinit bool is_made = false;
constinit bool may_overflow = true;

class Locked {
public:
    Locked() noexcept {
        while (is_locked.exchange(true, std::memory_order_acquire)) {
            sys::call(SYS_sched_yield);
        }
        if (!is_made) {
            new (memory) Algorithm(heap_bytes, 0);
            is_made = true;
        }
    }
    ~Locked() { is_locked.store(false, std::memory_order_release); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

    Algorithm* operator->() const noexcept { return std::launder(reinterpret_cast<Algorithm*>(memory)); }
};

bool is_ours(const void* block) noexcept {
    const auto* at = static_cast<const std::byte*>(block);
    return std::greater_equal<>{}(at, static_cast<const std::byte*>(memory)) && std::less<>{}(at, static_cast<const std::byte*>(memory) + heap_bytes);
}

void* allocate(std::size_t bytes) noexcept {
    void* block = Locked()->allocate(std::max<std::size_t>(bytes, 1));
    return block != nullptr || !may_overflow ? block : std::malloc(bytes);
}

void release(void* block) noexcept {
    if (is_ours(block)) {
        Locked()->deallocate(block);
    } else if (may_overflow) {
        std::free(block);
    }
}

char* copy(const char* text, std::size_t length) noexcept {
    auto* block = static_cast<char*>(allocate(length + 1));
    if (block != nullptr) {
        std::memcpy(block, text, length);
        block[length] = '\0';
    }
    return block;
}

}  // namespace

void keep_own_heap_only() noexcept {
    may_overflow = false;
    is_locked.store(false);
}

}  // namespace shunt::pmd

using namespace shunt::pmd;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
void* shunt_driver_malloc(std::size_t bytes) {
    return allocate(bytes);
}
void shunt_driver_free(void* block) {
    if (block != nullptr) {
        release(block);
    }
}
void* shunt_driver_calloc(std::size_t count, std::size_t each) {
    std::size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) {
        return nullptr;
    }
    void* block = allocate(bytes);
    return block == nullptr ? nullptr : std::memset(block, 0, bytes);
}
void* shunt_driver_realloc(void* block, std::size_t bytes) {
    if (block == nullptr || bytes == 0) {
        shunt_driver_free(block);
        return bytes == 0 && block != nullptr ? nullptr : allocate(bytes);
    }
    if (!is_ours(block)) {
        return may_overflow ? std::realloc(block, bytes) : nullptr;
    }
    const std::size_t before = Locked()->size(block);
    void* other = allocate(bytes);
    if (other != nullptr) {
        std::memcpy(other, block, std::min(before, bytes));
        release(block);
    }
    return other;
}
int shunt_driver_posix_memalign(void** block, std::size_t alignment, std::size_t bytes) {
    *block = Locked()->allocate_aligned(std::max<std::size_t>(bytes, 1), alignment);
    if (*block != nullptr) {
        return 0;
    }
    return may_overflow ? posix_memalign(block, alignment, bytes) : ENOMEM;
}
char* shunt_driver_strdup(const char* text) {
    return copy(text, std::strlen(text));
}
char* shunt_driver_strndup(const char* text, std::size_t most) {
    return copy(text, strnlen(text, most));
}
int shunt_driver_vasprintf(char** to, int, const char* format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    *to = length < 0 ? nullptr : static_cast<char*>(allocate(static_cast<std::size_t>(length) + 1));
    return *to == nullptr ? -1 : std::vsnprintf(*to, static_cast<std::size_t>(length) + 1, format, arguments);
}
int shunt_driver_asprintf(char** to, int flag, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = shunt_driver_vasprintf(to, flag, format, arguments);
    va_end(arguments);
    return length;
}
}
