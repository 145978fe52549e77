// TCP Fast Open (RFC 7413): what net.ipv4.tcp_fastopen means, cookies as a server makes them and as a client remembers them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/arena.hpp"
#include "base/random.hpp"
#include "base/tunables.hpp"
#include "wire/tcp.hpp"

namespace shunt::tcp {

// Bits of net.ipv4.tcp_fastopen, Linux's.
namespace fast_open_bit {
inline constexpr std::int32_t client = 1;
inline constexpr std::int32_t server = 2;
inline constexpr std::int32_t client_without_cookie = 4;
inline constexpr std::int32_t server_without_cookie = 0x200;
inline constexpr std::int32_t server_without_option = 0x400;  // each listener, as if TCP_FASTOPEN had been set to its backlog
}  // namespace fast_open_bit

// tcpi_fastopen_client_fail, Linux's numbers.
enum class FastOpenFailure : std::uint8_t { unspecified, no_cookie, data_not_acked, syn_retransmitted };

struct FastOpenCookie {
    std::int8_t size = -1;         // 0: asked for; -1: none
    bool is_experimental = false;  // under option 254
    std::array<std::uint8_t, wire::fast_open_max_bytes> bytes{};

    static FastOpenCookie of(const wire::TcpOptions& options) noexcept {
        FastOpenCookie cookie;
        cookie.size = options.fast_open_bytes;
        cookie.is_experimental = options.fast_open_experimental;
        std::copy_n(options.fast_open, std::max<int>(cookie.size, 0), cookie.bytes.begin());
        return cookie;
    }
    bool equals(const FastOpenCookie& other) const noexcept {
        return size == other.size && std::equal(bytes.begin(), bytes.begin() + std::max<int>(size, 0), other.bytes.begin());
    }
};

// A server's cookie for a client: eight bytes, the same as Linux's for the same key and addresses.
FastOpenCookie make_fast_open_cookie(SecretKey key, std::uint32_t client, std::uint32_t server) noexcept;

// What a client knows of servers. Bounded: of the destinations that share a set the one asked for least recently is forgotten.
class FastOpenCache {
public:
    struct Entry {
        std::uint32_t local = 0, remote = 0;  // remote 0: free
        std::uint16_t mss = 0;                // the server's; 0: not known
        std::uint8_t tried_experimental = 0;  // 1: the other option is next; 2: it was of no use either
        FastOpenCookie cookie{.size = 0, .is_experimental = false, .bytes = {}};
    };

    static constexpr std::uint32_t sets = 256, ways = 4;

    FastOpenCache(Arena& arena, SecretKey key) noexcept : entries_(arena.carve_array<Entry>(sets * ways)), key_(key) { clear(); }
    static constexpr std::size_t arena_bytes() noexcept { return sets * ways * sizeof(Entry) + 64; }

    // Null when nothing is known.
    const Entry* find(std::uint32_t local, std::uint32_t remote) const noexcept;
    Entry& find_or_make(std::uint32_t local, std::uint32_t remote) noexcept;
    void clear() noexcept { std::fill_n(entries_, sets * ways, Entry{}); }

private:
    Entry* set_of(std::uint32_t local, std::uint32_t remote) const noexcept;

    Entry* entries_;
    SecretKey key_;
};

}  // namespace shunt::tcp
