#include "bdev/store/catalogue.h"

#include <gtest/gtest.h>

#include "reactor/io/random.h"
#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store {
namespace {

using test::uuid_of;

/// A volume with one snapshot: node 1 frozen, node 2 the head.
Catalogue with_snapshot() {
    Catalogue catalogue;
    catalogue.apply(NextIds{3});
    catalogue.apply(NodeEntry{.id = 1, .parent = 0, .is_frozen = true});
    catalogue.apply(NodeEntry{.id = 2, .parent = 1});
    catalogue.apply(VolumeEntry{.uuid = uuid_of(1), .head = 2, .size_blocks = 9, .name = "v"});
    catalogue.apply(SnapshotEntry{
        .uuid = uuid_of(2), .node = 1, .volume = uuid_of(1), .size_blocks = 9, .name = "s"});
    return catalogue;
}

std::string problem_with(const CatalogueChange& change) {
    std::string problem;
    EXPECT_FALSE(with_snapshot().allows({&change, 1}, problem));
    return problem;
}

TEST(Catalogue, FindsWhatThereIs) {
    const Catalogue catalogue = with_snapshot();
    std::string problem;
    EXPECT_TRUE(catalogue.is_sound(problem)) << problem;
    EXPECT_EQ(catalogue.find_volume("v")->head, 2U);
    EXPECT_EQ(catalogue.find_snapshot("s")->node, 1U);
    EXPECT_EQ(catalogue.find_volume("s"), nullptr);
    EXPECT_EQ(catalogue.children_of(1), std::vector<uint32_t>{2});
    EXPECT_EQ(catalogue.find_node(3), nullptr);
}

TEST(Catalogue, ItsImageMakesItAgain) {
    const Catalogue catalogue = with_snapshot();
    Catalogue copy;
    for (const CatalogueChange& change : catalogue.image()) {
        copy.apply(change);
    }
    EXPECT_EQ(copy.nodes(), catalogue.nodes());
    EXPECT_EQ(copy.volumes(), catalogue.volumes());
    EXPECT_EQ(copy.snapshots(), catalogue.snapshots());
    EXPECT_EQ(copy.next_ids().node, 3U);
}

TEST(Catalogue, AskingWhetherChangesAreAllowedChangesNothing) {
    Catalogue catalogue = with_snapshot();
    const CatalogueChange gone = SnapshotGone{uuid_of(2)};
    std::string problem;
    EXPECT_TRUE(catalogue.allows({&gone, 1}, problem)) << problem;
    EXPECT_NE(catalogue.find_snapshot("s"), nullptr);
}

TEST(Catalogue, ContradictionsAreNotAllowed) {
    EXPECT_NE(problem_with(NodeEntry{.id = 3, .parent = 1}), "");  // Beyond the next id.
    EXPECT_NE(problem_with(NodeEntry{.id = 2, .parent = 7}), "");  // No such parent.
    EXPECT_NE(problem_with(NodeEntry{.id = 1, .parent = 2, .is_frozen = true}), "");
    EXPECT_NE(problem_with(NodeEntry{.id = 1, .parent = 0}), "");  // Parent not frozen.
    EXPECT_NE(problem_with(NodeEntry{.id = 2, .parent = 1, .is_frozen = true}), "");
    EXPECT_NE(problem_with(NodeEntry{.id = 2, .parent = 1, .is_hidden = true}), "");
    EXPECT_NE(problem_with(NodeGone{1}), "");
    EXPECT_NE(problem_with(NodeGone{2}), "");
    EXPECT_NE(problem_with(NextIds{2}), "");
}

TEST(Catalogue, NamesAndUuidsAreUnique) {
    EXPECT_NE(problem_with(VolumeEntry{.uuid = uuid_of(1), .head = 2, .name = "s"}), "");
    EXPECT_NE(problem_with(VolumeEntry{.uuid = uuid_of(1), .head = 2, .name = ""}), "");
    EXPECT_NE(
        problem_with(VolumeEntry{.uuid = uuid_of(1), .head = 2, .name = std::string(256, 'x')}),
        "");
    EXPECT_NE(problem_with(VolumeEntry{.uuid = uuid_of(2), .head = 2, .name = "w"}), "");
    EXPECT_NE(problem_with(VolumeEntry{.uuid = uuid_of(3), .head = 2, .name = "w"}), "");
    EXPECT_NE(
        problem_with(VolumeEntry{.uuid = uuid_of(1), .head = 2, .block_bytes = 1024, .name = "v"}),
        "");
}

TEST(Catalogue, ThousandsOfRandomChangesAreJudgedAsALookAtAllWouldJudgeThem) {
    Random random(7);
    Catalogue catalogue;
    uint32_t allowed = 0;
    for (int i = 0; i < 4000; ++i) {
        const auto some = [&](uint64_t below) {
            return static_cast<uint32_t>(random.below(below));
        };
        const auto name = std::string(1, static_cast<char>('a' + some(5)));
        std::vector<CatalogueChange> changes;
        for (uint32_t left = 1 + some(3); left > 0; --left) {
            switch (some(7)) {
                case 0: changes.emplace_back(NextIds{some(12)}); break;
                case 1:
                case 2:
                    changes.emplace_back(NodeEntry{.id = some(9),
                                                   .parent = some(6),
                                                   .is_frozen = some(2) == 0,
                                                   .is_hidden = some(4) == 0});
                    break;
                case 3: changes.emplace_back(NodeGone{some(9)}); break;
                case 4:
                    changes.emplace_back(VolumeEntry{.uuid = uuid_of(static_cast<uint8_t>(some(4))),
                                                     .head = some(9),
                                                     .name = name});
                    break;
                case 5:
                    changes.emplace_back(
                        SnapshotEntry{.uuid = uuid_of(static_cast<uint8_t>(some(4))),
                                      .node = some(9),
                                      .volume = {},
                                      .name = name});
                    break;
                default:
                    changes.emplace_back(VolumeGone{uuid_of(static_cast<uint8_t>(some(4)))});
                    changes.emplace_back(SnapshotGone{uuid_of(static_cast<uint8_t>(some(4)))});
                    break;
            }
        }
        Catalogue after = catalogue;
        for (const CatalogueChange& change : changes) {
            after.apply(change);
        }
        std::string problem;
        std::string problem_of_all;
        const bool is_allowed = catalogue.allows(changes, problem);
        ASSERT_EQ(is_allowed, after.is_sound(problem_of_all))
            << i << ": " << problem << problem_of_all;
        if (is_allowed) {
            ++allowed;
            catalogue = after;
        }
    }
    EXPECT_GT(allowed, 300U);
}

}  // namespace
}  // namespace basalt::bdev::store
