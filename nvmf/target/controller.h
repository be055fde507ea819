#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nvmf/target/admission.h"
#include "nvmf/target/error_log.h"
#include "nvmf/target/features.h"
#include "nvmf/target/health.h"
#include "nvmf/target/limits.h"
#include "nvmf/target/queue_settings.h"
#include "nvmf/target/request.h"
#include "nvmf/target/reservation/notice_log.h"
#include "nvmf/wire/ids.h"
#include "nvmf/wire/status.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/reactor.h"

namespace basalt::nvmf {

class Connection;
class PollGroup;
class Subsystem;

/// What an I/O queue, on whatever core, tells its controller's core about itself.
struct QueueMember {
    CoreId core;
    uint64_t connection_id = 0;
    uint32_t queue_entries = 0;
};

/// The asynchronous events that the target reports.
enum class AsyncEvent : uint8_t {
    kNamespaceChanged,
    kDiscoveryChanged,
    kAnaChanged,
    kReservationNotice,
    kTemperature,
    kReliability,
};
inline constexpr size_t kAsyncEventKinds = 6;

/// One host's controller of one subsystem: registers, features, events, keep alive, and which I/O
/// queues belong to it. Made by Connect on an admin queue, and lives on that queue's core; I/O
/// queues on other cores reach it by message only.
///
/// Owner: the admin queue's Connection::link, through PollGroup. Ends when the admin connection is
/// gone and every I/O queue has said goodbye.
class Controller {
  public:
    struct Identity {
        ControllerId id;
        std::string host_nqn;
        std::array<uint8_t, 16> host_id{};
        uint32_t keep_alive_ms = 0;
    };

    /// `admin` is the admin queue's connection.
    Controller(PollGroup& group, Subsystem& subsystem, Connection& admin, Identity identity);
    Controller(const Controller&) = delete;
    Controller& operator=(const Controller&) = delete;
    ~Controller();

    [[nodiscard]] ControllerId id() const { return identity_.id; }
    [[nodiscard]] const Identity& identity() const { return identity_; }
    [[nodiscard]] Subsystem& subsystem() { return subsystem_; }
    [[nodiscard]] PollGroup& group() { return group_; }
    [[nodiscard]] uint64_t now_ns() const;
    /// Null when the admin connection is gone.
    [[nodiscard]] Connection* admin() { return admin_; }

    HostPlace place;  ///< Among its host's controllers.

    // --- Properties (NVMe over Fabrics, Property Get and Set).
    [[nodiscard]] uint64_t capabilities() const;
    [[nodiscard]] uint32_t configuration() const { return configuration_; }
    [[nodiscard]] uint32_t status() const { return status_; }
    /// Property Set of CC: enable, disable, shut down. Errors as NVMe status.
    [[nodiscard]] NvmeStatus set_configuration(uint32_t value);
    [[nodiscard]] bool is_ready() const;

    /// ListenerConfig::ana_changes of its path when it was reset: the log counts from there.
    uint64_t ana_changes_at_reset = 0;

    /// How often the host has reset it: what was asked before gets no answer any more, see
    /// Connection::complete().
    [[nodiscard]] uint32_t resets() const { return resets_; }

    // --- I/O queues.
    /// Admits an I/O queue. Status for its Connect.
    [[nodiscard]] NvmeStatus attach(QueueId qid, const QueueMember& member);
    /// The queue has ended: no device works on a command of it any more.
    void detach(QueueId qid);
    /// The queue that was `connection_id` is on another core now, if it is still the one.
    void queue_moved(QueueId qid, uint64_t connection_id, CoreId core);
    [[nodiscard]] uint32_t io_queue_count() const {
        return static_cast<uint32_t>(attached_.count());
    }
    [[nodiscard]] uint32_t io_queues_allowed() const { return io_queues_allowed_; }
    /// Null if no such queue is attached.
    [[nodiscard]] const QueueMember* find_queue(QueueId qid) const;
    /// Set Features, Number of Queues: how many the host may connect.
    void allow_io_queues(uint32_t count) { io_queues_allowed_ = count; }
    /// Calls visit(QueueId, const QueueMember&) for each attached I/O queue.
    template <typename Visit>
    void for_each_queue(Visit visit) const {
        for (size_t qid = 1; qid < members_.size(); ++qid) {
            if (attached_.test(qid)) {
                visit(QueueId(static_cast<uint16_t>(qid)), members_[qid]);
            }
        }
    }

    // --- Keep alive. None is asked for while the host waits for a reset or shutdown to end.
    void keep_alive() { last_keep_alive_ns_ = now_ns(); }
    /// Any command has come: for a host that has not asked for a keep alive that is enough.
    void note_traffic() {
        if (counts_all_as_alive_) {
            keep_alive();
        }
    }
    void set_keep_alive(uint32_t timeout_ms);
    [[nodiscard]] uint32_t keep_alive_ms() const { return keep_alive_ms_; }

    // --- Abort.
    /// Performs an Abort command and completes it.
    void execute_abort(Request& request);
    /// An Abort of this controller has its answer.
    void abort_done() { --aborts_under_way_; }

    // --- Asynchronous events.
    /// Takes an Asynchronous Event Request; completes it now or when something happens.
    void add_event_request(Request& request);
    void raise(AsyncEvent event);
    /// The log that tells about the event was read without Retain: the event may be sent again.
    void rearm(AsyncEvent event);
    void namespace_changed(Nsid nsid);
    /// Moves the changed namespaces to `out` (at most kChangedNamespacesMax, one entry FFFFFFFFh
    /// for more) and forgets them unless `retain`. Returns how many.
    size_t read_changed_namespaces(std::array<uint32_t, kChangedNamespacesMax>& out, bool retain);

    /// Log page 80h; whoever adds to it raises kReservationNotice.
    ReservationNoticeLog reservation_notices;

    // --- What the log pages tell.
    /// The critical warnings of the health log, as far as this core knows.
    [[nodiscard]] uint8_t critical_warning() const;
    ErrorLog error_log;
    /// As of the last time that it was asked for: see PollGroup::gather_health().
    HealthCounters gathered_health;

    // --- Features: what the host has set.
    FeatureValues features;
    /// What the queues must know of them.
    [[nodiscard]] QueueSettings queue_settings() const;
    /// Tells all queues, and completes `request`, a Set Features, when they know.
    void tell_queues(Request& request);

    /// Our side is to close the admin connection. Asks the I/O queues to close first; false: some
    /// are left, and Connection::close_socket() follows. Hosts take the end of that connection for
    /// the end of the association, and send what was not answered again by another path.
    [[nodiscard]] bool may_close();

    /// The admin connection is gone: drops the event requests, asks every I/O queue to close.
    void admin_gone();
    [[nodiscard]] bool is_finished() const { return admin_ == nullptr && attached_.none(); }

    ListLink subsystem_link;

  private:
    struct Pending {
        bool is_raised = false;
        bool is_masked = false;  // Told already; silent until its log is read.
    };

    /// How long the host may go without a Keep Alive; 0: for ever.
    [[nodiscard]] uint64_t silence_max_ns() const;
    void close_io_queues();
    void reset();
    /// Does what has waited for the last I/O queue's end, if that has come.
    void settle();
    void set_default_features();
    void set_shutdown_status(uint32_t value);
    void check_keep_alive();
    void deliver_events();
    [[nodiscard]] bool is_enabled(AsyncEvent event) const;
    [[nodiscard]] bool abort_event_request(CommandId command);

    PollGroup& group_;
    Subsystem& subsystem_;
    Connection* admin_;
    const Identity identity_;
    uint32_t configuration_ = 0;
    uint32_t status_ = 0;
    uint32_t resets_ = 0;
    // Until the last I/O queue is gone:
    bool is_resetting_ = false;
    bool is_shutting_down_ = false;
    bool is_closing_ = false;
    uint32_t settings_version_ = 0;
    bool counts_all_as_alive_ = false;
    uint32_t io_queues_allowed_;

    std::vector<QueueMember> members_;  // By queue id.
    std::bitset<1025> attached_;

    uint32_t keep_alive_ms_;
    uint64_t last_keep_alive_ns_;
    Timer keep_alive_timer_;

    uint32_t aborts_under_way_ = 0;
    RequestList event_requests_;
    uint32_t event_request_count_ = 0;
    std::array<Pending, kAsyncEventKinds> events_{};
    std::vector<uint32_t> changed_namespaces_;
    bool has_changed_too_many_ = false;
};

using ControllerList = IntrusiveList<Controller, &Controller::subsystem_link>;

}  // namespace basalt::nvmf
