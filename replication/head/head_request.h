#pragma once

#include <cstdint>

#include <sys/uio.h>

#include "reactor/base/intrusive_list.h"
#include "reactor/base/result.h"
#include "replication/core/types.h"

namespace basalt::replication {

class Head;

enum class HeadOp : uint8_t {
    kRead,
    kWrite,
    kWriteZeroes,
    kUnmap,
    kCompare,
    /// Reads it at all replicas and compares: `compared`. One at a time, of one range at most
    /// (kRangeBlocksMax blocks, which cross no kRangeBoundaryBlocks); brings no data. What is wrong
    /// with one block is written anew; with more of them, or by other reads, nothing is.
    kScrub,
    kSnapshot,  ///< Draws a line through the writes; the snapshot's name is `generation`.
};

/// What a comparison of replicas came to. A value.
struct Compared {
    ReplicaSet different;      ///< They have something else than most; if none do, all that differ.
    ReplicaSet unreadable;     ///< They can't read it, or its checksum is wrong.
    bool is_complete = false;  ///< All of the set were heard, and no write was in the way.
};

/// What a host wants of a volume. Pooled by whoever makes it.
///
/// Life: the maker fills in the operation, its range, memory and completion, and calls
/// Head::submit(); from then until the completion request and memory belong to the head. Core: the
/// head's.
class HeadRequest {
  public:
    /// Called once, from the poll loop, never inside submit(); may submit again.
    using Complete = void (*)(HeadRequest& request, void* context);

    HeadRequest() = default;
    HeadRequest(const HeadRequest&) = delete;
    HeadRequest& operator=(const HeadRequest&) = delete;

    HeadOp op = HeadOp::kRead;
    uint64_t first = 0;  ///< Block of 4 KiB.
    uint64_t count = 0;  ///< Blocks, any number; at least 1, but for kSnapshot.
    /// The memory of read, write and compare, in order; each piece a multiple of 4 KiB long,
    /// together `count` blocks.
    const iovec* pieces = nullptr;
    uint32_t piece_count = 0;
    Complete complete = nullptr;
    void* context = nullptr;

    /// kOk; kOutOfRange; kCompareMismatch; kStaleEpoch: there is another head, the outcome of a
    /// write is not known; kDataCorrupt, kMediaError: no copy can be read.
    Status status;
    OpNumber generation;  ///< Of kSnapshot.
    Compared compared;    ///< Of kScrub.

  private:
    friend class Head;

    ListLink link_;          // In one of the head's lines.
    uint64_t cut_ = 0;       // Blocks that parts have been made of.
    uint32_t parts_ = 0;     // Under way.
    bool is_whole_ = false;  // All parts have been made.
};

}  // namespace basalt::replication
