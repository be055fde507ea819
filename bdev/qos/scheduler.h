#pragma once

#include <cstdint>

#include "bdev/qos/policy.h"
#include "bdev/qos/rate_gate.h"
#include "reactor/base/intrusive_list.h"

namespace basalt::qos {

class Member;

/// One core's wish for tokens of its member. Owner: that core's lane; in the scheduler's hands from
/// submit() until next() returns it.
struct Claim {
    explicit Claim(Member& for_member) : member(for_member) {}

    Member& member;
    Cost ask;
    ListLink link;
};

/// Somebody among whom a scheduler divides: a device, a host. Owner: Domain. Touched by the
/// scheduler alone.
class Member {
  public:
    Member() = default;
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
    ~Member() { claims_.clear(); }  // Some are left only where a machine has lost its power.

    /// Its claims are no longer served.
    [[nodiscard]] bool is_leaving() const { return is_leaving_; }

  private:
    friend class Scheduler;

    RateGate limits_;
    RateGate minimum_;
    bool has_minimum_ = false;
    bool is_leaving_ = false;
    uint32_t weight_ = kWeightDefault;
    /// How much of the capacity it has had, in time, by weight: its proportional share tag.
    uint64_t share_ns_ = 0;
    IntrusiveList<Claim, &Claim::link> claims_;
    ListLink waiting_link_;
};

/// Who may do how much of what, and when: the limits of each member, and how members share a
/// capacity. After mClock (Gulati, Merchant, Varman, OSDI 2010): whoever is below its minimum comes
/// first; among the others whoever has had least for its weight; nobody beyond its own limit. The
/// difference: what is divided is a rate that was configured, not the queue of a device, so that a
/// claim that is granted is never queued again, and three tags a request become buckets a member.
///
/// What a minimum has brought counts as share (as in mClock, where each request has both tags), so
/// that a member ends with the larger of its minimum and its share, not with their sum.
///
/// Claims of one member are granted in their order. A claim that the capacity lacks something for
/// is waited for, not overtaken by smaller ones: nobody starves.
///
/// Pure: no clock, no I/O, no allocation. Owner: Domain. Core: the domain's home.
class Scheduler {
  public:
    Scheduler() = default;
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;
    ~Scheduler() { waiting_.clear(); }

    /// What the members share; without limits each has its own alone.
    void set_capacity(const Policy& capacity, uint64_t now_ns);
    /// What one member may have, from now on.
    static void set_policy(Member& member, const Policy& policy, uint64_t now_ns);
    /// The member leaves: takes one of its claims out, ungranted; null: it has none left.
    [[nodiscard]] static Claim* withdraw(Member& member);

    /// Puts a claim in line; it asks for something.
    void submit(Claim& claim);
    /// What was granted and not used.
    void give_back(Member& member, const Cost& unused);

    /// Grants one claim and takes it out, or null if none can be granted now.
    [[nodiscard]] Claim* next(uint64_t now_ns);
    /// When next() has something again, after it has returned null; UINT64_MAX: not by itself.
    [[nodiscard]] uint64_t wakeup_ns() const { return wakeup_ns_; }

  private:
    using MemberList = IntrusiveList<Member, &Member::waiting_link_>;

    struct Choice {
        Member* member = nullptr;
        bool is_minimum = false;
    };
    [[nodiscard]] Choice choose(uint64_t now_ns);
    /// How long the capacity works for `cost`.
    [[nodiscard]] uint64_t work_ns(const Cost& cost) const;
    void grant(const Choice& choice, uint64_t now_ns);

    Policy capacity_policy_;
    RateGate capacity_;
    MemberList waiting_;
    uint64_t virtual_ns_ = 0;  // The share tag of whoever was last served by weight.
    uint64_t wakeup_ns_ = UINT64_MAX;
};

}  // namespace basalt::qos
