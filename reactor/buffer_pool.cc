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
    }
}

BufferPool::~BufferPool() {
    for (const SizeClass& size_class : classes_) {
        BASALT_ASSERT(size_class.waiters.empty());
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

Buffer BufferPool::try_acquire(uint32_t size_bytes) {
    const size_t index = class_for(size_bytes);
    SizeClass& size_class = classes_[index];
    if (!size_class.waiters.empty()) {
        return {};
    }
    Buffer buffer{nullptr, kClassBytes[index], static_cast<uint8_t>(index)};
    if (size_class.free != nullptr) {
        buffer.data = reinterpret_cast<std::byte*>(size_class.free);
        size_class.free = size_class.free->next;
        --size_class.free_count;
    } else if (size_class.fresh_count > 0) {
        buffer.data = size_class.fresh;
        size_class.fresh += kClassBytes[index];
        --size_class.fresh_count;
    }
    return buffer;
}

void BufferPool::wait(BufferWaiter& waiter, uint32_t size_bytes) {
    classes_[class_for(size_bytes)].waiters.push_back(waiter);
}

void BufferPool::cancel(BufferWaiter& waiter) {
    if (waiter.is_waiting()) {
        IntrusiveList<BufferWaiter, &BufferWaiter::link_>::remove(waiter);
    }
}

void BufferPool::release(Buffer buffer) {
    BASALT_ASSERT(buffer.is_valid());
    SizeClass& size_class = classes_[buffer.size_class];
    if (BufferWaiter* waiter = size_class.waiters.pop_front()) {
        waiter->granted_(waiter->context_, buffer);
        return;
    }
    size_class.free = ::new (buffer.data) FreeBuffer{size_class.free};
    ++size_class.free_count;
    BASALT_ASSERT(size_class.free_count + size_class.fresh_count <= size_class.total_count);
}

uint32_t BufferPool::free_count(size_t size_class) const {
    return classes_[size_class].free_count + classes_[size_class].fresh_count;
}

}  // namespace basalt
