#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "nvmf/target/admission.h"
#include "nvmf/target/authenticator.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/io/fused_pair.h"
#include "nvmf/target/io/range_fence.h"
#include "nvmf/target/io/step_job.h"
#include "nvmf/target/queue_memory.h"
#include "nvmf/target/request_pool.h"
#include "nvmf/target/subsystem.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// What a group has served, for nvmf_get_stats.
struct PollGroupStats {
    uint64_t admin_queues_total = 0;
    uint64_t io_queues_total = 0;
    uint32_t admin_queues = 0;
    uint32_t io_queues = 0;
    uint64_t completed_admin = 0;
    uint64_t completed_io = 0;
    AdmissionStats admission{};
};

/// The hosts for whom the discovery log has changed; none given: all.
struct DiscoveryAudience {
    const SubsystemConfig* allowed_by = nullptr;  ///< Those that may use this subsystem.
    std::string_view host;                        ///< This one alone.

    [[nodiscard]] bool has(std::string_view host_nqn) const {
        return (allowed_by == nullptr || allowed_by->allows(host_nqn)) &&
               (host.empty() || host == host_nqn);
    }
};

/// The part of the target that one reactor runs: its connections, its view of every subsystem, its
/// buffers, and the controllers whose admin queue is here. Groups share nothing: they talk by
/// events, and the control thread changes them by visits (Task functions that run on this core).
///
/// Owner: Target (made and destroyed with no connection left). Core: its reactor's.
class PollGroup {
  public:
    /// `peers` are all groups by core, this one included; filled before the first connection. The
    /// authenticator lives on the control thread.
    PollGroup(Reactor& reactor,
              std::span<PollGroup* const> peers,
              const TransportOptions& options,
              Authenticator& authenticator,
              std::span<std::byte> buffers);
    PollGroup(const PollGroup&) = delete;
    PollGroup& operator=(const PollGroup&) = delete;
    ~PollGroup();

    /// Bytes of memory that the constructor's `buffers` needs.
    [[nodiscard]] static size_t buffer_bytes(const TransportOptions& options);

    [[nodiscard]] Reactor& reactor() { return reactor_; }
    [[nodiscard]] const TransportOptions& options() const { return options_; }
    /// When the group was made, by its reactor's clock.
    [[nodiscard]] uint64_t started_ns() const { return started_ns_; }
    /// The buffers of I/O queues.
    [[nodiscard]] QueuePools& io_pools() { return io_pools_; }
    /// Those of admin queues: what the host of a controller wants to know or set, and its Keep
    /// Alive behind that, waits for no I/O.
    [[nodiscard]] QueuePools& admin_pools() { return admin_pools_; }
    /// Those of queues that are not live yet: who only begins takes nothing from others.
    [[nodiscard]] QueuePools& connect_pools() { return connect_pools_; }
    [[nodiscard]] RequestPools& requests() { return requests_; }
    [[nodiscard]] HostShares& hosts() { return hosts_; }
    [[nodiscard]] FusedPairs& fused() { return fused_; }
    [[nodiscard]] FenceTable& fences() { return fences_; }
    [[nodiscard]] StepJobs& steps() { return steps_; }
    /// All groups by core.
    [[nodiscard]] std::span<PollGroup* const> peers() const { return peers_; }
    [[nodiscard]] PollGroupStats stats() const {
        PollGroupStats all = stats_;
        all.admission = admission_.stats();
        return all;
    }
    [[nodiscard]] Admission& admission() { return admission_; }
    [[nodiscard]] GroupTls& tls() { return tls_; }

    // --- Visits of the control thread.

    /// Makes `next` the configuration of its subsystem: adds it, opens and closes namespaces,
    /// closes the connections that it no longer allows. Waits until what left is no longer in use;
    /// the old configuration is then free. Errors: those of Bdev::open_channel, with nothing
    /// changed.
    [[nodiscard]] Task<Status> apply(const SubsystemConfig& next);
    /// Closes all of a subsystem's connections, waits for their end, and forgets it. The discovery
    /// log has no more of it from the start on, and `discovery_generation` as its number.
    Task<void> remove_subsystem(SubsystemId id, uint64_t discovery_generation);
    /// Tells the hosts of this group's controllers, after every group has applied it, that
    /// `changed` of subsystem `id` came, went or changed. `hosts`: sorted NQNs of those who are to
    /// hear it; null: all who see it.
    void announce_namespaces(SubsystemId id,
                             std::span<const Nsid> changed,
                             const std::vector<std::string>* hosts = nullptr);
    /// What the ANA log tells has changed on the path by `listener`, or on all.
    void announce_ana(SubsystemId id, std::optional<ListenerId> listener);
    /// The discovery log has changed for `audience`.
    void announce_discovery(const DiscoveryAudience& audience);
    /// Of what discovery controllers here tell; goes up with each configuration that changes it.
    [[nodiscard]] uint64_t discovery_generation() const { return discovery_generation_; }

    /// Listens here; accepted connections are dealt out to all groups.
    [[nodiscard]] Result<SocketAddress> listen(ListenerId id, const SocketAddress& address);
    void stop_listening(ListenerId id);
    /// Closes all connections and waits for their end, and for the events that this group has sent
    /// to come home.
    Task<void> close_all();

    [[nodiscard]] std::vector<std::unique_ptr<Subsystem>>& subsystems() { return subsystems_; }
    template <typename Visit>
    void for_each_connection(Visit visit) {
        for (Connection* at = connections_.front(); at != nullptr;) {
            Connection* next = connections_.next(*at);
            visit(*at);
            at = next;
        }
    }

    // --- Which connections are where (poll_group_moves.cc).

    /// What the group has done since begin_period().
    struct PeriodLoad {
        uint64_t busy_ns = 0;        ///< Since the reactor was made.
        uint32_t connections = 0;    ///< All that there are.
        uint32_t active_queues = 0;  ///< Those that have completed a command.
        uint64_t work = 0;           ///< See queue_work().
    };
    void begin_period();
    [[nodiscard]] PeriodLoad period_load() const;
    /// Moves to core `to` a queue that has done as nearly `work` as there is one in this period,
    /// but less than `work_max`. False: there is none that can.
    bool move_some(CoreId to, uint64_t work, uint64_t work_max);
    /// Moves an I/O queue to core `to`, when it can and if it can soon. False: it is not here, or
    /// it can't: admin queues and those that may speak TLS stay.
    bool move(uint64_t connection_id, CoreId to);
    [[nodiscard]] uint32_t connection_count() const { return connection_count_; }
    /// How many connections each group has: new ones go where there are the fewest. Without that,
    /// to all in turn. Of the group that listens.
    void set_placement(std::vector<uint32_t> connections) { placement_ = std::move(connections); }

    // --- For connections and controllers of this group.

    /// Counts periods, for connections: see begin_period().
    [[nodiscard]] uint32_t period() const { return period_; }
    void count_active_queue() { ++active_queues_; }
    void count_work(uint64_t work) { work_ += work; }
    /// The connection has nothing under way any more, and `released` is its socket.
    void send_away(Connection& connection, AcceptedSocket released, CoreId to);
    /// The connection is a queue of `subsystem` from now on, for the host that its link names.
    void join(Connection& connection, Subsystem& subsystem);
    /// It is no more.
    void part(Connection& connection);
    [[nodiscard]] Subsystem* find_subsystem(std::string_view nqn);
    [[nodiscard]] Subsystem* find_subsystem(SubsystemId id);
    /// Null when all ids of this group's share are taken.
    [[nodiscard]] Controller* make_controller(Subsystem& subsystem,
                                              Connection& admin,
                                              Controller::Identity identity);
    /// The core of the controller with that id; none if no group may have it.
    [[nodiscard]] std::optional<CoreId> home_of(const Subsystem& subsystem, ControllerId id) const;
    /// Asks the controller's core to admit the I/O queue whose Connect `request` is; completes it.
    void attach_remote(Request& request);
    /// Has the control thread apply the message that `request`, an Authentication Send, carries;
    /// then tells the connection.
    void apply_message(Request& request, TargetExchange& exchange);
    /// Asks another core (or this one) to close a connection, if it is still there.
    void close_remote(CoreId core, uint64_t connection_id);
    /// Aborts the command that `request`, an Abort, names on the queue that `member` is; completes
    /// it with the answer.
    void abort_remote(Request& request, const QueueMember& member);
    /// Tells the queue that `member` is what its controller's features are now. With the last of
    /// them, which `request.scratch` counts, it completes `request`.
    void send_settings(Request& request, const QueueMember& member, QueueSettings settings);
    /// Carries a queue's failures to its controller, and home again.
    void report_errors(ErrorReport& report, const ControllerLink& link);
    /// Sums up what all cores have done, then goes on with `request`, a Get Log Page. Whatever
    /// queues have reported of failures until now is there then, too.
    void gather_health(Request& request);
    /// Asks all cores for the controllers of the subsystem, then goes on with `request`, an
    /// Identify.
    void gather_controllers(Request& request);
    /// The controller lost its admin connection or an I/O queue; ends it if that was the last. The
    /// caller's last touch of the controller.
    void controller_changed(Controller& controller);
    /// The socket is closed: leaves the controller, tells other cores.
    void connection_closed(Connection& connection);
    /// The connection is at its end; destroys it.
    void forget(Connection& connection);
    /// Something of this group visits other cores: close_all() waits for the end.
    void begin_errand() { ++events_under_way_; }
    void end_errand() { --events_under_way_; }
    void count_completion(bool is_admin) {
        ++(is_admin ? stats_.completed_admin : stats_.completed_io);
    }

  private:
    struct Acceptor;
    struct Journey;
    struct AcceptEvent;
    struct AttachEvent;
    struct AuthEvent;
    struct DetachEvent;
    struct CloseEvent;
    struct AbortEvent;
    struct HealthEvent;
    struct ControllersEvent;
    struct SettingsEvent;
    struct MoveEvent;

    /// The controller ids that one core hands out: first, first + 1, ….
    struct ControllerIds {
        uint32_t first = 0;
        uint32_t count = 0;
    };

    void accept(AcceptedSocket accepted, ListenerId listener);
    void tell_refusal(std::string_view why);
    [[nodiscard]] CoreId place_for_next();
    [[nodiscard]] Connection* find_connection(uint64_t id);
    void add(Connection& connection);
    void remove(Connection& connection);
    void receive(MoveEvent& event);
    /// Sends an event for a connection that has left to where it has gone. False: it has not.
    template <typename What>
    bool forward(What& event);
    [[nodiscard]] NvmeStatus attach_here(AttachEvent& event);
    void attach_done(const AttachEvent& event);
    void detach_here(SubsystemId subsystem_id, ControllerId cntlid, QueueId qid);
    void close_here(uint64_t connection_id);
    void log_errors(const ErrorReport& report);
    /// Channels for the namespaces of `next` that `subsystem` (null: a new one) has not open.
    [[nodiscard]] Result<std::vector<std::unique_ptr<Namespace>>> open_new(
        Subsystem* subsystem, const SubsystemConfig& next);
    /// Why a queue of a subsystem may not be, as the subsystem is configured now; empty: it may.
    [[nodiscard]] static std::string_view judge_queue(const Subsystem& subsystem,
                                                      const Connection& connection);
    void close_disallowed(Subsystem& subsystem);
    /// Tells each queue of the subsystem what it may do with the namespaces.
    void update_access(Subsystem& subsystem);
    /// And where it gets its tokens.
    void update_access(Connection& connection, const Subsystem& subsystem);
    Task<void> drain(SubsystemId id, std::vector<std::unique_ptr<Namespace>> leaving);
    [[nodiscard]] ControllerIds ids_of(const SubsystemConfig& config, CoreId core) const;

    Reactor& reactor_;
    std::span<std::byte> memory_;  // What is left of the buffers, while the members are made.
    const uint64_t started_ns_;
    const std::span<PollGroup* const> peers_;
    Authenticator& authenticator_;
    const TransportOptions options_;
    Admission admission_{options_};  // Connections and controllers have places in it.
    LogThrottle refusal_lines_{kRefusalLogNs};
    GroupTls tls_{*this};
    QueuePools io_pools_;
    QueuePools admin_pools_;
    QueuePools connect_pools_;
    RequestPools requests_;
    HostShares hosts_;
    FusedPairs fused_;
    StepJobs steps_;
    FenceTable fences_;  // Knows the namespaces, so it outlives them.
    std::vector<std::unique_ptr<Subsystem>> subsystems_;
    std::vector<std::unique_ptr<Acceptor>> acceptors_;
    IntrusiveList<Connection, &Connection::group_link> connections_;
    uint32_t connection_count_ = 0;
    uint64_t next_connection_ = 1;
    uint32_t next_controller_ = 0;  // Ids are handed out in turn, so that a late one meets no heir.
    uint32_t next_group_ = 0;
    uint32_t events_under_way_ = 0;  // Sent by this group and not home again.
    uint64_t discovery_generation_ = 0;
    PollGroupStats stats_;
    bool is_ending_ = false;

    // Connections that have left, until their controllers send nothing here any more.
    struct Departed {
        uint64_t connection_id = 0;
        CoreId to;
    };
    std::vector<Departed> departed_;
    uint32_t period_ = 0;
    uint32_t active_queues_ = 0;
    uint64_t work_ = 0;
    std::vector<uint32_t> placement_;
};

}  // namespace basalt::nvmf
