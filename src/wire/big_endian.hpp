// Big-endian integers, the only place where byte order exists. Alignment 1: wire headers may start anywhere.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace shunt::wire {

template <class T>
class [[gnu::packed]] BigEndian {
public:
    BigEndian() noexcept = default;
    BigEndian(T host) noexcept : raw_(swap(host)) {}
    operator T() const noexcept { return swap(raw_); }
    T raw() const noexcept { return raw_; }  // as it stands in memory

private:
    static constexpr T swap(T value) noexcept {
        if constexpr (sizeof(T) == 2) {
            return static_cast<T>(__builtin_bswap16(value));
        } else {
            return static_cast<T>(__builtin_bswap32(value));
        }
    }
    T raw_;
};

using Big16 = BigEndian<std::uint16_t>;
using Big32 = BigEndian<std::uint32_t>;
static_assert(sizeof(Big16) == 2 && alignof(Big16) == 1);
static_assert(sizeof(Big32) == 4 && alignof(Big32) == 1);

inline std::uint32_t load_big32(const void* from) noexcept {
    std::uint32_t raw;
    std::memcpy(&raw, from, 4);
    return __builtin_bswap32(raw);
}
inline void store_big32(void* to, std::uint32_t host) noexcept {
    const std::uint32_t raw = __builtin_bswap32(host);
    std::memcpy(to, &raw, 4);
}
inline std::uint16_t load_big16(const void* from) noexcept {
    std::uint16_t raw;
    std::memcpy(&raw, from, 2);
    return __builtin_bswap16(raw);
}
inline void store_big16(void* to, std::uint16_t host) noexcept {
    const std::uint16_t raw = __builtin_bswap16(host);
    std::memcpy(to, &raw, 2);
}

}  // namespace shunt::wire
