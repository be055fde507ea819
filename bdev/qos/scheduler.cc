#include "bdev/qos/scheduler.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::qos {

namespace {

// Shares are counted at the default weight: a heavier member's clock runs slower.
uint64_t weighted(uint64_t work_ns, uint32_t weight) {
    return work_ns * kWeightDefault / weight;
}

uint64_t time_at(uint64_t rate, int64_t amount) {
    if (rate == 0) {
        return 0;
    }
    return static_cast<uint64_t>(static_cast<double>(amount) / static_cast<double>(rate) *
                                 static_cast<double>(kNsPerSecond));
}

}  // namespace

void Scheduler::set_capacity(const Policy& capacity, uint64_t now_ns) {
    capacity_policy_ = capacity;
    capacity_.set_limits(capacity, now_ns);
}

void Scheduler::set_policy(Member& member, const Policy& policy, uint64_t now_ns) {
    member.limits_.set_limits(policy, now_ns);
    member.minimum_.set_minimum(policy, now_ns);
    member.has_minimum_ = policy.has_minimum();
    member.weight_ = policy.weight;
}

Claim* Scheduler::withdraw(Member& member) {
    member.is_leaving_ = true;
    Claim* claim = member.claims_.pop_front();
    if (claim != nullptr && member.claims_.empty()) {
        MemberList::remove(member);
    }
    return claim;
}

void Scheduler::submit(Claim& claim) {
    BASALT_ASSERT(!claim.ask.is_zero());
    BASALT_ASSERT(!claim.member.is_leaving_);
    Member& member = claim.member;
    if (member.claims_.empty()) {
        // Who has not wanted anything saves nothing up.
        member.share_ns_ = std::max(member.share_ns_, virtual_ns_);
        waiting_.push_back(member);
    }
    member.claims_.push_back(claim);
}

void Scheduler::give_back(Member& member, const Cost& unused) {
    member.limits_.give_back(unused);
    capacity_.give_back(unused);
    const uint64_t share = weighted(work_ns(unused), member.weight_);
    member.share_ns_ -= std::min(member.share_ns_, share);
}

uint64_t Scheduler::work_ns(const Cost& cost) const {
    return std::max(time_at(capacity_policy_.rw_ios.rate, cost.ios),
                    time_at(capacity_policy_.rw_bytes.rate, cost.bytes()));
}

Scheduler::Choice Scheduler::choose(uint64_t now_ns) {
    Choice choice;
    for (Member* at = waiting_.front(); at != nullptr; at = waiting_.next(*at)) {
        const Cost& ask = at->claims_.front()->ask;
        const uint64_t allowed_ns = at->limits_.ready_ns(ask, now_ns);
        if (allowed_ns > now_ns) {
            wakeup_ns_ = std::min(wakeup_ns_, allowed_ns);
            continue;
        }
        bool is_minimum = false;
        if (at->has_minimum_) {
            const uint64_t due_ns = at->minimum_.ready_ns(ask, now_ns);
            is_minimum = due_ns <= now_ns;
            if (!is_minimum) {
                wakeup_ns_ = std::min(wakeup_ns_, due_ns);
            }
        }
        const bool is_better =
            choice.member == nullptr || (is_minimum && !choice.is_minimum) ||
            (is_minimum == choice.is_minimum && at->share_ns_ < choice.member->share_ns_);
        if (is_better) {
            choice = {at, is_minimum};
        }
    }
    return choice;
}

Claim* Scheduler::next(uint64_t now_ns) {
    wakeup_ns_ = UINT64_MAX;
    const Choice choice = choose(now_ns);
    if (choice.member == nullptr) {
        return nullptr;
    }
    Claim* claim = choice.member->claims_.front();
    const uint64_t possible_ns = capacity_.ready_ns(claim->ask, now_ns);
    if (possible_ns > now_ns) {
        // Somebody may come below a minimum until then: who is next is asked again.
        wakeup_ns_ = std::min(wakeup_ns_, possible_ns);
        return nullptr;
    }
    grant(choice, now_ns);
    return claim;
}

void Scheduler::grant(const Choice& choice, uint64_t now_ns) {
    Member& member = *choice.member;
    const Claim& claim = *member.claims_.pop_front();
    member.limits_.take(claim.ask, now_ns);
    capacity_.take(claim.ask, now_ns);
    const uint64_t share = weighted(work_ns(claim.ask), member.weight_);
    if (choice.is_minimum) {
        member.minimum_.take(claim.ask, now_ns);
        member.share_ns_ = std::max(member.share_ns_,
                                    std::min(member.share_ns_ + share, virtual_ns_ + kLeadNsMax));
    } else {
        virtual_ns_ = std::max(virtual_ns_, member.share_ns_);
        member.share_ns_ += share;
    }
    MemberList::remove(member);
    if (!member.claims_.empty()) {
        waiting_.push_back(member);  // Behind others of the same share.
    }
}

}  // namespace basalt::qos
