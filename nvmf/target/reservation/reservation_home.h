#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "nvmf/target/options.h"
#include "nvmf/target/reservation/reservation.h"
#include "nvmf/target/reservation/reservation_store.h"
#include "nvmf/target/reservation/reservation_view.h"
#include "reactor/async_mutex.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::nvmf {

class PollGroup;
class Request;
class ReservationHome;

/// One reservation command on its way from the core of its connection to the namespace's home, and
/// back with the answer. Made by the former, which frees it again; in between it is the home's.
struct ReservationCall : Event {
    enum class Kind : uint8_t {
        kChange,  ///< `event` is applied.
        kRead,    ///< Only the state is asked for.
    };

    PollGroup* origin = nullptr;
    ReservationHome* home = nullptr;
    Request* request = nullptr;  ///< Executing: it holds its connection and its namespace.
    Kind kind = Kind::kChange;
    ReservationEvent event;
    NvmeStatus status;
    ReservationState state;  ///< kRead: as it was when the call was there.
};

/// Where the truth about one namespace's reservation lies: all commands for it come here, whatever
/// core their connection is on, and are performed one after the other. A change is answered when it
/// is stored (if it is to persist) and when every reactor has the new view of who may do what: from
/// then on no core lets anything through that the old one allowed. Preempt and Abort is answered
/// when also no command of the preempted hosts is left with the device.
///
/// Life: that of the namespace; made before the reactors hear of it and destroyed when the last has
/// forgotten it, so no call is here then. Owner: Target. Core: the control thread's.
class ReservationHome {
  public:
    struct Place {
        SubsystemId subsystem;
        Nsid nsid;
    };

    /// `groups` (all poll groups, by core) outlive the home. `store` may be null: then nothing can
    /// persist. `restored` is what it had.
    ReservationHome(Reactor& control,
                    std::span<PollGroup* const> groups,
                    Place place,
                    std::unique_ptr<ReservationStore> store,
                    std::optional<ReservationState> restored);
    ReservationHome(const ReservationHome&) = delete;
    ReservationHome& operator=(const ReservationHome&) = delete;
    ~ReservationHome() = default;

    /// What the commands' cores need to know. Constant.
    [[nodiscard]] CoreId core() const { return control_.core(); }
    [[nodiscard]] bool can_persist() const { return store_ != nullptr; }
    /// What a core starts with when it opens the namespace, which is before any call. Lives as long
    /// as the home.
    [[nodiscard]] const ReservationView& first_view() const { return first_view_; }

    /// Every reactor has the namespace. Before, a core that opens it late would judge by a view
    /// that is old already, so changes are answered with Namespace Not Ready.
    void open() { is_open_ = true; }

    /// Takes a call that has arrived on the control thread and sends it home later.
    void take(ReservationCall& call);

    [[nodiscard]] const ReservationState& state() const { return reservation_.state(); }

  private:
    Task<void> change(ReservationCall& call);
    /// Every core judges by `view` when it ends.
    Task<void> publish(std::unique_ptr<const ReservationView> view);
    Task<void> await_commands(std::vector<HostId> hosts);
    Task<void> announce(std::vector<ReservationNotice> notices);
    void send_home(ReservationCall& call);

    Reactor& control_;
    const std::span<PollGroup* const> groups_;
    const Place place_;
    const std::unique_ptr<ReservationStore> store_;
    Reservation reservation_;
    const ReservationView first_view_;
    std::unique_ptr<const ReservationView> view_;  // What the cores have; null: first_view_.
    std::vector<uint32_t> versions_;               // By core: since when they have it.
    bool is_open_ = false;
    AsyncMutex changes_{control_};
};

}  // namespace basalt::nvmf
