#pragma once

#include <memory>

#include "bdev/qos/domain.h"

namespace basalt::bdev {
class Device;
}  // namespace basalt::bdev

namespace basalt::qos {

/// What a device may do in a second: limits of its own, or of it as a member of a group with which
/// it shares a capacity. Changes reach a device that is in use; I/O goes on, none fails.
///
/// Owner: Device. Core: the control thread's; set() visits the others. One set() at a time.
class DeviceLimits {
  public:
    explicit DeviceLimits(bdev::Device& device) : device_(device) {}
    DeviceLimits(const DeviceLimits&) = delete;
    DeviceLimits& operator=(const DeviceLimits&) = delete;
    /// Without channels nothing waits; what the lanes still have elsewhere is waited for by itself.
    ~DeviceLimits();

    [[nodiscard]] const Policy& policy() const { return policy_; }
    /// Null: it is in no group.
    [[nodiscard]] const Domain* group() const { return own_ == nullptr ? domain_ : nullptr; }

    /// Whether set() may be called. Errors: those of Domain::can_have.
    [[nodiscard]] Status can_set(const Policy& policy, Domain* group) const;
    /// Without limits and group the device has none of the cost either. `group` outlives its
    /// members. `control` outlives the device.
    [[nodiscard]] Task<void> set(Reactor& control, Policy policy, Domain* group);
    /// No limits, no group: for a device that goes.
    [[nodiscard]] Task<void> clear(Reactor& control) { return set(control, Policy{}, nullptr); }

  private:
    struct Switch;
    static Task<void> switch_there(Reactor& there, Switch& change);
    static Task<void> retire(std::unique_ptr<Domain> own, Domain* domain, Flow* flow);

    bdev::Device& device_;
    Policy policy_;
    std::unique_ptr<Domain> own_;  // Of a device in no group.
    Domain* domain_ = nullptr;     // Its own, or the group's; null: no limits.
    Flow* flow_ = nullptr;
};

}  // namespace basalt::qos
