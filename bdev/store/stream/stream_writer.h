#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "bdev/core/uuid.h"
#include "bdev/store/partition.h"
#include "bdev/store/stream/stream_format.h"

namespace basalt::bdev::store {

/// What a stream says of itself: which snapshot it makes, out of what.
struct StreamBegin {
    Uuid pool_uuid;           ///< Of the sender, for people.
    Uuid volume_uuid;         ///< Of which the snapshot was taken.
    std::string volume_name;  ///< "" if that is gone.
    Uuid snapshot_uuid;
    std::string snapshot_name;
    Uuid base_uuid;            ///< The snapshot that it tells the differences to; nil: to nothing.
    uint64_t size_blocks = 0;  ///< Of 4096 bytes.
    uint32_t block_bytes = 4096;
    uint64_t created_ns = 0;  ///< Wall clock.
    uint64_t first = 0;       ///< Block where it begins: not 0 if it is resumed.

    bool operator==(const StreamBegin&) const = default;
};

/// Makes the head blocks of a stream, in their order: begin, any number of changes, end. Pure.
/// `out` is one block of 4096 bytes each time. Owner: who sends.
class StreamWriter {
  public:
    /// `begin` is sound: see StreamReader.
    void put_begin(const StreamBegin& begin, std::span<std::byte> out);

    /// `ranges` are in order, behind all before, 1 to kStreamRangesMax; those that are no holes
    /// have together as many blocks as `crcs`, at most kStreamBlocksMax. The data follows, in the
    /// same order. `next`: everything before that block of the volume has been told with this.
    void put_changes(std::span<const ChangedRange> ranges,
                     std::span<const uint32_t> crcs,
                     uint64_t next,
                     std::span<std::byte> out);

    void put_end(std::span<std::byte> out);

  private:
    void seal(StreamKind kind, uint64_t next, std::span<std::byte> out);

    uint64_t sequence_ = 0;
    uint32_t previous_ = 0;
    uint64_t size_blocks_ = 0;
    uint64_t data_blocks_ = 0;
    uint64_t hole_blocks_ = 0;
};

/// The CRC32C of a head block, its own field taken as 0.
[[nodiscard]] uint32_t stream_crc(std::span<const std::byte> block);

}  // namespace basalt::bdev::store
