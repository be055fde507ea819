#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nvmf/host_bdev/discovery_service.h"
#include "nvmf/host_bdev/remote_subsystem.h"

namespace basalt::nvmf {

/// What holds for controllers that are attached from now on: bdev_nvme_set_options.
struct RemoteDefaults {
    ReconnectOptions reconnect;
    PathRules rules;
    int32_t retries_max = kRetriesDefault;
    uint32_t keep_alive_ms = 10'000;
    uint64_t command_timeout_ns = 30 * kNsPerSecond;
    AuthAlgorithms algorithms{};  ///< That we authenticate with.

    bool operator==(const RemoteDefaults&) const = default;
};

/// What to do where the name is taken.
enum class MultipathMode : uint8_t {
    kDisable,    ///< Refuse.
    kFailover,   ///< Add a path, and use it while the others fail: as kMultipath does by default.
    kMultipath,  ///< Add a path.
};

/// Attaching one controller. A value.
struct AttachOptions {
    std::string name;
    MultipathMode mode = MultipathMode::kMultipath;
    HostOptions host{};
    ReconnectOptions reconnect{};
    PathRules rules{};
    uint32_t queue_entries = kRemoteQueueEntries;
    std::string discovered_by{};  ///< The discovery service's name, if one attaches it.
    std::string psk_name{};       ///< Of host.tls.
};

/// Which paths of a subsystem are meant; what is not set fits all.
struct PathFilter {
    std::optional<std::string> host{};
    std::optional<uint16_t> port{};
    std::optional<std::string> nqn{};
    std::optional<bool> is_ipv6{};

    [[nodiscard]] bool fits(const HostOptions& options) const;
};

/// All subsystems of other targets that this process uses, by name, and the discovery services that
/// find some.
///
/// Life: changes one after the other, then shut_down() when no device is open any more. Owner:
/// whoever wires the process. Core: the control thread.
class RemoteDevices final : private RemoteSubsystemUser, private DiscoveryUser {
  public:
    /// All outlive it.
    RemoteDevices(Reactor& control, bdev::BdevRegistry& devices, AsyncMutex& device_sequences)
        : context_{control, devices, device_sequences} {
        sweep_timer_.set(
            [](Timer&, void* self) { static_cast<RemoteDevices*>(self)->sweep().detach(); }, this);
    }
    RemoteDevices(const RemoteDevices&) = delete;
    RemoteDevices& operator=(const RemoteDevices&) = delete;
    ~RemoteDevices() override;

    /// Attaches a controller, or a path more to a subsystem that is attached; returns the names of
    /// its devices. Errors, explained in `problem`: kExists (the name is taken and no path may be
    /// added, or the path is there), kInvalidArgument (another subsystem or host), those of
    /// RemoteSubsystem::attach().
    [[nodiscard]] Task<Result<std::vector<std::string>>> attach(AttachOptions options,
                                                                std::string& problem,
                                                                SessionKeys keys = {});

    /// Detaches the paths that fit. Errors, explained in `problem`: kNotFound; kBusy (the last
    /// path, and somebody uses a device).
    [[nodiscard]] Task<Status> detach(std::string name, PathFilter filter, std::string& problem);

    /// Connects the controllers anew, all or the one with that id. Errors: kNotFound, those of
    /// ControllerSession::reset().
    [[nodiscard]] Task<Status> reset(std::string name, std::optional<ControllerId> cntlid);

    /// Gives the paths of a controller other keys, and proves every queue with them. Errors:
    /// kNotFound, those of ControllerSession::set_keys() (of the last path that failed).
    [[nodiscard]] Task<Status> set_keys(std::string name, SessionKeys keys);

    /// How the device `name` uses its paths. Errors: kNotFound.
    [[nodiscard]] Task<Status> set_rules(std::string device,
                                         MultipathPolicy policy,
                                         MultipathSelector selector,
                                         uint32_t rr_min_io);
    /// Errors: kNotFound (the device, or a path to a controller of that id).
    [[nodiscard]] Task<Status> set_preferred(std::string device, ControllerId cntlid);

    /// Errors: kExists; kTimedOut (with a time-out, and the service goes on).
    [[nodiscard]] Task<Status> start_discovery(std::string name,
                                               SessionOptions options,
                                               uint64_t attach_timeout_ns);
    /// Ends the service and detaches what it has attached. Errors, explained in `problem`:
    /// kNotFound; kBusy (somebody uses a device of that, and the service goes on, unless that began
    /// while it ended).
    [[nodiscard]] Task<Status> stop_discovery(std::string name, std::string& problem);

    /// Ends everything. No device is open.
    [[nodiscard]] Task<void> shut_down();

    /// Held by who looks at subsystems across several turns: none comes or goes meanwhile.
    [[nodiscard]] AsyncMutex& changes() { return changes_; }

    [[nodiscard]] RemoteDefaults& defaults() { return defaults_; }
    [[nodiscard]] const RemoteDefaults& defaults() const { return defaults_; }
    [[nodiscard]] std::span<const std::unique_ptr<RemoteSubsystem>> subsystems() const {
        return subsystems_;
    }
    [[nodiscard]] std::span<const std::unique_ptr<DiscoveryService>> discoveries() const {
        return discoveries_;
    }
    /// True while a discovery service looks after it; else it is the operator's.
    [[nodiscard]] bool is_discovered(const RemoteSubsystem& subsystem) const;
    /// Null if there is none.
    [[nodiscard]] RemoteSubsystem* find(const std::string& name) const;
    /// The subsystem and namespace behind a device; null if it is not one of ours.
    struct Found {
        RemoteSubsystem* subsystem = nullptr;
        const RemoteSubsystem::Namespace* space = nullptr;
    };
    [[nodiscard]] Found find_device(const std::string& device) const;

  private:
    // RemoteSubsystemUser.
    void on_sweep_wanted(RemoteSubsystem& subsystem) override;
    void on_subsystem_gone(RemoteSubsystem& subsystem) override;
    // DiscoveryUser.
    [[nodiscard]] Task<Status> attach_discovered(const std::string& service,
                                                 const DiscoveredPath& path) override;
    [[nodiscard]] Task<Status> detach_discovered(const std::string& service,
                                                 const DiscoveredPath& path) override;

    [[nodiscard]] Status may_add(const RemoteSubsystem& subsystem,
                                 const AttachOptions& options,
                                 std::string& problem) const;
    [[nodiscard]] Task<void> end_discovery(size_t index);
    [[nodiscard]] Task<Status> detach_all_of(const std::string& service, std::string& problem);
    [[nodiscard]] Task<void> sweep();
    [[nodiscard]] Task<void> forget_pathless();
    [[nodiscard]] std::string discovered_name(const std::string& service,
                                              const std::string& nqn) const;

    RemoteContext context_;
    RemoteDefaults defaults_;
    std::vector<std::unique_ptr<RemoteSubsystem>> subsystems_;
    std::vector<std::unique_ptr<DiscoveryService>> discoveries_;
    AsyncMutex changes_{context_.control};
    Timer sweep_timer_;
    uint32_t running_ = 0;  // Sequences that nobody awaits.
    bool is_ending_ = false;
};

}  // namespace basalt::nvmf
