#include "bdev/store/superblock.h"

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"
#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store {
namespace {

using test::Block;
using test::integer_at;
using test::to_block;

constexpr uint64_t kDeviceBlocks = 100'000;

PoolIdentity identity_of(uint64_t sequence = 7) {
    return {.pool_uuid = test::uuid_of(0xAA),
            .device_uuid = test::uuid_of(0xBB),
            .name = "tank",
            .created_ns = 0x1122334455667788,
            .sequence = sequence,
            .state = PoolState::kInUse,
            .layout = PoolLayout::plan(kDeviceBlocks, 2).value()};
}

/// Changes a field and makes the CRC right again, as a hostile image would have it.
template <typename Integer>
Block forged(size_t offset, Integer value) {
    Block block = to_block(encode(identity_of()));
    std::memcpy(block.data() + offset, &value, sizeof(value));
    const uint32_t crc = crc32c(std::span(block).first(4092));
    std::memcpy(block.data() + 4092, &crc, sizeof(crc));
    return block;
}

SuperblockFinding judge(const Block& block, uint64_t device_blocks = kDeviceBlocks) {
    PoolIdentity identity;
    return decode(block, device_blocks, identity);
}

TEST(Superblock, ComesBackAsItWasWritten) {
    const PoolIdentity written = identity_of();
    PoolIdentity read;
    ASSERT_EQ(decode(to_block(encode(written)), kDeviceBlocks, read), SuperblockFinding::kPool);
    EXPECT_EQ(read.pool_uuid, written.pool_uuid);
    EXPECT_EQ(read.device_uuid, written.device_uuid);
    EXPECT_EQ(read.name, written.name);
    EXPECT_EQ(read.created_ns, written.created_ns);
    EXPECT_EQ(read.sequence, written.sequence);
    EXPECT_EQ(read.layout, written.layout);
}

TEST(Superblock, LiesOnTheDeviceAsTheFormatSays) {
    const PoolIdentity identity = identity_of();
    const Block block = to_block(encode(identity));
    EXPECT_EQ(std::memcmp(block.data(), "BASALTST", 8), 0);
    EXPECT_EQ(integer_at<uint32_t>(block, 8), 1U);
    EXPECT_EQ(integer_at<uint32_t>(block, 12), 0U);
    EXPECT_EQ(block[16], std::byte{0xAA});
    EXPECT_EQ(block[47], std::byte{0xBB});
    EXPECT_EQ(integer_at<uint64_t>(block, 48), 7U);
    EXPECT_EQ(integer_at<uint64_t>(block, 56), kDeviceBlocks);
    EXPECT_EQ(integer_at<uint32_t>(block, 64), 2U);
    EXPECT_EQ(integer_at<uint32_t>(block, 68), 2U);
    EXPECT_EQ(integer_at<uint32_t>(block, 80), identity.layout.log_blocks);
    EXPECT_EQ(integer_at<uint32_t>(block, 92), 65536U);
    EXPECT_EQ(integer_at<uint64_t>(block, 96), identity.layout.slabs_first());
    EXPECT_EQ(std::memcmp(block.data() + 112, "tank", 5), 0);
    EXPECT_EQ(integer_at<uint32_t>(block, 4092), crc32c(std::span(block).first(4092)));
}

TEST(Superblock, AnyFlippedBitIsFound) {
    const Block block = to_block(encode(identity_of()));
    for (size_t bit = 0; bit < block.size() * 8; ++bit) {
        Block flipped = block;
        test::flip_bit(flipped, bit);
        const SuperblockFinding finding = judge(flipped);
        ASSERT_EQ(finding, bit < 64 ? SuperblockFinding::kNothing : SuperblockFinding::kDamaged)
            << "bit " << bit;
    }
}

TEST(Superblock, AnEmptyDeviceHasNoPool) {
    EXPECT_EQ(judge(Block{}), SuperblockFinding::kNothing);
}

TEST(Superblock, NewerVersionsAndUnknownFeaturesAreRefused) {
    EXPECT_EQ(judge(forged(8, uint32_t{2})), SuperblockFinding::kNewer);
    EXPECT_EQ(judge(forged(12, uint32_t{1})), SuperblockFinding::kNewer);
}

TEST(Superblock, AHalfFormattedPoolIsRefused) {
    EXPECT_EQ(judge(forged(64, uint32_t{1})), SuperblockFinding::kHalfFormatted);
}

TEST(Superblock, ADeviceThatHasShrunkIsRefused) {
    const Block block = to_block(encode(identity_of()));
    EXPECT_EQ(judge(block, kDeviceBlocks), SuperblockFinding::kPool);
    EXPECT_EQ(judge(block, kDeviceBlocks - 1), SuperblockFinding::kDeviceTooSmall);
}

TEST(Superblock, ImpossibleNumbersAreDamageEvenWithTheRightCrc) {
    EXPECT_EQ(judge(forged(8, uint32_t{0})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(64, uint32_t{3})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(68, uint32_t{0})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(68, uint32_t{65})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(76, uint32_t{0xFFFFFFFF})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(80, uint32_t{0})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(84, uint32_t{257})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(88, uint32_t{0xFFFFFFFF})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(92, uint32_t{1})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(96, uint64_t{2})), SuperblockFinding::kDamaged);
    EXPECT_EQ(judge(forged(112, uint8_t{0})), SuperblockFinding::kDamaged);
}

// --- Two places ----------------------------------------------------------------------------------

SuperblockFinding judge_both(const Block& a, const Block& b, uint64_t& sequence, Place& newest) {
    PoolIdentity identity;
    const auto finding = decode_both(a, b, kDeviceBlocks, identity, newest);
    sequence = identity.sequence;
    return finding;
}

TEST(Superblock, OfTwoPlacesTheHigherSequenceCounts) {
    const Block older = to_block(encode(identity_of(7)));
    const Block newer = to_block(encode(identity_of(8)));
    uint64_t sequence = 0;
    Place newest{};
    EXPECT_EQ(judge_both(older, newer, sequence, newest), SuperblockFinding::kPool);
    EXPECT_EQ(sequence, 8U);
    EXPECT_EQ(newest, Place::kB);
    EXPECT_EQ(judge_both(newer, older, sequence, newest), SuperblockFinding::kPool);
    EXPECT_EQ(sequence, 8U);
    EXPECT_EQ(newest, Place::kA);
}

TEST(Superblock, OnePlaceIsEnough) {
    const Block whole = to_block(encode(identity_of()));
    Block torn = whole;
    torn[1000] ^= std::byte{1};
    uint64_t sequence = 0;
    Place newest{};
    EXPECT_EQ(judge_both(torn, whole, sequence, newest), SuperblockFinding::kPool);
    EXPECT_EQ(newest, Place::kB);
    EXPECT_EQ(judge_both(whole, Block{}, sequence, newest), SuperblockFinding::kPool);
    EXPECT_EQ(newest, Place::kA);
    EXPECT_EQ(judge_both(torn, torn, sequence, newest), SuperblockFinding::kDamaged);
}

TEST(Superblock, ANewerVersionInEitherPlaceIsRefused) {
    const Block ours = to_block(encode(identity_of()));
    const Block newer = forged(8, uint32_t{2});
    uint64_t sequence = 0;
    Place newest{};
    EXPECT_EQ(judge_both(ours, newer, sequence, newest), SuperblockFinding::kNewer);
    EXPECT_EQ(judge_both(newer, ours, sequence, newest), SuperblockFinding::kNewer);
}

}  // namespace
}  // namespace basalt::bdev::store
