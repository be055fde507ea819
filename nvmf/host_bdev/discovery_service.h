#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "nvmf/host_bdev/controller_session.h"
#include "nvmf/host_bdev/remote_subsystem.h"
#include "nvmf/initiator/host_controller.h"

namespace basalt::nvmf {

/// A path to a subsystem that a discovery log names. A value.
struct DiscoveredPath {
    std::string nqn;
    std::string host;  ///< The address in words.
    uint16_t port = 0;

    // NOLINTNEXTLINE(modernize-use-nullptr): sees a 0 in what the compiler makes of this.
    auto operator<=>(const DiscoveredPath&) const = default;
};

/// What a log says that concerns us: TCP and an address that we can use; others are passed over.
struct DiscoveryContents {
    std::set<DiscoveredPath> subsystems{};
    std::set<DiscoveredPath> referrals{};  ///< Other discovery controllers.
};
[[nodiscard]] DiscoveryContents read_discovery(std::span<const nvmf_disc_log_entry> log);

/// Attaches and detaches what is discovered. Control thread.
class DiscoveryUser {
  public:
    virtual ~DiscoveryUser() = default;
    [[nodiscard]] virtual Task<Status> attach_discovered(const std::string& service,
                                                         const DiscoveredPath& path) = 0;
    [[nodiscard]] virtual Task<Status> detach_discovered(const std::string& service,
                                                         const DiscoveredPath& path) = 0;
};

/// Keeps a connection to a discovery controller, and attaches the subsystems that its log, and the
/// logs that it refers to, name; follows when the log changes. Those that it refers to are read
/// again from time to time; what one said last holds while it can't be read. What can't be attached
/// is tried again.
///
/// Life: start(), stop(); then it may be destroyed. Owner: RemoteDevices. Core: control thread.
class DiscoveryService final : private HostControllerUser {
  public:
    /// `options.host` names the discovery controller. All but the values outlive the service.
    DiscoveryService(Reactor& control,
                     std::string name,
                     const SessionOptions& options,
                     DiscoveryUser& user);
    DiscoveryService(const DiscoveryService&) = delete;
    DiscoveryService& operator=(const DiscoveryService&) = delete;
    ~DiscoveryService() override;

    /// Begins. With `attach_timeout_ns` it returns when the first log has been read and its
    /// subsystems have been tried, or after that time; else at once. Errors: kTimedOut.
    [[nodiscard]] Task<Status> start(uint64_t attach_timeout_ns);
    /// Ends the connection. What it has attached is its owner's to detach.
    [[nodiscard]] Task<void> stop();

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const SessionOptions& options() const { return options_; }
    [[nodiscard]] bool waits_for_attach() const { return waits_for_attach_; }
    /// What the last log named.
    [[nodiscard]] const std::set<DiscoveredPath>& subsystems() const { return wanted_; }

  private:
    // HostControllerUser.
    void on_async_event(uint32_t result) override;
    void on_controller_lost(Error reason) override;

    [[nodiscard]] Task<void> work();
    [[nodiscard]] Task<Status> connect();
    [[nodiscard]] Task<Status> read();
    [[nodiscard]] Task<void> follow(const DiscoveredPath& referral, DiscoveryContents& into);
    [[nodiscard]] Task<bool> apply();
    void work_in(uint64_t delay_ns);

    Reactor& control_;
    const std::string name_;
    const SessionOptions options_;
    DiscoveryUser& user_;
    Timer timer_;
    std::unique_ptr<HostController> controller_;
    std::set<DiscoveredPath> wanted_;
    std::set<DiscoveredPath> attached_;
    std::map<DiscoveredPath, DiscoveryContents> told_;  // By each referral, when last it was read.
    uint64_t pause_ns_ = 0;
    bool is_working_ = false;
    bool has_news_ = true;        // The log is to be read.
    bool has_referrals_ = false;  // The last one read had some.
    bool is_lost_ = false;        // The connection has ended.
    bool has_tried_ = false;      // The first log's subsystems.
    bool is_stopping_ = false;
    bool waits_for_attach_ = false;
    uint32_t waiting_ = 0;  // Calls of start().
};

}  // namespace basalt::nvmf
