// TCP options: read as liberally as Linux, written in Linux's order.
#include <gtest/gtest.h>

#include <vector>

#include "base/random.hpp"
#include "wire/tcp.hpp"

namespace shunt::wire {
namespace {

using Bytes = std::vector<std::uint8_t>;

TcpOptions parse(const Bytes& bytes) { return parse_tcp_options(bytes.data(), static_cast<unsigned>(bytes.size())); }
Bytes emit(const TcpOptions& options) {
    Bytes bytes(40, 0xee);
    bytes.resize(emit_tcp_options(options, bytes.data()));
    return bytes;
}

const Bytes linux_syn{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7};

TEST(TcpOptions, of_a_syn_stand_in_linuxs_order) {
    TcpOptions options;
    options.mss = 1460;
    options.sack_permitted = true;
    options.has_timestamp = true;
    options.tsval = 7;
    options.wscale = 7;
    EXPECT_EQ(emit(options), linux_syn);
}

TEST(TcpOptions, of_a_syn_are_read) {
    const TcpOptions options = parse(linux_syn);
    EXPECT_EQ(options.mss, 1460);
    EXPECT_TRUE(options.sack_permitted);
    EXPECT_TRUE(options.has_timestamp);
    EXPECT_EQ(options.tsval, 7U);
    EXPECT_EQ(options.wscale, 7);
}

TEST(TcpOptions, are_padded_as_linux_pads_them) {
    TcpOptions only_sack;
    only_sack.mss = 1460;
    only_sack.sack_permitted = true;
    EXPECT_EQ(emit(only_sack), (Bytes{2, 4, 0x05, 0xb4, 1, 1, 4, 2}));
    TcpOptions only_timestamp;
    only_timestamp.has_timestamp = true;
    only_timestamp.tsval = 1;
    only_timestamp.tsecr = 2;
    EXPECT_EQ(emit(only_timestamp), (Bytes{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}));
    TcpOptions only_scale;
    only_scale.wscale = 0;
    EXPECT_EQ(emit(only_scale), (Bytes{1, 3, 3, 0}));
    EXPECT_TRUE(emit(TcpOptions{}).empty());
}

TEST(TcpOptions, of_fast_open_stand_behind_the_others_and_are_padded) {
    const Bytes cookie{1, 2, 3, 4};
    TcpOptions options;
    options.wscale = 7;
    options.fast_open_bytes = 4;
    options.fast_open = cookie.data();
    EXPECT_EQ(emit(options), (Bytes{1, 3, 3, 7, 34, 6, 1, 2, 3, 4, 1, 1}));
    options.fast_open_experimental = true;
    EXPECT_EQ(emit(options), (Bytes{1, 3, 3, 7, 254, 8, 0xf9, 0x89, 1, 2, 3, 4}));
    options.fast_open_bytes = 0;
    EXPECT_EQ(emit(options), (Bytes{1, 3, 3, 7, 254, 4, 0xf9, 0x89}));
}

TEST(TcpOptions, of_fast_open_are_read_with_4_to_16_bytes_and_an_even_number) {
    const Bytes bytes{34, 6, 1, 2, 3, 4, 1, 1};  // the cookie is pointed to
    const TcpOptions good = parse(bytes);
    ASSERT_EQ(good.fast_open_bytes, 4);
    EXPECT_EQ(good.fast_open[3], 4);
    EXPECT_FALSE(good.fast_open_experimental);
    EXPECT_EQ(parse({34, 2, 1, 1}).fast_open_bytes, 0) << "asks for one";
    EXPECT_EQ(parse({34, 4, 1, 2}).fast_open_bytes, -1);
    EXPECT_EQ(parse({34, 7, 1, 2, 3, 4, 5, 1}).fast_open_bytes, -1);
    EXPECT_EQ(parse({34, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}).fast_open_bytes, -1);
    EXPECT_TRUE(parse({254, 4, 0xf9, 0x89}).fast_open_experimental);
    EXPECT_EQ(parse({254, 8, 0xf9, 0x89, 1, 2, 3, 4}).fast_open_bytes, 4);
    EXPECT_EQ(parse({254, 4, 1, 2}).fast_open_bytes, -1) << "another experiment";
}

TEST(TcpOptions, carry_four_sack_blocks_alone_and_three_behind_a_timestamp) {
    TcpOptions options;
    options.sack_count = 4;
    for (std::uint32_t i = 0; i < 4; ++i) {
        options.sack[i] = {Seq(100 * i), Seq(100 * i + 50)};
    }
    EXPECT_EQ(emit(options).size(), 36U);
    EXPECT_EQ(parse(emit(options)).sack_count, 4);
    options.has_timestamp = true;
    const Bytes bytes = emit(options);
    EXPECT_EQ(bytes.size(), 40U);
    const TcpOptions again = parse(bytes);
    EXPECT_EQ(again.sack_count, 3);
    EXPECT_EQ(again.sack[2].left, Seq(200));
    EXPECT_EQ(again.sack[2].right, Seq(250));
    EXPECT_TRUE(again.has_timestamp);
}

TEST(TcpOptions, that_are_unknown_are_skipped) {
    EXPECT_EQ(parse({254, 4, 1, 2, 2, 4, 0x05, 0xb4}).mss, 1460);
    EXPECT_EQ(parse({34, 2, 1, 1, 2, 4, 0x05, 0xb4}).mss, 1460);
}

TEST(TcpOptions, end_at_the_end_marker) {
    EXPECT_EQ(parse({0, 2, 4, 0x05, 0xb4}).mss, 0);
    EXPECT_EQ(parse({1, 1, 2, 4, 0x05, 0xb4, 0, 0}).mss, 1460);
}

TEST(TcpOptions, that_are_truncated_or_have_no_length_end_the_reading) {
    EXPECT_EQ(parse({2}).mss, 0);
    EXPECT_EQ(parse({2, 4, 5}).mss, 0);
    EXPECT_EQ(parse({2, 4, 0x05, 0xb4, 8, 10, 0, 0}).mss, 1460);
    EXPECT_FALSE(parse({2, 4, 0x05, 0xb4, 8, 10, 0, 0}).has_timestamp);
    EXPECT_EQ(parse({3, 0, 2, 4, 0x05, 0xb4}).mss, 0);
    EXPECT_EQ(parse({3, 1, 2, 4, 0x05, 0xb4}).mss, 0);
}

TEST(TcpOptions, of_a_wrong_length_are_ignored_one_by_one) {
    EXPECT_EQ(parse({2, 3, 5, 1}).mss, 0);
    EXPECT_EQ(parse({3, 4, 7, 0, 2, 4, 0x05, 0xb4}).wscale, -1);
    EXPECT_EQ(parse({3, 4, 7, 0, 2, 4, 0x05, 0xb4}).mss, 1460);
    EXPECT_FALSE(parse({4, 3, 0, 1}).sack_permitted);
    EXPECT_FALSE(parse({8, 6, 0, 0, 0, 1}).has_timestamp);
    EXPECT_EQ(parse({5, 6, 0, 0, 0, 1}).sack_count, 0);
    EXPECT_EQ(parse({5, 11, 0, 0, 0, 1, 0, 0, 0, 2, 9}).sack_count, 0);
}

TEST(TcpOptions, never_scale_a_window_by_more_than_fourteen) {
    EXPECT_EQ(parse({3, 3, 14, 1}).wscale, 14);
    EXPECT_EQ(parse({3, 3, 15, 1}).wscale, 14);
    EXPECT_EQ(parse({3, 3, 255, 1}).wscale, 14);
}

TEST(TcpOptions, of_any_bytes_are_read_within_their_bounds) {
    Random random(1);
    for (int i = 0; i < 200'000; ++i) {
        Bytes bytes(random.below(41));
        for (std::uint8_t& byte : bytes) {
            byte = static_cast<std::uint8_t>(random.below(3) == 0 ? random.below(12) : random.next());
        }
        const TcpOptions options = parse(bytes);
        ASSERT_LE(options.sack_count, 4);
        ASSERT_LE(options.wscale, 14);
    }
}

TEST(TcpOptions, come_back_as_they_were_written) {
    Random random(2);
    for (int i = 0; i < 1000; ++i) {
        TcpOptions options;
        options.mss = static_cast<std::uint16_t>(random.below(65536));
        options.wscale = static_cast<std::int8_t>(static_cast<int>(random.below(16)) - 1);
        options.sack_permitted = random.below(2) != 0;
        options.has_timestamp = random.below(2) != 0;
        options.tsval = static_cast<std::uint32_t>(random.next());
        options.tsecr = static_cast<std::uint32_t>(random.next());
        const Bytes bytes = emit(options);
        ASSERT_EQ(bytes.size() % 4, 0U);
        const TcpOptions again = parse(bytes);
        ASSERT_EQ(again.mss, options.mss);
        ASSERT_EQ(again.wscale, options.wscale);
        ASSERT_EQ(again.sack_permitted, options.sack_permitted);
        ASSERT_EQ(again.has_timestamp, options.has_timestamp);
        if (options.has_timestamp) {
            ASSERT_EQ(again.tsval, options.tsval);
            ASSERT_EQ(again.tsecr, options.tsecr);
        }
    }
}

}  // namespace
}  // namespace shunt::wire
