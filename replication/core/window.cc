#include "replication/core/window.h"

#include <algorithm>

namespace basalt::replication {

bool Window::has(const WindowEntry& entry) const {
    if (entry.number < lowest_ || entry.number > highest_) {
        return false;
    }
    return std::find(entries_.begin(), entries_.end(), entry) != entries_.end();
}

OpNumber Window::newest(BlockRange range) const {
    OpNumber newest;
    for (const WindowEntry& entry : entries_) {
        if (entry.range.overlaps(range)) {
            newest = std::max(newest, entry.number);
        }
    }
    return newest;
}

uint64_t Window::newer_than(OpNumber number, BlockRange range) const {
    BASALT_ASSERT(range.count <= kRangeBlocksMax);
    uint64_t mask = 0;
    if (number >= highest_) {
        return mask;
    }
    for (const WindowEntry& entry : entries_) {
        if (entry.number <= number || !entry.range.overlaps(range)) {
            continue;
        }
        for (uint32_t i = 0; i < range.count; ++i) {
            mask |= uint64_t{entry.range.covers(range.first + i)} << i;
        }
    }
    return mask;
}

void Window::mark_blocks(BlockBitmap& bitmap) const {
    for (const WindowEntry& entry : entries_) {
        bitmap.set(entry.range);
    }
}

void Window::add(const WindowEntry& entry) {
    BASALT_ASSERT(!is_full());
    entries_.push_back(entry);
    lowest_ = std::min(lowest_, entry.number);
    highest_ = std::max(highest_, entry.number);
}

size_t Window::pieces(BlockRange range) const {
    return static_cast<size_t>(
        std::count_if(entries_.begin(), entries_.end(), [range](const WindowEntry& entry) {
            return entry.range.overlaps(range);
        }));
}

void Window::cut(BlockRange range) {
    const size_t count = entries_.size();
    for (size_t i = 0; i < count; ++i) {
        const WindowEntry entry = entries_[i];
        if (!entry.range.overlaps(range)) {
            continue;
        }
        const uint64_t before = range.first > entry.range.first ? range.first : entry.range.first;
        entries_[i].range.count = static_cast<uint32_t>(before - entry.range.first);
        if (entry.range.end() > range.end()) {
            add({entry.number,
                 {range.end(), static_cast<uint32_t>(entry.range.end() - range.end())}});
        }
        if (entries_[i].range.count == 0) {
            entries_[i].number = OpNumber{};  // Marked as gone; no write has this number.
        }
    }
    std::erase_if(entries_, [](const WindowEntry& entry) { return entry.number.is_none(); });
}

void Window::trim(OpNumber watermark) {
    if (watermark < lowest_) {
        return;
    }
    std::erase_if(entries_,
                  [watermark](const WindowEntry& entry) { return entry.number <= watermark; });
    look_again();
}

void Window::replace(std::span<const WindowEntry> entries) {
    BASALT_ASSERT(entries.size() <= entries_max_);
    entries_.assign(entries.begin(), entries.end());
    look_again();
}

void Window::look_again() {
    lowest_ = kHighest;
    highest_ = OpNumber{};
    for (const WindowEntry& entry : entries_) {
        lowest_ = std::min(lowest_, entry.number);
        highest_ = std::max(highest_, entry.number);
    }
}

}  // namespace basalt::replication
