#include "nvmf/target/io/range_fence.h"

#include <utility>

#include "nvmf/target/poll_group.h"

namespace basalt::nvmf {

// --- IoGate ------------------------------------------------------------------------------------

IoGate::IoGate(FenceTable& table, const bdev::Bdev& device) : table_(table), device_(device) {
    table_.gates_.emplace(&device, this);
    for (FenceVisit* at = table_.standing_.front(); at != nullptr;
         at = table_.standing_.next(*at)) {
        fences_ += at->fence->device_ == &device ? 1U : 0U;
    }
}

IoGate::~IoGate() {
    BASALT_ASSERT(inside() == 0);
    table_.gates_.erase(&device_);
}

void IoGate::drain(FenceVisit& visit) {
    if (inside_[epoch_ ^ 1U] > 0) {
        next_.push_back(visit);
    } else if (inside_[epoch_] == 0) {
        table_.drained(visit);
    } else {
        epoch_ ^= 1U;
        draining_.push_back(visit);
    }
}

void IoGate::drain_over() {
    DrainList done;
    done.splice_back(draining_);
    if (!next_.empty()) {
        if (inside_[epoch_] == 0) {
            done.splice_back(next_);
        } else {
            epoch_ ^= 1U;
            draining_.splice_back(next_);
        }
    }
    while (FenceVisit* visit = done.pop_front()) {
        table_.drained(*visit);
    }
}

// --- FenceTable --------------------------------------------------------------------------------

bool FenceTable::is_fenced(const bdev::Bdev& device, const BlockRange& range) const {
    for (const FenceVisit* at = standing_.front(); at != nullptr; at = standing_.next(*at)) {
        if (at->fence->device_ == &device && at->fence->range_.overlaps(range)) {
            return true;
        }
    }
    return false;
}

IoGate* FenceTable::find_gate(const bdev::Bdev& device) {
    const auto found = gates_.find(&device);
    return found == gates_.end() ? nullptr : found->second;
}

bool FenceTable::overlaps_any(const FenceVisit& visit) const {
    return is_fenced(*visit.fence->device_, visit.fence->range_);
}

void FenceTable::arrive(FenceVisit& visit) {
    if (overlaps_any(visit)) {
        line_.push_back(visit);
    } else {
        stand(visit);
    }
}

void FenceTable::stand(FenceVisit& visit) {
    standing_.push_back(visit);
    if (IoGate* gate = find_gate(*visit.fence->device_)) {
        ++gate->fences_;
        gate->drain(visit);
    } else {
        drained(visit);
    }
}

void FenceTable::drained(FenceVisit& visit) {
    visit.set_run(
        [](Event& event, Reactor&) { static_cast<FenceVisit&>(event).fence->come_back(); });
    here_.post(visit.fence->group_.reactor().core(), visit);
}

void FenceTable::leave(FenceVisit& visit) {
    VisitList::remove(visit);
    if (IoGate* gate = find_gate(*visit.fence->device_)) {
        --gate->fences_;
    }
    // Commands first, so that a line of fences can't keep them out for ever; who does not get in
    // waits again.
    RequestList woken;
    woken.splice_back(waiting_);
    while (Request* request = woken.pop_front()) {
        std::exchange(request->resume, nullptr)(*request);
    }
    VisitList line;
    line.splice_back(line_);
    while (FenceVisit* next = line.pop_front()) {
        arrive(*next);
    }
    drained(visit);
}

// --- RangeFence --------------------------------------------------------------------------------

RangeFence::RangeFence(PollGroup& group, Notify granted, Notify released, void* context)
    : group_(group),
      granted_(granted),
      released_(released),
      context_(context),
      visits_(std::make_unique<FenceVisit[]>(group.peers().size())) {
    for (uint32_t core = 0; core < group.peers().size(); ++core) {
        visits_[core].fence = this;
    }
}

void RangeFence::acquire(const bdev::Bdev& device, Nsid nsid, BlockRange range) {
    BASALT_ASSERT(is_idle());
    device_ = &device;
    range_ = range;
    home_ = nsid.raw() % static_cast<uint32_t>(group_.peers().size());
    state_ = State::kAtHome;
    group_.begin_errand();
    visit_home([](Event& event, Reactor&) {
        auto& visit = static_cast<FenceVisit&>(event);
        visit.there->fences().arrive(visit);
    });
}

void RangeFence::release() {
    BASALT_ASSERT(state_ == State::kStanding);
    state_ = State::kWithdrawing;
    visit_others([](Event& event, Reactor&) {
        auto& visit = static_cast<FenceVisit&>(event);
        visit.there->fences().leave(visit);
    });
}

void RangeFence::send(uint32_t core, Event::Run run) {
    ++away_;
    FenceVisit& visit = visits_[core];
    visit.there = group_.peers()[core];
    visit.set_run(run);
    group_.reactor().post(CoreId(core), visit);
}

void RangeFence::visit_home(Event::Run run) {
    send(home_, run);
}

void RangeFence::visit_others(Event::Run run) {
    for (uint32_t core = 0; core < group_.peers().size(); ++core) {
        if (core != home_) {
            send(core, run);
        }
    }
    if (away_ == 0) {
        advance();
    }
}

void RangeFence::come_back() {
    BASALT_ASSERT(away_ > 0);
    if (--away_ == 0) {
        advance();
    }
}

void RangeFence::advance() {
    switch (state_) {
        case State::kAtHome:
            state_ = State::kSpreading;
            visit_others([](Event& event, Reactor&) {
                auto& visit = static_cast<FenceVisit&>(event);
                visit.there->fences().arrive(visit);
            });
            return;
        case State::kSpreading:
            state_ = State::kStanding;
            granted_(context_);
            return;
        case State::kWithdrawing:
            state_ = State::kLeavingHome;
            visit_home([](Event& event, Reactor&) {
                auto& visit = static_cast<FenceVisit&>(event);
                visit.there->fences().leave(visit);
            });
            return;
        case State::kLeavingHome:
            state_ = State::kIdle;
            group_.end_errand();
            released_(context_);
            return;
        case State::kIdle:
        case State::kStanding: break;
    }
    assertion_failed("a fence that is idle or stands sends nothing", __FILE__, __LINE__);
}

}  // namespace basalt::nvmf
