#include "bdev/store/pool/pool.h"

#include <gtest/gtest.h>

#include "test/bdev/store/pool/pool_node.h"
#include "test/bdev/support/fake_bdev.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;

Errc code_of(Status status) {
    return status ? Errc::kOk : status.error().code;
}

bool is_clean(PoolNode& node) {
    const Result<CheckReport> report = node.wait(node.pool->check());
    return report && report->is_clean();
}

uint64_t free_blocks(PoolNode& node) {
    return node.wait(node.pool->usage()).free;
}

TEST(Pool, KeepsItsVolumesOverARestartWithTheSameUuids) {
    PoolNode node(1);
    ASSERT_TRUE(node.create()) << node.problem;
    ASSERT_TRUE(node.add_volume("a"));
    ASSERT_EQ(node.fill("a", 5, 20, 0x11), Errc::kOk);
    const Uuid uuid = node.pool->device_of("a")->info().uuid;
    ASSERT_TRUE(node.close());
    EXPECT_EQ(node.registry->find("p/a"), nullptr);
    ASSERT_TRUE(node.open()) << node.problem;
    EXPECT_EQ(node.pool->identity().name, "p");
    ASSERT_NE(node.pool->device_of("a"), nullptr);
    EXPECT_EQ(node.pool->device_of("a")->info().uuid, uuid);
    EXPECT_TRUE(node.holds("a", 5, 20, 0x11));
    EXPECT_TRUE(node.holds("a", 0, 5, 0));
    ASSERT_TRUE(node.cut_power()) << node.problem;
    EXPECT_TRUE(node.holds("a", 5, 20, 0x11));
    EXPECT_TRUE(is_clean(node));
}

TEST(Pool, OpensNothingThatIsNotAPool) {
    PoolNode node(1);
    EXPECT_EQ(code_of(node.open()), Errc::kNotFound);
    EXPECT_NE(node.problem, "");
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.close());
    node.drive.corrupt(100);
    node.drive.corrupt(kBlockBytes + 100);
    EXPECT_EQ(code_of(node.open()), Errc::kDataCorrupt);
    EXPECT_TRUE(node.device->user().empty());
    EXPECT_EQ(node.device->open_channels(), 0U);
}

TEST(Pool, ANameThatNoDeviceCanHaveIsRefusedBeforeAnythingIsWritten) {
    PoolNode node(1);
    PoolOptions options;
    options.name = "my pool";
    options.uuid = PoolNode::uuid(1);
    EXPECT_EQ(
        node.wait(Pool::create(node.home(), *node.device, options, node.problem)).error().code,
        Errc::kInvalidArgument);
    EXPECT_EQ(code_of(node.open()), Errc::kNotFound);
    ASSERT_TRUE(node.create());
    EXPECT_EQ(code_of(node.add_volume("a b")), Errc::kInvalidArgument);
    EXPECT_TRUE(node.pool->catalogue().volumes().empty());
}

TEST(Pool, ADeviceThatIsUsedIsLeftAlone) {
    PoolNode node(1);
    const Claim claim = std::move(node.registry->claim(*node.device, "somebody")).value();
    EXPECT_EQ(code_of(node.create()), Errc::kBusy);
}

TEST(Pool, ASnapshotStaysAsItWas) {
    PoolNode node(2);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_EQ(node.fill("v", 0, 30, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_EQ(node.fill("v", 10, 10, 0x22), Errc::kOk);
    EXPECT_TRUE(node.holds("s", 0, 30, 0x11));
    EXPECT_TRUE(node.holds("v", 10, 10, 0x22));
    EXPECT_TRUE(node.holds("v", 0, 10, 0x11));
    EXPECT_TRUE(node.pool->device_of("s")->info().is_read_only);
    ASSERT_TRUE(node.cut_power()) << node.problem;
    EXPECT_TRUE(node.holds("s", 0, 30, 0x11));
    EXPECT_TRUE(node.holds("v", 10, 10, 0x22));
    EXPECT_TRUE(is_clean(node));
}

TEST(Pool, AHundredSnapshotsEachKeepTheirOwn) {
    PoolNode node(3);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    for (uint32_t i = 0; i < 100; ++i) {
        ASSERT_EQ(node.fill("v", i, 2, static_cast<uint8_t>(i + 1)), Errc::kOk);
        ASSERT_TRUE(node.take_snapshot("v", "s" + std::to_string(i)));
    }
    for (uint32_t i = 0; i < 100; i += 7) {
        const std::string name = "s" + std::to_string(i);
        EXPECT_TRUE(node.holds(name, i, 2, static_cast<uint8_t>(i + 1)));
        EXPECT_TRUE(node.holds(name, i + 2, 30, 0));
    }
    // Deleted in any order, everything comes back.
    const uint64_t before = free_blocks(node);
    for (uint32_t i = 0; i < 100; ++i) {
        const std::string name = "s" + std::to_string(i * 37 % 100);
        ASSERT_TRUE(node.wait(node.pool->delete_snapshot(name, WithClones::kRefuse)));
    }
    node.wait(node.pool->swept());
    EXPECT_EQ(node.pool->catalogue().nodes().size(), 1U);
    EXPECT_GE(free_blocks(node), before + 99);  // Of each but the last two lived one block.
    EXPECT_TRUE(node.holds("v", 99, 2, 100));
    EXPECT_TRUE(node.holds("v", 50, 1, 51));
    EXPECT_TRUE(is_clean(node));
}

TEST(Pool, ClonesAreWritableAndOutliveTheirSnapshot) {
    PoolNode node(4);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_EQ(node.fill("v", 0, 20, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_TRUE(node.clone("s", "c"));
    ASSERT_EQ(node.fill("c", 5, 5, 0x33), Errc::kOk);
    EXPECT_TRUE(node.holds("v", 0, 20, 0x11));
    EXPECT_TRUE(node.holds("c", 5, 5, 0x33));
    EXPECT_EQ(code_of(node.wait(node.pool->delete_snapshot("s", WithClones::kRefuse))),
              Errc::kBusy);
    ASSERT_TRUE(node.wait(node.pool->delete_snapshot("s", WithClones::kDelete)));
    ASSERT_TRUE(node.wait(node.pool->delete_volume("v")));
    node.wait(node.pool->swept());
    ASSERT_TRUE(node.cut_power()) << node.problem;
    EXPECT_TRUE(node.holds("c", 0, 5, 0x11));
    EXPECT_TRUE(node.holds("c", 5, 5, 0x33));
    EXPECT_TRUE(node.holds("c", 10, 10, 0x11));
    node.wait(node.pool->swept());
    EXPECT_EQ(node.pool->catalogue().nodes().size(), 1U);
    EXPECT_TRUE(is_clean(node));
}

TEST(Pool, RollsBack) {
    PoolNode node(5);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_EQ(node.fill("v", 0, 20, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_EQ(node.fill("v", 0, 25, 0x22), Errc::kOk);
    ASSERT_TRUE(node.wait(node.pool->roll_back("v", "s")));
    EXPECT_TRUE(node.holds("v", 0, 20, 0x11));
    EXPECT_TRUE(node.holds("v", 20, 5, 0));
    ASSERT_EQ(node.fill("v", 0, 1, 0x44), Errc::kOk);
    EXPECT_TRUE(node.holds("s", 0, 20, 0x11));
    node.wait(node.pool->swept());
    EXPECT_TRUE(is_clean(node));
}

TEST(Pool, ResizesRenamesAndMakesReadOnly) {
    PoolNode node(6);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", 100));
    ASSERT_EQ(node.fill("v", 0, 20, 0x11), Errc::kOk);
    ASSERT_TRUE(node.wait(node.pool->resize("v", 10)));
    ASSERT_TRUE(node.wait(node.pool->resize("v", 200000)));
    EXPECT_EQ(node.pool->device_of("v")->info().block_count, BlockCount(200000));
    EXPECT_TRUE(node.holds("v", 0, 10, 0x11));
    EXPECT_TRUE(node.holds("v", 10, 10, 0));  // Gone with the end, and not back with it.
    ASSERT_EQ(node.fill("v", 70000, 20, 0x55), Errc::kOk);
    ASSERT_TRUE(node.wait(node.pool->rename("v", "w")));
    EXPECT_EQ(node.pool->device_of("v"), nullptr);
    EXPECT_TRUE(node.holds("w", 70000, 20, 0x55));
    ASSERT_TRUE(node.wait(node.pool->set_read_only("w")));
    EXPECT_TRUE(node.pool->device_of("w")->info().is_read_only);
    EXPECT_EQ(code_of(node.wait(node.pool->resize("w", 5))), Errc::kInvalidArgument);
    EXPECT_EQ(code_of(node.wait(node.pool->rename("w", "a/b"))), Errc::kInvalidArgument);
    EXPECT_EQ(code_of(node.wait(node.pool->rename("x", "y"))), Errc::kNotFound);
    EXPECT_EQ(code_of(node.add_volume("w")), Errc::kExists);
}

TEST(Pool, WhatIsUsedIsNotTakenAway) {
    PoolNode node(7);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    const auto channel = node.open_channel("v");
    EXPECT_EQ(code_of(node.wait(node.pool->delete_volume("v"))), Errc::kBusy);
    EXPECT_EQ(code_of(node.close()), Errc::kBusy);
    ASSERT_TRUE(node.take_snapshot("v", "s"));  // But snapshots are taken.
    EXPECT_EQ(code_of(node.wait(node.pool->roll_back("v", "s"))), Errc::kBusy);
}

TEST(Pool, AGroupOfSnapshotsIsTakenWholeOrNotAtAll) {
    PoolNode node(8);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("a"));
    ASSERT_TRUE(node.add_volume("b"));
    ASSERT_EQ(node.fill("a", 0, 1, 1), Errc::kOk);
    ASSERT_EQ(node.fill("b", 0, 1, 2), Errc::kOk);
    std::vector<SnapshotOptions> group(2);
    group[0] = {.volume = "a", .name = "sa", .uuid = PoolNode::uuid(500)};
    group[1] = {.volume = "nobody", .name = "sb", .uuid = PoolNode::uuid(501)};
    EXPECT_EQ(code_of(node.wait(node.pool->snapshot(group))), Errc::kNotFound);
    EXPECT_EQ(node.pool->device_of("sa"), nullptr);
    group[1].volume = "b";
    ASSERT_TRUE(node.wait(node.pool->snapshot(group)));
    EXPECT_TRUE(node.holds("sa", 0, 1, 1));
    EXPECT_TRUE(node.holds("sb", 0, 1, 2));
}

TEST(Pool, TellsWhatIsUsedAndWhatOnlyOneHolds) {
    PoolNode node(9);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_EQ(node.fill("v", 0, 30, 1), Errc::kOk);
    EXPECT_EQ(node.pool->device_of("v")->allocated_blocks(), BlockCount(30));
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_EQ(node.fill("v", 0, 10, 2), Errc::kOk);
    EXPECT_EQ(*node.wait(node.pool->exclusive_blocks("s")), 10U);
    EXPECT_EQ(node.pool->device_of("v")->allocated_blocks(), BlockCount(30));
    // Who has not been written to yet tells it as well.
    EXPECT_EQ(node.pool->device_of("s")->allocated_blocks(), BlockCount(30));
    ASSERT_TRUE(node.clone("s", "c"));
    EXPECT_EQ(node.pool->device_of("c")->allocated_blocks(), BlockCount(30));
    ASSERT_TRUE(node.cut_power());
    EXPECT_EQ(node.pool->device_of("v")->allocated_blocks(), BlockCount(30));
}

TEST(Pool, WhatAFailedChangeLeftIsSeenAfterTheNextOpeningAndNothingIsLostTillThen) {
    uint32_t gone = 0;
    uint32_t there = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        PoolNode node(seed);
        ASSERT_TRUE(node.create());
        ASSERT_TRUE(node.add_volume("v"));
        ASSERT_TRUE(node.add_volume("w"));
        ASSERT_EQ(node.fill("w", 0, 5, 0x11), Errc::kOk);
        node.world.faults().write_error_ppm = 1'000'000;
        EXPECT_EQ(code_of(node.wait(node.pool->delete_volume("v"))), Errc::kIo);
        node.world.faults().write_error_ppm = 0;
        ASSERT_TRUE(node.pool->is_fenced());
        // Nobody writes to what may be gone; all else goes on, but for changes.
        Device& maybe_gone = *node.pool->device_of("v");
        EXPECT_EQ(node.registry->claim(maybe_gone, "somebody").error().code, Errc::kBusy);
        EXPECT_EQ(code_of(node.add_volume("x")), Errc::kIo);
        EXPECT_EQ(code_of(node.wait(node.pool->resize("w", 1))), Errc::kIo);
        EXPECT_TRUE(node.holds("w", 0, 5, 0x11));
        // A file that failed a durable write takes none any more until it is opened again.
        EXPECT_EQ(code_of(node.close()), Errc::kIo);
        ASSERT_TRUE(node.cut_power()) << node.problem;
        EXPECT_FALSE(node.pool->is_fenced());
        EXPECT_TRUE(node.holds("w", 0, 5, 0x11));
        (node.pool->device_of("v") == nullptr ? gone : there) += 1;
        ASSERT_TRUE(node.add_volume("x"));
        node.wait(node.pool->swept());
        EXPECT_TRUE(is_clean(node));
    }
    EXPECT_GT(gone, 0U);
    EXPECT_GT(there, 0U);
}

TEST(Pool, ARollbackOfUnknownOutcomeKeepsItsVolumeFromBeingUsed) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_EQ(node.fill("v", 0, 5, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    node.world.faults().write_error_ppm = 1'000'000;
    EXPECT_EQ(code_of(node.wait(node.pool->roll_back("v", "s"))), Errc::kIo);
    node.world.faults().write_error_ppm = 0;
    EXPECT_FALSE(node.pool->device_of("v")->user().empty());
    EXPECT_EQ(code_of(node.close()), Errc::kIo);
    ASSERT_TRUE(node.cut_power()) << node.problem;
    EXPECT_TRUE(node.pool->device_of("v")->user().empty());
    EXPECT_TRUE(node.holds("v", 0, 5, 0x11));
}

TEST(Pool, NobodyTakesAVolumesNameOrUuidWhileItIsMade) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    VolumeOptions options;
    options.name = "v";
    options.uuid = PoolNode::uuid(77);
    options.size_blocks = 100;
    Task<Status> making = node.pool->create_volume(options);
    ASSERT_FALSE(making.is_done());
    EXPECT_EQ(node.registry->add(std::make_unique<FakeBdev>("p/v", 9)).error().code, Errc::kExists);
    auto same_uuid = std::make_unique<FakeBdev>("f", 9);
    same_uuid->mutable_info().uuid = options.uuid;
    EXPECT_EQ(node.registry->add(std::move(same_uuid)).error().code, Errc::kExists);
    ASSERT_TRUE(node.wait(std::move(making)));
    ASSERT_NE(node.pool->device_of("v"), nullptr);
    // It is given back: another volume may have the name when this one is gone.
    ASSERT_TRUE(node.wait(node.pool->rename("v", "w")));
    ASSERT_TRUE(node.add_volume("v"));
}

TEST(Pool, AVolumeWhoseNameIsTakenHasNoDeviceAndTheOthersAreThere) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_TRUE(node.add_volume("w"));
    ASSERT_EQ(node.fill("v", 0, 5, 0x11), Errc::kOk);
    ASSERT_TRUE(node.close());
    ASSERT_TRUE(node.registry->add(std::make_unique<FakeBdev>("p/v", 9)));
    ASSERT_TRUE(node.open()) << node.problem;
    EXPECT_NE(node.pool->device_of("w"), nullptr);
    EXPECT_EQ(node.pool->device_of("v"), nullptr);
    EXPECT_EQ(code_of(node.wait(node.pool->resize("v", 5))), Errc::kDeviceGone);
    EXPECT_EQ(code_of(node.take_snapshot("v", "s")), Errc::kDeviceGone);
    EXPECT_EQ(code_of(node.wait(node.pool->set_read_only("v"))), Errc::kDeviceGone);
    EXPECT_EQ(code_of(node.add_volume("v")), Errc::kExists);
    ASSERT_TRUE(node.wait(node.pool->rename("v", "u")));
    ASSERT_NE(node.pool->device_of("u"), nullptr);
    EXPECT_TRUE(node.holds("u", 0, 5, 0x11));
    EXPECT_EQ(node.pool->device_of("u")->allocated_blocks(), BlockCount(5));
    ASSERT_TRUE(node.wait(node.pool->rename("w", "z")));
    ASSERT_TRUE(node.registry->remove("p/v"));
}

TEST(Pool, AVolumeWithoutADeviceCanBeDeleted) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_TRUE(node.close());
    ASSERT_TRUE(node.registry->add(std::make_unique<FakeBdev>("p/v", 9)));
    ASSERT_TRUE(node.open()) << node.problem;
    ASSERT_TRUE(node.wait(node.pool->delete_volume("v")));
    node.wait(node.pool->swept());
    EXPECT_TRUE(node.pool->catalogue().volumes().empty());
}

TEST(Pool, SaysWhenItIsLowOnSpaceAndCanStillGiveSomeBack) {
    PoolNode node(12);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", 100'000));
    ASSERT_EQ(node.fill("v", 0, 16, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    const auto pass_second = [&node] { node.world.run_for(1100 * kNsPerMs); };
    pass_second();
    EXPECT_FALSE(node.pool->is_low_on_space());
    uint64_t end = 0;
    while (node.fill("v", end, 16, 0x22) == Errc::kOk) {
        end += 16;
    }
    EXPECT_EQ(node.fill("v", end, 16, 0x22), Errc::kNoSpace);
    pass_second();
    EXPECT_TRUE(node.pool->is_low_on_space());
    EXPECT_EQ(node.pool->low_space_events(), 1U);
    // Full: everything is there, and what makes room goes on.
    EXPECT_TRUE(node.holds("v", end - 16, 16, 0x22));
    EXPECT_TRUE(node.holds("s", 0, 16, 0x11));
    {
        const auto channel = node.open_channel("v");
        TestIo io;
        io.prepare(IoOp::kUnmap, 16, end / 4, kBlockBytes);
        EXPECT_EQ(node.run(*channel, io), Errc::kOk);
    }
    ASSERT_TRUE(node.wait(node.pool->delete_snapshot("s", WithClones::kRefuse)));
    node.wait(node.pool->swept());
    EXPECT_GE(free_blocks(node), end / 4);
    pass_second();
    EXPECT_FALSE(node.pool->is_low_on_space());
    EXPECT_EQ(node.fill("v", 0, 16, 0x33), Errc::kOk);
    node.pool->set_low_space(90);
    pass_second();
    EXPECT_TRUE(node.pool->is_low_on_space());
    node.pool->set_low_space(0);
    pass_second();
    EXPECT_FALSE(node.pool->is_low_on_space());
    EXPECT_EQ(node.pool->low_space_events(), 2U);
    ASSERT_TRUE(node.wait(node.pool->delete_volume("v")));
    node.wait(node.pool->swept());
    EXPECT_TRUE(is_clean(node));
    EXPECT_TRUE(node.close());
}

TEST(Pool, TwoOfThemDoNotMix) {
    // What an earlier pool left on the device is not taken for the new one's.
    PoolNode node(10);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("old"));
    ASSERT_EQ(node.fill("old", 0, 30, 1), Errc::kOk);
    ASSERT_TRUE(node.close());
    PoolOptions options;
    options.name = "q";
    options.uuid = PoolNode::uuid(900);
    auto made = node.wait(Pool::create(node.home(), *node.device, options, node.problem));
    ASSERT_TRUE(made);
    node.pool = std::move(*made);
    EXPECT_EQ(node.pool->device_of("old"), nullptr);
    ASSERT_TRUE(node.add_volume("new"));
    EXPECT_TRUE(node.holds("new", 0, 30, 0));
    ASSERT_TRUE(node.cut_power());
    EXPECT_EQ(node.pool->identity().name, "q");
    EXPECT_TRUE(is_clean(node));
}

}  // namespace
}  // namespace basalt::bdev::store
