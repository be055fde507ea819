#include "replication/link/block_buffer.h"

#include "reactor/base/assert.h"

namespace basalt::replication {

void BlockRef::reset() {
    BlockBuffer* buffer = std::exchange(buffer_, nullptr);
    if (buffer != nullptr && --buffer->holders == 0) {
        buffer->pool->release(*buffer);
    }
}

uint64_t digest_of(std::span<const uint32_t> sums) {
    // The finish of MurmurHash3's 64-bit form, chained: each sum changes all bits of what follows.
    uint64_t digest = sums.size();
    for (const uint32_t sum : sums) {
        digest = (digest ^ sum) * 0xff51afd7ed558ccdULL;
        digest = (digest ^ (digest >> 33U)) * 0xc4ceb9fe1a85ec53ULL;
        digest ^= digest >> 33U;
    }
    return digest;
}

BlockWaiter::~BlockWaiter() {
    BASALT_ASSERT(!is_waiting_);
}

size_t BlockBuffers::region_bytes(Counts counts) {
    return kBlockBytes *
           (size_t{counts.small} * kClassBlocks[0] + size_t{counts.large} * kClassBlocks[1]);
}

BlockBuffers::BlockBuffers(std::span<std::byte> region, Counts counts)
    : buffers_(std::make_unique<BlockBuffer[]>(size_t{counts.small} + counts.large)),
      count_(counts.small + counts.large) {
    BASALT_ASSERT(region.size() >= region_bytes(counts));
    std::byte* at = region.data();
    for (uint32_t i = 0; i < count_; ++i) {
        BlockBuffer& buffer = buffers_[i];
        buffer.pool = this;
        buffer.size_class = i < counts.small ? 0 : 1;
        buffer.bytes = at;
        at += size_t{kClassBlocks[buffer.size_class]} * kBlockBytes;
    }
    for (uint32_t i = count_; i > 0; --i) {
        SizeClass& size_class = classes_[buffers_[i - 1].size_class];
        buffers_[i - 1].next = size_class.free;
        size_class.free = &buffers_[i - 1];
        ++size_class.free_count;
    }
}

BlockBuffers::~BlockBuffers() {
    BASALT_ASSERT(classes_[0].free_count + classes_[1].free_count == count_);
    BASALT_ASSERT(classes_[0].first == nullptr && classes_[1].first == nullptr);
}

BlockRef BlockBuffers::take(SizeClass& from, uint32_t blocks) {
    BlockBuffer& buffer = *from.free;
    from.free = buffer.next;
    --from.free_count;
    buffer.blocks = blocks;
    return BlockRef(buffer);
}

BlockRef BlockBuffers::try_take(uint32_t blocks) {
    BASALT_ASSERT(blocks > 0 && blocks <= kRangeBlocksMax);
    SizeClass& from = classes_[class_of(blocks)];
    if (from.free == nullptr || from.first != nullptr) {
        return {};
    }
    return take(from, blocks);
}

void BlockBuffers::wait(BlockWaiter& waiter, uint32_t blocks) {
    BASALT_ASSERT(!waiter.is_waiting_ && blocks > 0 && blocks <= kRangeBlocksMax);
    SizeClass& from = classes_[class_of(blocks)];
    waiter.is_waiting_ = true;
    waiter.blocks_ = blocks;
    waiter.next_ = nullptr;
    *from.last = &waiter;
    from.last = &waiter.next_;
}

void BlockBuffers::cancel(BlockWaiter& waiter) {
    if (!waiter.is_waiting_) {
        return;
    }
    SizeClass& from = classes_[class_of(waiter.blocks_)];
    BlockWaiter** at = &from.first;
    while (*at != &waiter) {
        at = &(*at)->next_;
    }
    *at = waiter.next_;
    if (from.last == &waiter.next_) {
        from.last = at;
    }
    waiter.is_waiting_ = false;
}

void BlockBuffers::release(BlockBuffer& buffer) {
    SizeClass& to = classes_[buffer.size_class];
    buffer.next = to.free;
    to.free = &buffer;
    ++to.free_count;
    while (to.first != nullptr && to.free != nullptr) {
        BlockWaiter& waiter = *to.first;
        to.first = waiter.next_;
        if (to.first == nullptr) {
            to.last = &to.first;
        }
        waiter.is_waiting_ = false;
        waiter.granted_(waiter.context_, take(to, waiter.blocks_));
    }
}

}  // namespace basalt::replication
