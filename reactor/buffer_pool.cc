#include "reactor/buffer_pool.h"

#include <new>

#include "reactor/base/assert.h"

namespace basalt {

size_t BufferPool::region_bytes(const Counts& counts) {
    size_t total = 0;
    for (size_t i = 0; i < kClasses; ++i) {
        total += size_t{counts[i]} * kClassBytes[i];
    }
    return total;
}

BufferPool::BufferPool(std::span<std::byte> region, const Counts& counts) {
    BASALT_ASSERT(region.size() >= region_bytes(counts));
    std::byte* cursor = region.data();
    for (size_t i = 0; i < kClasses; ++i) {
        classes_[i].fresh = cursor;
        classes_[i].fresh_count = counts[i];
        classes_[i].total_count = counts[i];
        cursor += size_t{counts[i]} * kClassBytes[i];
        common_.lines_[i].set_unbounded();
    }
}

BufferPool::~BufferPool() {
    for (const SizeClass& size_class : classes_) {
        BASALT_ASSERT(size_class.free_count + size_class.fresh_count == size_class.total_count);
    }
}

size_t BufferPool::class_for(uint32_t size_bytes) {
    BASALT_ASSERT(size_bytes > 0);
    BASALT_ASSERT(size_bytes <= kBufferBytesMax);
    size_t index = 0;
    while (kClassBytes[index] < size_bytes) {
        ++index;
    }
    return index;
}

Buffer BufferPool::take(size_t size_class) {
    SizeClass& from = classes_[size_class];
    Buffer buffer{nullptr, kClassBytes[size_class], static_cast<uint8_t>(size_class)};
    if (from.free != nullptr) {
        buffer.data = reinterpret_cast<std::byte*>(from.free);
        from.free = from.free->next;
        --from.free_count;
    } else if (from.fresh_count > 0) {
        buffer.data = from.fresh;
        from.fresh += kClassBytes[size_class];
        --from.fresh_count;
    }
    return buffer;
}

Buffer BufferPool::try_acquire(uint32_t size_bytes, BufferAccount& account) {
    const size_t index = class_for(size_bytes);
    FairLine& line = account.lines_[index];
    if (!FairLines::may_take(line, free_count(index))) {
        return {};
    }
    const Buffer buffer = take(index);
    if (buffer.is_valid()) {
        FairLines::took(line);
    }
    return buffer;
}

void BufferPool::wait(BufferWaiter& waiter, uint32_t size_bytes, BufferAccount& account) {
    const size_t index = class_for(size_bytes);
    classes_[index].lines.wait(waiter, account.lines_[index]);
}

void BufferPool::release(Buffer buffer, BufferAccount& account) {
    BASALT_ASSERT(buffer.is_valid());
    FairLines::gave_back(account.lines_[buffer.size_class]);
    SizeClass& size_class = classes_[buffer.size_class];
    size_class.free = ::new (buffer.data) FreeBuffer{size_class.free};
    ++size_class.free_count;
    BASALT_ASSERT(size_class.free_count + size_class.fresh_count <= size_class.total_count);
    if (size_class.lines.has_waiters()) [[unlikely]] {
        serve(buffer.size_class);
    }
}

void BufferPool::serve(size_t size_class) {
    while (free_count(size_class) > 0) {
        FairWaiter* next = classes_[size_class].lines.next(free_count(size_class));
        if (next == nullptr) {
            return;
        }
        auto& waiter = static_cast<BufferWaiter&>(*next);
        waiter.granted_(waiter.context_, take(size_class));
    }
}

}  // namespace basalt
