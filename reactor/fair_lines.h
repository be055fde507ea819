#pragma once

#include <cstdint>

#include "reactor/base/assert.h"
#include "reactor/base/intrusive_list.h"

namespace basalt {

/// Waits in a user's line for something that many share. Embedded in what needs it.
class FairWaiter {
  public:
    [[nodiscard]] bool is_waiting() const { return link_.is_linked(); }

  private:
    friend class FairLine;
    friend class FairLines;

    ListLink link_;
};

/// What one user holds of something that many share, and a line of its own in which its requests
/// wait. A bounded user gets one more only while it holds fewer than kTimesFree times as many as
/// are free, or none: a single one may have 4 of 5, and however many there are and however much
/// each wants, something is left for the next. Those that wait are served in turn, so a long line
/// of one doesn't make the others wait. (Choudhury and Hahne, "Dynamic queue length thresholds for
/// shared-memory packet switches", 1998.)
///
/// Owner: the user. Core: that of what is shared. Nothing is held when it ends.
class FairLine {
  public:
    static constexpr uint32_t kTimesFree = 4;

    FairLine() = default;
    FairLine(const FairLine&) = delete;
    FairLine& operator=(const FairLine&) = delete;
    ~FairLine() {
        BASALT_ASSERT(used_count_ == 0);
        BASALT_ASSERT(waiters_.empty());
        if (link_.is_linked()) {
            IntrusiveList<FairLine, &FairLine::link_>::remove(*this);
        }
    }

    void set_unbounded() { is_bounded_ = false; }
    [[nodiscard]] uint32_t used_count() const { return used_count_; }

  private:
    friend class FairLines;

    uint32_t used_count_ = 0;
    bool is_bounded_ = true;
    IntrusiveList<FairWaiter, &FairWaiter::link_> waiters_;
    ListLink link_;  // Among the lines with waiters; also for a while after the last.
};

/// The lines of those who share something: who gets the next. Owner and core: what is shared.
class FairLines {
  public:
    FairLines() = default;
    FairLines(const FairLines&) = delete;
    FairLines& operator=(const FairLines&) = delete;
    ~FairLines() { waiting_.clear(); }  // Lines whose waiters have left; a line asserts the rest.

    /// Whether the user may have one of `free` now: it has the right, and nobody of its own waits.
    [[nodiscard]] static bool may_take(const FairLine& line, uint32_t free) {
        return line.waiters_.empty() && has_right(line, free);
    }
    /// The first half of that.
    [[nodiscard]] static bool has_right(const FairLine& line, uint32_t free) {
        return line.used_count_ == 0 || !line.is_bounded_ ||
               line.used_count_ < FairLine::kTimesFree * free;
    }
    static void took(FairLine& line) { ++line.used_count_; }
    static void gave_back(FairLine& line) {
        BASALT_ASSERT(line.used_count_ > 0);
        --line.used_count_;
    }

    void wait(FairWaiter& waiter, FairLine& line) {
        line.waiters_.push_back(waiter);
        if (!line.link_.is_linked()) {
            waiting_.push_back(line);
        }
    }
    /// Takes `waiter` out of the line if it is in one.
    static void cancel(FairWaiter& waiter) {
        if (waiter.is_waiting()) {
            IntrusiveList<FairWaiter, &FairWaiter::link_>::remove(waiter);
        }
    }

    [[nodiscard]] bool has_waiters() const { return !waiting_.empty(); }

    /// Who is to have one of `free` (at least 1): it is out of its line, and its user counts as
    /// having taken it. Null: nobody.
    [[nodiscard]] FairWaiter* next(uint32_t free);

  private:
    using LineList = IntrusiveList<FairLine, &FairLine::link_>;

    LineList waiting_;  // The lines that have waiters, the next to be served first.
};

inline FairWaiter* FairLines::next(uint32_t free) {
    for (FairLine* at = waiting_.front(); at != nullptr;) {
        FairLine& line = *at;
        at = waiting_.next(line);
        if (line.waiters_.empty()) {
            LineList::remove(line);
        } else if (has_right(line, free)) {
            LineList::remove(line);
            FairWaiter* waiter = line.waiters_.pop_front();
            if (!line.waiters_.empty()) {
                waiting_.push_back(line);
            }
            took(line);
            return waiter;
        }
    }
    return nullptr;
}

}  // namespace basalt
