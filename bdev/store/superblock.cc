#include "bdev/store/superblock.h"

#include <algorithm>
#include <cstring>

#include "bdev/store/checksum.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

uint32_t crc_of(const Superblock& block) {
    return crc32c(std::as_bytes(std::span(&block, 1)).first(offsetof(Superblock, crc)));
}

/// Of two places the one with the lower rank counts. One of a newer version first: that program has
/// changed the pool, whatever the other place still says.
int rank(SuperblockFinding finding) {
    switch (finding) {
        case SuperblockFinding::kNewer: return 0;
        case SuperblockFinding::kPool: return 1;
        case SuperblockFinding::kDeviceTooSmall: return 2;
        case SuperblockFinding::kHalfFormatted: return 3;
        case SuperblockFinding::kDamaged: return 4;
        case SuperblockFinding::kNothing: return 5;
    }
    assertion_failed("a finding that there is not", __FILE__, __LINE__);
}

}  // namespace

const char* describe(SuperblockFinding finding) {
    switch (finding) {
        case SuperblockFinding::kPool: return "a pool";
        case SuperblockFinding::kNothing: return "no pool";
        case SuperblockFinding::kHalfFormatted: return "a pool that is half formatted";
        case SuperblockFinding::kNewer: return "a pool made by a newer version";
        case SuperblockFinding::kDamaged: return "a pool whose superblock is damaged";
        case SuperblockFinding::kDeviceTooSmall: return "a pool larger than the device";
    }
    assertion_failed("a finding that there is not", __FILE__, __LINE__);
}

Superblock encode(const PoolIdentity& identity) {
    BASALT_ASSERT(!identity.name.empty() && identity.name.size() <= kPoolNameBytesMax);
    const PoolLayout& layout = identity.layout;
    Superblock block{};
    block.magic = kSuperblockMagic;
    block.version = kFormatVersion;
    block.pool_uuid = identity.pool_uuid.bytes;
    block.device_uuid = identity.device_uuid.bytes;
    block.sequence = identity.sequence;
    block.device_blocks = layout.device_blocks;
    block.state = static_cast<uint32_t>(identity.state);
    block.partition_count = layout.partition_count;
    block.catalogue_blocks = layout.catalogue_blocks;
    block.checkpoint_blocks = layout.checkpoint_blocks;
    block.log_blocks = layout.log_blocks;
    block.slab_blocks = layout.slab_blocks;
    block.slab_count = layout.slab_count;
    block.chunk_blocks = kChunkBlocks;
    block.slabs_first = layout.slabs_first();
    block.created_ns = identity.created_ns;
    std::copy(identity.name.begin(), identity.name.end(), block.name.begin());
    block.crc = crc_of(block);
    return block;
}

SuperblockFinding decode(std::span<const std::byte> bytes,
                         uint64_t device_blocks,
                         PoolIdentity& identity) {
    BASALT_ASSERT(bytes.size() == kBlockBytes);
    Superblock block{};
    std::memcpy(&block, bytes.data(), sizeof(block));
    if (block.magic != kSuperblockMagic) {
        return SuperblockFinding::kNothing;
    }
    if (block.crc != crc_of(block)) {
        return SuperblockFinding::kDamaged;
    }
    if (block.version > kFormatVersion || block.features != 0) {
        return SuperblockFinding::kNewer;
    }
    const PoolLayout layout{.device_blocks = block.device_blocks,
                            .partition_count = block.partition_count,
                            .catalogue_blocks = block.catalogue_blocks,
                            .checkpoint_blocks = block.checkpoint_blocks,
                            .log_blocks = block.log_blocks,
                            .slab_blocks = block.slab_blocks,
                            .slab_count = block.slab_count};
    const bool has_known_state = block.state == static_cast<uint32_t>(PoolState::kFormatting) ||
                                 block.state == static_cast<uint32_t>(PoolState::kInUse);
    const auto name_end = std::find(block.name.begin(), block.name.end(), '\0');
    if (block.version == 0 || !has_known_state || !layout.is_sound() ||
        block.slabs_first != layout.slabs_first() || block.chunk_blocks != kChunkBlocks ||
        name_end == block.name.begin()) {
        return SuperblockFinding::kDamaged;
    }
    identity = PoolIdentity{.pool_uuid = {block.pool_uuid},
                            .device_uuid = {block.device_uuid},
                            .name = std::string(block.name.begin(), name_end),
                            .created_ns = block.created_ns,
                            .sequence = block.sequence,
                            .state = static_cast<PoolState>(block.state),
                            .layout = layout};
    if (identity.state == PoolState::kFormatting) {
        return SuperblockFinding::kHalfFormatted;
    }
    return layout.device_blocks > device_blocks ? SuperblockFinding::kDeviceTooSmall
                                                : SuperblockFinding::kPool;
}

SuperblockFinding decode_both(std::span<const std::byte> a,
                              std::span<const std::byte> b,
                              uint64_t device_blocks,
                              PoolIdentity& identity,
                              Place& newest) {
    PoolIdentity of_b;
    const SuperblockFinding in_a = decode(a, device_blocks, identity);
    const SuperblockFinding in_b = decode(b, device_blocks, of_b);
    const bool b_is_better = rank(in_b) < rank(in_a);
    const bool b_is_newer = rank(in_b) == rank(in_a) && of_b.sequence > identity.sequence;
    if (b_is_better || b_is_newer) {
        identity = of_b;
        newest = Place::kB;
        return in_b;
    }
    newest = Place::kA;
    return in_a;
}

}  // namespace basalt::bdev::store
