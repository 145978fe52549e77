// The Internet checksum (RFC 1071): one's complement sum of 16-bit words. Sums are kept in memory byte order, in which the one's
// complement sum is the same up to a swap, so nothing is swapped on the way.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace shunt::wire {

// A sum in the making: 64 bits wide (RFC 1071, 2 (C)), a carry out of the top comes in again at the bottom. Pieces may be added in any order; every
// piece but the last must have an even length.
class Checksum {
public:
    [[gnu::always_inline]] void add(const void* data, std::size_t size) noexcept {
        const auto* from = static_cast<const unsigned char*>(data);
        std::uint64_t low = 0, high = 0;  // of the words' halves: no carry to wait for
        for (; size >= 8; size -= 8, from += 8) {
            const std::uint64_t word = load(from);
            low += static_cast<std::uint32_t>(word);
            high += word >> 32;
        }
        add_raw(low);
        add_raw(high);
        if ((size & 7) != 0) {
            add_tail(from, size);
        }
    }
    // Copies, and adds what it copies: bytes that have just been written stall the processor when they are read back at once by words that do not
    // lie as they were written. No more than a few hundred bytes, beyond that memcpy and add() are faster.
    [[gnu::always_inline]] void copy(void* to, const void* data, std::size_t size) noexcept {
        const auto* from = static_cast<const unsigned char*>(data);
        auto* at = static_cast<unsigned char*>(to);
        std::uint64_t low = 0, high = 0;  // of the words' halves: no carry to wait for
        for (; size >= 8; size -= 8, from += 8, at += 8) {
            const std::uint64_t word = load(from);
            std::memcpy(at, &word, sizeof word);
            low += static_cast<std::uint32_t>(word);
            high += word >> 32;
        }
        add_raw(low);
        add_raw(high);
        if (size != 0) {
            std::memcpy(at, from, size);
            add_tail(from, size);
        }
    }
    // A value of 16, 32 or 64 bits as it stands in memory.
    [[gnu::always_inline]] void add_raw(std::uint64_t raw) noexcept {
        const bool carry = __builtin_add_overflow(sum_, raw, &sum_);
        sum_ += carry ? 1 : 0;
    }

    // Folded to 16 bits, not complemented.
    [[gnu::always_inline]] std::uint16_t sum() const noexcept {
        const auto half = static_cast<std::uint32_t>((sum_ + std::rotl(sum_, 32)) >> 32);  // the halves' sum with its carry, in the upper one
        return static_cast<std::uint16_t>((half + std::rotl(half, 16)) >> 16);
    }
    // What goes into the header field, in memory order.
    std::uint16_t field() const noexcept { return static_cast<std::uint16_t>(~sum()); }
    // Over data that include their checksum field.
    bool is_good() const noexcept { return sum() == 0xffff; }

private:
    static std::uint64_t load(const unsigned char* from) noexcept {
        std::uint64_t word;
        std::memcpy(&word, from, sizeof word);
        return word;
    }
    // The last size % 8 bytes, as if zeros stood behind them.
    void add_tail(const unsigned char* from, std::size_t size) noexcept {
        std::uint64_t word = 0;
        unsigned shift = 0;
        const auto take = [&]<class T>(T part) {
            std::memcpy(&part, from, sizeof part);
            word |= std::uint64_t{part} << shift;
            from += sizeof part;
            shift += 8 * sizeof part;
        };
        if ((size & 4) != 0) {
            take(std::uint32_t{});
        }
        if ((size & 2) != 0) {
            take(std::uint16_t{});
        }
        if ((size & 1) != 0) {
            take(std::uint8_t{});
        }
        add_raw(word);
    }

    std::uint64_t sum_ = 0;
};

// Writes a header by words of 64 bits and adds them up on the way. A header that is written field by field and read back at once for its
// checksum stalls the processor, which cannot put a large load together from small stores that are still under way.
class HeaderWriter {
public:
    HeaderWriter(void* to, Checksum& sum) noexcept : to_(static_cast<unsigned char*>(to)), sum_(sum) {}
    // Two 32-bit words in host order.
    void put(std::uint32_t first, std::uint32_t second) noexcept {
        const std::uint64_t raw = __builtin_bswap64(std::uint64_t{first} << 32 | second);
        std::memcpy(to_, &raw, sizeof raw);
        sum_.add_raw(raw);
        to_ += sizeof raw;
    }
    void put(std::uint32_t last) noexcept {
        const std::uint32_t raw = __builtin_bswap32(last);
        std::memcpy(to_, &raw, sizeof raw);
        sum_.add_raw(raw);
        to_ += sizeof raw;
    }

private:
    unsigned char* to_;
    Checksum& sum_;
};

// The pseudo-header of TCP and UDP over IPv4 (RFC 9293, 3.1); addresses in memory order, length in bytes.
inline void add_pseudo_header(Checksum& sum, std::uint32_t source_raw, std::uint32_t destination_raw, std::uint8_t protocol, std::uint32_t length) noexcept {
    sum.add_raw(std::uint64_t{source_raw} + destination_raw + __builtin_bswap32(protocol) + __builtin_bswap32(length));
}

}  // namespace shunt::wire
