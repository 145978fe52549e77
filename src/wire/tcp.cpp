#include "wire/tcp.hpp"

#include <algorithm>

namespace shunt::wire {
namespace {

enum Kind : std::uint8_t { end = 0, nop = 1, maximum_segment_size = 2, window_scale = 3, sack_permitted = 4, sack = 5, timestamp = 8, fast_open = 34, experimental = 254 };

constexpr std::uint16_t fast_open_magic = 0xF989;

void read_sack(const std::uint8_t* from, unsigned length, TcpOptions& options) noexcept {
    if (length < 10 || (length - 2) % 8 != 0) {
        return;
    }
    const unsigned blocks = std::min((length - 2) / 8, 4U);
    for (unsigned i = 0; i < blocks; ++i) {
        options.sack[i] = {Seq(load_big32(from + 2 + 8 * i)), Seq(load_big32(from + 6 + 8 * i))};
    }
    options.sack_count = static_cast<std::uint8_t>(blocks);
}

// A cookie has 4 to 16 bytes, an even number (RFC 7413, 4.1.1).
void read_fast_open(const std::uint8_t* cookie, unsigned length, bool is_experimental, TcpOptions& options) noexcept {
    if (length % 2 != 0) {
        return;
    }
    const bool is_good = length == 0 || (length >= fast_open_min_bytes && length <= fast_open_max_bytes);
    options.fast_open = cookie;
    options.fast_open_bytes = is_good ? static_cast<std::int8_t>(length) : std::int8_t{-1};
    options.fast_open_experimental = is_experimental;
}

void read_option(const std::uint8_t* from, unsigned length, TcpOptions& options) noexcept {
    switch (from[0]) {
        case maximum_segment_size:
            if (length == 4) {
                options.mss = load_big16(from + 2);
            }
            break;
        case window_scale:
            if (length == 3) {
                options.wscale = static_cast<std::int8_t>(std::min<unsigned>(from[2], 14));  // RFC 7323, 2.3
            }
            break;
        case sack_permitted:
            options.sack_permitted = options.sack_permitted || length == 2;
            break;
        case sack:
            read_sack(from, length, options);
            break;
        case timestamp:
            if (length == 10) {
                options.has_timestamp = true;
                options.tsval = load_big32(from + 2);
                options.tsecr = load_big32(from + 6);
            }
            break;
        case fast_open:
            read_fast_open(from + 2, length - 2, false, options);
            break;
        case experimental:
            if (length >= 4 && load_big16(from + 2) == fast_open_magic) {
                read_fast_open(from + 4, length - 4, true, options);
            }
            break;
        default:
            break;
    }
}

// At the end, and padded behind: what stands in front keeps its place.
std::uint8_t* write_fast_open(const TcpOptions& options, std::uint8_t* to, const std::uint8_t* end) noexcept {
    const unsigned head = options.fast_open_experimental ? 4 : 2;
    const auto cookie = static_cast<unsigned>(options.fast_open_bytes);
    const unsigned padded = (head + cookie + 3) / 4 * 4;
    if (to + padded > end) {
        return to;
    }
    to[0] = options.fast_open_experimental ? experimental : fast_open;
    to[1] = static_cast<std::uint8_t>(head + cookie);
    if (options.fast_open_experimental) {
        to[2] = fast_open_magic >> 8;
        to[3] = fast_open_magic & 0xff;
    }
    std::copy_n(options.fast_open, cookie, to + head);
    std::fill(to + head + cookie, to + padded, std::uint8_t{nop});
    return to + padded;
}

}  // namespace

TcpOptions parse_tcp_options(const std::uint8_t* options, unsigned bytes) noexcept {
    TcpOptions result;
    unsigned at = 0;
    while (at < bytes) {
        const std::uint8_t kind = options[at];
        if (kind == end) {
            break;
        }
        if (kind == nop) {
            ++at;
            continue;
        }
        if (at + 1 >= bytes) {
            break;
        }
        const unsigned length = options[at + 1];
        if (length < 2 || at + length > bytes) {
            break;
        }
        read_option(options + at, length, result);
        at += length;
    }
    return result;
}

unsigned emit_tcp_options(const TcpOptions& options, std::uint8_t* to) noexcept {
    std::uint8_t* const start = to;
    const auto put = [&to](auto... bytes) { ((*to++ = static_cast<std::uint8_t>(bytes)), ...); };
    if (options.mss != 0) {
        put(maximum_segment_size, 4, options.mss >> 8, options.mss & 0xff);
    }
    if (options.has_timestamp) {
        if (options.sack_permitted) {
            put(sack_permitted, 2);
        } else {
            put(nop, nop);
        }
        put(timestamp, 10);
        store_big32(to, options.tsval);
        store_big32(to + 4, options.tsecr);
        to += 8;
    } else if (options.sack_permitted) {
        put(nop, nop, sack_permitted, 2);
    }
    if (options.wscale >= 0) {
        put(nop, window_scale, 3, options.wscale);
    }
    if (options.fast_open_bytes >= 0) {
        to = write_fast_open(options, to, start + 40);
    }
    if (options.sack_count != 0) {
        const auto room = static_cast<unsigned>(40 - (to - start));
        const unsigned blocks = room < 12 ? 0 : std::min<unsigned>(options.sack_count, (room - 4) / 8);
        if (blocks != 0) {
            put(nop, nop, sack, 2 + 8 * blocks);
            for (unsigned i = 0; i < blocks; ++i, to += 8) {
                store_big32(to, options.sack[i].left.raw());
                store_big32(to + 4, options.sack[i].right.raw());
            }
        }
    }
    return static_cast<unsigned>(to - start);
}

}  // namespace shunt::wire
