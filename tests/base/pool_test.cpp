// Pools and the arena that they are carved from.
#include "base/pool.hpp"

#include <gtest/gtest.h>

#include <iterator>
#include <set>

#include "base/arena.hpp"

namespace shunt {
namespace {

struct Thing {
    explicit Thing(int& alive_things) : alive(&alive_things) { ++*alive; }
    ~Thing() { --*alive; }
    int* alive;
    char ballast[40]{};
};

class PoolTest : public ::testing::Test {
protected:
    PoolTest() : arena_(*Arena::map(1 << 20)), pool_(arena_.carve(Pool<Thing>::bytes_for(capacity), 64), capacity) {}
    ~PoolTest() override { arena_.unmap(); }

    static constexpr std::uint32_t capacity = 8;
    int alive_ = 0;
    Arena arena_;
    Pool<Thing> pool_;
};

TEST_F(PoolTest, gives_out_as_many_as_it_holds_and_then_null) {
    std::set<Thing*> things;
    for (std::uint32_t i = 0; i < capacity; ++i) {
        things.insert(pool_.try_create(alive_));
    }
    EXPECT_EQ(things.size(), capacity);
    EXPECT_FALSE(things.contains(nullptr));
    EXPECT_EQ(pool_.try_create(alive_), nullptr);
    EXPECT_EQ(pool_.used(), capacity);
    EXPECT_EQ(alive_, 8);
}

TEST_F(PoolTest, is_made_anew_from_those_that_live) {
    std::set<Thing*> things;
    for (std::uint32_t i = 0; i < capacity - 1; ++i) {
        things.insert(pool_.try_create(alive_));
    }
    Thing* const kept = *std::next(things.begin(), 2);
    pool_.relink([&](const Thing& each) { return &each == kept; });
    EXPECT_EQ(pool_.used(), 1U);
    std::set<Thing*> fresh;
    for (std::uint32_t i = 0; i < capacity - 1; ++i) {
        fresh.insert(pool_.try_create(alive_));
    }
    EXPECT_EQ(fresh.size(), capacity - 1);
    EXPECT_FALSE(fresh.contains(kept));
    EXPECT_EQ(pool_.try_create(alive_), nullptr);
    EXPECT_TRUE(pool_.has_slot(kept));
    EXPECT_FALSE(pool_.has_slot(reinterpret_cast<Thing*>(reinterpret_cast<std::byte*>(kept) + 8)));
}

TEST_F(PoolTest, gives_a_returned_slot_out_again) {
    for (std::uint32_t i = 0; i < capacity - 1; ++i) {
        pool_.try_create(alive_);
    }
    Thing* last = pool_.try_create(alive_);
    pool_.destroy(last);
    EXPECT_EQ(alive_, 7);
    EXPECT_EQ(pool_.try_create(alive_), last);
    EXPECT_EQ(pool_.try_create(alive_), nullptr);
}

TEST_F(PoolTest, knows_its_own_by_address_and_index) {
    Thing* first = pool_.try_create(alive_);
    Thing* second = pool_.try_create(alive_);
    int elsewhere = 0;
    Thing stranger(elsewhere);
    EXPECT_TRUE(pool_.contains(first));
    EXPECT_FALSE(pool_.contains(&stranger));
    EXPECT_EQ(pool_.index_of(second), pool_.index_of(first) + 1);
}

TEST_F(PoolTest, dies_with_a_message_when_given_what_is_not_its_own) {
    int elsewhere = 0;
    Thing stranger(elsewhere);
    EXPECT_DEATH(pool_.destroy(&stranger), "bug: .*contains");
}

TEST(Arena, carves_aligned_zeroed_pieces_that_do_not_overlap) {
    Arena arena = *Arena::map(10'000);
    auto* a = static_cast<unsigned char*>(arena.carve(3, 1));
    auto* b = arena.carve_array<std::uint64_t>(4);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b) % 64, 0U);
    EXPECT_GE(reinterpret_cast<unsigned char*>(b), a + 3);
    EXPECT_EQ(b[3], 0U);
    EXPECT_EQ(arena.size(), 12'288U) << "whole pages";
    EXPECT_EQ(arena.used(), 64U + 32U);
    arena.unmap();
}

TEST(Arena, says_what_to_do_when_there_is_no_room) {
    const auto arena = Arena::map(std::size_t{1} << 60);
    ASSERT_FALSE(arena);
    EXPECT_EQ(arena.error().code, ENOMEM);
    EXPECT_NE(arena.error().message.find("--connections"), std::string::npos);
}

TEST(ArenaDeathTest, stops_at_its_end) {
    Arena arena = *Arena::map(4096);
    EXPECT_DEATH(arena.carve(4097, 1), "bug:");
    arena.unmap();
}

}  // namespace
}  // namespace shunt
