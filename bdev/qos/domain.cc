#include "bdev/qos/domain.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::qos {

/// What a visit to a core is about.
struct Domain::Visit {
    Domain& domain;
    Flow& flow;
    Terms terms{};
};

Domain::Domain(Reactor& control,
               std::span<const CoreId> cores,
               CoreId home,
               Lane::Go go,
               const Policy& capacity)
    : control_(control), cores_(cores), home_(home), go_(go), capacity_(capacity) {
    scheduler_.set_capacity(capacity, 0);
    timer_.set(
        [](Timer&, void* self) {
            auto& domain = *static_cast<Domain*>(self);
            domain.pump(*domain.home_reactor_);
        },
        this);
}

Domain::~Domain() {
    BASALT_ASSERT(flows_.empty() || is_abandoned());
}

// --- What fits ---------------------------------------------------------------------------------

bool Domain::fits(const Policy& capacity, uint64_t ios, uint64_t bytes) const {
    return (ios == 0 || ios <= capacity.rw_ios.rate) &&
           (bytes == 0 || bytes <= capacity.rw_bytes.rate);
}

Status Domain::can_have(const Policy& policy, const Flow* but) const {
    BASALT_CHECK(check(policy));
    if ((policy.min_ios != 0 && capacity_.rw_ios.rate == 0) ||
        (policy.min_bytes != 0 && capacity_.rw_bytes.rate == 0)) {
        return Errc::kInvalidArgument;
    }
    if (but == nullptr && flows_.size() == kMembersMax) {
        return Errc::kNoSpace;
    }
    uint64_t ios = policy.min_ios;
    uint64_t bytes = policy.min_bytes;
    for (const auto& flow : flows_) {
        if (flow.get() != but) {
            ios += flow->policy_.min_ios;
            bytes += flow->policy_.min_bytes;
        }
    }
    return fits(capacity_, ios, bytes) ? kOk : Status(Errc::kNoSpace);
}

Status Domain::can_offer(const Policy& capacity) const {
    BASALT_CHECK(check(capacity));
    if (capacity.r_bytes.rate != 0 || capacity.w_bytes.rate != 0 || capacity.has_minimum()) {
        return Errc::kInvalidArgument;
    }
    uint64_t ios = 0;
    uint64_t bytes = 0;
    for (const auto& flow : flows_) {
        ios += flow->policy_.min_ios;
        bytes += flow->policy_.min_bytes;
    }
    return fits(capacity, ios, bytes) ? kOk : Status(Errc::kNoSpace);
}

// --- Changes -----------------------------------------------------------------------------------

Task<void> Domain::open_lane(Reactor& there, Visit& trip) {
    Domain& domain = trip.domain;
    auto lane = std::make_unique<Lane>(there, domain.home_, domain, trip.flow.member_, domain.go_);
    lane->set_terms(trip.terms);
    trip.flow.lanes_[there.core().raw()] = std::move(lane);
    co_return;
}

Task<void> Domain::set_lane_terms(Reactor& there, Visit& trip) {
    trip.flow.lane_on(there).set_terms(trip.terms);
    co_return;
}

Task<void> Domain::end_lane(Reactor& there, Visit& trip) {
    trip.flow.lane_on(there).end();
    co_return;
}

Task<void> Domain::await_lane(Reactor& there, Visit& trip) {
    while (!trip.flow.lane_on(there).has_ended()) {
        co_await sleep_for(there, kDrainPollNs);
    }
}

Task<void> Domain::set_at_home(Reactor& there, Visit& trip) {
    Domain& domain = trip.domain;
    domain.home_reactor_ = &there;
    Scheduler::set_policy(trip.flow.member_, trip.flow.policy_, there.now_ns());
    domain.pump(there);
    co_return;
}

Task<void> Domain::set_capacity_at_home(Reactor& there, Visit& trip) {
    Domain& domain = trip.domain;
    domain.scheduler_.set_capacity(domain.capacity_, there.now_ns());
    domain.pump(there);
    co_return;
}

Task<void> Domain::withdraw_at_home(Reactor& there, Visit& trip) {
    Scheduler& scheduler = trip.domain.scheduler_;
    while (Claim* claim = scheduler.withdraw(trip.flow.member_)) {
        claim->ask = {};
        trip.domain.answer(there, static_cast<ClaimEvent&>(*claim));
    }
    trip.domain.pump(there);
    co_return;
}

Task<void> Domain::set_terms(Flow& flow) {
    Visit request{*this, flow, both(terms_of(flow.policy_), terms_of(capacity_))};
    for (const CoreId core : cores_) {
        visit<Visit> there(control_, core, request, &set_lane_terms);
        co_await there;
    }
}

Task<Flow*> Domain::add(Policy policy) {
    flows_.push_back(std::make_unique<Flow>());
    Flow& flow = *flows_.back();
    flow.policy_ = policy;
    Visit request{*this, flow, both(terms_of(policy), terms_of(capacity_))};
    visit<Visit> home(control_, home_, request, &set_at_home);
    co_await home;
    for (const CoreId core : cores_) {
        visit<Visit> there(control_, core, request, &open_lane);
        co_await there;
    }
    co_return &flow;
}

Task<void> Domain::remove(Flow& flow) {
    Visit request{*this, flow};
    for (const CoreId core : cores_) {
        visit<Visit> there(control_, core, request, &end_lane);
        co_await there;
    }
    // Lanes claim nothing any more; claims that are still on their way are answered at once.
    visit<Visit> withdrawal(control_, home_, request, &withdraw_at_home);
    co_await withdrawal;
    for (const CoreId core : cores_) {
        visit<Visit> there(control_, core, request, &await_lane);
        co_await there;
    }
    std::erase_if(flows_, [&](const auto& each) { return each.get() == &flow; });
}

Task<void> Domain::change(Flow& flow, Policy policy) {
    flow.policy_ = policy;
    Visit request{*this, flow};
    visit<Visit> home(control_, home_, request, &set_at_home);
    co_await home;
    auto telling = set_terms(flow);
    co_await telling;
}

Task<void> Domain::set_capacity(Policy capacity) {
    capacity_ = capacity;
    if (flows_.empty()) {
        scheduler_.set_capacity(capacity, 0);  // No core has seen it yet, or none does any more.
        co_return;
    }
    Visit request{*this, *flows_.front()};
    visit<Visit> home(control_, home_, request, &set_capacity_at_home);
    co_await home;
    for (const auto& flow : flows_) {
        auto telling = set_terms(*flow);
        co_await telling;
    }
}

// --- At home -----------------------------------------------------------------------------------

void Domain::claim_arrives(ClaimEvent& claim) {
    const Cost returned = std::exchange(claim.returned, {});
    if (!returned.is_zero()) {
        scheduler_.give_back(claim.member, returned);
    }
    if (claim.ask.is_zero() || claim.member.is_leaving()) {
        claim.ask = {};
        answer(*home_reactor_, claim);
    } else {
        scheduler_.submit(claim);
    }
    pump(*home_reactor_);
}

void Domain::pump(Reactor& home) {
    while (Claim* granted = scheduler_.next(home.now_ns())) {
        answer(home, static_cast<ClaimEvent&>(*granted));
    }
    const uint64_t wakeup_ns = scheduler_.wakeup_ns();
    home.stop_timer(timer_);
    if (wakeup_ns != UINT64_MAX) {
        home.start_timer(timer_, wakeup_ns - home.now_ns());
    }
}

void Domain::answer(Reactor& home, ClaimEvent& claim) {
    claim.set_run(
        [](Event& event, Reactor&) { static_cast<ClaimEvent&>(event).lane.claim_is_back(); });
    home.post(claim.lane.core(), claim);
}

}  // namespace basalt::qos
