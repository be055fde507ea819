#pragma once

#include <cstdint>

#include "reactor/buffer_pool.h"

namespace basalt::bdev {

/// Layers that may stand above one leaf. A request has room for the completions of all of them; the
/// deepest stack that we know (crypt, qos, retry, cache, ec, snapshot, delay, error) has 8.
inline constexpr uint32_t kLayersMax = 8;

/// Completions that one request can have pending: its maker's, one of each layer, and one for the
/// statistics of each device in the stack.
inline constexpr uint32_t kCompletionsMax = 1 + kLayersMax + (kLayersMax + 1);

/// Those that a request has room for itself: one layer above a leaf. With room for all, 24 bytes
/// each, the completions were half of what a queue pair under load takes (576 of 872 bytes of a
/// request); what deeper stacks need lies apart (DeepCompletions).
inline constexpr uint32_t kCompletionsInline = 1 + 1 + 2;

/// Pieces of memory of one request. The kernel takes 1024 (IOV_MAX); 128 KiB in pieces of 512 bytes
/// are 256.
inline constexpr uint32_t kPiecesMax = 256;

/// The length of a device's name, as a person may reasonably write it.
inline constexpr uint32_t kNameBytesMax = 255;

inline constexpr uint32_t kBlockBytesMin = 512;
inline constexpr uint32_t kBlockBytesMax = 4096;

/// The largest read, write or compare of a leaf that lives in memory. Larger than any front end's
/// own limit (128 KiB), and short enough to copy (about 100 us) that a core does not stall.
inline constexpr uint32_t kMemoryTransferBytesMax = 1024 * 1024;

/// What the malloc leaf zeroes in one go; it lets other requests pass before it goes on. 1 MiB
/// takes 40 to 100 us.
inline constexpr uint64_t kZeroStepBytes = uint64_t{1024} * 1024;

/// What it gives back to the kernel in one go. 4 MiB are 1024 pages and take about 150 us.
inline constexpr uint64_t kDiscardStepBytes = uint64_t{4} * 1024 * 1024;

/// The shortest range worth giving back instead of zeroing: below 64 KiB the system call and the
/// page faults that follow cost more than the memset.
inline constexpr uint64_t kDiscardBytesMin = uint64_t{64} * 1024;

/// Requests to one file under way on one core; more wait in line. Beyond what a drive can do at
/// once (NVMe drives peak at 128 to 256), and 256 operations of 300 bytes are little memory.
inline constexpr uint32_t kFileOperations = 256;

/// The largest transfer of a leaf that may have to copy: the largest buffer there is.
inline constexpr uint32_t kCopiedTransferBytesMax = BufferPool::kBufferBytesMax;

/// Buffers of a channel that has to copy, by size class: 16 x 4 KiB + 8 x 32 KiB + 8 x 128 KiB =
/// 1.3 MiB, backed when first used. Who finds none waits in line.
inline constexpr BufferPool::Counts kBounceBuffers{16, 8, 8};

/// What one request to punch or zero covers, so that a huge unmap can't hold a file's lock for long
/// and other requests pass in between.
inline constexpr uint64_t kFilePunchBytes = uint64_t{64} * 1024 * 1024;
inline constexpr uint64_t kFileZeroBytes = uint64_t{16} * 1024 * 1024;

/// Blocks of one NVMe command: a 16-bit field, 0's based.
inline constexpr uint64_t kNvmeBlocksMax = 65536;

/// Blocks that one Dataset Management command deallocates: 1 GiB of 4 KiB blocks. A range may have
/// 2^32 - 1, but drives take their time, and answer nobody else meanwhile.
inline constexpr uint64_t kNvmeDeallocateBlocks = 262'144;

static_assert(kDiscardBytesMin <= kDiscardStepBytes);
static_assert(kCompletionsInline < kCompletionsMax);

}  // namespace basalt::bdev
