#pragma once

#include <cstdint>

namespace basalt::cluster {

/// Bytes of the name of a volume, snapshot or setting.
inline constexpr uint32_t kNameBytesMax = 253;

/// Chunks in one key. A volume of 10 TiB in chunks of 128 MiB has 79 such groups, which go into one
/// transaction; and a move of one chunk writes 6 KiB.
inline constexpr uint32_t kGroupChunks = 1024;

/// Chunks of a volume: 128 TiB in chunks of 128 MiB.
inline constexpr uint64_t kVolumeChunksMax = uint64_t{1} << 20U;

/// A chunk is a power of two of bytes between these.
inline constexpr uint64_t kChunkBytesMin = uint64_t{1} << 20U;
inline constexpr uint64_t kChunkBytesMax = uint64_t{1} << 34U;
inline constexpr uint64_t kChunkBytesDefault = uint64_t{128} << 20U;

/// Copies of a chunk, as replication has them.
inline constexpr uint32_t kReplicasMax = 5;

/// Tries of a transaction that others were faster than.
inline constexpr int kTriesMax = 100;

}  // namespace basalt::cluster
