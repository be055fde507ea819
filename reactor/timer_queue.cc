#include "reactor/timer_queue.h"

#include <utility>

namespace basalt {

bool TimerQueue::is_before(const Timer& a, const Timer& b) {
    if (a.deadline_ns_ != b.deadline_ns_) {
        return a.deadline_ns_ < b.deadline_ns_;
    }
    return a.sequence_ < b.sequence_;
}

Timer* TimerQueue::meld(Timer* a, Timer* b) {
    if (a == nullptr) {
        return b;
    }
    if (b == nullptr) {
        return a;
    }
    if (is_before(*b, *a)) {
        std::swap(a, b);
    }
    b->sibling_ = a->child_;
    b->prev_ = a;
    if (a->child_ != nullptr) {
        a->child_->prev_ = b;
    }
    a->child_ = b;
    return a;
}

Timer* TimerQueue::merge_pairs(Timer* first) {
    // Two passes without recursion: meld pairs left to right into a chain, then the chain back.
    Timer* pairs = nullptr;
    while (first != nullptr) {
        Timer* a = first;
        Timer* b = a->sibling_;
        first = b == nullptr ? nullptr : b->sibling_;
        a->sibling_ = a->prev_ = nullptr;
        if (b != nullptr) {
            b->sibling_ = b->prev_ = nullptr;
        }
        Timer* pair = meld(a, b);
        pair->sibling_ = pairs;
        pairs = pair;
    }
    Timer* merged = nullptr;
    while (pairs != nullptr) {
        Timer* next = pairs->sibling_;
        pairs->sibling_ = nullptr;
        merged = meld(merged, pairs);
        pairs = next;
    }
    return merged;
}

void TimerQueue::start(Timer& timer, uint64_t deadline_ns) {
    BASALT_ASSERT(!timer.is_running_);
    BASALT_ASSERT(timer.run_ != nullptr);
    timer.deadline_ns_ = deadline_ns;
    timer.sequence_ = next_sequence_++;
    timer.child_ = timer.sibling_ = timer.prev_ = nullptr;
    timer.is_running_ = true;
    root_ = meld(root_, &timer);
}

void TimerQueue::remove(Timer& timer) {
    if (&timer == root_) {
        root_ = merge_pairs(timer.child_);
    } else {
        if (timer.prev_->child_ == &timer) {
            timer.prev_->child_ = timer.sibling_;
        } else {
            timer.prev_->sibling_ = timer.sibling_;
        }
        if (timer.sibling_ != nullptr) {
            timer.sibling_->prev_ = timer.prev_;
        }
        root_ = meld(root_, merge_pairs(timer.child_));
    }
    timer.child_ = timer.sibling_ = timer.prev_ = nullptr;
    timer.is_running_ = false;
}

void TimerQueue::stop(Timer& timer) {
    if (timer.is_running_) {
        remove(timer);
    }
}

void TimerQueue::clear() {
    while (root_ != nullptr) {
        remove(*root_);
    }
}

uint64_t TimerQueue::next_deadline_ns() const {
    return root_ == nullptr ? UINT64_MAX : root_->deadline_ns_;
}

uint32_t TimerQueue::expire(uint64_t now_ns, uint32_t count_max) {
    uint32_t count = 0;
    // What starts now waits for the next call: a delay of 0 lets everything else have its turn.
    const uint64_t end = next_sequence_;
    while (count < count_max && root_ != nullptr && root_->deadline_ns_ <= now_ns &&
           root_->sequence_ < end) {
        Timer& timer = *root_;
        remove(timer);
        timer.run_(timer, timer.context_);
        ++count;
    }
    return count;
}

}  // namespace basalt
