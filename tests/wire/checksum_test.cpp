// The Internet checksum against the definition of RFC 1071, word by word.
#include "wire/checksum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.hpp"
#include "wire/ipv4.hpp"

namespace shunt::wire {
namespace {

// RFC 1071, 4.1, in host order of big-endian words.
std::uint16_t reference(const std::vector<unsigned char>& data, std::size_t from, std::size_t size) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < size; i += 2) {
        sum += static_cast<std::uint32_t>(data[from + i] << 8);
        sum += i + 1 < size ? data[from + i + 1] : 0U;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

std::vector<unsigned char> random_bytes(Random& random, std::size_t size) {
    std::vector<unsigned char> bytes(size);
    for (unsigned char& byte : bytes) {
        byte = static_cast<unsigned char>(random.below(4) == 0 ? 0xff : random.next());
    }
    return bytes;
}

TEST(Checksum, agrees_with_the_definition_for_every_length_and_alignment) {
    Random random(1);
    for (std::size_t size = 0; size <= 300; ++size) {
        const auto data = random_bytes(random, size + 8);
        for (std::size_t offset = 0; offset < 8; ++offset) {
            Checksum sum;
            sum.add(data.data() + offset, size);
            ASSERT_EQ(__builtin_bswap16(sum.field()), reference(data, offset, size)) << size << " at " << offset;
        }
    }
}

TEST(Checksum, copies_and_adds_what_it_has_copied) {
    Random random(3);
    for (std::size_t size = 0; size <= 300; ++size) {
        const auto data = random_bytes(random, size + 8);
        for (std::size_t offset = 0; offset < 8; ++offset) {
            std::vector<unsigned char> copied(size + 1, 0xa5);
            Checksum sum;
            sum.copy(copied.data(), data.data() + offset, size);
            ASSERT_EQ(__builtin_bswap16(sum.field()), reference(data, offset, size)) << size << " at " << offset;
            ASSERT_TRUE(std::equal(data.begin() + static_cast<long>(offset), data.begin() + static_cast<long>(offset + size), copied.begin()));
            ASSERT_EQ(copied[size], 0xa5);
        }
    }
}

TEST(Checksum, agrees_for_a_whole_datagram_of_ones) {
    const std::vector<unsigned char> data(65'535, 0xff);
    Checksum sum;
    sum.add(data.data(), data.size());
    EXPECT_EQ(__builtin_bswap16(sum.field()), reference(data, 0, data.size()));
}

TEST(Checksum, may_be_added_up_in_even_pieces) {
    Random random(2);
    for (int round = 0; round < 200; ++round) {
        const auto data = random_bytes(random, 1 + random.below(3000));
        Checksum sum;
        std::size_t at = 0;
        while (data.size() - at > 2) {
            const std::size_t piece = std::min<std::size_t>(2 + random.below(200) * 2, (data.size() - at) & ~std::size_t{1});
            sum.add(data.data() + at, piece);
            at += piece;
        }
        sum.add(data.data() + at, data.size() - at);
        ASSERT_EQ(__builtin_bswap16(sum.field()), reference(data, 0, data.size()));
    }
}

TEST(Checksum, is_good_over_data_with_their_own_field) {
    std::vector<unsigned char> data{0x45, 0, 0, 0x54, 0, 0, 0x40, 0, 0x40, 0x01, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
    Checksum sum;
    sum.add(data.data(), data.size());
    const std::uint16_t field = sum.field();
    std::memcpy(data.data() + 10, &field, 2);
    Checksum again;
    again.add(data.data(), data.size());
    EXPECT_TRUE(again.is_good());
    data[3] = static_cast<unsigned char>(data[3] ^ 0x10);
    Checksum broken;
    broken.add(data.data(), data.size());
    EXPECT_FALSE(broken.is_good());
}

TEST(Checksum, covers_the_pseudo_header_of_rfc_9293) {
    std::vector<unsigned char> pseudo{10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 5, 'h', 'e', 'l', 'l', 'o'};
    Checksum sum;
    add_pseudo_header(sum, __builtin_bswap32(0x0a000001), __builtin_bswap32(0x0a000002), protocol_tcp, 5);
    sum.add("hello", 5);
    EXPECT_EQ(__builtin_bswap16(sum.field()), reference(pseudo, 0, pseudo.size()));
}

}  // namespace
}  // namespace shunt::wire
