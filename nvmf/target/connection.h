#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "nvmf/target/abort.h"
#include "nvmf/target/admission.h"
#include "nvmf/target/connection_move.h"
#include "nvmf/target/connection_rate.h"
#include "nvmf/target/connection_requests.h"
#include "nvmf/target/controller_link.h"
#include "nvmf/target/error_report.h"
#include "nvmf/target/group_tls.h"
#include "nvmf/target/output.h"
#include "nvmf/target/queue_authentication.h"
#include "nvmf/target/request.h"
#include "nvmf/wire/pdu_receiver.h"
#include "nvmf/wire/sgl.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"

namespace basalt::nvmf {

class PollGroup;
class Subsystem;
struct HostShare;

/// One host connection, which is one queue pair: the transport from ICReq to the last byte, the
/// queue's requests, and which controller it belongs to. What a command means is not decided here
/// (see command_executor.h).
///
///   kAwaitingIc -> kAwaitingConnect -> kConnecting -> kLive -> kTerminating -> kClosing -> kClosed
///                                     +-> kAuthenticating <-+
///   any of the first six -> kClosing
///
/// Owner: its PollGroup. Core: the group's. Ends by itself: when the socket is closed, no device
/// has a request of it, and no message about it is under way. An admin queue that we close
/// ourselves stays open until its I/O queues have ended: a host takes its end for the end of all. A
/// live I/O queue may move to another group, see ConnectionMove.
class Connection final : public SocketHandler, private PduHandler {
  public:
    enum class Phase : uint8_t {
        kAwaitingIc,       ///< PduReceiver, on ICReq.
        kAwaitingConnect,  ///< CommandExecutor, on Connect.
        kConnecting,       ///< The controller's core, with its answer to an I/O Connect.
        kAuthenticating,   ///< QueueAuthentication, when the host has proved itself.
        kLive,             ///< Either side, by closing.
        kTerminating,      ///< Socket, when the terminate request is sent.
        kClosing,          ///< Socket, in on_closed().
        kClosed,           ///< The last device, controller or message that knows a request of ours.
    };

    Connection(PollGroup& group, uint64_t id, ListenerId listener);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() override;

    /// Takes the accepted socket over. On failure the connection is at its end already.
    [[nodiscard]] Status start(AcceptedSocket accepted);

    /// Unique in the target, for logs and for messages that may come too late.
    [[nodiscard]] uint64_t id() const { return id_; }
    [[nodiscard]] PollGroup& group() { return *group_; }
    [[nodiscard]] ListenerId listener() const { return listener_; }
    [[nodiscard]] Phase phase() const { return phase_; }
    [[nodiscard]] bool is_live() const { return phase_ == Phase::kLive; }
    /// Connected, and nothing is executed before the host has proved itself.
    [[nodiscard]] bool is_authenticating() const { return phase_ == Phase::kAuthenticating; }
    [[nodiscard]] QueueAuthentication& authentication() { return authentication_; }
    [[nodiscard]] ConnectionRate& rate() { return rate_; }
    [[nodiscard]] bool is_closing() const { return phase_ >= Phase::kTerminating; }
    [[nodiscard]] const SocketAddress& peer() const { return peer_; }
    [[nodiscard]] const SocketAddress& local() const { return local_; }
    /// Whose key the host has proved to have; empty on a connection in clear.
    [[nodiscard]] std::string_view tls_identity() const {
        return tls_ == nullptr ? std::string_view() : tls_->identity();
    }
    [[nodiscard]] uint32_t queue_entries() const { return queue_entries_; }
    [[nodiscard]] bool is_admin_queue() const { return link.qid == kAdminQueueId; }

    /// Ends the request with `status`; its response follows all that were queued before.
    void complete(Request& request, NvmeStatus status);
    /// Ends an executing request without a word to the host.
    void drop(Request& request);

    /// Ends the command that `waiter` names with Command Abort Requested, if no device, controller
    /// or response has it yet. The waiter hears at once or later.
    void abort(AbortWaiter& waiter);
    /// `waiter` no longer waits: the command goes its way, unless others want it to end.
    void forget_abort(AbortWaiter& waiter);
    /// The failures that it had sent to its controller are there.
    void errors_reported();
    /// Hands a request that was refused its buffer for lack of one what it waited for.
    void buffer_granted(Request& request, Buffer buffer);

    /// Nothing of the request is needed any more: gives its memory back, and it is free for the
    /// next command.
    void free_request(Request& request);

    /// Ends a request that is to be aborted, and tells who wanted that.
    void finish_abort(Request& request);
    /// Sends an R2T for all data of a request that has memory for it (`piece`).
    void ask_for_data(Request& request);
    /// Connect succeeded: the queue is this deep from now on. A queue whose host has a key must
    /// authenticate before it is live.
    void go_live(uint32_t queue_entries, bool disables_sq_flow_control);
    /// The dword of Connect's successful response: the controller, and whether to authenticate.
    [[nodiscard]] uint32_t connect_result() const;
    /// The host has proved itself: the queue is live.
    void authenticated();
    /// It has not: nothing more is executed, and the connection ends when the host has heard it.
    void authentication_failed();
    /// A live queue authenticates again, and may take as long as a new one.
    void watch_authentication();
    /// Connect goes on elsewhere, or has failed and may come again.
    void set_connecting(bool is_connecting);

    /// Calls visit(Request&) for each command that a device or the controller has.
    template <typename Visit>
    void for_each_executing(Visit visit) const {
        for (Request* at = requests_.front(); at != nullptr; at = requests_.next(*at)) {
            if (at->state() == Request::State::kExecuting) {
                visit(*at);
            }
        }
    }

    /// Closes without ceremony; `why` goes to the log. Empty: it is told otherwise.
    void close(std::string_view why);
    /// The controller's last I/O queue has ended: an admin queue that is closing may go.
    void close_socket();

    // --- Moving to another core.
    [[nodiscard]] bool can_move() const {
        return is_live() && !is_admin_queue() && tls_ == nullptr &&
               move_.state == ConnectionMove::State::kStays;
    }
    /// Leaves for core `to`, when it can and if it can soon. Only if can_move().
    void begin_move(CoreId to);
    /// On its new core, where `group` and `released`, its socket, are. It is a member of the group
    /// and of its subsystem there already.
    void arrive(PollGroup& group, AcceptedSocket released);
    /// As arrive(), where nobody wants it: it ends.
    void arrive_unwanted(PollGroup& group, AcceptedSocket released);
    /// Its controller knows where it is.
    void settled() { move_.state = ConnectionMove::State::kStays; }
    [[nodiscard]] const PeriodWork& period_work() const { return period_work_; }

    /// A device or a message lets go of the connection, or takes hold of it.
    void hold() { ++holds_; }
    void release_hold();

    /// The end of an I/O queue's or admin queue's membership in a controller.
    ControllerLink link;
    HostPlace place;           ///< Among its host's connections, from Connect on.
    Beginner beginner{*this};  ///< Until it is live.

    /// The fused pair whose first half has come and whose second is next, or null.
    FusedPair* half_pair = nullptr;

    ListLink group_link;  ///< In the group's list of connections.

  private:
    friend class ConnectionRate;
    friend class ConnectionRequests;
    // SocketHandler.
    size_t on_receive(std::span<const std::byte> data) override;
    std::span<std::byte> receive_memory() override;
    void on_received(size_t size_bytes) override;
    void on_sent() override;
    void on_closed(Error reason) override;
    void on_released(AcceptedSocket released) override;

    // PduHandler.
    PayloadPlan on_header(const PduHeader& header) override;
    void on_pdu_complete(DataDigest digest) override;
    void on_violation(const Violation& violation, std::span<const std::byte> header) override;

    [[nodiscard]] PayloadPlan on_capsule(const PduHeader& header);
    /// A request for the capsule, or null: it is set aside, if it may and can, or the stream waits.
    [[nodiscard]] Request* claim_request(bool may_wait);
    [[nodiscard]] PayloadPlan set_capsule_aside(const Sqe& sqe);
    void advance_sq_head();
    /// Keeps the data of a write where it was received, if it is all there and lies well.
    [[nodiscard]] std::optional<KeptMemory> keep_payload(const PduHeader& header);
    [[nodiscard]] PayloadPlan on_h2c_data(const H2cData& data);
    void on_ic_req(const IcReq& req);
    [[nodiscard]] SocketOptions socket_options() const;

    /// Finds memory for a capsule with so much data: it is in capsule_buffer_, the pair has it, or
    /// none is needed. False: it comes later.
    [[nodiscard]] bool find_capsule_memory(const Sqe& sqe, uint32_t bytes);
    [[nodiscard]] bool begins_pair(const Sqe& sqe) const;
    /// Where buffers come from, as the phase and the kind of queue are now.
    void choose_sources();
    /// Makes `request` that of a command whose capsule has so much data.
    Result<DataPointer> adopt(Request& request, const Sqe& sqe, uint32_t capsule_bytes);
    void begin(Request& request);
    /// Judges a command that is complete but for its data; executes it or gets it what it needs.
    void judge(Request& request);
    void go_on(Request& request);  // It is judged and paid for.
    void restart_timer(uint64_t delay_ns);
    void on_timer();
    void need_buffer(Request& request);
    void acquire_buffer(Request& request);
    /// One of this connection's I/O buffers is back: the next of its requests may try.
    void buffer_is_back(size_t size_class);
    /// Takes a request in kNeedsBuffer out of the line that it is in.
    void leave_line(Request& request);
    /// Takes its requests out of all lines for buffers and frees them.
    void stop_waiting();
    /// Closes if the host owes data for too long.
    void check_data_time();
    void use_buffer(Request& request, Buffer buffer);
    void execute(Request& request);
    [[nodiscard]] uint16_t sq_head_for(const Request& request) const;
    void release_memory(Request& request);
    void flush_later();
    void flush();
    /// Sets when the next send may start; see kSendPauseFactor.
    void pace_sends();
    /// Most of the queue's depth is with the host: it loses nothing by a pause.
    [[nodiscard]] bool is_host_busy() const;
    void resume_later();
    void resume();
    void abandon_requests();
    [[nodiscard]] Request* find_outstanding(CommandId command);
    void abandon_aborts();
    template <typename Predicate>
    void answer_aborts(Predicate predicate, bool was_aborted);
    /// Has a failure logged; the status for the host, which says whether there is more to read.
    [[nodiscard]] NvmeStatus note_error(const Request& request, NvmeStatus status);
    void log_failure(const Request& request, NvmeStatus status);
    void send_errors();
    void end_if_unused();
    void end();
    /// Has a command that holds no memory wait without a request.
    void set_aside(Request& request);
    /// Whether the oldest that was set aside may begin, if there is one.
    [[nodiscard]] bool may_begin_oldest() const;
    void begin_set_aside();
    void begin_set_aside(Request& request, const WaitingCommand& command);
    /// Quieting: no new command is taken, because no data for older ones can be behind it.
    [[nodiscard]] bool holds_stream() const;
    [[nodiscard]] bool is_quiet() const;
    void leave_later();
    void leave_if_quiet();
    void give_up_move();
    void count_completion(const Request& request);

    PollGroup* group_;
    const uint64_t id_;
    const ListenerId listener_;
    Phase phase_ = Phase::kAwaitingIc;
    std::unique_ptr<Socket> socket_;
    tls::TlsSocket* tls_ = nullptr;  // The same, if it speaks TLS or may.
    SocketAddress peer_;
    SocketAddress local_;
    PduReceiver receiver_;
    PduFormat format_;
    Output output_;
    OwnedEvent<Connection, &Connection::flush> flush_event_{*this};
    OwnedEvent<Connection, &Connection::resume> resume_event_{*this};
    OwnedEvent<Connection, &Connection::end> end_event_{*this};
    Timer connect_timer_;  // Bounds each of the phases before kLive, and kTerminating.
    QueueAuthentication authentication_{*this};
    Timer data_timer_;  // Runs while a host may owe data; not stopped when it has come.
    ConnectionMove move_;
    OwnedEvent<Connection, &Connection::leave_if_quiet> leave_event_{*this};
    PeriodWork period_work_;

    ConnectionRequests requests_{*this};
    // In kNeedsBuffer while the connection holds, or is in line for, its share of that size.
    std::array<RequestList, BufferPool::kClasses> needy_;
    std::array<uint32_t, BufferPool::kClasses> share_used_{};
    Request* receiving_ = nullptr;  // The request whose PDU is being received.
    bool is_receiving_ic_ = false;
    bool is_data_for_request_ = false;  // What is being received is H2CData, not the capsule.
    uint32_t h2c_bytes_ = 0;            // Of that H2CData.
    BufferSource data_source_;
    BufferSource capsule_source_;
    Buffer capsule_buffer_;  // Granted to the capsule that waits in the receiver.
    BufferWaiter capsule_waiter_;
    BufferSource capsule_buffer_source_;  // Where it comes from.
    ConnectionRate rate_{*this};
    QueueErrors errors_;
    AbortList aborts_;  // Waiting for commands whose bytes the host is sending.

    uint64_t next_send_ns_ = 0;
    uint32_t recent_depth_ = 0;  // The most that were in use of late.
    uint32_t queue_entries_ = 0;
    uint32_t sq_head_ = 0;
    bool has_sq_flow_control_ = true;
    uint32_t holds_ = 0;  // Executing requests and messages under way.
};

}  // namespace basalt::nvmf
