#include "bdev/store/page_cache.h"

#include <algorithm>
#include <array>
#include <bit>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

Result<std::unique_ptr<PageCache>> PageCache::make(uint32_t frames) {
    AnonymousMemory source;
    BASALT_TRY(const std::span<std::byte> memory, source.allocate(uint64_t{frames} * kBlockBytes));
    return std::unique_ptr<PageCache>(new PageCache(memory, frames));
}

PageCache::PageCache(std::span<std::byte> memory, uint32_t frames)
    : memory_(memory),
      pages_(reinterpret_cast<Page*>(memory.data())),
      frames_(frames),
      buckets_(std::bit_ceil(uint64_t{frames} * 2), kNone),
      hash_shift_(64U - static_cast<uint32_t>(std::countr_zero(buckets_.size()))) {
    dirty_.reserve(frames);
    sealed_.reserve(frames);
}

PageCache::~PageCache() {
    for (Frame& frame : frames_) {
        frame.waiters.clear();  // Of a machine that lost its power.
    }
    source_.release(memory_);
}

uint32_t PageCache::find(uint64_t block) const {
    uint32_t index = buckets_[bucket_of(block)];
    while (index != kNone && frames_[index].block != block) {
        index = frames_[index].hash_next;
    }
    return index;
}

const Page* PageCache::get(uint64_t block) {
    const uint32_t index = find(block);
    if (index == kNone || frames_[index].state == State::kLoading) {
        return nullptr;
    }
    ++hits;
    frames_[index].is_recent = true;
    return &pages_[index];
}

void PageCache::insert(uint32_t index, uint64_t block) {
    Frame& frame = frames_[index];
    uint32_t& head = buckets_[bucket_of(block)];
    frame.block = block;
    frame.hash_next = head;
    head = index;
    ++used_;
}

void PageCache::remove(uint32_t index) {
    Frame& frame = frames_[index];
    uint32_t* at = &buckets_[bucket_of(frame.block)];
    while (*at != index) {
        BASALT_ASSERT(*at != kNone);
        at = &frames_[*at].hash_next;
    }
    *at = frame.hash_next;
    frame.hash_next = kNone;
    frame.block = 0;
    frame.is_resident = false;
    --used_;
}

uint32_t PageCache::take_frame() {
    for (uint32_t step = 0; step < 2 * size(); ++step) {
        const uint32_t index = hand_;
        hand_ = hand_ + 1 == size() ? 0 : hand_ + 1;
        Frame& frame = frames_[index];
        if (frame.state == State::kFree) {
            return index;
        }
        if (frame.state != State::kClean || frame.pins != 0 || frame.is_resident) {
            continue;
        }
        if (frame.is_recent) {
            frame.is_recent = false;
            continue;
        }
        remove(index);
        return index;
    }
    return kNone;
}

uint32_t PageCache::begin_load(uint64_t block, uint32_t crc) {
    BASALT_ASSERT(find(block) == kNone);
    const uint32_t index = take_frame();
    if (index != kNone) {
        insert(index, block);
        frames_[index].state = State::kLoading;
        frames_[index].crc = crc;
        frames_[index].is_recent = true;
        ++loads;
    }
    return index;
}

void PageCache::end_load(uint32_t index, bool is_good) {
    Frame& frame = frames_[index];
    BASALT_ASSERT(frame.state == State::kLoading);
    PageWaiters waiters;
    waiters.splice_back(frame.waiters);
    if (is_good) {
        frame.state = State::kClean;
    } else {
        remove(index);
        frame.state = State::kFree;
    }
    while (PageWaiter* waiter = waiters.pop_front()) {
        waiter->has_failed = !is_good;
        waiter->resume(*waiter);
    }
}

uint32_t PageCache::add_dirty(uint64_t block, uint32_t rank) {
    if (const uint32_t stale = find(block); stale != kNone) {
        drop(stale);  // What the block held in an earlier life.
    }
    const uint32_t index = take_frame();
    BASALT_ASSERT(index != kNone);
    insert(index, block);
    Frame& frame = frames_[index];
    frame.state = State::kDirty;
    frame.rank = static_cast<uint8_t>(rank);
    frame.is_summed = false;
    frame.is_recent = true;
    pages_[index].fill(Pointer{});
    frame.dirty_index = static_cast<uint32_t>(dirty_.size());
    dirty_.push_back(index);
    return index;
}

void PageCache::drop(uint32_t index) {
    Frame& frame = frames_[index];
    BASALT_ASSERT(frame.state == State::kClean || frame.state == State::kDirty);
    if (frame.state == State::kDirty) {
        frames_[dirty_.back()].dirty_index = frame.dirty_index;
        dirty_[frame.dirty_index] = dirty_.back();
        dirty_.pop_back();
    }
    remove(index);
    frame.state = frame.pins == 0 ? State::kFree : State::kZombie;
}

void PageCache::unpin(uint32_t index) {
    Frame& frame = frames_[index];
    BASALT_ASSERT(frame.pins > 0);
    --frame.pins;
    --pins_;
    if (frame.pins == 0 && frame.state == State::kZombie) {
        frame.state = State::kFree;
    }
}

std::span<const uint32_t> PageCache::seal() {
    BASALT_ASSERT(sealed_.empty());
    std::array<uint32_t, kRankCount + 1> starts{};
    for (const uint32_t index : dirty_) {
        frames_[index].state = State::kSealed;
        ++starts[frames_[index].rank + 1U];
    }
    for (uint32_t rank = 1; rank <= kRankCount; ++rank) {
        starts[rank] += starts[rank - 1];
    }
    sealed_.resize(dirty_.size());
    for (const uint32_t index : dirty_) {
        sealed_[starts[frames_[index].rank]++] = index;
    }
    dirty_.clear();
    return sealed_;
}

void PageCache::end_sealed() {
    for (const uint32_t index : sealed_) {
        BASALT_ASSERT(frames_[index].state == State::kSealed);
        frames_[index].state = State::kClean;
    }
    sealed_.clear();
}

}  // namespace basalt::bdev::store
