#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bdev/leaf/memory_source.h"
#include "bdev/store/format.h"
#include "bdev/store/layout.h"
#include "bdev/store/log_codec.h"
#include "bdev/store/slab_table.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

/// Which blocks of a partition's slabs are in use, in memory. Pure: it does no I/O.
///
/// A block of data is free, held (a write that is not acknowledged has it, or it was freed and may
/// not be used again yet), or used (a map leads to it):
///
///   free -> held -> used -> held -> free
///      allocate  commit  free_data  release
///
/// A page is free, used, or used and leaving: nothing leads to it any more, but the last checkpoint
/// still does, so it is free when the next one is durable.
///
/// Owner: the engine. Core: the partition's. What comes from the device is checked: functions
/// that return bool say whether it makes sense.
class Space {
  public:
    struct Slab {
        SlabKind kind = SlabKind::kNone;
        bool is_changed = false;  ///< Since its bitmap was last taken for a checkpoint.
        bool is_given_up =
            false;  ///< Empty, not in the coming checkpoint, ours until that is durable.
        Place place = Place::kA;  ///< Of pages: where the bitmap of the last checkpoint is.
        uint32_t used = 0;
        uint32_t held = 0;
        uint32_t crc = 0;  ///< Of pages: of the bitmap.
        Pointer bitmap{};  ///< Of data: where it is.
    };

    /// Errors: kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<Space>> make(const PoolLayout& layout,
                                                             SlabTable& table);
    Space(const Space&) = delete;
    Space& operator=(const Space&) = delete;
    ~Space();

    // ---- Slabs

    /// Makes `slab` one of ours, empty. `claims`: it is taken out of the table; else it was.
    /// False: somebody has it, or there is none.
    [[nodiscard]] bool add_slab(uint32_t slab, SlabKind kind, bool claims);
    [[nodiscard]] bool has_slab(uint32_t slab, SlabKind kind) const {
        return slab < slabs_.size() && slabs_[slab].kind == kind;
    }
    /// Takes a free slab from the table; nothing when there is none.
    [[nodiscard]] std::optional<uint32_t> take_slab(SlabKind kind);
    /// The bitmap of a slab as the last checkpoint left it. False: it can't be.
    [[nodiscard]] bool load_bitmap(uint32_t slab, std::span<const std::byte> block);

    [[nodiscard]] const std::vector<uint32_t>& slabs(SlabKind kind) const {
        return kind == SlabKind::kData ? data_slabs_ : page_slabs_;
    }
    [[nodiscard]] Slab& slab(uint32_t index) { return slabs_[index]; }
    [[nodiscard]] uint64_t slab_first(uint32_t index) const {
        return layout_.slabs_first() + uint64_t{index} * layout_.slab_blocks;
    }
    /// Memory that the bitmaps of the slabs take that the partition has.
    [[nodiscard]] uint64_t bitmap_bytes() const {
        return (data_slabs_.size() + page_slabs_.size()) * uint64_t{kMaps} *
               (layout_.slab_blocks / 8);
    }
    [[nodiscard]] uint32_t slab_blocks() const { return layout_.slab_blocks; }
    [[nodiscard]] const SlabTable& table() const { return table_; }
    /// Whether [block, block + count) is inside of one of our slabs of that kind.
    [[nodiscard]] bool owns(uint64_t block, uint32_t count, SlabKind kind) const;

    // ---- Data

    [[nodiscard]] uint64_t data_free() const { return data_free_; }
    [[nodiscard]] uint64_t data_used() const { return data_used_; }
    [[nodiscard]] uint64_t data_held() const { return data_held_; }

    /// Holds `count` free blocks, of which there are enough, in as few pieces as is easy. Returns
    /// the number of pieces, at most `count`, put into `extents`.
    [[nodiscard]] uint32_t allocate(uint32_t count, std::span<Extent> extents);
    /// A write is acknowledged: held blocks are used.
    void commit(const Extent& extent);
    /// A write that never was: held blocks are free.
    void abandon(const Extent& extent);
    /// Free blocks are used: as commit(), when the log is replayed. False: they are not free.
    [[nodiscard]] bool use(const Extent& extent);
    /// A used block is no longer. With `holds` it is held until release(). False: it was not used.
    [[nodiscard]] bool free_data(uint64_t block, bool holds);
    void release(uint64_t block);
    [[nodiscard]] bool is_data_used(uint64_t block) const;

    // ---- Pages

    [[nodiscard]] uint64_t pages_free() const { return pages_free_; }
    [[nodiscard]] uint64_t pages_used() const { return pages_used_; }
    [[nodiscard]] uint64_t pages_leaving() const { return pages_leaving_; }

    /// A free block for a page, of which there is one. `is_usable(block)` may refuse some.
    template <typename IsUsable>
    [[nodiscard]] uint64_t allocate_page(IsUsable is_usable) {
        for (;;) {
            const uint64_t block = next_free_page();
            if (is_usable(block)) {
                use_page(block);
                return block;
            }
        }
    }
    /// A page that was never written is free at once. False: it was not used.
    [[nodiscard]] bool free_page(uint64_t block);
    /// A page that the last checkpoint leads to is free when the next one is durable.
    [[nodiscard]] bool leave_page(uint64_t block);
    [[nodiscard]] bool is_page_used(uint64_t block) const;

    // ---- Checkpoints

    /// Leaves empty slabs out of the coming checkpoint, but one of data, and as many of pages that
    /// there is one and `pages_kept` free ones.
    void give_up_empty(uint64_t pages_kept);
    /// The checkpoint takes what there is now: pages leaving so far are not in it.
    void begin_checkpoint();
    /// The bitmap of a slab for the checkpoint.
    void copy_bitmap(uint32_t slab, std::span<std::byte> block);
    /// The checkpoint is durable: what it left out is free.
    void end_checkpoint();
    [[nodiscard]] uint32_t changed_data_slabs() const { return changed_data_slabs_; }

  private:
    /// Of a slab of data: used, held. Of pages: used, leaving, left out of the coming checkpoint.
    enum class Map : uint32_t { kUsed, kHeld, kLeaving = kHeld, kLeft };
    static constexpr uint32_t kMaps = 3;

    Space(const PoolLayout& layout, SlabTable& table, std::span<std::byte> memory);

    [[nodiscard]] std::span<uint64_t> words(uint32_t slab, Map map) const;
    [[nodiscard]] uint32_t index_in_slab(uint64_t block) const {
        return static_cast<uint32_t>((block - layout_.slabs_first()) % layout_.slab_blocks);
    }
    [[nodiscard]] bool test(uint64_t block, Map map) const;
    void set(uint64_t block, Map map);
    void clear(uint64_t block, Map map);
    void mark_changed(uint32_t slab);
    void pick_data_slab();
    [[nodiscard]] uint32_t take_run(uint32_t count, Extent& extent);
    [[nodiscard]] uint64_t next_free_page();
    void use_page(uint64_t block);
    void give_up(uint32_t slab);

    AnonymousMemory source_;
    const PoolLayout layout_;
    SlabTable& table_;
    std::span<std::byte> memory_;
    std::vector<Slab> slabs_;
    std::vector<uint32_t> data_slabs_;
    std::vector<uint32_t> page_slabs_;
    std::vector<uint32_t> given_up_;
    uint32_t data_slab_ = UINT32_MAX;  // Where data is put now, and from which block on.
    uint32_t data_cursor_ = 0;
    uint32_t page_slab_ = 0;  // An index of page_slabs_.
    uint32_t page_cursor_ = 0;
    uint64_t data_free_ = 0;
    uint64_t data_used_ = 0;
    uint64_t data_held_ = 0;
    uint64_t pages_free_ = 0;
    uint64_t pages_used_ = 0;
    uint64_t pages_leaving_ = 0;
    uint32_t changed_data_slabs_ = 0;
};

}  // namespace basalt::bdev::store
