#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bdev/qos/lane.h"
#include "bdev/qos/scheduler.h"
#include "reactor/limits.h"
#include "reactor/task.h"

namespace basalt::qos {

/// A member of a domain with its lane on each core. Owner: Domain. Made and ended by the control
/// thread; the member is the home core's, each lane its own core's.
class Flow {
  public:
    /// On that core.
    [[nodiscard]] Lane& lane_on(const Reactor& here) { return *lanes_[here.core().raw()]; }
    /// As last set. Control thread.
    [[nodiscard]] const Policy& policy() const { return policy_; }

  private:
    friend class Domain;

    Policy policy_;
    // Outlives the member, which has their claims in line where a machine has lost its power.
    std::array<std::unique_ptr<Lane>, kReactorsMax> lanes_;
    Member member_;
};

/// Members that share a capacity, or one alone with its own limits: the scheduler on its home core,
/// and a flow for each. Claims travel from lanes to the home core and back.
///
/// Life: made on the control thread; add(), change(), remove() there, one at a time; destroyed when
/// no flow is left, or after its machine has lost its power. Owner: a device, a group of them, or a
/// subsystem.
class Domain {
  public:
    /// `cores` are all on which there will be lanes, `home` is one of them. `go` is that of every
    /// lane. The list and `control` outlive the domain. `capacity` passes check(), and is shared if
    /// it has limits.
    Domain(Reactor& control,
           std::span<const CoreId> cores,
           CoreId home,
           Lane::Go go,
           const Policy& capacity = {});
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;
    ~Domain();

    [[nodiscard]] const Policy& capacity() const { return capacity_; }
    [[nodiscard]] std::span<const std::unique_ptr<Flow>> flows() const { return flows_; }
    /// Whether anything here is under way, or the domain's machine has lost its power.
    [[nodiscard]] bool is_abandoned() const { return control_.is_abandoned(); }

    /// Whether `policy` can be a member's; `but` is the member that would have it (null: a new
    /// one). Errors: those of qos::check(); kInvalidArgument: a minimum of something of which the
    /// capacity has no limit; kNoSpace: minimums beyond the capacity, or too many members.
    [[nodiscard]] Status can_have(const Policy& policy, const Flow* but) const;
    /// Errors: those of qos::check(); kInvalidArgument: a limit of reads or writes alone;
    /// kNoSpace: less than the minimums of all members.
    [[nodiscard]] Status can_offer(const Policy& capacity) const;

    /// A new member. can_have() has been asked.
    [[nodiscard]] Task<Flow*> add(Policy policy);
    /// Nobody enters its lanes any more: lets all go that wait there, waits for what is elsewhere,
    /// and destroys the flow.
    [[nodiscard]] Task<void> remove(Flow& flow);
    /// I/O goes on; what has been taken counts. can_have() or can_offer() has been asked.
    [[nodiscard]] Task<void> change(Flow& flow, Policy policy);
    [[nodiscard]] Task<void> set_capacity(Policy capacity);

    // --- For lanes, on the home core.

    void claim_arrives(ClaimEvent& claim);

  private:
    struct Visit;

    static Task<void> open_lane(Reactor& there, Visit& trip);
    static Task<void> set_lane_terms(Reactor& there, Visit& trip);
    static Task<void> end_lane(Reactor& there, Visit& trip);
    static Task<void> await_lane(Reactor& there, Visit& trip);
    static Task<void> set_at_home(Reactor& there, Visit& trip);
    static Task<void> set_capacity_at_home(Reactor& there, Visit& trip);
    static Task<void> withdraw_at_home(Reactor& there, Visit& trip);
    Task<void> set_terms(Flow& flow);
    void pump(Reactor& home);
    void answer(Reactor& home, ClaimEvent& claim);
    [[nodiscard]] bool fits(const Policy& capacity, uint64_t ios, uint64_t bytes) const;

    // The control thread's.
    Reactor& control_;
    const std::span<const CoreId> cores_;
    const CoreId home_;
    const Lane::Go go_;
    Policy capacity_;
    std::vector<std::unique_ptr<Flow>> flows_;

    // The home core's.
    Scheduler scheduler_;
    Reactor* home_reactor_ = nullptr;
    Timer timer_;
};

}  // namespace basalt::qos
