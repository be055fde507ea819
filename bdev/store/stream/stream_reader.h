#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bdev/store/stream/stream_writer.h"

namespace basalt::bdev::store {

/// Reads a stream record by record and believes nothing of it: what StreamWriter would not have
/// written, in that order, is refused. So no stream leads out of the volume that it says it is of.
/// Pure.
///
/// Life: take_head() of each block that begins a record, take_data() of the block_count() blocks
/// that follow it, until kind() is kEnd. Once something was refused it takes nothing more.
/// Owner: who receives.
class StreamReader {
  public:
    /// Takes a block of 4096 bytes. False: it is refused, see problem().
    [[nodiscard]] bool take_head(std::span<const std::byte> block);
    /// Takes all data of the record. False: it is not what was sent, see problem().
    [[nodiscard]] bool take_data(std::span<const std::byte> blocks);

    /// After the first record.
    [[nodiscard]] const StreamBegin& begin() const { return begin_; }

    // Of the record that take_head() took last.
    [[nodiscard]] StreamKind kind() const { return kind_; }
    [[nodiscard]] uint64_t next() const { return next_; }  ///< All before it has been told.
    [[nodiscard]] std::span<const ChangedRange> ranges() const { return ranges_; }
    [[nodiscard]] std::span<const uint32_t> crcs() const { return crcs_; }
    /// Of data that follow the head.
    [[nodiscard]] uint32_t block_count() const { return static_cast<uint32_t>(crcs_.size()); }
    [[nodiscard]] uint64_t data_blocks() const { return data_blocks_; }  ///< Of all records.

    /// Why something was refused, for people; "" if nothing was.
    [[nodiscard]] const std::string& problem() const { return problem_; }

  private:
    [[nodiscard]] bool refuse(const char* why);
    [[nodiscard]] bool take_begin(std::span<const std::byte> bytes);
    [[nodiscard]] bool take_changes(std::span<const std::byte> bytes);
    [[nodiscard]] bool take_range(const StreamRange& raw, uint64_t& from);
    [[nodiscard]] bool take_end(std::span<const std::byte> bytes);

    StreamBegin begin_;
    StreamKind kind_ = StreamKind::kEnd;
    uint64_t sequence_ = 0;
    uint32_t previous_ = 0;
    uint64_t next_ = 0;
    std::vector<ChangedRange> ranges_;
    std::vector<uint32_t> crcs_;
    uint64_t data_blocks_ = 0;
    uint64_t hole_blocks_ = 0;
    std::string problem_;
};

}  // namespace basalt::bdev::store
