#pragma once

#include <cstdint>

namespace basalt::replication {

/// What a block is for replication: the unit of checksums, op order and dirty bits.
inline constexpr uint32_t kBlockBytes = 4096;

/// Replicas of a volume. Five survive two losses with a majority; more cost every write more.
inline constexpr uint32_t kReplicasMax = 5;

/// Blocks of one write, read or copy: 256 KiB, twice the largest I/O of the front ends, and as many
/// as a 64-bit mask has. Who has more to do splits it.
inline constexpr uint32_t kRangeBlocksMax = 64;

/// What no write, read or copy crosses: 1 MiB, the largest piece that a store changes at once.
inline constexpr uint32_t kRangeBoundaryBlocks = 256;
static_assert(kRangeBoundaryBlocks % kRangeBlocksMax == 0);

/// Writes above the watermark that a head may know of. At 100 us a round and 100k writes a second
/// 10 are enough; 1024 last while a replica stands still for 10 ms. Then hosts wait.
inline constexpr uint32_t kWindowOpsMax = 1024;

/// What a replica keeps, against what its head knows: copies in a head's beginning may cut an entry
/// into pieces. A replica that has no room left refuses, and is dropped.
inline constexpr uint32_t kWindowEntriesPerOp = 8;

/// Reads of one head under way. More wait.
inline constexpr uint32_t kReadsMax = 256;

/// Blocks of one volume: 64 TiB. Its dirty bitmap is 2 GiB then; it is 32 MiB for 1 TiB.
inline constexpr uint64_t kVolumeBlocksMax = uint64_t{1} << 34;

/// Times, as the shell's clock has them. Defaults of Settings.
inline constexpr uint64_t kReadTimeoutUs = 500'000;
inline constexpr uint64_t kSlowUs = 50'000;
inline constexpr uint64_t kDropTimeoutUs = 5'000'000;
inline constexpr uint64_t kTakeoverWaitUs = 1'000'000;

/// What a replica that comes back is sent a second at most: a quarter of what 10 Gbit/s carry.
inline constexpr uint64_t kResyncBytesPerSecond = uint64_t{256} << 20;

/// For so long copies may make up for what they were not allowed before, so that the rate is kept
/// although time is told some 20 times a second only.
inline constexpr uint64_t kResyncBurstUs = 100'000;

/// After a host's request copies stand back for so long: one at a time.
inline constexpr uint64_t kHostFirstUs = 10'000;

}  // namespace basalt::replication
