// The Internet checksum (RFC 1071): one's complement sum of 16-bit words. Sums are kept in memory byte order, in which the one's
// complement sum is the same up to a swap, so nothing is swapped on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace shunt::wire {

// A sum in the making. Pieces may be added in any order; every piece but the last must have an even length.
class Checksum {
public:
    void add(const void* data, std::size_t size) noexcept {
        const auto* from = static_cast<const unsigned char*>(data);
        std::uint64_t word;
        for (; size >= 32; size -= 32, from += 32) {
            std::uint64_t a, b, c, d;
            std::memcpy(&a, from, 8);
            std::memcpy(&b, from + 8, 8);
            std::memcpy(&c, from + 16, 8);
            std::memcpy(&d, from + 24, 8);
            low_ += (a & mask) + (b & mask) + (c & mask) + (d & mask);
            high_ += (a >> 32) + (b >> 32) + (c >> 32) + (d >> 32);
        }
        for (; size >= 8; size -= 8, from += 8) {
            std::memcpy(&word, from, 8);
            low_ += word & mask;
            high_ += word >> 32;
        }
        if (size != 0) {
            word = 0;
            if ((size & 4) != 0) {
                std::uint32_t part;
                std::memcpy(&part, from, 4);
                low_ += part;
                from += 4;
            }
            std::uint32_t rest = 0;
            if ((size & 2) != 0) {
                std::uint16_t part;
                std::memcpy(&part, from, 2);
                rest = part;
                from += 2;
            }
            if ((size & 1) != 0) {
                rest += *from;  // the last byte, padded with a zero behind it
            }
            low_ += rest;
        }
    }
    // A 16-bit or 32-bit value as it stands in memory.
    void add_raw(std::uint32_t raw) noexcept { low_ += raw; }

    // Folded to 16 bits, not complemented.
    std::uint16_t sum() const noexcept {
        std::uint64_t total = (low_ & mask) + (low_ >> 32) + (high_ & mask) + (high_ >> 32);
        total = (total & mask) + (total >> 32);
        auto folded = static_cast<std::uint32_t>((total & 0xffff) + ((total >> 16) & 0xffff) + (total >> 32));
        folded = (folded & 0xffff) + (folded >> 16);
        folded = (folded & 0xffff) + (folded >> 16);
        return static_cast<std::uint16_t>(folded);
    }
    // What goes into the header field, in memory order.
    std::uint16_t field() const noexcept { return static_cast<std::uint16_t>(~sum()); }
    // Over data that include their checksum field.
    bool is_good() const noexcept { return sum() == 0xffff; }

private:
    static constexpr std::uint64_t mask = 0xffff'ffff;
    std::uint64_t low_ = 0;   // carries collect in the upper half
    std::uint64_t high_ = 0;
};

// The pseudo-header of TCP and UDP over IPv4 (RFC 9293, 3.1); addresses in memory order, length in bytes.
inline void add_pseudo_header(Checksum& sum, std::uint32_t source_raw, std::uint32_t destination_raw, std::uint8_t protocol, std::uint32_t length) noexcept {
    sum.add_raw(source_raw);
    sum.add_raw(destination_raw);
    sum.add_raw(__builtin_bswap32(protocol));
    sum.add_raw(__builtin_bswap32(length));
}

}  // namespace shunt::wire
