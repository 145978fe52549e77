// See fragments.hpp. A waiting piece has lost its header (the first one's stays in its headroom, for later); PacketMeta::seq says where
// in the datagram it begins.
#include "pmd/fragments.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "base/arena.hpp"
#include "base/pool.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/pool_repair.hpp"

namespace shunt::pmd {

namespace {

constexpr std::uint32_t datagram_bytes_max = 65535;

struct Key {
    std::uint64_t addresses = 0;   // as in the header: only compared
    std::uint64_t identification_and_protocol = 0;
    bool operator==(const Key&) const = default;
};

// A datagram of which pieces are missing.
struct Datagram {
    Key key;
    Time since{};                    // when its first piece came
    Datagram* next = nullptr;        // in the bucket
    Datagram* older = nullptr;
    Datagram* newer = nullptr;
    PacketQueue pieces;              // by where they begin; none overlaps another
    std::uint32_t count = 0;
    std::uint32_t bytes = 0;         // in the pieces
    std::uint32_t end = 0;           // of the payload; 0: the last piece is not there
    std::uint32_t header_bytes = 0;  // of the piece at 0; 0: it is not there
};

struct Bucket {
    Datagram* first = nullptr;
};

// A piece as its header describes it.
struct Piece {
    Key key;
    std::uint32_t header_bytes, begin, end;
    bool is_last;
};

std::uint32_t begin_of(Packet* piece) noexcept {
    return piece->meta().seq;
}

std::uint32_t end_of(Packet* piece) noexcept {
    return piece->meta().seq + piece->size();
}

Piece read(const rte_ipv4_hdr& header) noexcept {
    const std::uint16_t field = rte_be_to_cpu_16(header.fragment_offset);
    Piece piece{};
    piece.key = {(std::uint64_t{header.src_addr} << 32) | header.dst_addr, (std::uint64_t{header.packet_id} << 8) | header.next_proto_id};
    piece.header_bytes = rte_ipv4_hdr_len(&header);
    piece.begin = (field & RTE_IPV4_HDR_OFFSET_MASK) * std::uint32_t{RTE_IPV4_HDR_OFFSET_UNITS};
    piece.end = piece.begin + rte_be_to_cpu_16(header.total_length) - piece.header_bytes;
    piece.is_last = (field & RTE_IPV4_HDR_MF_FLAG) == 0;
    return piece;
}

bool is_acceptable(const Piece& piece) noexcept {
    return piece.end > piece.begin && (piece.is_last || piece.end % RTE_IPV4_HDR_OFFSET_UNITS == 0) &&
           piece.header_bytes + piece.end <= datagram_bytes_max;
}

// Does the piece say of the datagram's end what the others say?
bool agrees(const Datagram& datagram, const Piece& piece) noexcept {
    if (datagram.end != 0) {
        return piece.is_last ? piece.end == datagram.end : piece.end <= datagram.end;
    }
    return !piece.is_last || datagram.pieces.is_empty() || end_of(datagram.pieces.back()) <= piece.end;
}

enum class Fit { fresh, there_already, overlapping };
struct Place {
    Fit fit;
    Packet* before = nullptr;  // behind which it goes; null: in front
};

Place place_of(const Datagram& datagram, const Piece& piece) noexcept {
    Packet* const back = datagram.pieces.back();
    if (back != nullptr && end_of(back) <= piece.begin) {
        return {Fit::fresh, back};   // in order, as nearly always
    }
    Packet* before = nullptr;
    Packet* each = datagram.pieces.front();
    for (; each != nullptr && end_of(each) <= piece.begin; each = each->meta().next) {
        before = each;
    }
    if (each == nullptr || begin_of(each) >= piece.end) {
        return {Fit::fresh, before};
    }
    std::uint32_t covered = piece.begin;
    for (; each != nullptr && begin_of(each) <= covered && covered < piece.end; each = each->meta().next) {
        covered = end_of(each);
    }
    return {covered >= piece.end ? Fit::there_already : Fit::overlapping};
}

// The pieces as one packet without a header.
rte_mbuf* chain(PacketQueue& pieces) noexcept {
    rte_mbuf* whole = pieces.pop_front()->mbuf();
    rte_mbuf* last = rte_pktmbuf_lastseg(whole);
    while (!pieces.is_empty()) {
        rte_mbuf* piece = pieces.pop_front()->mbuf();
        last->next = piece;
        last = rte_pktmbuf_lastseg(piece);
        whole->nb_segs = static_cast<std::uint16_t>(whole->nb_segs + piece->nb_segs);
        whole->pkt_len += piece->pkt_len;
        piece->pkt_len = piece->data_len;
    }
    return whole;
}

}  // namespace

struct Fragments {
    Arena arena;
    Duration timeout;
    SecretKey key;
    Pool<Datagram> datagrams;
    Bucket* buckets;
    std::uint32_t bucket_mask;
    std::uint32_t held = 0;  // pieces that wait
    Datagram* oldest = nullptr;
    Datagram* newest = nullptr;
    std::uint64_t failed = 0;

    Datagram*& bucket_of(const Key& wanted) noexcept {
        const std::uint64_t words[] = {wanted.addresses, wanted.identification_and_protocol};
        return buckets[siphash(key, words) & bucket_mask].first;
    }
    void forget(Datagram& datagram) noexcept;
    void give_up(Datagram& datagram) noexcept;
    void throw_away(Packet* piece) noexcept {
        ++failed;
        piece->free();
    }
    Datagram& find_or_create(const Key& wanted, Time now) noexcept;
    void keep(Datagram& datagram, const Piece& piece, Packet* packet, Packet* before) noexcept;
    Packet* make_whole(Datagram& datagram) noexcept;
};

// Its packets have gone elsewhere.
void Fragments::forget(Datagram& datagram) noexcept {
    held -= datagram.count;
    Datagram** link = &bucket_of(datagram.key);
    while (*link != &datagram) {
        link = &(*link)->next;
    }
    *link = datagram.next;
    (datagram.older == nullptr ? oldest : datagram.older->newer) = datagram.newer;
    (datagram.newer == nullptr ? newest : datagram.newer->older) = datagram.older;
    datagrams.destroy(&datagram);
}

void Fragments::give_up(Datagram& datagram) noexcept {
    failed += datagram.count;
    datagram.pieces.clear();
    forget(datagram);
}

Datagram& Fragments::find_or_create(const Key& wanted, Time now) noexcept {
    for (Datagram* each = bucket_of(wanted); each != nullptr; each = each->next) {
        if (each->key == wanted) {
            return *each;
        }
    }
    Datagram* datagram = datagrams.try_create();
    if (datagram == nullptr) {
        give_up(*oldest);
        datagram = datagrams.try_create();
    }
    datagram->key = wanted;
    datagram->since = now;
    Datagram*& bucket = bucket_of(wanted);
    datagram->next = bucket;
    bucket = datagram;
    datagram->older = newest;
    (newest == nullptr ? oldest : newest->newer) = datagram;
    newest = datagram;
    return *datagram;
}

void Fragments::keep(Datagram& datagram, const Piece& piece, Packet* packet, Packet* before) noexcept {
    packet->trim_front(piece.header_bytes);
    packet->meta().seq = piece.begin;
    datagram.pieces.insert_after(before, packet);
    ++datagram.count;
    ++held;
    datagram.bytes += piece.end - piece.begin;
    if (piece.is_last) {
        datagram.end = piece.end;
    }
    if (piece.begin == 0) {
        datagram.header_bytes = piece.header_bytes;
    }
}

Packet* Fragments::make_whole(Datagram& datagram) noexcept {
    if (datagram.header_bytes + datagram.end > datagram_bytes_max) {   // the first piece's header is longer than the last one's
        give_up(datagram);
        return nullptr;
    }
    rte_mbuf* whole = chain(datagram.pieces);
    Packet::from(whole)->prepend(datagram.header_bytes);
    forget(datagram);
    // What the port said of the first piece's checksum is not about the datagram.
    whole->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_TX_OFFLOAD_MASK);
    whole->tx_offload = 0;
    auto* header = rte_pktmbuf_mtod(whole, rte_ipv4_hdr*);
    header->total_length = rte_cpu_to_be_16(static_cast<std::uint16_t>(whole->pkt_len));
    header->fragment_offset &= rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG);
    header->hdr_checksum = 0;
    header->hdr_checksum = rte_ipv4_cksum(header);
    return Packet::from(whole);
}

Fragments* create_fragments(std::uint32_t max_datagrams, Duration timeout, SecretKey key) noexcept {
    const std::uint32_t datagrams = std::max<std::uint32_t>(max_datagrams, 1);
    const std::uint32_t buckets = std::bit_ceil(datagrams);
    auto arena = Arena::map(sizeof(Fragments) + Pool<Datagram>::bytes_for(datagrams) + buckets * sizeof(Bucket) + std::size_t{3} * 64);
    if (!arena) {
        return nullptr;
    }
    void* place = arena->carve(sizeof(Fragments), alignof(Fragments));
    void* slots = arena->carve(Pool<Datagram>::bytes_for(datagrams), Pool<Datagram>::alignment);
    auto* table = arena->carve_array<Bucket>(buckets);
    return new (place) Fragments{*arena, timeout, key, Pool<Datagram>(slots, datagrams), table, buckets - 1};
}

void destroy_fragments(Fragments* fragments) noexcept {
    if (fragments != nullptr) {
        while (fragments->oldest != nullptr) {
            fragments->give_up(*fragments->oldest);
        }
        Arena arena = fragments->arena;
        arena.unmap();
    }
}

Packet* reassemble(Fragments& fragments, Packet* fragment, Time now) noexcept {
    expire(fragments, now);
    const Piece piece = read(*reinterpret_cast<const rte_ipv4_hdr*>(fragment->data()));
    if (!is_acceptable(piece)) {
        fragments.throw_away(fragment);
        return nullptr;
    }
    while (fragments.held >= fragment->mbuf()->pool->size / fragments_pool_share && fragments.oldest != nullptr) {
        fragments.give_up(*fragments.oldest);
    }
    Datagram& datagram = fragments.find_or_create(piece.key, now);
    const Place place = place_of(datagram, piece);
    if (place.fit == Fit::overlapping || !agrees(datagram, piece) || (place.fit == Fit::fresh && datagram.count == fragments_per_datagram_max)) {
        fragments.give_up(datagram);
        fragments.throw_away(fragment);
        return nullptr;
    }
    if (place.fit == Fit::there_already) {
        fragments.throw_away(fragment);
        return nullptr;
    }
    fragments.keep(datagram, piece, fragment, place.before);
    // None overlaps another, and none lies beyond the end: as many bytes as there are to be, are all of them.
    return datagram.bytes == datagram.end ? fragments.make_whole(datagram) : nullptr;
}

void forget_fragments(Fragments& fragments) noexcept {
    std::fill_n(fragments.buckets, fragments.bucket_mask + 1, Bucket{});
    fragments.oldest = fragments.newest = nullptr;
    fragments.held = 0;
    fragments.datagrams.relink([](const Datagram&) { return false; });
}

void keep_fragments(const Fragments& fragments, PoolRepair& repair) noexcept {
    for (const Datagram* each = fragments.oldest; each != nullptr; each = each->newer) {
        each->pieces.for_each([&repair](Packet& packet) { repair.keep(packet); });
    }
}

void expire(Fragments& fragments, Time now) noexcept {
    while (fragments.oldest != nullptr && fragments.oldest->since + fragments.timeout < now) {
        fragments.give_up(*fragments.oldest);
    }
}

std::uint64_t fragments_failed(const Fragments& fragments) noexcept {
    return fragments.failed;
}

}  // namespace shunt::pmd
