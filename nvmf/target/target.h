#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/qos/domain.h"
#include "keyring/keyring.h"
#include "nvmf/target/authenticator.h"
#include "nvmf/target/balance_policy.h"
#include "nvmf/target/generated_keys.h"
#include "nvmf/target/options.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/reservation/reservation_home.h"
#include "reactor/async_mutex.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// Where the reactors' I/O buffers come from: huge pages, or a test's heap. Control thread.
class BufferMemory {
  public:
    virtual ~BufferMemory() = default;
    /// Page-aligned memory near reactor `core`, which lives as long as this object. Errors:
    /// kNoMemory.
    [[nodiscard]] virtual Result<std::span<std::byte>> allocate(CoreId core, size_t bytes) = 0;
};

struct SubsystemOptions {
    std::string nqn;
    std::string serial_number;  ///< Empty: "00000000000000000000", as SPDK has it.
    std::string model_number = "Basalt NVMe/TCP volume";
    bool allow_any_host = false;
    bool ana_reporting = false;
    uint32_t namespaces_max = 32;
    uint16_t cntlid_min = 1;
    uint16_t cntlid_max = 0xffef;
};

struct NamespaceOptions {
    bdev::Device* device = nullptr;
    bdev::Claim claim;                ///< Of that device; given back when the namespace goes.
    Nsid nsid{0};                     ///< 0: the lowest that is free.
    bdev::Uuid uuid;                  ///< Nil: the device's.
    std::array<uint8_t, 16> nguid{};  ///< All zero: the UUID's bytes.
    std::array<uint8_t, 8> eui64{};
    uint32_t ana_group = 0;       ///< 0: the nsid.
    bool is_auto_visible = true;  ///< To every host; if not, show_namespace() says to which.
    bool is_write_protected = false;
    std::unique_ptr<ReservationStore> reservation_store;  ///< Null: reservations don't persist.
    std::string reservation_file;                         ///< Where it is, for whoever asks.
};

/// The keys that a host is configured with. Without `dhchap` it need not prove itself.
struct HostKeys {
    KeyReference dhchap;             ///< The host's secret.
    KeyReference dhchap_controller;  ///< The controller's towards this host; needs `dhchap`.
};

/// What a host's controller looks like from outside, for nvmf_subsystem_get_controllers.
struct ControllerInfo {
    ControllerId cntlid;
    std::string host_nqn;
    std::array<uint8_t, 16> host_id{};
    uint32_t io_queues = 0;
};

/// What a connected queue looks like, for nvmf_subsystem_get_qpairs.
struct QueueInfo {
    ControllerId cntlid;
    QueueId qid;
    CoreId core;
    std::string host_nqn;
    uint32_t queue_entries = 0;
    SocketAddress local;
    SocketAddress peer;
};

/// The NVMe/TCP target as the control thread sees it: which subsystems there are, and the same on
/// every reactor. Each change is a sequence that visits the reactors one after the other; sequences
/// wait for each other, I/O does not wait for them.
///
/// Life: create_transport() makes the poll groups; shut_down() ends them, and must have ended
/// before the target is destroyed. Owner: main. Core: the control thread.
class Target final : private HostSecrets {
  public:
    /// Reactors 0 to reactor_count - 1 serve; `control` is this thread's. All outlive the target.
    Target(Reactor& control, uint32_t reactor_count, BufferMemory& memory);
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    ~Target() override;

    /// Errors: kExists; kInvalidArgument: an option is out of its bounds; kNoMemory.
    [[nodiscard]] Task<Status> create_transport(TransportOptions options);
    /// Null before create_transport().
    [[nodiscard]] const TransportOptions* transport() const {
        return transport_ ? &*transport_ : nullptr;
    }

    /// Errors: kExists; kInvalidArgument: a bad NQN, serial or model number, a range of fewer
    /// controller ids than there are reactors, or an ANA log that is longer than MDTS.
    [[nodiscard]] Task<Status> create_subsystem(SubsystemOptions options);
    /// Disconnects its hosts first. Errors: kNotFound, kNotSupported (the discovery subsystem).
    [[nodiscard]] Task<Status> delete_subsystem(std::string nqn);

    /// Errors: kNotFound; kExists: the nsid or the UUID is taken; kNoSpace: no nsid is free;
    /// kInvalidArgument: the nsid or the ANA group is beyond the maximum, or the store is another
    /// namespace's; those of Bdev::open_channel and ReservationStore::load.
    [[nodiscard]] Task<Result<Nsid>> add_namespace(std::string nqn, NamespaceOptions options);
    /// Shows a namespace that is not visible to all to this host, or hides it again. Errors:
    /// kNotFound; kInvalidArgument (not an NQN); kPermissionDenied: it is visible to all.
    [[nodiscard]] Task<Status> show_namespace(std::string nqn,
                                              Nsid nsid,
                                              std::string host_nqn,
                                              bool is_shown);
    /// Returns when its last I/O is done. Errors: kNotFound.
    [[nodiscard]] Task<Status> remove_namespace(std::string nqn, Nsid nsid);

    /// Returns the address with its real port, where 0 was asked for. Errors: kNotFound: no such
    /// subsystem, or no transport yet; kExists; those of Network::listen.
    /// `state` is that of all ANA groups there; kNotSupported if it is not optimized and the
    /// subsystem doesn't report ANA. With `requires_tls` whoever comes that way to this subsystem
    /// must use TLS.
    [[nodiscard]] Task<Result<SocketAddress>> add_listener(std::string nqn,
                                                           SocketAddress address,
                                                           AnaState state = AnaState::kOptimized,
                                                           bool requires_tls = false);
    /// Disconnects the hosts that came by it. Errors: kNotFound.
    [[nodiscard]] Task<Status> remove_listener(std::string nqn, SocketAddress address);

    /// Sets the ANA state of group `ana_group` (0: of all) on the path by a listener. When it
    /// returns, every reactor judges commands by it, and the hosts have been told. Errors:
    /// kNotFound: subsystem or listener; kInvalidArgument: the group is beyond the maximum;
    /// kNotSupported: the subsystem doesn't report ANA.
    [[nodiscard]] Task<Status> set_ana_state(std::string nqn,
                                             SocketAddress address,
                                             AnaState state,
                                             uint32_t ana_group);
    /// The size of `device`, or whether it can be written, has changed: hosts of the namespaces
    /// that stand on it are told that their attributes have.
    [[nodiscard]] Task<void> device_changed(const bdev::Bdev& device);
    /// Moves a namespace to another ANA group. Errors as set_ana_state().
    [[nodiscard]] Task<Status> set_ana_group(std::string nqn, Nsid nsid, uint32_t ana_group);

    /// With `tls`, which is the host's, it may connect through TLS only; with `keys` it must prove
    /// itself. Errors: kNotFound, kExists, kInvalidArgument (not an NQN, a key that is no
    /// DH-HMAC-CHAP secret, or one for the controller alone), those of reading a key.
    [[nodiscard]] Task<Status> add_host(std::string nqn,
                                        std::string host_nqn,
                                        std::optional<HostTls> tls = std::nullopt,
                                        HostKeys keys = {});
    /// Gives a host of the list another key, which counts for connections from now on; those that
    /// are there stay, unless they are in clear. Errors: kNotFound.
    [[nodiscard]] Task<Status> set_host_tls(std::string nqn, HostTls tls);
    /// Replaces the DH-HMAC-CHAP keys of a host that is on the list. Its connections stay; who
    /// connects or authenticates again needs the new ones. Errors: as add_host().
    [[nodiscard]] Task<Status> set_host_keys(std::string nqn, std::string host_nqn, HostKeys keys);
    /// Null: the host has none.
    [[nodiscard]] const HostKeys* host_keys(std::string_view nqn, std::string_view host_nqn) const;
    /// The algorithms of DH-HMAC-CHAP that hosts may use.
    [[nodiscard]] AuthAlgorithms auth_algorithms() const { return authenticator_.algorithms(); }
    void allow_auth_algorithms(AuthAlgorithms algorithms) { authenticator_.allow(algorithms); }
    /// Disconnects the host. Errors: kNotFound.
    [[nodiscard]] Task<Status> remove_host(std::string nqn, std::string host_nqn);
    /// Switching it off disconnects hosts that are not on the list. Errors: kNotFound.
    [[nodiscard]] Task<Status> allow_any_host(std::string nqn, bool is_allowed);

    /// What a host may do with the subsystem in a second; the default policy: whatever it likes.
    /// Whether it may connect is another matter. Errors: kNotFound; kInvalidArgument (not an NQN,
    /// discovery); those of qos::Domain::can_have.
    [[nodiscard]] Task<Status> set_host_rate(std::string nqn,
                                             std::string host_nqn,
                                             qos::Policy policy);
    /// What all hosts share; hosts without a rate of their own share one place in line. Errors:
    /// kNotFound; kInvalidArgument (discovery); those of qos::Domain::can_offer.
    [[nodiscard]] Task<Status> set_capacity(std::string nqn, qos::Policy capacity);

    /// Tells every host of a discovery service or subsystem elsewhere; nothing happens if they are
    /// told already. Errors: kInvalidArgument (not an NQN).
    [[nodiscard]] Task<Status> add_referral(Referral referral);
    /// Errors: kNotFound.
    [[nodiscard]] Task<Status> remove_referral(std::string subsystem_nqn, SocketAddress address);
    [[nodiscard]] Task<Status> set_discovery_filter(DiscoveryFilter filter);

    /// The subsystems as configured, the discovery subsystem first. Valid until the next change.
    [[nodiscard]] std::vector<const SubsystemConfig*> subsystems() const;
    [[nodiscard]] const SubsystemConfig* find(std::string_view nqn) const;

    /// Errors: kNotFound.
    [[nodiscard]] Task<Result<std::vector<ControllerInfo>>> controllers(std::string nqn);
    [[nodiscard]] Task<Result<std::vector<QueueInfo>>> queues(std::string nqn);
    /// By reactor; empty before create_transport().
    [[nodiscard]] Task<std::vector<PollGroupStats>> stats();

    /// Whether I/O queues move from reactor to reactor when the load is uneven, and new connections
    /// go where there are the fewest rather than to all in turn. Off at first. `period_ns`: how
    /// often it looks.
    void set_balancing(bool is_on, uint64_t period_ns = kBalancePeriodNs);
    [[nodiscard]] bool is_balancing() const { return is_balancing_; }
    /// Moves an I/O queue to reactor `to`: soon, or not at all if its commands don't end soon; see
    /// queues(). Errors: kNotFound: subsystem or queue; kInvalidArgument: no such reactor;
    /// kNotSupported: it is an admin queue, may speak TLS, authenticates, or is moving already.
    [[nodiscard]] Task<Status> move_queue(std::string nqn,
                                          ControllerId cntlid,
                                          QueueId qid,
                                          CoreId to);

    /// Stops listening, closes every connection, waits for the last I/O, and frees everything.
    /// Whatever is called afterwards finds nothing, and makes nothing: kNotFound or kCancelled.
    [[nodiscard]] Task<void> shut_down();

  private:
    struct NamespaceClaim {
        Nsid nsid;
        bdev::Claim claim;
        std::unique_ptr<ReservationHome> reservations;
        std::unique_ptr<WriteProtection> protection;
    };
    struct SubsystemState {
        std::unique_ptr<const SubsystemConfig> config;
        std::vector<NamespaceClaim> claims;
        std::unique_ptr<qos::Domain> rates;                 // Null until somebody has one.
        std::map<std::string, HostKeys, std::less<>> keys;  // By host, of those that have some.
    };
    struct SharedListener {
        ListenerId id;
        SocketAddress address;
        bool is_automatic = false;  // The discovery port that comes with an I/O address.
    };

    [[nodiscard]] TargetSecrets secrets_of(SubsystemId subsystem,
                                           std::string_view host_nqn) override;
    [[nodiscard]] Task<void> publish_psk(SubsystemId subsystem,
                                         std::string host_nqn,
                                         Secret psk) override;
    [[nodiscard]] static Status check_keys(const HostKeys& keys);
    static void set_keys(SubsystemState& state, const std::string& host_nqn, HostKeys keys);
    [[nodiscard]] SubsystemState* find_state(std::string_view nqn);
    [[nodiscard]] Task<Status> publish(SubsystemState& state,
                                       std::unique_ptr<const SubsystemConfig> next);
    Task<void> withdraw(SubsystemId id, uint32_t group_count);
    [[nodiscard]] qos::Domain& rates_of(SubsystemState& state);
    Task<void> end_rates(SubsystemState& state);
    /// To the hosts in `hosts`, sorted NQNs; null: to all.
    Task<void> announce_namespace(SubsystemId id, Nsid nsid, const std::vector<std::string>* hosts);
    Task<void> announce_ana(SubsystemId id, std::optional<ListenerId> listener);
    Task<void> announce_discovery(DiscoveryAudience audience);
    [[nodiscard]] Task<Status> publish_discovery(std::unique_ptr<SubsystemConfig> next);
    [[nodiscard]] Task<Result<SharedListener>> share_listener(SocketAddress address,
                                                              bool is_automatic);
    Task<void> add_discovery_listener(SocketAddress beside);
    Task<void> drop_unused_listeners();
    Task<void> stop_listeners();
    [[nodiscard]] bool is_listener_used(const SharedListener& listener) const;

    Reactor& control_;
    const uint32_t reactor_count_;
    std::vector<CoreId> cores_;  // All that serve.
    BufferMemory& memory_;
    std::optional<TransportOptions> transport_;
    SystemAuthRandom random_;
    Authenticator authenticator_;
    AsyncMutex changes_{control_};
    std::vector<std::unique_ptr<SubsystemState>> subsystems_;
    std::vector<SharedListener> listeners_;
    std::vector<PollGroup*> groups_;  // By core; each is owned here and lives on its core.
    GeneratedKeys generated_keys_{control_, groups_};
    uint32_t next_subsystem_id_ = 1;
    uint32_t next_listener_id_ = 1;
    uint64_t discovery_generation_ = 0;
    bool is_ending_ = false;
    bool is_ended_ = false;

    /// ANA groups in the state "change" are looked at again when the first of them may be due.
    void watch_transitions();
    Task<void> end_transitions();
    [[nodiscard]] Task<void> end_transitions_of(SubsystemState& state);
    Timer transition_timer_;
    bool is_ending_transitions_ = false;

    void on_balance_timer();
    Task<void> balance();
    BalancePolicy balance_policy_;
    Timer balance_timer_;
    bool is_balancing_ = false;
    bool is_balance_under_way_ = false;
    uint64_t balance_period_ns_ = kBalancePeriodNs;
    uint64_t period_began_ns_ = 0;
    std::vector<uint64_t> busy_before_ns_;  // By reactor, when the period began.
};

}  // namespace basalt::nvmf
