// What a pool does in the background or in small steps: scrub, comparison, flattening.
#include <random>

#include <gtest/gtest.h>

#include "bdev/store/pool/pool.h"
#include "test/bdev/store/pool/pool_node.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;
using State = ScrubReport::State;

constexpr uint64_t kThreeChunks = uint64_t{3} * kChunkBlocks;

Errc code_of(Status status) {
    return status ? Errc::kOk : status.error().code;
}

void expect_clean(PoolNode& node) {
    const Result<CheckReport> report = node.wait(node.pool->check());
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->leaked_blocks, 0U);
    EXPECT_EQ(report->missing_blocks, 0U);
    EXPECT_EQ(report->doubled_blocks, 0U);
    EXPECT_EQ(report->broken_pages, 0U);
    EXPECT_EQ(report->wrong_counts, 0U);
}

std::array<std::byte, kBlockBytes> device_block(PoolNode& node, uint64_t block) {
    std::array<std::byte, kBlockBytes> bytes{};
    const iovec piece{bytes.data(), bytes.size()};
    EXPECT_TRUE(node.drive.read(block * kBlockBytes, &piece, kBlockBytes).has_value());
    return bytes;
}

/// The blocks of the device for which `is_wanted(bytes)`.
template <typename Wanted>
std::vector<uint64_t> find_blocks(PoolNode& node, Wanted is_wanted) {
    std::vector<uint64_t> found;
    for (uint64_t block = node.pool->identity().layout.slabs_first();
         block < PoolNode::kDriveBytes / kBlockBytes;
         ++block) {
        if (is_wanted(device_block(node, block))) {
            found.push_back(block);
        }
    }
    return found;
}

/// Where data that is nothing but `value` lies.
uint64_t place_of(PoolNode& node, uint8_t value) {
    const std::vector<uint64_t> found = find_blocks(node, [value](const auto& bytes) {
        return std::all_of(
            bytes.begin(), bytes.end(), [value](std::byte b) { return b == std::byte{value}; });
    });
    EXPECT_EQ(found.size(), 1U);
    return found.empty() ? 0 : found[0];
}

const ScrubReport& scrub(PoolNode& node, uint64_t bytes_a_second = 0) {
    EXPECT_TRUE(node.pool->start_scrub({bytes_a_second}));
    EXPECT_TRUE(node.world.run_until(
        [&] { return node.pool->scrub_report().state != State::kRunning; }, 1000 * kNsPerSecond));
    return node.pool->scrub_report();
}

// ---- scrub

TEST(PoolScrub, ReadsEverythingOnceAndFindsNothing) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    for (const uint64_t first : {uint64_t{0}, uint64_t{kChunkBlocks} - 10, kThreeChunks - 30}) {
        ASSERT_EQ(node.fill("v", first, 20, 0x11), Errc::kOk);
    }
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_EQ(node.fill("v", 5, 10, 0x22), Errc::kOk);
    ASSERT_TRUE(node.clone("s", "c"));
    ASSERT_EQ(node.fill("c", 100, 5, 0x33), Errc::kOk);
    const ScrubReport& report = scrub(node);
    EXPECT_EQ(report.state, State::kDone);
    EXPECT_EQ(report.blocks_read, 75U);
    EXPECT_EQ(report.blocks_total, 75U);
    EXPECT_EQ(report.blocks_damaged + report.pages_damaged, 0U);
    EXPECT_TRUE(report.findings.empty());
    // The mapping too, once it is on the device.
    ASSERT_TRUE(node.close());
    ASSERT_TRUE(node.open());
    EXPECT_GT(scrub(node).pages_read, 4U);
}

TEST(PoolScrub, SaysWhoseBlocksAreDamagedAndWhereExactly) {
    PoolNode node(2);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    ASSERT_EQ(node.fill("v", kChunkBlocks, 16, 0x11), Errc::kOk);
    ASSERT_EQ(node.fill("v", kChunkBlocks + 3, 1, 0x41), Errc::kOk);
    ASSERT_EQ(node.fill("v", kChunkBlocks + 4, 1, 0x42), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_EQ(node.fill("v", 7, 1, 0x43), Errc::kOk);
    const uint64_t first = place_of(node, 0x41);
    node.drive.corrupt(first * kBlockBytes + 99);
    node.drive.corrupt(place_of(node, 0x42) * kBlockBytes + 99);
    node.drive.damage(place_of(node, 0x43) * kBlockBytes, kBlockBytes);
    const ScrubReport& report = scrub(node);
    EXPECT_EQ(report.state, State::kDone);
    EXPECT_EQ(report.blocks_damaged, 3U);
    ASSERT_EQ(report.findings.size(), 2U);
    EXPECT_EQ(report.findings[0].name, "s");
    EXPECT_EQ(report.findings[0].first, kChunkBlocks + 3U);
    EXPECT_EQ(report.findings[0].count, 2U);
    EXPECT_EQ(report.findings[0].device_block, first);
    EXPECT_EQ(report.findings[1].name, "v");
    EXPECT_EQ(report.findings[1].first, 7U);
    EXPECT_EQ(report.findings[1].count, 1U);
    EXPECT_FALSE(report.findings[1].is_page);
    // What is written again is whole again.
    ASSERT_EQ(node.fill("v", 7, 1, 0x44), Errc::kOk);
    EXPECT_EQ(scrub(node).blocks_damaged, 2U);
}

/// Damages the leaf page that leads to the volume's block 300, which holds nothing but 0x55.
void damage_page(PoolNode& node) {
    const uint64_t data = place_of(node, 0x55);
    const std::vector<uint64_t> pages = find_blocks(node, [data](const auto& bytes) {
        Page page;
        std::memcpy(&page, bytes.data(), sizeof(page));
        return page[300 % kPagePointers].block() == data;
    });
    ASSERT_FALSE(pages.empty());
    for (const uint64_t page : pages) {
        node.drive.corrupt(page * kBlockBytes + 8);
    }
}

TEST(PoolScrub, GoesOnBehindADamagedPageWhetherItIsInMemoryOrNot) {
    for (const bool is_in_memory : {false, true}) {
        PoolNode node(3);
        ASSERT_TRUE(node.create());
        ASSERT_TRUE(node.add_volume("v"));
        ASSERT_EQ(node.fill("v", 0, 10, 0x11), Errc::kOk);
        ASSERT_EQ(node.fill("v", 300, 1, 0x55), Errc::kOk);
        ASSERT_EQ(node.fill("v", 600, 10, 0x11), Errc::kOk);
        ASSERT_TRUE(node.close());
        ASSERT_TRUE(node.open());
        if (is_in_memory) {
            ASSERT_TRUE(node.holds("v", 300, 1, 0x55));
        }
        damage_page(node);
        const ScrubReport& report = scrub(node);
        EXPECT_EQ(report.state, State::kDone);
        EXPECT_EQ(report.pages_damaged, 1U);
        ASSERT_EQ(report.findings.size(), 1U);
        EXPECT_TRUE(report.findings[0].is_page);
        EXPECT_EQ(report.findings[0].first, 256U);
        EXPECT_EQ(report.findings[0].count, 256U);
        EXPECT_EQ(report.blocks_read, is_in_memory ? 21U : 20U);
        // What is in memory still serves.
        EXPECT_EQ(node.holds("v", 300, 1, 0x55), is_in_memory);
    }
}

TEST(PoolScrub, KeepsToItsRateAndStops) {
    PoolNode node(4);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    for (uint64_t i = 0; i < 40; ++i) {
        ASSERT_EQ(node.fill("v", i * 1000, 32, 0x11), Errc::kOk);
    }
    const uint64_t bytes = 40 * 32 * kBlockBytes;
    const ScrubReport& report = scrub(node, bytes / 4);
    EXPECT_GE(report.ended_ns - report.began_ns, 39 * kNsPerSecond / 10);
    EXPECT_LE(report.ended_ns - report.began_ns, 60 * kNsPerSecond / 10);
    ASSERT_TRUE(node.pool->start_scrub({bytes / 100}));
    EXPECT_EQ(code_of(node.pool->start_scrub({0})), Errc::kBusy);
    node.world.run_for(10 * kNsPerSecond);
    Task<void> stop = node.pool->stop_scrub();
    EXPECT_TRUE(node.world.run_until([&] { return stop.is_done(); }, 100 * kNsPerSecond));
    EXPECT_EQ(report.state, State::kStopped);
    EXPECT_GT(report.blocks_read, 0U);
    EXPECT_LT(report.blocks_read, 40U * 32U);
    // A pool that closes does not wait for it.
    ASSERT_TRUE(node.pool->start_scrub({bytes / 100}));
    EXPECT_TRUE(node.close());
}

TEST(PoolScrub, SweepsChecksAndDeletionsGoOnMeanwhile) {
    PoolNode node(5);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    for (uint32_t i = 0; i < 20; ++i) {
        ASSERT_EQ(node.fill("v", i * 50, 30, static_cast<uint8_t>(i + 1)), Errc::kOk);
        ASSERT_TRUE(node.take_snapshot("v", "s" + std::to_string(i)));
    }
    ASSERT_TRUE(node.pool->start_scrub({1'000'000}));
    for (uint32_t i = 0; i < 20; ++i) {
        ASSERT_TRUE(node.wait(
            node.pool->delete_snapshot("s" + std::to_string(i * 7 % 20), WithClones::kDelete)));
        expect_clean(node);
    }
    node.wait(node.pool->swept());
    EXPECT_TRUE(node.world.run_until(
        [&] { return node.pool->scrub_report().state == State::kDone; }, 1000 * kNsPerSecond));
    EXPECT_EQ(node.pool->scrub_report().blocks_damaged, 0U);
    EXPECT_TRUE(node.holds("v", 950, 30, 20));
    expect_clean(node);
}

// ---- comparison

std::vector<ChangedRange> changed(PoolNode& node,
                                  const std::string& older,
                                  const std::string& newer,
                                  size_t ranges_max) {
    std::vector<ChangedRange> all;
    uint64_t from = 0;
    for (bool is_end = false; !is_end;) {
        Result<ChangedStep> step = node.wait(node.pool->changed(older, newer, from, ranges_max));
        EXPECT_TRUE(step.has_value());
        if (!step) {
            break;
        }
        EXPECT_LE(step->ranges.size(), ranges_max);
        all.insert(all.end(), step->ranges.begin(), step->ranges.end());
        EXPECT_TRUE(step->is_end || step->next > from);
        from = step->next;
        is_end = step->is_end;
    }
    return all;
}

TEST(PoolChanged, ListsWhatIsDifferentOverAllPartitionsInOrder) {
    PoolNode node(6);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    ASSERT_EQ(node.fill("v", 0, 20, 0x11), Errc::kOk);
    ASSERT_EQ(node.fill("v", 2 * kChunkBlocks, 20, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "a"));
    ASSERT_EQ(node.fill("v", kChunkBlocks - 8, 16, 0x22), Errc::kOk);  // Over a border.
    ASSERT_EQ(node.fill("v", 2 * kChunkBlocks + 5, 1, 0x22), Errc::kOk);
    {
        const auto channel = node.open_channel("v");
        TestIo io;
        io.prepare(IoOp::kUnmap, 4, 4, kBlockBytes);
        ASSERT_EQ(node.run(*channel, io), Errc::kOk);
    }
    ASSERT_TRUE(node.take_snapshot("v", "b"));
    const std::vector<ChangedRange> expected{
        {4, 4, true}, {kChunkBlocks - 8, 16}, {2 * kChunkBlocks + 5, 1}};
    EXPECT_EQ(changed(node, "a", "b", 1000), expected);
    EXPECT_EQ(changed(node, "a", "b", 1), expected);
    EXPECT_EQ(changed(node, "a", "v", 2), expected);
    const std::vector<ChangedRange> all{
        {0, 4}, {8, 12}, {kChunkBlocks - 8, 16}, {2 * kChunkBlocks, 20}};
    EXPECT_EQ(changed(node, "", "b", 1000), all);
    EXPECT_EQ(changed(node, "", "b", 1), all);
    EXPECT_TRUE(changed(node, "b", "v", 10).empty());
    ASSERT_TRUE(node.cut_power());
    EXPECT_EQ(changed(node, "a", "b", 2), expected);
}

TEST(PoolChanged, ManyRangesComeInBoundedAnswers) {
    PoolNode node(7);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    std::vector<ChangedRange> expected;
    for (uint64_t i = 0; i < 700; ++i) {
        ASSERT_EQ(node.fill("v", i * 271, 1, 0x11), Errc::kOk);
        expected.push_back({i * 271, 1});
    }
    EXPECT_EQ(changed(node, "", "v", 100), expected);
    EXPECT_EQ(changed(node, "", "v", 10'000), expected);
}

TEST(PoolChanged, WhatHasNotGrownOutOfTheOtherIsRefused) {
    PoolNode node(8);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_TRUE(node.add_volume("w"));
    ASSERT_TRUE(node.take_snapshot("v", "a"));
    ASSERT_TRUE(node.take_snapshot("v", "b"));
    ASSERT_TRUE(node.clone("a", "c"));
    const auto code = [&](const char* older, const char* newer) {
        return node.wait(node.pool->changed(older, newer, 0, 10)).error().code;
    };
    EXPECT_EQ(code("b", "a"), Errc::kInvalidArgument);
    EXPECT_EQ(code("a", "w"), Errc::kInvalidArgument);
    EXPECT_EQ(code("b", "c"), Errc::kInvalidArgument);
    EXPECT_EQ(code("none", "v"), Errc::kNotFound);
    EXPECT_EQ(code("a", "none"), Errc::kNotFound);
    EXPECT_TRUE(node.wait(node.pool->changed("a", "c", 0, 10)).has_value());
}

// ---- flattening

Errc flatten(PoolNode& node, const std::string& name, FlattenFrom from) {
    return code_of(node.wait(node.pool->flatten(name, from)));
}

void unmap(PoolNode& node, const std::string& name, uint64_t first, uint64_t count) {
    const auto channel = node.open_channel(name);
    TestIo io;
    io.prepare(IoOp::kUnmap, first, count, kBlockBytes);
    EXPECT_EQ(node.run(*channel, io), Errc::kOk);
}

uint32_t parent_of(PoolNode& node, const std::string& name) {
    const Catalogue& catalogue = node.pool->catalogue();
    return catalogue.find_node(catalogue.find_volume(name)->head)->parent;
}

/// A clone "c" of "t", the snapshot of a clone of "s", the snapshot of "v".
void make_family(PoolNode& node) {
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    ASSERT_EQ(node.fill("v", 0, 30, 0x11), Errc::kOk);
    ASSERT_EQ(node.fill("v", kChunkBlocks + 700, 30, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_TRUE(node.clone("s", "w"));
    ASSERT_EQ(node.fill("w", 10, 10, 0x22), Errc::kOk);
    ASSERT_EQ(node.fill("w", 1000, 10, 0x22), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("w", "t"));
    ASSERT_TRUE(node.clone("t", "c"));
    ASSERT_EQ(node.fill("c", 15, 10, 0x33), Errc::kOk);
}

void expect_contents_of_c(PoolNode& node) {
    EXPECT_TRUE(node.holds("c", 0, 10, 0x11));
    EXPECT_TRUE(node.holds("c", 10, 5, 0x22));
    EXPECT_TRUE(node.holds("c", 15, 10, 0x33));
    EXPECT_TRUE(node.holds("c", 25, 5, 0x11));
    EXPECT_TRUE(node.holds("c", 30, 30, 0));
    EXPECT_TRUE(node.holds("c", 1000, 10, 0x22));
    EXPECT_TRUE(node.holds("c", kChunkBlocks + 700, 30, 0x11));
}

TEST(PoolFlatten, AVolumeDependsOnNobodyAfterwards) {
    PoolNode node(9);
    make_family(node);
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kAll), Errc::kOk);
    EXPECT_EQ(parent_of(node, "c"), 0U);
    expect_contents_of_c(node);
    expect_clean(node);
    EXPECT_EQ(node.wait(node.pool->exclusive_blocks("c")).value(), 70U);
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kAll), Errc::kOk);
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kParent), Errc::kInvalidArgument);
    EXPECT_EQ(flatten(node, "s", FlattenFrom::kAll), Errc::kNotFound);
    ASSERT_TRUE(node.wait(node.pool->delete_volume("w")));
    ASSERT_TRUE(node.wait(node.pool->delete_volume("v")));
    ASSERT_TRUE(node.wait(node.pool->delete_snapshot("t", WithClones::kRefuse)));
    ASSERT_TRUE(node.wait(node.pool->delete_snapshot("s", WithClones::kRefuse)));
    node.wait(node.pool->swept());
    EXPECT_EQ(node.pool->catalogue().nodes().size(), 1U);
    ASSERT_TRUE(node.cut_power()) << node.problem;
    expect_contents_of_c(node);
    expect_clean(node);
    ASSERT_EQ(node.fill("c", 0, 30, 0x44), Errc::kOk);
    EXPECT_TRUE(node.holds("c", 0, 30, 0x44));
    expect_clean(node);
}

TEST(PoolFlatten, AVolumeDependsOnItsParentsParentAfterwards) {
    PoolNode node(10);
    make_family(node);
    const uint32_t kept = node.pool->catalogue().find_snapshot("s")->node;
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kParent), Errc::kOk);
    EXPECT_EQ(parent_of(node, "c"), kept);
    expect_contents_of_c(node);
    expect_clean(node);
    // Only what "t" had of its own was copied.
    EXPECT_LT(node.wait(node.pool->exclusive_blocks("c")).value(), 40U);
    ASSERT_TRUE(node.wait(node.pool->delete_volume("w")));
    ASSERT_TRUE(node.wait(node.pool->delete_snapshot("t", WithClones::kRefuse)));
    EXPECT_EQ(code_of(node.wait(node.pool->delete_snapshot("s", WithClones::kRefuse))),
              Errc::kBusy);
    node.wait(node.pool->swept());
    ASSERT_TRUE(node.cut_power()) << node.problem;
    expect_contents_of_c(node);
    ASSERT_EQ(node.fill("c", 0, 30, 0x44), Errc::kOk);
    EXPECT_TRUE(node.holds("v", 0, 30, 0x11));
    EXPECT_TRUE(node.holds("s", 0, 30, 0x11));
    expect_clean(node);
}

TEST(PoolFlatten, PagesOfAParentThatHoldNothingOfItsOwnAreNotShared) {
    PoolNode node(11);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", kThreeChunks));
    ASSERT_EQ(node.fill("v", 0, 30, 0x11), Errc::kOk);
    ASSERT_EQ(node.fill("v", kChunkBlocks, 30, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    unmap(node, "v", 10, 10);              // A page of its own that leads to "s" data only.
    unmap(node, "v", kChunkBlocks, 1000);  // And a map that holds nothing.
    ASSERT_TRUE(node.take_snapshot("v", "t"));
    EXPECT_EQ(flatten(node, "v", FlattenFrom::kParent), Errc::kOk);
    ASSERT_TRUE(node.wait(node.pool->delete_snapshot("t", WithClones::kRefuse)));
    node.wait(node.pool->swept());
    for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(node.holds("v", 0, 10, 0x11));
        EXPECT_TRUE(node.holds("v", 10, 10, 0));
        EXPECT_TRUE(node.holds("v", 20, 10, 0x11));
        EXPECT_TRUE(node.holds("v", kChunkBlocks, 30, 0));
        EXPECT_TRUE(node.holds("s", 0, 30, 0x11));
        EXPECT_TRUE(node.holds("s", kChunkBlocks, 30, 0x11));
        expect_clean(node);
        ASSERT_TRUE(node.cut_power()) << node.problem;
    }
    ASSERT_EQ(node.fill("v", 0, 30, 0x44), Errc::kOk);
    expect_clean(node);
}

TEST(PoolFlatten, ASnapshotThatComesBetweenEndsIt) {
    PoolNode node(12);
    make_family(node);
    Task<Status> task = node.pool->flatten("c", FlattenFrom::kAll);
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kAll), Errc::kBusy);
    ASSERT_TRUE(node.take_snapshot("c", "u"));
    EXPECT_EQ(code_of(node.wait(std::move(task))), Errc::kBusy);
    expect_contents_of_c(node);
    expect_clean(node);
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kAll), Errc::kOk);
    expect_contents_of_c(node);
    expect_clean(node);
}

/// Blocks of "c" that hosts write while it is flattened, and what they held at last.
class Writers {
  public:
    static constexpr uint64_t kBlocks = 600;

    explicit Writers(PoolNode& node, uint64_t seed) : node_(node), random_(seed) {}

    void prepare() {
        ASSERT_TRUE(node_.create());
        ASSERT_TRUE(node_.add_volume("v"));
        for (uint64_t first = 0; first < kBlocks; first += 30) {
            fill("v", first, 30);
        }
        ASSERT_TRUE(node_.take_snapshot("v", "s"));
        ASSERT_TRUE(node_.clone("s", "c"));
        ASSERT_TRUE(node_.wait(node_.pool->delete_snapshot("s", WithClones::kDelete)));
    }
    void write_some() {
        const uint64_t first = random_() % (kBlocks - 8);
        fill("c", first, 1 + random_() % 8);
    }
    void expect_all(const std::string& when) {
        for (uint64_t i = 0; i < kBlocks; ++i) {
            ASSERT_TRUE(node_.holds("c", i, 1, values_[i])) << when << ", block " << i;
        }
    }

  private:
    void fill(const std::string& name, uint64_t first, uint64_t count) {
        const auto value = static_cast<uint8_t>(1 + random_() % 255);
        ASSERT_EQ(node_.fill(name, first, count, value), Errc::kOk);
        std::fill_n(values_.begin() + static_cast<ptrdiff_t>(first), count, value);
    }

    PoolNode& node_;
    std::mt19937_64 random_;
    std::array<uint8_t, kBlocks> values_{};
};

TEST(PoolFlatten, TheEndOfTheProcessCancelsIt) {
    PoolNode node(13);
    Writers writers(node, 13);
    writers.prepare();
    Task<Status> task = node.pool->flatten("c", FlattenFrom::kAll);
    node.pool->cancel_work();
    EXPECT_EQ(code_of(node.wait(std::move(task))), Errc::kCancelled);
    EXPECT_TRUE(node.pool->flattening().empty());
    writers.expect_all("cancelled");
    expect_clean(node);
    EXPECT_TRUE(node.close());
}

TEST(PoolFlatten, WritesThatComeBetweenAreKept) {
    PoolNode node(14);
    Writers writers(node, 14);
    writers.prepare();
    Task<Status> task = node.pool->flatten("c", FlattenFrom::kAll);
    uint32_t writes = 0;
    for (; !task.is_done() && writes < 1000; ++writes) {
        writers.write_some();
    }
    EXPECT_GT(writes, 3U);
    EXPECT_TRUE(node.wait(std::move(task)));
    writers.expect_all("flattened");
    expect_clean(node);
    ASSERT_TRUE(node.wait(node.pool->delete_volume("v")));
    node.wait(node.pool->swept());
    EXPECT_EQ(node.pool->catalogue().nodes().size(), 1U);
    writers.expect_all("alone");
    expect_clean(node);
}

TEST(PoolFlatten, APowerCutAtAnyMomentLosesNothing) {
    for (uint64_t seed = 1; seed <= 25; ++seed) {
        PoolNode node(100 + seed);
        Writers writers(node, seed);
        writers.prepare();
        Task<Status> task = node.pool->flatten("c", FlattenFrom::kAll);
        node.world.run_for(seed * 400'000);
        ASSERT_TRUE(node.cut_power()) << node.problem;
        writers.expect_all("after the cut, seed " + std::to_string(seed));
        expect_clean(node);
        EXPECT_EQ(flatten(node, "c", FlattenFrom::kAll), Errc::kOk);
        writers.write_some();
        ASSERT_TRUE(node.wait(node.pool->delete_volume("v")));
        node.wait(node.pool->swept());
        writers.expect_all("flattened, seed " + std::to_string(seed));
        expect_clean(node);
    }
}

TEST(PoolFlatten, IsStoppedAndBegunAgain) {
    PoolNode node(31);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    for (uint64_t first = 0; first < 2048; first += 256) {
        ASSERT_EQ(node.fill("v", first, 256, 0x11), Errc::kOk);
    }
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_TRUE(node.clone("s", "c"));
    EXPECT_EQ(code_of(node.pool->stop_flatten("c")), Errc::kNotFound);
    Task<Status> flattening = node.pool->flatten("c", FlattenFrom::kAll);
    EXPECT_TRUE(node.pool->stop_flatten("c"));
    EXPECT_EQ(code_of(node.wait(std::move(flattening))), Errc::kCancelled);
    EXPECT_TRUE(node.pool->flattening().empty());
    EXPECT_NE(
        node.pool->catalogue().find_node(node.pool->catalogue().find_volume("c")->head)->parent,
        0U);
    EXPECT_EQ(flatten(node, "c", FlattenFrom::kAll), Errc::kOk);
    EXPECT_TRUE(node.holds("c", 256, 256, 0x11));
    expect_clean(node);
}

}  // namespace
}  // namespace basalt::bdev::store
