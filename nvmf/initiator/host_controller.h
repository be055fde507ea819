#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nvmf/initiator/host_queue.h"
#include "nvmf/wire/spec.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// What a HostController tells its user. Calls come from the poll loop.
class HostControllerUser {
  public:
    virtual ~HostControllerUser() = default;
    /// An asynchronous event: completion dword 0 of its request. The request is repeated already.
    virtual void on_async_event(uint32_t /*result*/) {}
    /// The admin connection has ended after connect() succeeded and before end(). The I/O queues
    /// are the user's to end.
    virtual void on_controller_lost(Error /*reason*/) {}
};

/// What a namespace is, from Identify.
struct HostNamespace {
    Nsid nsid;
    uint32_t block_bytes = 0;
    uint64_t block_count = 0;
    nvme_id_ns id{};
};

/// A controller as its host sees it: the admin queue, what Identify says, keep alive and
/// asynchronous events. A Keep Alive that is not answered within its time ends the connection. I/O
/// queues are HostQueues of their own, on any reactor, made with io_queue_options().
///
/// Life: connect(), use, end(); then it may be destroyed. Every sequence is awaited before the next
/// begins. Owner: its user. Core: its reactor's.
class HostController {
  public:
    /// `reactor` and `user` (null: nobody) outlive the controller.
    HostController(Reactor& reactor, const HostOptions& options, HostControllerUser* user);
    HostController(const HostController&) = delete;
    HostController& operator=(const HostController&) = delete;
    ~HostController() = default;

    /// Connects the admin queue (twice, if the authentication gives a key for TLS), enables the
    /// controller, identifies it, starts keep alive and event requests. On failure everything is
    /// closed when it returns. If the controller names delays of retries, it is told that we heed
    /// them (Host Behavior Support, ACRE). Errors: those of HostQueue::connect(); kTimedOut (it
    /// does not become ready); kDeviceGone (it reports a fatal status); kNotSupported (it offers no
    /// queue of two entries).
    [[nodiscard]] Task<Status> connect();

    /// Shuts the controller down and closes the admin queue; within kShutdownTimeoutNs, whatever
    /// the controller does. Safe in every phase.
    [[nodiscard]] Task<void> end();

    /// Asks for `wanted` I/O queue pairs; returns how many may be made, at least 1. Errors: those
    /// of a command.
    [[nodiscard]] Task<Result<uint32_t>> set_io_queue_count(uint32_t wanted);

    /// Errors: kNotFound (no active namespace of that number), kNotSupported (blocks of a size that
    /// makes no sense, or with metadata), those of a command.
    [[nodiscard]] Task<Result<HostNamespace>> identify_namespace(Nsid nsid);

    /// The namespace's data structure (CNS 00h) as it is; all zero: it is not active. Errors: those
    /// of a command.
    [[nodiscard]] Task<Status> identify_raw(Nsid nsid, nvme_id_ns& id);

    /// What is told of a namespace for all command sets (CNS 08h). Errors: those of a command.
    [[nodiscard]] Task<Status> identify_common(Nsid nsid, nvme_id_independent_id_ns& id);

    /// The active namespaces' numbers, at most kHostNamespacesMax, in order. Errors: kProtocol
    /// (they are not in order), those of a command.
    [[nodiscard]] Task<Result<std::vector<Nsid>>> list_namespaces();

    /// The discovery log of a discovery controller, read until it did not change meanwhile. Errors:
    /// kProtocol (it makes no sense), kTryAgain (it never stops to change), those of a command.
    [[nodiscard]] Task<Result<std::vector<nvmf_disc_log_entry>>> read_discovery_log();

    /// The namespace's list of descriptors (CNS 03h), 4096 bytes. Errors: those of a command.
    [[nodiscard]] Task<Status> read_descriptors(Nsid nsid, std::span<std::byte> list);

    /// Says which asynchronous events are wanted: the bits of feature 0Bh that the controller has
    /// (OAES). Errors: those of a command.
    [[nodiscard]] Task<Status> configure_events(uint32_t wanted);

    /// Reads a log page; that ends the event that spoke of it. `data` is a multiple of 4 bytes.
    /// Errors: those of a command.
    [[nodiscard]] Task<Status> read_log(uint8_t lid, uint64_t offset, std::span<std::byte> data);

    /// Disables the controller (CC.EN = 0) and waits until it says that it is: from then on it
    /// executes no command that it was given (NVMe Base Specification, Controller Reset). Errors:
    /// kConnectionClosed, kTimedOut, those of a command.
    [[nodiscard]] Task<Status> disable();

    /// Whether it has confirmed, to disable() or end(), that it executes nothing any more.
    [[nodiscard]] bool has_stopped() const { return has_stopped_; }

    /// Asks the controller to abort a command of an I/O queue. True if it says that it did. Errors:
    /// those of a command.
    [[nodiscard]] Task<Result<bool>> abort(QueueId qid, CommandId cid);

    /// When the admin queue last had an answer; what the controller last knew of us is not older.
    [[nodiscard]] uint64_t last_answer_ns() const { return last_answer_ns_; }

    /// When it was last asked for a property or given one: the last commands of an association.
    [[nodiscard]] uint64_t last_property_ns() const { return last_property_ns_; }

    /// How to make I/O queue `qid` (from 1) with up to `entries` entries, as many as the controller
    /// allows.
    [[nodiscard]] HostQueueOptions io_queue_options(QueueId qid, uint32_t entries) const;

    [[nodiscard]] const nvme_id_ctrl& identity() const { return identity_; }
    [[nodiscard]] ControllerId id() const { return id_; }
    [[nodiscard]] bool is_discovery() const;
    /// Most data of one command; a multiple of 4096.
    [[nodiscard]] uint32_t transfer_bytes_max() const;
    [[nodiscard]] uint32_t queue_entries_max() const { return queue_entries_max_; }
    [[nodiscard]] HostQueue& admin() { return *admin_; }

  private:
    struct DiscoveryHead {
        uint64_t generation = 0;
        uint64_t records = 0;
    };

    void make_admin_queue();
    [[nodiscard]] Task<Result<ControllerId>> connect_admin();
    [[nodiscard]] Task<Status> set_up();
    [[nodiscard]] Task<Status> enable();
    [[nodiscard]] Task<Status> enable_retry_delays();
    /// Waits until CSTS has `value` in the bits of `mask`. Errors: kTimedOut, kDeviceGone (fatal
    /// status), those of a command.
    [[nodiscard]] Task<Status> wait_for_status(uint32_t mask, uint32_t value, uint64_t timeout_ns);
    [[nodiscard]] Task<Result<uint64_t>> get_property(uint32_t offset, bool is_8_bytes);
    [[nodiscard]] Task<Status> set_property(uint32_t offset, uint32_t value);
    /// Runs a command that reads into `data`, whose size is the command's.
    [[nodiscard]] Task<Status> read(Sqe sqe, std::span<std::byte> data);

    [[nodiscard]] Task<Result<DiscoveryHead>> read_discovery_head();

    void start_keep_alive();
    void send_keep_alive();
    void request_events();
    static void on_keep_alive_timer(Timer& timer, void* self);
    static void on_event(HostCommand& command, void* self);
    static void on_admin_closed(void* self, Error reason);

    Reactor& reactor_;
    HostOptions options_;
    HostControllerUser* const user_;
    std::unique_ptr<HostQueue> admin_;
    HostCommand keep_alive_;
    HostCommand event_;
    Timer keep_alive_timer_;
    Timer shutdown_timer_;  // The controller should have confirmed its shutdown.
    nvme_id_ctrl identity_{};
    ControllerId id_ = kControllerIdAny;
    uint32_t queue_entries_max_ = 0;
    uint64_t last_answer_ns_ = 0;
    uint64_t last_property_ns_ = 0;
    bool is_keep_alive_out_ = false;
    uint64_t ready_timeout_ns_ = kReadyTimeoutNsMin;
    bool has_stopped_ = false;
    bool is_connected_ = false;  // connect() has succeeded, and the admin queue is not lost.
};

}  // namespace basalt::nvmf
