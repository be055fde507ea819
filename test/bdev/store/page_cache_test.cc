#include "bdev/store/page_cache.h"

#include <gtest/gtest.h>

namespace basalt::bdev::store {
namespace {

constexpr uint32_t kFrames = 256;

class PageCacheTest : public testing::Test {
  protected:
    /// Loads the page at `block`; kNone if there is no frame.
    uint32_t load(uint64_t block) {
        const uint32_t frame = cache_->begin_load(block, 0);
        if (frame != PageCache::kNone) {
            cache_->end_load(frame, true);
        }
        return frame;
    }

    std::unique_ptr<PageCache> cache_ = std::move(PageCache::make(kFrames)).value();
};

TEST_F(PageCacheTest, APageIsFoundWhileItIsLoadedButNotReadable) {
    EXPECT_EQ(cache_->find(7), PageCache::kNone);
    EXPECT_EQ(cache_->get(7), nullptr);
    const uint32_t frame = cache_->begin_load(7, 0);
    EXPECT_EQ(cache_->find(7), frame);
    EXPECT_EQ(cache_->get(7), nullptr);
    cache_->end_load(frame, true);
    EXPECT_EQ(cache_->get(7), &cache_->page(frame));
    EXPECT_EQ(cache_->get(8), nullptr);
}

TEST_F(PageCacheTest, WhoWaitsIsToldHowTheLoadEnded) {
    struct Waiter : PageWaiter {
        int resumed = 0;
    };
    for (const bool is_good : {true, false}) {
        Waiter waiter;
        waiter.resume = [](PageWaiter& self) { ++static_cast<Waiter&>(self).resumed; };
        const uint32_t frame = cache_->begin_load(9, 0);
        cache_->frame(frame).waiters.push_back(waiter);
        EXPECT_EQ(waiter.resumed, 0);
        cache_->end_load(frame, is_good);
        EXPECT_EQ(waiter.resumed, 1);
        EXPECT_EQ(waiter.has_failed, !is_good);
        EXPECT_EQ(cache_->get(9) != nullptr, is_good);
        if (is_good) {
            cache_->drop(frame);
        }
    }
}

TEST_F(PageCacheTest, CleanPagesGiveWayAndOthersDoNot) {
    const uint32_t pinned = load(1);
    cache_->pin(pinned);
    const uint32_t resident = load(2);
    cache_->frame(resident).is_resident = true;
    const uint32_t dirty = cache_->add_dirty(3, 1);
    for (uint64_t block = 100; block < 100 + 3 * kFrames; ++block) {
        ASSERT_NE(load(block), PageCache::kNone);
    }
    EXPECT_EQ(cache_->find(1), pinned);
    EXPECT_EQ(cache_->find(2), resident);
    EXPECT_EQ(cache_->find(3), dirty);
    EXPECT_EQ(cache_->find(100), PageCache::kNone);
    EXPECT_LE(cache_->used(), kFrames);
    cache_->unpin(pinned);
}

TEST_F(PageCacheTest, WhatIsUsedLatelyStays) {
    for (uint64_t block = 0; block < kFrames; ++block) {
        load(1000 + block);
    }
    for (uint64_t block = 0; block < kFrames / 2; ++block) {
        ASSERT_NE(load(5000 + block), PageCache::kNone);
        ASSERT_NE(cache_->get(1005), nullptr) << "after " << block;
    }
}

TEST_F(PageCacheTest, WithEverythingPinnedThereIsNoFrame) {
    for (uint64_t block = 0; block < kFrames; ++block) {
        cache_->pin(load(10 + block));
    }
    EXPECT_EQ(cache_->begin_load(5, 0), PageCache::kNone);
    EXPECT_EQ(cache_->pins(), kFrames);
    cache_->unpin(cache_->find(10));
    EXPECT_NE(load(5), PageCache::kNone);
    for (uint64_t block = 1; block < kFrames; ++block) {
        cache_->unpin(cache_->find(10 + block));
    }
}

TEST_F(PageCacheTest, APinnedPageThatIsDroppedIsNotFoundButKeepsItsContents) {
    const uint32_t frame = load(4);
    cache_->pin(frame);
    cache_->page(frame)[0].birth = 77;
    cache_->drop(frame);
    EXPECT_EQ(cache_->find(4), PageCache::kNone);
    const uint32_t again = load(4);
    EXPECT_NE(again, frame);
    EXPECT_EQ(cache_->page(frame)[0].birth, 77U);
    cache_->unpin(frame);
}

TEST_F(PageCacheTest, ACheckpointTakesTheDirtyPagesByRank) {
    const uint32_t node = cache_->add_dirty(1, 17);
    const uint32_t leaf = cache_->add_dirty(2, 1);
    const uint32_t inner = cache_->add_dirty(3, 2);
    const uint32_t dropped = cache_->add_dirty(4, 1);
    cache_->drop(dropped);
    EXPECT_EQ(cache_->dirty(), 3U);
    const auto sealed = cache_->seal();
    ASSERT_EQ(sealed.size(), 3U);
    EXPECT_EQ(sealed[0], leaf);
    EXPECT_EQ(sealed[1], inner);
    EXPECT_EQ(sealed[2], node);
    EXPECT_EQ(cache_->dirty(), 0U);
    EXPECT_EQ(cache_->frame(leaf).state, PageCache::State::kSealed);
    EXPECT_NE(cache_->get(2), nullptr) << "it is read all the same";
    const uint32_t later = cache_->add_dirty(5, 1);
    cache_->end_sealed();
    EXPECT_EQ(cache_->frame(leaf).state, PageCache::State::kClean);
    EXPECT_EQ(cache_->frame(later).state, PageCache::State::kDirty);
}

TEST_F(PageCacheTest, ANewPageIsAllHoles) {
    const uint32_t first = cache_->add_dirty(1, 1);
    cache_->page(first)[3] = {.word = 5, .birth = 6, .crc = 7};
    cache_->drop(first);
    const Page& page = cache_->page(cache_->add_dirty(2, 1));
    for (const Pointer& pointer : page) {
        EXPECT_TRUE(pointer.is_hole());
        EXPECT_EQ(pointer.birth, 0U);
    }
}

}  // namespace
}  // namespace basalt::bdev::store
