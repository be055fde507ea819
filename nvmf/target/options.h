#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bdev/core/bdev.h"
#include "nvmf/target/ana.h"
#include "nvmf/target/host_rate.h"
#include "nvmf/target/limits.h"
#include "nvmf/target/tls_access.h"
#include "nvmf/wire/ids.h"
#include "nvmf/wire/limits.h"
#include "reactor/io/socket_address.h"

namespace basalt::nvmf {

/// A listening address of the target, for its life. Not reused.
using ListenerId = StrongInt<struct ListenerIdTag, uint32_t>;
/// A subsystem of the target, for its life. Not reused.
using SubsystemId = StrongInt<struct SubsystemIdTag, uint32_t>;

/// I/O buffers of each size a reactor has at least.
inline constexpr uint32_t kBuffersOfASizeMin = 16;

/// What nvmf_create_transport sets. Constant once the transport exists.
struct TransportOptions {
    uint32_t queue_entries_max = 128;        ///< CAP.MQES + 1; 16 to 4096.
    uint32_t admin_queue_entries_max = 128;  ///< 32, as Linux asks for, to 4096.
    uint32_t io_queues_max = 127;            ///< I/O queue pairs a controller; 1 to 1024.
    uint32_t io_bytes_max = 131072;          ///< MDTS, 8192 to BufferPool's largest.
    uint32_t capsule_data_bytes = 4096;      ///< In-capsule data of I/O commands; 0 to 8192, by 16.
    bool c2h_success = true;                 ///< Use the SUCCESS flag where the host allows it.
    uint32_t user_timeout_ms = 30'000;       ///< TCP_USER_TIMEOUT of each connection.
    uint32_t socket_priority = 0;            ///< SO_PRIORITY, 0 (the kernel's) to 6.
    uint32_t abort_patience_ms = 1'000;  ///< How long Abort waits for a command's data, 1 or more.
    uint16_t discovery_port = kDiscoveryPort;  ///< Discovery beside each I/O address; 0: none.
    uint32_t shared_buffers = 0;    ///< What share_buffers() was told; 0: the defaults that follow.
    uint32_t small_buffers = 1024;  ///< 4 KiB I/O buffers a reactor.
    uint32_t medium_buffers = 256;  ///< 32 KiB I/O buffers a reactor.
    uint32_t large_buffers = 128;   ///< 128 KiB I/O buffers a reactor.
    uint32_t capsule_buffers = 1024;        ///< 4 KiB buffers for in-capsule data a reactor.
    uint32_t requests = kRequestsPerGroup;  ///< Of the I/O queues of a reactor (RequestPools).
    uint32_t capsule_requests = kCapsuleRequestsPerGroup;  ///< The same, where data comes along.
    // What hosts may take, each for itself of each reactor (see Admission).
    uint32_t handshake_timeout_ms =
        10'000;  ///< From accept to Connect's answer: TLS, ICReq, Connect.
    uint32_t authentication_timeout_ms = 30'000;  ///< DH-HMAC-CHAP of one queue, all messages.
    uint32_t opening_max = 1024;                  ///< Connections that are not live yet.
    uint32_t opening_per_address_max = 256;       ///< The same, from one address.
    uint32_t host_connections_max = 4096;         ///< Connections of one host NQN.
    uint32_t host_controllers_max = 512;          ///< Controllers of one host NQN.
};

/// What a reactor's I/O buffers take by default, in units of the largest, 128 KiB.
inline constexpr uint32_t kSharedBuffersPerReactor = 1024 / 32 + 256 / 4 + 128;

/// Gives each of `reactors` its part of `shared` times 128 KiB for I/O buffers, in the ratio of the
/// defaults, and kBuffersOfASizeMin of each size at least.
void share_buffers(TransportOptions& options, uint32_t shared, uint32_t reactors);

class ReservationHome;
class WriteProtection;

enum class SubsystemType : uint8_t { kNvm, kDiscovery };

/// One namespace of a subsystem, as every reactor sees it. Its ids are the same on all front ends.
struct NamespaceConfig {
    Nsid nsid;
    bdev::Bdev* bdev = nullptr;
    bdev::Uuid uuid;
    std::array<uint8_t, 16> nguid{};           ///< All zero: none.
    std::array<uint8_t, 8> eui64{};            ///< All zero: none.
    uint32_t ana_group = 1;                    ///< 1 to the subsystem's namespaces_max.
    bool is_auto_visible = true;               ///< To every host; if not, to visible_hosts.
    std::vector<std::string> visible_hosts{};  ///< NQNs, sorted.
    WriteProtection* protection = nullptr;     ///< Of all cores; lives as long as this.
    ReservationHome* reservations = nullptr;   ///< On the control thread; lives as long as this.
    std::string reservation_file{};            ///< Keeps them through a power loss; empty: none.

    [[nodiscard]] bool is_visible_to(std::string_view host_nqn) const;
};

struct ListenerConfig {
    ListenerId id;
    SocketAddress address;
    bool requires_tls = false;                ///< Of whoever comes by it to this subsystem.
    std::vector<AnaGroupState> ana_groups{};  ///< By group - 1; empty: no ANA reporting.
    uint64_t ana_changes = 0;  ///< How often what the ANA log tells on this path has changed.

    /// Of a group that exists; optimized without ANA reporting.
    [[nodiscard]] AnaState ana_state(uint32_t group) const {
        return ana_groups.empty() ? AnaState::kOptimized : ana_groups[group - 1].state;
    }
};

/// A discovery service elsewhere, or a subsystem there, that every host is told of.
struct Referral {
    std::string subsystem_nqn;  ///< Discovery's: ask there. Another: connect there.
    SocketAddress address;
    bool secure_channel = false;  ///< TLS is required there.
};

/// Which listeners the discovery log shows: all, or those that are like the address by which the
/// host has come.
struct DiscoveryFilter {
    bool same_address = false;
    bool same_port = false;

    [[nodiscard]] bool operator==(const DiscoveryFilter&) const = default;
    [[nodiscard]] bool shows(const SocketAddress& listener, const SocketAddress& reached_at) const;
};

/// A subsystem as it is from one change to the next: the control thread makes a new one for each
/// change, hands it to every reactor, and frees the old one when all have let go. Read-only, so all
/// cores may read it.
struct SubsystemConfig {
    SubsystemId id;
    SubsystemType type = SubsystemType::kNvm;
    std::string nqn;
    std::string serial_number;  ///< At most 20 characters.
    std::string model_number;   ///< At most 40 characters.
    bool allow_any_host = false;
    bool ana_reporting = false;
    uint32_t namespaces_max = 32;  ///< And ANA groups.
    uint16_t cntlid_min = 1;
    uint16_t cntlid_max = 0xffef;
    std::vector<std::string> hosts;           ///< NQNs, sorted.
    std::vector<std::string> dhchap_hosts;    ///< Those of `hosts` that have a key, sorted.
    std::vector<NamespaceConfig> namespaces;  ///< Sorted by nsid.
    std::vector<ListenerConfig> listeners;
    std::vector<HostTls> tls_hosts;    ///< Those with a key.
    std::vector<HostRate> host_rates;  ///< Hosts with limits, minimums or weights of their own.
    qos::Policy capacity{};            ///< What all hosts share, if it has limits.
    qos::Flow* other_hosts = nullptr;  ///< Of all others together, if they share; lives as long.
    std::vector<Referral> referrals;   ///< Of the discovery subsystem alone, as is the filter.
    DiscoveryFilter discovery_filter;
    uint64_t discovery_generation = 0;  ///< The discovery log's when this became valid.

    [[nodiscard]] bool allows(std::string_view host_nqn) const;
    /// Whether the host must prove itself with DH-HMAC-CHAP; also where any host is allowed.
    [[nodiscard]] bool requires_authentication(std::string_view host_nqn) const;
    [[nodiscard]] bool listens_on(ListenerId listener) const;
    /// Null if it doesn't listen there, or if it is discovery's own port.
    [[nodiscard]] const ListenerConfig* find_listener(ListenerId listener) const;
    [[nodiscard]] const NamespaceConfig* find_namespace(Nsid nsid) const;
    [[nodiscard]] const HostRate* find_rate(std::string_view host_nqn) const;
    /// Where the I/O of a host gets its tokens; null: it needs none.
    [[nodiscard]] qos::Flow* flow_of(std::string_view host_nqn) const;
};

/// Enters a host of the list among those that have a key, or takes it out.
void set_dhchap_host(SubsystemConfig& config, const std::string& host_nqn, bool has_key);

}  // namespace basalt::nvmf
