#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "replication/core/block_bitmap.h"
#include "replication/core/types.h"

namespace basalt::replication {

/// A write, or the part of it that a copy brought. A value.
struct WindowEntry {
    OpNumber number;
    BlockRange range;  ///< Of no blocks: the beginning of a generation.

    bool operator==(const WindowEntry&) const = default;
};

/// The writes above the watermark that one replica has. A block holds what the highest of them
/// wrote that covers it; a block that none covers is the same at all replicas.
///
/// Bounded, in the order of arrival; allocates when it is made. One owner, one core.
class Window {
  public:
    /// Above all numbers that there are.
    static constexpr OpNumber kHighest{Epoch(UINT64_MAX), UINT64_MAX};

    Window() = default;
    explicit Window(uint32_t entries_max) : entries_max_(entries_max) {
        entries_.reserve(entries_max);
    }

    [[nodiscard]] std::span<const WindowEntry> entries() const { return entries_; }
    [[nodiscard]] bool is_full() const { return entries_.size() >= entries_max_; }
    [[nodiscard]] uint32_t entries_max() const { return entries_max_; }

    /// Whether that very entry is here.
    [[nodiscard]] bool has(const WindowEntry& entry) const;
    /// The highest number that touches `range`; none if none does.
    [[nodiscard]] OpNumber newest(BlockRange range) const;
    /// Bit i: block `range.first + i` is covered by a higher number than `number`.
    [[nodiscard]] uint64_t newer_than(OpNumber number, BlockRange range) const;
    void mark_blocks(BlockBitmap& bitmap) const;

    /// Not when full.
    void add(const WindowEntry& entry);
    /// How many entries cut() may add, at most.
    [[nodiscard]] size_t pieces(BlockRange range) const;
    /// Nothing covers these blocks any more. Room for pieces(range) more is needed.
    void cut(BlockRange range);
    /// All up to `watermark` go.
    void trim(OpNumber watermark);
    void clear() {
        entries_.clear();
        look_again();
    }
    /// At most entries_max() of them.
    void replace(std::span<const WindowEntry> entries);

  private:
    void look_again();

    uint32_t entries_max_ = 0;
    std::vector<WindowEntry> entries_;
    // No entry is below or above. Writes mostly come in order, above all that are here, and most
    // watermarks are below: then nobody has to look at the entries.
    OpNumber lowest_ = kHighest;
    OpNumber highest_;
};

}  // namespace basalt::replication
