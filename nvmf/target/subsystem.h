#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "bdev/core/bdev.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/controller_link.h"
#include "nvmf/target/health.h"
#include "nvmf/target/io/range_fence.h"
#include "nvmf/target/io/write_protection.h"
#include "nvmf/target/options.h"
#include "nvmf/target/reservation/reservation_home.h"

namespace basalt::nvmf {

/// A namespace as one reactor serves it: the device's channel on this core, and how many requests
/// are using it. Owner: Subsystem. Core: the group's.
class Namespace {
  public:
    /// `here` is this core's reactor.
    Namespace(const NamespaceConfig& config,
              const Reactor& here,
              std::unique_ptr<bdev::BdevChannel> channel,
              FenceTable& fences)
        : config_(config),
          info_(config.bdev->info()),
          here_(here),
          channel_(std::move(channel)),
          gate_(fences, *config.bdev) {
        set_reservation(config.reservations->first_view());
    }
    Namespace(const Namespace&) = delete;
    Namespace& operator=(const Namespace&) = delete;
    ~Namespace() { BASALT_ASSERT(uses_ == 0); }

    [[nodiscard]] const NamespaceConfig& config() const { return config_; }
    /// Of the same device: what may change while it is open.
    void set_config(const NamespaceConfig& config) { config_ = config; }
    [[nodiscard]] const bdev::BdevInfo& info() const { return info_; }
    [[nodiscard]] bdev::BdevChannel& channel() { return *channel_; }

    /// Nothing may change its blocks, by the device's nature or by a host's wish.
    [[nodiscard]] bool is_write_protected() const {
        return info_.is_read_only || config_.protection->is_protected();
    }

    /// What reads or writes a range goes through the gate, one device operation at a time; the
    /// channel stays while it is inside.
    [[nodiscard]] IoGate& gate() { return gate_; }
    [[nodiscard]] uint8_t enter_gate() {
        if (gate_.inside() == 0) {
            busy_since_ns_ = here_.now_ns();
        }
        return gate_.enter();
    }
    void leave_gate(uint8_t epoch) {
        gate_.leave(epoch);
        if (gate_.inside() == 0) {
            health.busy_ns += here_.now_ns() - busy_since_ns_;
        }
    }
    /// The channel stays from acquire() to release(), for whatever else uses it.
    void acquire() { ++uses_; }
    void release() {
        BASALT_ASSERT(uses_ > 0);
        --uses_;
    }
    [[nodiscard]] uint32_t uses() const { return uses_ + gate_.inside(); }

    /// What it has done on this core until now.
    [[nodiscard]] HealthCounters health_now() const {
        HealthCounters now = health;
        now.busy_ns += gate_.inside() == 0 ? 0 : here_.now_ns() - busy_since_ns_;
        return now;
    }

    /// Who may do what. The view lives until another one is set here.
    [[nodiscard]] const ReservationView& reservation() const { return *reservation_; }
    [[nodiscard]] bool is_reserved() const { return is_reserved_; }
    void set_reservation(const ReservationView& view) {
        reservation_ = &view;
        is_reserved_ = view.is_reserved();
    }

    /// What it has done on this core.
    HealthCounters health;

  private:
    NamespaceConfig config_;  // A copy: outlives the subsystem's configuration.
    const bdev::BdevInfo& info_;
    const Reactor& here_;
    std::unique_ptr<bdev::BdevChannel> channel_;
    IoGate gate_;
    const ReservationView* reservation_ = nullptr;
    bool is_reserved_ = false;
    uint32_t uses_ = 0;
    uint64_t busy_since_ns_ = 0;
};

/// A subsystem as one reactor serves it: today's configuration, a channel for each namespace, and
/// the controllers whose admin queue is on this core. Owner: PollGroup. Core: the group's.
class Subsystem {
  public:
    explicit Subsystem(const SubsystemConfig& config) : config_(&config) {}
    Subsystem(const Subsystem&) = delete;
    Subsystem& operator=(const Subsystem&) = delete;

    [[nodiscard]] const SubsystemConfig& config() const { return *config_; }
    void set_config(const SubsystemConfig& config) { config_ = &config; }
    [[nodiscard]] bool is_discovery() const { return config_->type == SubsystemType::kDiscovery; }

    /// The namespace that hosts see as `nsid`, or null.
    [[nodiscard]] Namespace* find_namespace(Nsid nsid) {
        return nsid.raw() - 1U < namespaces_.size() ? namespaces_[nsid.raw() - 1U].get() : nullptr;
    }
    /// By nsid - 1, with holes.
    [[nodiscard]] std::vector<std::unique_ptr<Namespace>>& namespaces() { return namespaces_; }
    [[nodiscard]] const std::vector<std::unique_ptr<Namespace>>& namespaces() const {
        return namespaces_;
    }

    [[nodiscard]] ControllerList& controllers() { return controllers_; }
    [[nodiscard]] Controller* find_controller(ControllerId id);

    /// No connections from now on: it is being deleted.
    void set_closing() { is_closing_ = true; }
    [[nodiscard]] bool is_closing() const { return is_closing_; }

    /// What namespace `nsid` has done on this core, or all of them, those that have left included.
    [[nodiscard]] HealthCounters health(Nsid nsid) const;
    /// The namespace is leaving: takes over what it has done.
    void retire(Namespace& leaving) {
        leaving.health.troubles = 0;  // Whatever was wrong with it is not here any more.
        retired_.add(std::exchange(leaving.health, {}));
    }

    uint32_t namespaces_version = 0;  ///< Goes up when a namespace or who may use it changes.
    uint32_t connections = 0;         ///< Queues on this core that have connected to it.
    bool is_warning = false;          ///< Of its health, all its hosts: see count_outcome().
    bool has_to_warn_again = false;

  private:
    const SubsystemConfig* config_;
    std::vector<std::unique_ptr<Namespace>> namespaces_;
    ControllerList controllers_;
    HealthCounters retired_;
    bool is_closing_ = false;
};

/// The namespace that the host of this queue sees as `nsid`; null also if it is hidden from it.
[[nodiscard]] inline Namespace* find_visible_namespace(const ControllerLink& link, Nsid nsid) {
    return link.access.is_visible(nsid) ? link.subsystem->find_namespace(nsid) : nullptr;
}

}  // namespace basalt::nvmf
