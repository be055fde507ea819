#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bdev/leaf/memory_source.h"
#include "bdev/store/format.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

/// What a page belongs to, in the order in which a checkpoint computes CRCs: a pointer holds that
/// of what it leads to, so the lower ones come first. Levels of a tree are added.
enum class PageRank : uint8_t {
    kBitmap = 0,
    kMap = 0,     ///< + level, 1 to kTreeHeightMax.
    kSlabs = 8,   ///< + level.
    kNodes = 16,  ///< + level.
};
inline constexpr uint32_t kRankCount = 16 + kTreeHeightMax + 1;

/// Waits for a page or a frame. Owner: whoever waits.
struct PageWaiter {
    void (*resume)(PageWaiter& waiter) = nullptr;
    ListLink link;
    bool has_failed = false;  ///< The page could not be read or is not what was written.
};
using PageWaiters = IntrusiveList<PageWaiter, &PageWaiter::link>;

/// The pages of the trees that are in memory, by the block where each lies or will lie: a bounded
/// number of frames of 4 KiB. Clean ones give way to others, those not used lately first; dirty
/// ones, which no checkpoint has written, and pinned ones do not. Pure: it does no I/O.
///
///   free -> loading -> clean -> free            read from the device
///   free -> dirty -> sealed -> clean            made, taken by a checkpoint, written
///   (pinned and no longer wanted: zombie -> free)
///
/// A sealed page does not change any more, for it is being written; who wants to change it makes
/// another one. Owner: the engine. Core: the partition's.
class PageCache {
  public:
    enum class State : uint8_t { kFree, kLoading, kClean, kDirty, kSealed, kZombie };

    struct Frame {
        uint64_t block = 0;
        uint32_t crc = 0;  ///< Of kSealed, kClean and summed pages; of kLoading ones, what it
                           ///< must be.
        uint32_t pins = 0;
        uint32_t hash_next = kNone;
        uint32_t dirty_index = 0;  ///< In the list of dirty ones.
        State state = State::kFree;
        uint8_t rank = 0;
        bool is_recent = false;
        bool is_resident = false;  ///< Never gives way: a page of the trees of nodes and slabs.
        bool is_summed = false;    ///< Dirty or sealed, and `crc` is that of what it holds now.
        PageWaiters waiters;
    };
    static constexpr uint32_t kNone = UINT32_MAX;

    /// Errors: kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<PageCache>> make(uint32_t frames);
    PageCache(const PageCache&) = delete;
    PageCache& operator=(const PageCache&) = delete;
    ~PageCache();

    /// The frame of `block` in any state but free and zombie, or kNone.
    [[nodiscard]] uint32_t find(uint64_t block) const;

    /// The page at `block` if it is here and readable, else null. Counts as a use.
    [[nodiscard]] const Page* get(uint64_t block);

    /// Begins to load the page at `block`, which is not here. kNone: no frame can give way now.
    [[nodiscard]] uint32_t begin_load(uint64_t block, uint32_t crc);
    /// The load ended; resumes all that wait for it.
    void end_load(uint32_t frame, bool is_good);

    /// A new dirty page, all zero, for `block`. There is a frame that can give way: the engine's
    /// bounds see to that.
    [[nodiscard]] uint32_t add_dirty(uint64_t block, uint32_t rank);

    /// Nobody needs the page in this frame any more.
    void drop(uint32_t frame);

    void pin(uint32_t frame) {
        ++frames_[frame].pins;
        ++pins_;
    }
    void unpin(uint32_t frame);

    /// All dirty pages become sealed, in order of their ranks. Their CRCs are the caller's.
    [[nodiscard]] std::span<const uint32_t> seal();
    /// The sealed pages of the last seal() are on the device.
    void end_sealed();

    [[nodiscard]] Frame& frame(uint32_t index) { return frames_[index]; }
    [[nodiscard]] Page& page(uint32_t index) { return pages_[index]; }

    [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(frames_.size()); }
    [[nodiscard]] uint32_t dirty() const { return static_cast<uint32_t>(dirty_.size()); }
    /// One of dirty() frames: their order changes when pages come and go.
    [[nodiscard]] uint32_t dirty_frame(uint32_t index) const { return dirty_[index]; }
    [[nodiscard]] uint32_t sealed() const { return static_cast<uint32_t>(sealed_.size()); }
    [[nodiscard]] uint32_t used() const { return used_; }
    [[nodiscard]] uint32_t pins() const { return pins_; }

    uint64_t hits = 0;
    uint64_t loads = 0;

  private:
    PageCache(std::span<std::byte> memory, uint32_t frames);
    [[nodiscard]] uint32_t take_frame();
    void insert(uint32_t index, uint64_t block);
    void remove(uint32_t index);
    [[nodiscard]] size_t bucket_of(uint64_t block) const {
        return (block * 0x9E3779B97F4A7C15ULL) >> hash_shift_;
    }

    AnonymousMemory source_;
    std::span<std::byte> memory_;
    Page* pages_;
    std::vector<Frame> frames_;
    std::vector<uint32_t> buckets_;
    std::vector<uint32_t> dirty_;
    std::vector<uint32_t> sealed_;  // In order of ranks.
    uint32_t hash_shift_ = 0;
    uint32_t hand_ = 0;
    uint32_t used_ = 0;
    uint32_t pins_ = 0;
};

}  // namespace basalt::bdev::store
