#include "reactor/buffer_pool.h"

#include <new>

#include "reactor/base/assert.h"

namespace basalt {

BufferAccount::~BufferAccount() {
    for (Line& line : lines_) {
        BASALT_ASSERT(line.used_count == 0);
        BASALT_ASSERT(line.waiters.empty());
        if (line.link.is_linked()) {
            IntrusiveList<Line, &Line::link>::remove(line);
        }
    }
}

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
        common_.lines_[i].is_bounded = false;
    }
}

BufferPool::~BufferPool() {
    for (SizeClass& size_class : classes_) {
        size_class.waiting.clear();  // Lines whose waiters have left; a line asserts the rest.
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
    Line& line = account.lines_[index];
    if (!line.waiters.empty() || !may_take(line, index)) {
        return {};
    }
    const Buffer buffer = take(index);
    line.used_count += buffer.is_valid() ? 1U : 0U;
    return buffer;
}

void BufferPool::wait(BufferWaiter& waiter, uint32_t size_bytes, BufferAccount& account) {
    const size_t index = class_for(size_bytes);
    Line& line = account.lines_[index];
    line.waiters.push_back(waiter);
    if (!line.link.is_linked()) {
        classes_[index].waiting.push_back(line);
    }
}

void BufferPool::cancel(BufferWaiter& waiter) {
    if (waiter.is_waiting()) {
        IntrusiveList<BufferWaiter, &BufferWaiter::link_>::remove(waiter);
    }
}

void BufferPool::release(Buffer buffer, BufferAccount& account) {
    BASALT_ASSERT(buffer.is_valid());
    Line& line = account.lines_[buffer.size_class];
    BASALT_ASSERT(line.used_count > 0);
    --line.used_count;
    SizeClass& size_class = classes_[buffer.size_class];
    size_class.free = ::new (buffer.data) FreeBuffer{size_class.free};
    ++size_class.free_count;
    BASALT_ASSERT(size_class.free_count + size_class.fresh_count <= size_class.total_count);
    if (!size_class.waiting.empty()) [[unlikely]] {
        serve(buffer.size_class);
    }
}

void BufferPool::serve(size_t size_class) {
    while (free_count(size_class) > 0) {
        Line* line = next_line(size_class);
        if (line == nullptr) {
            return;
        }
        LineList::remove(*line);
        BufferWaiter* waiter = line->waiters.pop_front();
        BASALT_ASSERT(waiter != nullptr);
        if (!line->waiters.empty()) {
            classes_[size_class].waiting.push_back(*line);
        }
        ++line->used_count;
        waiter->granted_(waiter->context_, take(size_class));
    }
}

BufferPool::Line* BufferPool::next_line(size_t size_class) {
    LineList& waiting = classes_[size_class].waiting;
    for (Line* at = waiting.front(); at != nullptr;) {
        Line& line = *at;
        at = waiting.next(line);
        if (line.waiters.empty()) {
            LineList::remove(line);
        } else if (may_take(line, size_class)) {
            return &line;
        }
    }
    return nullptr;
}

}  // namespace basalt
