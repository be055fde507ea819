#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bdev/core/per_core.h"
#include "bdev/core/registry.h"
#include "nvmf/host_bdev/controller_session.h"
#include "nvmf/host_bdev/core_paths.h"
#include "nvmf/host_bdev/remote_bdev.h"
#include "reactor/async_mutex.h"

namespace basalt::nvmf {

/// What all of this room stands on. Everything outlives the room's objects. Control thread.
struct RemoteContext {
    Reactor& control;
    bdev::BdevRegistry& devices;
    /// Held by whoever removes a device, since others visit the cores about it.
    AsyncMutex& device_sequences;
};

class RemoteSubsystem;

/// Hears of a subsystem's end. Control thread.
class RemoteSubsystemUser {
  public:
    virtual ~RemoteSubsystemUser() = default;
    /// needs_sweep() holds now.
    virtual void on_sweep_wanted(RemoteSubsystem& subsystem) = 0;
    /// No path is left. Its devices fail and go as soon as nobody uses them.
    virtual void on_subsystem_gone(RemoteSubsystem& subsystem) = 0;
};

/// A subsystem on somebody else's target, by the name that the operator gave it: the controllers
/// through which it is reached, and its namespaces, each of which is a device "NAMEnNSID" whatever
/// the paths are by which it is reached.
///
/// Life: start(), attach() for each path, end(); then it may be destroyed. Owner: RemoteDevices.
/// Core: the control thread.
class RemoteSubsystem final : private SessionUser, private CorePathsUser {
  public:
    struct Settings {
        PathRules rules;
        int32_t retries_max = kRetriesDefault;
        std::string discovered_by{};  ///< The discovery service's name, if one has attached it.
    };

    RemoteSubsystem(RemoteContext& context,
                    std::string name,
                    std::string nqn,
                    const Settings& settings,
                    RemoteSubsystemUser& user);
    RemoteSubsystem(const RemoteSubsystem&) = delete;
    RemoteSubsystem& operator=(const RemoteSubsystem&) = delete;
    ~RemoteSubsystem() override;

    /// Makes the place for paths on each core.
    [[nodiscard]] Task<void> start();

    /// Adds a path and connects it. Returns the names of the devices that it has. Errors: kNoMemory
    /// (kPathsMax paths), those of ControllerSession::attach().
    [[nodiscard]] Task<Result<std::vector<std::string>>> attach(const SessionOptions& options,
                                                                SessionKeys keys);

    /// Removes a path. With the last one the devices go too: then kBusy if one is in use. Errors:
    /// kNotFound.
    [[nodiscard]] Task<Status> detach(uint32_t path);

    /// Ends all paths and removes the devices that nobody uses.
    [[nodiscard]] Task<void> end();

    /// Removes the devices whose namespaces have gone, and makes those anew whose size has changed,
    /// where nobody uses them.
    [[nodiscard]] Task<void> sweep();
    /// True while there is such a device.
    [[nodiscard]] bool needs_sweep() const;

    /// The first device that somebody uses, in words for people; empty if there is none.
    [[nodiscard]] std::string user_of_devices() const;

    struct Namespace {
        bdev::NvmeIdentity identity;
        std::string device{};        ///< Its name.
        RemoteBdev* bdev = nullptr;  ///< Belongs to the registry.
        PathRules rules;
        std::array<PathAccess, kPathsMax> access{};
        bool is_gone = false;
        uint64_t new_block_count = 0;  ///< Of the namespace, if it is not the device's; else 0.
    };

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const std::string& nqn() const { return nqn_; }
    [[nodiscard]] const Settings& settings() const { return settings_; }
    /// By path; null where there is none.
    [[nodiscard]] std::span<const std::unique_ptr<ControllerSession>> sessions() const {
        return sessions_;
    }
    [[nodiscard]] const std::map<uint32_t, Namespace>& namespaces() const { return namespaces_; }
    [[nodiscard]] bool has_paths() const;
    [[nodiscard]] bdev::PerCore<std::unique_ptr<CorePaths>>& core_paths() { return core_paths_; }

    /// How one of its devices uses the paths from now on.
    [[nodiscard]] Task<void> set_rules(uint32_t nsid, PathRules rules);

  private:
    struct Publication;

    // SessionUser.
    uint32_t next_epoch(uint32_t path) override { return ++epochs_[path]; }
    void on_session_changed(ControllerSession& session) override;
    void on_session_failing(ControllerSession& session) override;
    void on_session_gone(ControllerSession& session) override;
    // CorePathsUser.
    void on_queue_lost(uint32_t path, uint32_t epoch, Error reason) override;
    void on_ana_hint(uint32_t path) override;

    void merge();
    void merge_path(const ControllerSession& session);
    [[nodiscard]] bool add_device(Namespace& space);
    [[nodiscard]] std::string why_no_device(const Namespace& space, Error error) const;
    [[nodiscard]] bdev::Uuid uuid_of(const bdev::NvmeIdentity& identity) const;
    [[nodiscard]] NamespaceTable table_of(const Namespace& space) const;
    void publish_later();
    [[nodiscard]] Task<void> publish();
    [[nodiscard]] Task<void> remove_path(uint32_t path);
    [[nodiscard]] Task<void> remove_gone(uint32_t path);

    RemoteContext& context_;
    const std::string name_;
    const std::string nqn_;
    const Settings settings_;
    RemoteSubsystemUser& user_;
    std::array<std::unique_ptr<ControllerSession>, kPathsMax> sessions_;
    std::array<uint32_t, kPathsMax> epochs_{};  // Of the last association of each path.
    std::map<uint32_t, Namespace> namespaces_;
    std::set<uint32_t> refused_;  // Namespaces that can't be devices, as the log has been told.
    bdev::PerCore<std::unique_ptr<CorePaths>> core_paths_;
    AsyncMutex publishing_{context_.control};  // And removing devices.
    uint32_t running_ = 0;                     // Sequences that nobody awaits.
    bool has_news_ = false;                    // For the cores.
    bool is_ending_ = false;
};

}  // namespace basalt::nvmf
