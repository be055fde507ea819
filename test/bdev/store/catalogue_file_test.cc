#include "bdev/store/catalogue_file.h"

#include <gtest/gtest.h>

#include "test/bdev/store/store_node.h"
#include "test/bdev/store/store_testing.h"
#include "test/reactor/may_leak.h"

namespace basalt::bdev::store {
namespace {

using test::StoreNode;
using test::uuid_of;

const BlockSeal kSeal(uuid_of(1).bytes, 0);

/// Halves of 16 blocks: some dozen changes fill one.
PoolLayout layout() {
    return *PoolLayout::plan(StoreNode::kDriveBytes / kBlockBytes, 1);
}

/// The file as one life of the machine has it.
struct Life {
    explicit Life(StoreNode& node)
        : io(node.control(), CoreId(0), *node.channel, node.device->info()),
          file(io, layout(), kSeal) {}

    Status load(StoreNode& node) { return node.wait(file.load(catalogue, problem)); }
    Status add(StoreNode& node, uint32_t number) {
        return node.wait(file.commit(catalogue, new_volume(number)));
    }

    static std::vector<CatalogueChange> new_volume(uint32_t number) {
        Uuid uuid = uuid_of(7);
        std::memcpy(uuid.bytes.data(), &number, sizeof(number));
        // A long name, so that halves fill up.
        const std::string name = std::to_string(number) + std::string(200, 'x');
        std::vector<CatalogueChange> changes{
            NextIds{number + 1},
            NodeEntry{.id = number, .parent = 0},
            VolumeEntry{.uuid = uuid, .head = number, .size_blocks = 100, .name = name}};
        if (number > 20) {  // So that the catalogue does not outgrow its place.
            Uuid old = uuid;
            const uint32_t gone = number - 20;
            std::memcpy(old.bytes.data(), &gone, sizeof(gone));
            changes.emplace_back(VolumeGone{old});
            changes.emplace_back(NodeGone{gone});
        }
        return changes;
    }

    BlockIo io;
    CatalogueFile file;
    Catalogue catalogue;
    std::string problem;
};

TEST(CatalogueFile, KeepsChangesOverManyHalves) {
    StoreNode node(1);
    {
        Life first(node);
        ASSERT_TRUE(node.wait(first.file.format()));
        for (uint32_t number = 1; number <= 100; ++number) {
            ASSERT_TRUE(first.add(node, number));
        }
    }
    node.cut_power();
    Life second(node);
    ASSERT_TRUE(second.load(node)) << second.problem;
    EXPECT_EQ(second.catalogue.volumes().size(), 20U);
    EXPECT_EQ(second.catalogue.next_ids().node, 101U);
    ASSERT_TRUE(second.add(node, 101));
}

TEST(CatalogueFile, ACutOfThePowerAtEachWriteLeavesAllThatWasCommitted) {
    sim::FaultOptions faults;
    faults.storage_jitter_ns = 300 * kNsPerUs;
    uint32_t seen_lost = 0;
    for (uint64_t cut = 3; cut < 130; ++cut) {
        StoreNode node(cut, faults);
        uint32_t committed = 0;
        {
            Life first(node);
            ASSERT_TRUE(node.wait(first.file.format()));
            [[maybe_unused]] const basalt::test::MayLeak may_leak;
            while (node.channel->writes < cut) {
                Task<Status> commit =
                    first.file.commit(first.catalogue, Life::new_volume(committed + 1));
                node.world.run_until(
                    [&] { return commit.is_done() || node.channel->writes >= cut; }, kNsPerSecond);
                if (!commit.is_done()) {
                    break;
                }
                ASSERT_TRUE(commit.result());
                ++committed;
            }
            node.world.run_for(node.world.random().below(400 * kNsPerUs));
            node.world.crash_node(node.node);
        }
        node.cut_power();
        Life second(node);
        ASSERT_TRUE(second.load(node)) << second.problem << ", cut " << cut;
        const uint32_t found = second.catalogue.next_ids().node - 1;
        ASSERT_TRUE(found == committed || found == committed + 1) << committed << ", cut " << cut;
        std::string problem;
        ASSERT_TRUE(second.catalogue.is_sound(problem)) << problem;
        seen_lost += found == committed ? 1 : 0;
        ASSERT_TRUE(second.add(node, found + 1)) << "cut " << cut;
        node.cut_power();
        Life third(node);
        ASSERT_TRUE(third.load(node)) << third.problem << ", cut " << cut;
        ASSERT_EQ(third.catalogue.next_ids().node, found + 2) << "cut " << cut;
    }
    EXPECT_GT(seen_lost, 10U);
}

TEST(CatalogueFile, ChangesThatHaveRottedAreNotTakenForTheEnd) {
    for (const uint32_t rotten : {0U, 1U, 3U}) {
        StoreNode node(1);
        Life first(node);
        ASSERT_TRUE(node.wait(first.file.format()));
        for (uint32_t number = 1; number <= 6; ++number) {
            ASSERT_TRUE(first.add(node, number));
        }
        node.drive.corrupt((layout().catalogue(Place::kA) + rotten) * kBlockBytes + 100);
        Life second(node);
        EXPECT_EQ(second.load(node).error().code, Errc::kDataCorrupt) << rotten;
        EXPECT_NE(second.problem, "");
    }
}

TEST(CatalogueFile, AHalfThatHasRottedIsNotReplacedByTheOneBefore) {
    StoreNode node(1);
    Life first(node);
    ASSERT_TRUE(node.wait(first.file.format()));
    const uint64_t image_of_b = layout().catalogue(Place::kB) * kBlockBytes;
    uint32_t number = 1;
    do {  // Until the other half is used.
        ASSERT_TRUE(first.add(node, number++));
        BlockMemory block(1);
        ASSERT_TRUE(node.wait(first.io.read(layout().catalogue(Place::kB), block.all())));
        if (block.all()[0] != std::byte{0}) {
            break;
        }
    } while (number < 100);
    ASSERT_LT(number, 100U);
    node.drive.corrupt(image_of_b + 50);
    Life second(node);
    EXPECT_EQ(second.load(node).error().code, Errc::kDataCorrupt);
}

TEST(CatalogueFile, OneThatIsTooLargeIsRefusedAndStaysAsItWas) {
    StoreNode node(1);
    Life life(node);
    ASSERT_TRUE(node.wait(life.file.format()));
    std::vector<CatalogueChange> changes{NextIds{1000}};
    for (uint32_t id = 1; id < 1000; ++id) {
        changes.emplace_back(NodeEntry{.id = id, .parent = 0});
    }
    std::vector<CatalogueChange> many;
    for (uint32_t i = 0; i < 4; ++i) {
        many.insert(many.end(), changes.begin(), changes.end());
    }
    for (uint32_t id = 1000; id < 4000; ++id) {
        many.emplace_back(NodeEntry{.id = id, .parent = 0});
    }
    many[0] = NextIds{5000};
    EXPECT_EQ(node.wait(life.file.commit(life.catalogue, many)).error().code, Errc::kNoSpace);
    EXPECT_TRUE(life.catalogue.nodes().empty());
    ASSERT_TRUE(life.add(node, 1));
}

TEST(CatalogueFile, AfterAFailedWriteNothingIsCommittedAnyMore) {
    StoreNode node(1);
    Life life(node);
    ASSERT_TRUE(node.wait(life.file.format()));
    node.world.faults().write_error_ppm = 1'000'000;
    EXPECT_EQ(life.add(node, 1).error().code, Errc::kIo);
    EXPECT_TRUE(life.catalogue.volumes().empty());
    node.world.faults().write_error_ppm = 0;
    EXPECT_EQ(life.add(node, 1).error().code, Errc::kIo);
}

}  // namespace
}  // namespace basalt::bdev::store
