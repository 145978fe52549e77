// The few functions for which DPDK would be linked against libbsd and libatomic. libbsd would bring its err(), fgetln(), arc4random() and
// a hundred more into every program that we are preloaded into. The build renames DPDK's calls (library_calls.syms).
#include <algorithm>
#include <cstddef>
#include <cstring>

#pragma GCC diagnostic ignored "-Wmissing-declarations"
#pragma GCC diagnostic ignored "-Wpedantic"   // 128-bit integers
extern "C" {
std::size_t shunt_driver_strlcpy(char* to, const char* from, std::size_t room) {
    const std::size_t length = std::strlen(from);
    if (room != 0) {
        const std::size_t copied = std::min(length, room - 1);
        std::memcpy(to, from, copied);
        to[copied] = '\0';
    }
    return length;
}
std::size_t shunt_driver_strlcat(char* to, const char* from, std::size_t room) {
    const std::size_t length = strnlen(to, room);
    return length + shunt_driver_strlcpy(to + length, from, room - length);
}

// Every processor that DPDK runs on has cmpxchg16b. Comparing writes what was there: the memory must not be read-only, and DPDK's is not.
[[gnu::target("cx16")]] unsigned __int128 shunt_driver_atomic_load_16(unsigned __int128* from, int) {
    return __sync_val_compare_and_swap(from, 0, 0);
}
[[gnu::target("cx16")]] void shunt_driver_atomic_store_16(unsigned __int128* to, unsigned __int128 value, int) {
    unsigned __int128 expected = *to;
    for (;;) {
        const unsigned __int128 was = __sync_val_compare_and_swap(to, expected, value);
        if (was == expected) {
            return;
        }
        expected = was;
    }
}
}
