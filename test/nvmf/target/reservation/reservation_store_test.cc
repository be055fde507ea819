// What the file of a reservation keeps, and what it survives.
#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/target/limits.h"
#include "nvmf/target/reservation/file_reservation_store.h"
#include "reactor/sim/world.h"
#include "test/reactor/may_leak.h"

namespace basalt::nvmf {
namespace {

constexpr bdev::Uuid kUuid{{1, 2, 3}};
using Slot = std::array<std::byte, kReservationSlotBytes>;

ReservationState state_of(uint32_t generation, uint32_t registrants = 2) {
    ReservationState state;
    state.generation = generation;
    state.persists = true;
    for (uint32_t i = 0; i < registrants; ++i) {
        state.registrants.push_back({HostId{1, static_cast<uint8_t>(i)}, 0x1000U + i});
    }
    if (registrants > 0) {
        state.type = ReservationType::kWriteExclusive;
        state.holder = HostId{1};
    }
    return state;
}

TEST(ReservationRecord, HasTheBytesOfItsFormat) {
    Slot slot{};
    ReservationState state = state_of(1, 1);
    state.registrants[0].key = 0x10;
    encode_record({.number = 1, .uuid = kUuid, .state = state}, slot);
    Slot golden{};
    std::memcpy(golden.data(), "BSLTRSV1", 8);
    const auto put = [&golden](size_t at, uint8_t value) { golden[at] = std::byte{value}; };
    put(8, 1);
    put(16, 1), put(17, 2), put(18, 3);
    put(32, 1);
    put(48, 1);
    put(52, 1);
    put(54, 1);
    put(55, 1);
    std::copy_n(slot.begin() + 56, 4, golden.begin() + 56);  // The checksum.
    put(64, 1);
    put(80, 0x10);
    EXPECT_EQ(slot, golden);
}

TEST(ReservationRecord, ComesBackAsItWas) {
    for (const uint32_t registrants : {0U, 1U, 2U, kRegistrantsMax}) {
        Slot slot{};
        const ReservationState state = state_of(7, registrants);
        encode_record({.number = 9, .uuid = kUuid, .state = state}, slot);
        const Result<ReservationRecord> record = decode_record(slot);
        ASSERT_TRUE(record);
        EXPECT_EQ(record->number, 9U);
        EXPECT_EQ(record->uuid, kUuid);
        EXPECT_EQ(record->state, state);
    }
}

TEST(ReservationRecord, NoChangedBitGoesUnnoticed) {
    Slot good{};
    encode_record({.number = 9, .uuid = kUuid, .state = state_of(7)}, good);
    for (size_t bit = 0; bit < (64 + 2 * 32) * 8; ++bit) {
        Slot bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const Result<ReservationRecord> record = decode_record(bad);
        ASSERT_FALSE(record) << bit;
        EXPECT_EQ(record.error().code, Errc::kDataCorrupt);
    }
}

class StoreWorld {
  public:
    explicit StoreWorld(uint64_t seed)
        : world(seed, sim::calm()), node(world.add_node()), reactor(&world.add_reactor(node)) {}

    Result<std::unique_ptr<ReservationStore>> open() {
        return FileReservationStore::open(*reactor, world.file_system(node), "/pr");
    }
    template <typename T>
    T run(Task<T> task) {
        EXPECT_TRUE(world.run_until([&] { return task.is_done(); }, kNsPerSecond));
        return task.result();
    }
    void restart() {
        world.restart_node(node);
        reactor = &world.add_reactor(node);
    }

    sim::World world;
    sim::NodeId node;
    Reactor* reactor;
};

TEST(FileReservationStore, ANewFileHasNothing) {
    StoreWorld world(1);
    auto store = world.open().value();
    const auto loaded = world.run(store->load(kUuid));
    ASSERT_TRUE(loaded);
    EXPECT_FALSE(loaded->has_value());
}

TEST(FileReservationStore, WhatWasSavedLastIsThereAfterALossOfPower) {
    StoreWorld world(1);
    auto store = world.open().value();
    ASSERT_TRUE(world.run(store->load(kUuid)));
    for (uint32_t i = 1; i <= 5; ++i) {
        ASSERT_TRUE(world.run(store->save(state_of(i))));
        world.world.crash_node(world.node);
        store.reset();
        world.restart();
        store = world.open().value();
        const auto loaded = world.run(store->load(kUuid));
        ASSERT_TRUE(loaded);
        ASSERT_TRUE(loaded->has_value());
        EXPECT_EQ(**loaded, state_of(i));
    }
}

TEST(FileReservationStore, ASaveCutShortLeavesTheOldStateOrTheNewOne) {
    uint32_t old_ones = 0;
    uint32_t new_ones = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
        StoreWorld world(seed);
        auto store = world.open().value();
        ASSERT_TRUE(world.run(store->load(kUuid)));
        const uint32_t saves = 1 + static_cast<uint32_t>(seed % 3);
        for (uint32_t i = 1; i <= saves; ++i) {
            ASSERT_TRUE(world.run(store->save(state_of(i, kRegistrantsMax))));
        }
        {
            [[maybe_unused]] const test::MayLeak may_leak;
            store->save(state_of(saves + 1, kRegistrantsMax)).detach();
        }
        world.world.run_for(world.world.random().below(200 * kNsPerUs));
        world.world.crash_node(world.node);
        store.reset();
        world.restart();
        store = world.open().value();
        const auto loaded = world.run(store->load(kUuid));
        ASSERT_TRUE(loaded) << "seed " << seed;
        ASSERT_TRUE(loaded->has_value()) << "seed " << seed;
        const uint32_t generation = (*loaded)->generation;
        ASSERT_TRUE(generation == saves || generation == saves + 1) << "seed " << seed;
        EXPECT_EQ(**loaded, state_of(generation, kRegistrantsMax));
        ++(generation == saves ? old_ones : new_ones);
    }
    EXPECT_GT(old_ones, 10U);
    EXPECT_GT(new_ones, 10U);
}

TEST(FileReservationStore, WhatIsNotToPersistIsForgotten) {
    StoreWorld world(1);
    auto store = world.open().value();
    ASSERT_TRUE(world.run(store->load(kUuid)));
    ASSERT_TRUE(world.run(store->save(state_of(1))));
    ReservationState fleeting = state_of(2);
    fleeting.persists = false;
    ASSERT_TRUE(world.run(store->save(fleeting)));
    store.reset();
    store = world.open().value();
    const auto loaded = world.run(store->load(kUuid));
    ASSERT_TRUE(loaded);
    EXPECT_FALSE(loaded->has_value());
}

TEST(FileReservationStore, RefusesTheFileOfAnotherNamespaceAndOneThatIsNone) {
    StoreWorld world(1);
    auto store = world.open().value();
    ASSERT_TRUE(world.run(store->load(kUuid)));
    ASSERT_TRUE(world.run(store->save(state_of(1))));
    store.reset();
    store = world.open().value();
    const auto loaded = world.run(store->load(bdev::Uuid{{9}}));
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().code, Errc::kInvalidArgument);

    world.world.add_drive(world.node, "/data", {.size_bytes = 1U << 20U});
    const auto foreign =
        FileReservationStore::open(*world.reactor, world.world.file_system(world.node), "/data");
    ASSERT_FALSE(foreign);
    EXPECT_EQ(foreign.error().code, Errc::kDataCorrupt);
}

}  // namespace
}  // namespace basalt::nvmf
