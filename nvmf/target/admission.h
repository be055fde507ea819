#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "nvmf/target/options.h"
#include "reactor/base/intrusive_list.h"

namespace basalt::nvmf {

class Admission;
class Connection;

/// What one host has of a reactor.
struct HostTally {
    uint32_t connections = 0;
    uint32_t controllers = 0;
};

/// A place that a host takes while this lives. Can be moved. Owner: the connection, or the
/// controller. Core: the admission's.
class HostPlace {
  public:
    HostPlace() = default;
    HostPlace(HostPlace&& other) noexcept;
    HostPlace& operator=(HostPlace&& other) noexcept;
    HostPlace(const HostPlace&) = delete;
    HostPlace& operator=(const HostPlace&) = delete;
    ~HostPlace() { give_back(); }

    /// False: no place.
    explicit operator bool() const { return admission_ != nullptr; }

  private:
    friend class Admission;
    using Tallies = std::map<std::string, HostTally, std::less<>>;
    HostPlace(Admission& admission, Tallies::iterator share, uint32_t HostTally::*what)
        : admission_(&admission), share_(share), what_(what) {}
    void give_back();

    Admission* admission_ = nullptr;  // Null: no place.
    Tallies::iterator share_{};
    uint32_t HostTally::*what_ = nullptr;
};

/// A connection's place among those that have begun and are not live yet. A member of the
/// connection.
struct Beginner {
    explicit Beginner(Connection& owner) : connection(owner) {}

    Connection& connection;
    std::string address{};  ///< Of the peer, without its port.
    ListLink link{};        ///< Oldest first.
};

/// What becomes of a connection that has begun.
enum class Admittance : uint8_t {
    kAdmitted,
    kInPlaceOfAnother,  ///< The oldest one that is not live closes for it.
    kRefused,           ///< Its address has too many; it is not counted, and to be closed.
};

/// What it has refused, for nvmf_get_stats.
struct AdmissionStats {
    uint64_t refused_connections = 0;  ///< At once: too many are open, or begin from an address.
    uint64_t expired_connections = 0;  ///< Not live within the time allowed.
    uint64_t evicted_connections = 0;  ///< The oldest that began, for a newer one.
    uint64_t refused_connects = 0;     ///< Connect: the host has all that one may have.
    uint64_t failed_authentications = 0;
};

/// Bounds what a host, or whoever pretends to be one, may take of a reactor, so that the others do
/// not notice. A connection that is not live yet (no ICReq, no Connect, not authenticated) is known
/// by its address alone: of these an address may have so many, and all together so many; above that
/// the oldest one goes, which has had most time. A live one counts as its host's, by NQN: what a
/// host may have is not for others to take who only name it.
///
/// Runs when connections come and go, never for an I/O. Owner and core: PollGroup.
class Admission {
  public:
    explicit Admission(const TransportOptions& options) : options_(options) {}
    Admission(const Admission&) = delete;
    Admission& operator=(const Admission&) = delete;
    ~Admission();

    /// A connection has begun, from that address. May close the oldest one for it.
    [[nodiscard]] Admittance begin(Beginner& beginner, const SocketAddress& peer);
    /// It is live, or it ends. Does nothing for one that is not counted.
    void settle(Beginner& beginner);

    /// A place for a connection or a controller of the host; empty: it has all that one may have.
    [[nodiscard]] HostPlace take_connection(std::string_view host_nqn);
    [[nodiscard]] HostPlace take_controller(std::string_view host_nqn);
    /// Whether there is one, for a connection and perhaps a controller. For who claims to be the
    /// host and has yet to prove it: that takes nothing from the host, see QueueAuthentication.
    [[nodiscard]] bool has_room(std::string_view host_nqn, bool for_controller) const;
    [[nodiscard]] AdmissionStats& stats() { return stats_; }
    [[nodiscard]] const AdmissionStats& stats() const { return stats_; }
    /// Connections that have begun and are not live.
    [[nodiscard]] uint32_t beginning() const { return beginning_count_; }

  private:
    friend class HostPlace;

    [[nodiscard]] HostPlace take(std::string_view host_nqn,
                                 uint32_t HostTally::*what,
                                 uint32_t limit);

    const TransportOptions& options_;
    AdmissionStats stats_;
    HostPlace::Tallies hosts_;
    std::map<std::string, uint32_t, std::less<>> addresses_;  // Of connections that have begun.
    IntrusiveList<Beginner, &Beginner::link> beginners_;
    uint32_t beginning_count_ = 0;
};

}  // namespace basalt::nvmf
