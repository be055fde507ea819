#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bdev/core/per_core.h"
#include "bdev/leaf/nvme_identity.h"
#include "nvmf/host_bdev/core_paths.h"
#include "nvmf/host_bdev/fence_time.h"
#include "nvmf/host_bdev/path_selector.h"
#include "nvmf/host_bdev/reconnect_policy.h"
#include "nvmf/host_bdev/session_keys.h"
#include "nvmf/initiator/host_controller.h"
#include "reactor/async_mutex.h"

namespace basalt::nvmf {

/// How to reach one controller. A value.
struct SessionOptions {
    HostOptions host{};
    ReconnectOptions reconnect{};
    uint32_t queue_entries = kRemoteQueueEntries;
    AuthAlgorithms algorithms{};  ///< That we authenticate with.
    std::string psk_name{};       ///< In the keyring, of host.tls; for the configuration's sake.
};

/// A namespace as one controller shows it.
struct SessionNamespace {
    bdev::NvmeIdentity identity;
    uint32_t ana_group = 0;
    PathAccess access = PathAccess::kOptimized;
};

class ControllerSession;

/// What a session tells its subsystem. Control thread.
class SessionUser {
  public:
    virtual ~SessionUser() = default;
    /// Numbers the associations of a path from 1, whichever session has the path: the cores must
    /// not take one for another.
    [[nodiscard]] virtual uint32_t next_epoch(uint32_t path) = 0;
    /// It is connected, or what it knows of its namespaces has changed.
    virtual void on_session_changed(ControllerSession& session) = 0;
    /// Its commands need not wait for it any more.
    virtual void on_session_failing(ControllerSession& session) = 0;
    /// It is given up.
    virtual void on_session_gone(ControllerSession& session) = 0;
};

/// A session with one controller: the admin queue here, an I/O queue on each core, what Identify
/// and the ANA log say, and the way back after a loss.
///
///   connect: admin queue, Identify, events, namespaces, ANA log, an I/O queue on each core
///   loss (of any queue): end all queues, disable the controller if it answers, connect again
///
/// The fence. When a connection is lost the controller may still have commands, and execute them
/// after we have sent the same again elsewhere, and after our user has written something newer. So
/// of the commands that were lost those that change data wait until one of these is true:
///   - the controller has confirmed that it is disabled (the admin queue often lives on);
///   - its side has closed or reset the admin connection: it, or the machine, gave up first;
///   - it must have given up, because it has not heard from us for too long: see fence_time.h.
/// Reconnecting, and all that is new, waits for none of these.
///
/// Life: attach(), then stop(); then it may be destroyed. Owner: the RemoteSubsystem. Core: the
/// control thread; the queues are reached through CorePaths by visits.
class ControllerSession final : private HostControllerUser {
  public:
    enum class State : uint8_t {
        kConnecting,  ///< An attempt is under way.
        kLive,
        kRecovering,  ///< After a loss, until the fence.
        kWaiting,     ///< For the next attempt.
        kGone,        ///< Given up, or stopped.
    };

    /// All but `options` outlive it. `index` is the path's number.
    ControllerSession(Reactor& control,
                      std::span<const CoreId> cores,
                      bdev::PerCore<std::unique_ptr<CorePaths>>& paths,
                      uint32_t index,
                      const SessionOptions& options,
                      SessionKeys keys,
                      SessionUser& user);
    ControllerSession(const ControllerSession&) = delete;
    ControllerSession& operator=(const ControllerSession&) = delete;
    ~ControllerSession() override;

    /// The first attempt. After a failure the session is over. Errors: those of
    /// HostController::connect(); kNotSupported (fewer I/O queues than cores).
    [[nodiscard]] Task<Status> attach();

    /// Ends everything; a controller that is connected is shut down. However silent the controller
    /// is, this ends: a live one within twice kShutdownTimeoutNs, or one and the time of its fence
    /// (fence_time.h) if it does not confirm; an attempt or a recovery has its own time-outs.
    [[nodiscard]] Task<void> stop();

    /// Ends the association and connects again at once, also where it was given up. Returns when it
    /// is connected, or when the attempt has failed (and more will follow, as configured). Errors:
    /// those of attach().
    [[nodiscard]] Task<Status> reset();

    /// Takes other keys from now on, and proves every queue with them (without keys: nothing is
    /// proved). A queue that fails takes the association with it, which is connected again. Errors:
    /// those of HostQueue::authenticate_again().
    [[nodiscard]] Task<Status> set_keys(SessionKeys keys);

    /// The path's queue on some core has ended.
    void on_queue_lost(uint32_t epoch, Error reason);
    /// The ANA log has probably changed.
    void refresh_ana();

    [[nodiscard]] uint32_t index() const { return index_; }
    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] bool is_live() const { return state_ == State::kLive; }
    /// Commands need not wait for it.
    [[nodiscard]] bool is_failing() const { return is_failing_; }
    [[nodiscard]] const SessionOptions& options() const { return options_; }
    [[nodiscard]] const SessionKeys& keys() const { return keys_; }
    [[nodiscard]] const std::map<uint32_t, SessionNamespace>& namespaces() const {
        return namespaces_;
    }
    /// What the controller last said; all zero before.
    [[nodiscard]] const nvme_id_ctrl& identity() const { return identity_; }
    [[nodiscard]] ControllerId cntlid() const { return cntlid_; }
    [[nodiscard]] bool has_ana() const;

  private:
    // HostControllerUser.
    void on_async_event(uint32_t result) override;
    void on_controller_lost(Error reason) override;

    [[nodiscard]] Task<Status> bring_up();
    [[nodiscard]] Task<Status> connect_queues();
    [[nodiscard]] Task<Status> scan();
    [[nodiscard]] Task<Result<SessionNamespace>> identify(Nsid nsid);
    [[nodiscard]] Task<Status> read_ana();
    /// A transition (ANA state "change") that does not end within ANATT (Identify) ends the
    /// association, which is made anew: so does Linux, after twice as long.
    void watch_transitions();
    void stop_watching();
    /// Ends the association, with the controller disabled if it answers soon enough.
    [[nodiscard]] Task<void> end_association();
    [[nodiscard]] Task<void> drop_queues();
    /// The I/O queues were dropped at `dropped_ns`.
    [[nodiscard]] SilentAssociation what_is_known(uint64_t dropped_ns) const;
    /// The rest of the end, when the queues are dropped and all has been asked.
    [[nodiscard]] Task<void> forget_controller(uint64_t dropped_ns);
    /// Tells the cores which associations are over, and comes again for those that are not.
    [[nodiscard]] Task<void> lift_fences();
    [[nodiscard]] Task<void> lift_later();
    [[nodiscard]] Task<void> attempt();
    [[nodiscard]] Task<void> recover();
    [[nodiscard]] Task<void> refresh();
    [[nodiscard]] Task<void> settled();
    [[nodiscard]] Task<Status> authenticate_queues();
    void lost(Error reason);
    void perform(const ReconnectPolicy::Actions& actions);
    void set_timer(uint64_t at_ns);

    Reactor& control_;
    const std::span<const CoreId> cores_;
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths_;
    const uint32_t index_;
    SessionKeys keys_;
    SystemAuthRandom random_;
    HostAuthenticator authenticator_;
    const SessionOptions options_;
    SessionUser& user_;
    ReconnectPolicy policy_;
    Timer timer_;
    Timer disable_timer_;     // The controller should have said that it is disabled, or what it is
                              // asked.
    Timer fence_timer_;       // The next of ended_ is over.
    Timer transition_timer_;  // The first transition should have ended.
    Timer retry_timer_;       // Of a refresh.
    std::map<uint32_t, uint64_t> in_transition_since_ns_;  // By NSID.
    std::unique_ptr<HostController> controller_;
    AsyncMutex sequence_{control_};  // Attempts, recoveries and refreshes, one at a time.
    State state_ = State::kConnecting;
    Error lost_reason_;
    uint32_t epoch_ = 0;
    EndedAssociations ended_;
    uint32_t running_ = 0;  // Sequences that nobody awaits.
    uint32_t resets_ = 0;   // And those of reset() and set_keys().
    bool is_stopping_ = false;
    bool is_failing_ = false;
    bool has_queues_ = false;      // The association has had I/O queues.
    bool has_early_loss_ = false;  // A queue ended before all were there.
    bool wants_scan_ = false;
    bool wants_ana_ = false;
    bool is_refreshing_ = false;
    nvme_id_ctrl identity_{};
    ControllerId cntlid_ = kControllerIdAny;
    std::map<uint32_t, SessionNamespace> namespaces_;
    Status last_attempt_;
};

}  // namespace basalt::nvmf
