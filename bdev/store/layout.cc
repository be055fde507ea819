#include "bdev/store/layout.h"

#include <algorithm>
#include <bit>

namespace basalt::bdev::store {

namespace {

constexpr uint64_t kLogShare = 64;
constexpr uint64_t kLogBlocksMin = 256;
constexpr uint64_t kLogBlocksMax = 65536;
constexpr uint64_t kSlabsAPartition = 64;
constexpr uint64_t kCatalogueShare = 2048;
constexpr uint64_t kCatalogueBlocksMin = 16;
constexpr uint64_t kCatalogueBlocksMax = 8192;
/// A partition needs a slab for pages and one for data.
constexpr uint64_t kSlabsAPartitionMin = 2;
/// The list of slabs for pages has room for a device that grows by this.
constexpr uint64_t kGrowth = 8;
constexpr uint64_t kSlabCountMax = uint64_t{1} << 30U;

uint32_t clamp(uint64_t value, uint64_t least, uint64_t most) {
    return static_cast<uint32_t>(std::clamp(value, least, most));
}

}  // namespace

uint64_t PoolLayout::slabs_that_fit(uint64_t blocks) const {
    return blocks <= slabs_first() ? 0 : (blocks - slabs_first()) / slab_blocks;
}

Result<PoolLayout> PoolLayout::plan(uint64_t device_blocks, uint32_t partition_count) {
    if (partition_count == 0 || partition_count > kPartitionsMax) {
        return Errc::kInvalidArgument;
    }
    if (device_blocks > kBlockNumberMax) {
        return Errc::kNotSupported;
    }
    const uint64_t share = device_blocks / partition_count;
    PoolLayout layout;
    layout.device_blocks = device_blocks;
    layout.partition_count = partition_count;
    layout.catalogue_blocks =
        clamp(device_blocks / kCatalogueShare, kCatalogueBlocksMin, kCatalogueBlocksMax);
    layout.log_blocks = clamp(share / kLogShare, kLogBlocksMin, kLogBlocksMax);
    layout.slab_blocks = static_cast<uint32_t>(std::bit_floor(
        std::clamp<uint64_t>(share / kSlabsAPartition, kSlabBlocksMin, kSlabBlocksMax)));
    const uint64_t slabs_most = device_blocks / layout.slab_blocks * kGrowth;
    layout.checkpoint_blocks = static_cast<uint32_t>(
        (layout.unlisted_bytes() + slabs_most * sizeof(MetaSlab)) / kBlockBytes + 1);
    layout.slab_count = static_cast<uint32_t>(layout.slabs_that_fit(device_blocks));
    if (layout.slab_count < kSlabsAPartitionMin * partition_count) {
        return Errc::kNoSpace;
    }
    return layout;
}

PoolLayout PoolLayout::grown(uint64_t new_device_blocks) const {
    PoolLayout layout = *this;
    const uint64_t blocks = std::clamp(new_device_blocks, device_blocks, kBlockNumberMax);
    layout.device_blocks = blocks;
    const uint64_t listed =
        (uint64_t{checkpoint_blocks} * kBlockBytes - unlisted_bytes()) / sizeof(MetaSlab);
    layout.slab_count = static_cast<uint32_t>(
        std::max<uint64_t>(slab_count, std::min(slabs_that_fit(blocks), listed)));
    return layout;
}

bool PoolLayout::is_sound() const {
    return partition_count >= 1 && partition_count <= kPartitionsMax && catalogue_blocks >= 2 &&
           checkpoint_blocks >= 1 && log_blocks >= kLogBlocksMin && log_blocks <= kLogBlocksMax &&
           slab_blocks >= kSlabBlocksMin && slab_blocks <= kSlabBlocksMax &&
           std::has_single_bit(slab_blocks) && catalogue_blocks <= kCatalogueBlocksMax &&
           slab_count >= kSlabsAPartitionMin * partition_count && slab_count <= kSlabCountMax &&
           device_blocks <= kBlockNumberMax && slab_count <= slabs_that_fit(device_blocks) &&
           unlisted_bytes() + uint64_t{slab_count} * sizeof(MetaSlab) <=
               uint64_t{checkpoint_blocks} * kBlockBytes;
}

}  // namespace basalt::bdev::store
