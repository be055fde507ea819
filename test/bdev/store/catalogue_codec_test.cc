#include "bdev/store/catalogue_codec.h"

#include <gtest/gtest.h>

#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store {
namespace {

using test::Block;
using test::integer_at;
using test::to_block;
using test::uuid_of;

const BlockSeal kSeal(uuid_of(1).bytes, 0);

/// A half as it lies on the device.
class Half {
  public:
    explicit Half(uint64_t generation = 4) { position_.generation = generation; }

    void begin(const Catalogue& catalogue) { add(encode_image(catalogue, kSeal, position_)); }
    void change(std::span<const CatalogueChange> changes) {
        add(encode_transaction(changes, kSeal, position_));
    }
    [[nodiscard]] CatalogueHalf read() const {
        CatalogueReader reader(kSeal);
        for (const Block& block : blocks) {
            if (!reader.take(block)) {
                break;
            }
        }
        return reader.finish();
    }

    std::vector<Block> blocks;

  private:
    void add(const std::vector<CatalogueBlock>& more) {
        for (const CatalogueBlock& block : more) {
            blocks.push_back(to_block(block));
        }
    }

    CataloguePosition position_;
};

/// The changes that make a volume without snapshots.
std::vector<CatalogueChange> new_volume(uint32_t id, const std::string& name) {
    Uuid uuid = uuid_of(9);
    std::memcpy(uuid.bytes.data(), &id, sizeof(id));
    return {
        NextIds{id + 1},
        NodeEntry{.id = id, .parent = 0},
        VolumeEntry{.uuid = uuid, .head = id, .size_blocks = 100, .note_owner = id, .name = name}};
}

Catalogue filled(uint32_t volumes) {
    Catalogue catalogue;
    for (uint32_t id = 1; id <= volumes; ++id) {
        for (const CatalogueChange& change : new_volume(id, "volume" + std::to_string(id))) {
            catalogue.apply(change);
        }
    }
    return catalogue;
}

TEST(CatalogueCodec, AnImageAndTransactionsComeBackAsTheyWere) {
    Catalogue expected = filled(200);  // Several blocks.
    Half half;
    half.begin(expected);
    EXPECT_GT(half.blocks.size(), 3U);
    const std::vector<CatalogueChange> snapshot{
        NextIds{202},
        NodeEntry{.id = 200, .parent = 0, .is_frozen = true},
        NodeEntry{.id = 201, .parent = 200},
        VolumeEntry{.uuid = expected.find_volume("volume200")->uuid,
                    .head = 201,
                    .block_bytes = 512,
                    .size_blocks = 77,
                    .note_owner = 200,
                    .is_read_only = true,
                    .name = "renamed"},
        SnapshotEntry{.uuid = uuid_of(3),
                      .node = 200,
                      .volume = uuid_of(4),
                      .size_blocks = 5,
                      .created_ns = 6,
                      .name = "snap"}};
    half.change(snapshot);
    for (const CatalogueChange& change : snapshot) {
        expected.apply(change);
    }
    const std::vector<CatalogueChange> gone{SnapshotGone{uuid_of(3)}};
    half.change(gone);
    expected.apply(gone[0]);

    const CatalogueHalf read = half.read();
    ASSERT_TRUE(read.is_whole) << read.problem;
    EXPECT_EQ(read.position.generation, 4U);
    EXPECT_EQ(read.position.index, half.blocks.size());
    EXPECT_EQ(read.catalogue.nodes(), expected.nodes());
    EXPECT_EQ(read.catalogue.volumes(), expected.volumes());
    EXPECT_EQ(read.catalogue.snapshots(), expected.snapshots());
}

TEST(CatalogueCodec, LiesOnTheDeviceAsTheFormatSays) {
    Half half;
    half.begin(filled(1));
    const Block& block = half.blocks[0];
    EXPECT_EQ(std::memcmp(block.data(), "BCAT", 4), 0);
    EXPECT_EQ(integer_at<uint64_t>(block, 8), 4U);
    EXPECT_EQ(integer_at<uint32_t>(block, 16), 0U);
    EXPECT_EQ(integer_at<uint32_t>(block, 20), 3U);
    EXPECT_EQ(integer_at<uint32_t>(block, 28), 0U);
    // Next ids: 16 bytes; then the node: 24; then the volume.
    EXPECT_EQ(integer_at<uint8_t>(block, 32), 7U);
    EXPECT_EQ(integer_at<uint16_t>(block, 34), 16U);
    EXPECT_EQ(integer_at<uint32_t>(block, 40), 2U);
    EXPECT_EQ(integer_at<uint8_t>(block, 48), 1U);
    EXPECT_EQ(integer_at<uint32_t>(block, 56), 1U);
    EXPECT_EQ(integer_at<uint8_t>(block, 72), 3U);
    EXPECT_EQ(integer_at<uint32_t>(block, 72 + 8 + 16), 1U);
    EXPECT_EQ(integer_at<uint32_t>(block, 72 + 8 + 20), 4096U);
    EXPECT_EQ(integer_at<uint64_t>(block, 72 + 8 + 24), 100U);
    EXPECT_EQ(integer_at<uint32_t>(block, 72 + 8 + 40), 1U);
    EXPECT_EQ(integer_at<uint16_t>(block, 72 + 8 + 44), 7U);
    EXPECT_EQ(std::memcmp(block.data() + 72 + 8 + 46, "volume1", 7), 0);
}

TEST(CatalogueCodec, ATransactionOfWhichABlockIsMissingDoesNotCount) {
    Half half;
    half.begin(filled(1));
    const size_t image_blocks = half.blocks.size();
    std::vector<CatalogueChange> many;
    for (uint32_t id = 2; id < 200; ++id) {
        for (CatalogueChange& change : new_volume(id, "volume" + std::to_string(id))) {
            many.push_back(std::move(change));
        }
    }
    half.change(many);
    ASSERT_GT(half.blocks.size(), image_blocks + 2);
    for (size_t lost = image_blocks; lost < half.blocks.size(); ++lost) {
        Half torn = half;
        torn.blocks[lost] = Block{};
        const CatalogueHalf read = torn.read();
        ASSERT_TRUE(read.is_whole);
        EXPECT_EQ(read.catalogue.volumes().size(), 1U);
        EXPECT_EQ(read.position.index, image_blocks);
    }
}

TEST(CatalogueCodec, TheRestOfATornTransactionDoesNotFollowALaterOne) {
    Half half;
    half.begin(filled(1));
    Half torn = half;
    std::vector<CatalogueChange> many;
    for (uint32_t id = 2; id < 100; ++id) {
        for (CatalogueChange& change : new_volume(id, "volume" + std::to_string(id))) {
            many.push_back(std::move(change));
        }
    }
    torn.change(many);
    // The first block of the torn transaction never came; another transaction is written there.
    half.change(new_volume(2, "later"));
    const size_t next = half.blocks.size();
    ASSERT_GT(torn.blocks.size(), next);
    half.blocks.insert(half.blocks.end(),
                       torn.blocks.begin() + static_cast<std::ptrdiff_t>(next),
                       torn.blocks.end());
    const CatalogueHalf read = half.read();
    ASSERT_TRUE(read.is_whole) << read.problem;
    EXPECT_EQ(read.position.index, next);
    EXPECT_EQ(read.catalogue.volumes().size(), 2U);
    EXPECT_NE(read.catalogue.find_volume("later"), nullptr);
}

TEST(CatalogueCodec, AHalfWithoutItsWholeImageDoesNotCount) {
    Half half;
    half.begin(filled(200));
    EXPECT_TRUE(half.read().is_whole);
    for (size_t lost = 0; lost < half.blocks.size(); ++lost) {
        Half torn = half;
        torn.blocks[lost][100] ^= std::byte{1};
        EXPECT_FALSE(torn.read().is_whole);
    }
    EXPECT_FALSE(Half().read().is_whole);
}

TEST(CatalogueCodec, AnyFlippedBitEndsTheHalfThere) {
    Half half;
    half.begin(filled(1));
    half.change(new_volume(2, "second"));
    for (size_t bit = 0; bit < kBlockBytes * 8; ++bit) {
        Half flipped = half;
        test::flip_bit(flipped.blocks.back(), bit);
        const CatalogueHalf read = flipped.read();
        ASSERT_TRUE(read.is_whole);
        ASSERT_EQ(read.catalogue.volumes().size(), 1U) << "bit " << bit;
    }
}

TEST(CatalogueCodec, ContradictionsMakeAHalfThatDoesNotCount) {
    Half half;
    half.begin(filled(1));
    half.change(std::vector<CatalogueChange>{NodeGone{1}});  // The head of a volume.
    const CatalogueHalf read = half.read();
    EXPECT_FALSE(read.is_whole);
    EXPECT_NE(read.problem, "");
}

TEST(CatalogueCodec, ARecordOfAnUnknownKindMakesAHalfThatDoesNotCount) {
    Half half;
    half.begin(filled(1));
    for (const uint8_t type : {uint8_t{0}, uint8_t{8}, uint8_t{255}}) {
        Half bad = half;
        bad.blocks[0][32] = std::byte{type};
        kSeal.put(bad.blocks[0], 4);
        EXPECT_FALSE(bad.read().is_whole);
    }
    for (const uint16_t length : {uint16_t{0}, uint16_t{9}, uint16_t{8}, uint16_t{65528}}) {
        Half bad = half;
        std::memcpy(bad.blocks[0].data() + 34, &length, sizeof(length));
        kSeal.put(bad.blocks[0], 4);
        EXPECT_FALSE(bad.read().is_whole);
    }
}

TEST(CatalogueCodec, KeepsHowFarASnapshotHasBeenReceived) {
    Half half;
    half.begin(filled(1));
    std::vector<CatalogueChange> changes = new_volume(2, "received");
    auto& entry = std::get<VolumeEntry>(changes.back());
    entry.is_receiving = true;
    entry.received_blocks = 77;
    half.change(changes);
    const CatalogueHalf read = half.read();
    ASSERT_TRUE(read.is_whole) << read.problem;
    EXPECT_EQ(*read.catalogue.find_volume("received"), entry);
    entry.received_blocks = entry.size_blocks + 1;
    half.change(changes);
    EXPECT_FALSE(half.read().is_whole);
}

}  // namespace
}  // namespace basalt::bdev::store
