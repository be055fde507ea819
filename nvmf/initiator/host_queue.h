#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "nvmf/initiator/host_authenticator.h"
#include "nvmf/initiator/host_command.h"
#include "nvmf/initiator/host_output.h"
#include "nvmf/initiator/options.h"
#include "nvmf/wire/pdu_receiver.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"
#include "reactor/task.h"
#include "reactor/tls/tls_socket.h"

namespace basalt::nvmf {

/// The host's side of one queue pair, which is one connection: the transport from ICReq to the last
/// byte and the commands outstanding. What a command means is not decided here.
///
///   kNew -> kConnecting -> kAwaitingIc -> kLive -> kTerminating -> kClosing -> kClosed
///   any of kConnecting to kTerminating -> kClosing or kClosed
///
/// It serves one connection; who wants another makes another queue. Nothing is allocated after
/// connect(), and output is gathered into one send a turn.
///
/// Owner: its user; destroyed before connect() or once closed. Core: its reactor's. Invariant: a
/// command that submit() accepted is completed exactly once, at the latest when the connection
/// ends.
class HostQueue final : public SocketHandler, private PduHandler {
  public:
    enum class Phase : uint8_t {
        kNew,          ///< The user, by connect().
        kConnecting,   ///< Socket, when the connection is established.
        kAwaitingIc,   ///< PduReceiver, on ICResp.
        kLive,         ///< Either side, by closing.
        kTerminating,  ///< Socket, when the terminate request is sent.
        kClosing,      ///< Socket, in on_closed().
        kClosed,       ///< Final.
    };

    /// Tells the user that the connection has ended and all commands are completed. Once; the queue
    /// may be destroyed later, but not inside.
    using Closed = void (*)(void* context, Error reason);

    /// `reactor` outlives the queue. The entries are within the bounds of limits.h.
    HostQueue(Reactor& reactor, const HostQueueOptions& options);
    HostQueue(const HostQueue&) = delete;
    HostQueue& operator=(const HostQueue&) = delete;
    ~HostQueue() override;

    void set_closed(Closed closed, void* context) {
        closed_ = closed;
        closed_context_ = context;
    }

    /// Connects, shakes hands, sends Connect and authenticates where one of both wants that, once.
    /// On failure the queue is closed when it returns. Errors: those of a socket; kTimedOut;
    /// kPermissionDenied (TLS: the peer refuses the key, or has another; or one of the two has not
    /// proved itself); kProtocol (the peer does not speak NVMe/TCP
    /// as it should); kNotSupported (it refuses a digest that we want); what the controller
    /// answers to Connect (Error::detail has the status).
    [[nodiscard]] Task<Result<ControllerId>> connect();

    /// Authenticates again, with the keys that there are now; commands go on meanwhile. One at a
    /// time. A failure ends the queue. Errors: kPermissionDenied, kTimedOut, kConnectionClosed.
    [[nodiscard]] Task<Status> authenticate_again();

    /// What connect() has made of its authentication, if the options say `concatenates`: a key for
    /// TLS. Once.
    [[nodiscard]] TlsCredential take_generated() { return std::exchange(generated_, {}); }

    /// Accepts the command, which is kIdle: it completes later. More commands than the queue has
    /// slots wait in line. Errors, and then it will not complete: kConnectionClosed.
    [[nodiscard]] Status submit(HostCommand& command);

    /// Begins to close; commands complete with `reason`. Does nothing if it is closing already.
    void close(Error reason);

    /// Closes and waits for the end.
    [[nodiscard]] Task<void> end();

    [[nodiscard]] Phase phase() const { return phase_; }
    [[nodiscard]] bool is_live() const { return phase_ == Phase::kLive; }
    [[nodiscard]] Error close_reason() const { return close_reason_; }
    [[nodiscard]] const HostQueueOptions& options() const { return options_; }
    [[nodiscard]] Reactor& reactor() { return reactor_; }
    /// Commands that may be with the controller at a time: one less than entries, since a full
    /// submission queue could not be told from an empty one (NVMe Base Specification, Full Queue).
    [[nodiscard]] uint32_t slot_count() const { return options_.entries - 1; }
    /// Commands that hold a slot.
    [[nodiscard]] uint32_t outstanding() const { return outstanding_; }

  private:
    struct Slot {
        HostCommand* command = nullptr;
        uint16_t generation = 0;
    };
    // What becomes of the PDU being received when it is complete.
    enum class Receiving : uint8_t { kNothing, kIcResp, kResponse, kData };

    // `co_await` until live or closed, or until closed.
    class PhaseWait {
      public:
        PhaseWait(HostQueue& queue, bool until_closed)
            : queue_(queue), until_closed_(until_closed) {}
        [[nodiscard]] bool await_ready() const {
            return queue_.phase_ == Phase::kClosed || (!until_closed_ && queue_.is_live());
        }
        void await_suspend(std::coroutine_handle<> awaiter) {
            BASALT_ASSERT(!queue_.awaiter_);
            queue_.awaiter_ = awaiter;
        }
        void await_resume() const {}

      private:
        HostQueue& queue_;
        bool until_closed_;
    };

    // SocketHandler.
    void on_connected() override;
    size_t on_receive(std::span<const std::byte> data) override;
    void on_sent() override;
    void on_closed(Error reason) override;

    // PduHandler.
    PayloadPlan on_header(const PduHeader& header) override;
    void on_pdu_complete(DataDigest digest) override;
    void on_violation(const Violation& violation, std::span<const std::byte> header) override;

    [[nodiscard]] PayloadPlan on_ic_resp(const IcResp& resp);
    [[nodiscard]] PayloadPlan on_response(const Cqe& cqe);
    [[nodiscard]] PayloadPlan on_c2h_data(const PduHeader& header);
    [[nodiscard]] PayloadPlan on_r2t(const R2t& r2t);
    void handshake_done();
    /// `result` is the dword of Connect's response.
    [[nodiscard]] Task<Status> authenticate_new(uint32_t result);
    [[nodiscard]] Task<Status> run_authentication(HostAuthWish wish);
    /// The command that waits for an answer under that identifier, or null.
    [[nodiscard]] HostCommand* find(CommandId cid);
    [[nodiscard]] std::span<const iovec> receive_pieces(HostCommand& command, uint32_t bytes);

    [[nodiscard]] Status open();
    [[nodiscard]] Result<std::unique_ptr<Socket>> open_socket();
    void assign(HostCommand& command);
    void answered(HostCommand& command, const Cqe* cqe);
    [[nodiscard]] static Status outcome(const HostCommand& command, const Cqe* cqe);
    void complete(HostCommand& command);
    void fail_all();
    void flush_later();
    void flush();
    void wake();
    /// Of the admin queue, or Connect and its like on any.
    [[nodiscard]] bool is_administrative(const HostCommand& command) const;
    void watch_age(HostCommand& command);
    void on_age();
    static void on_phase_timer(Timer& timer, void* self);
    static void on_age_timer(Timer& timer, void* self);

    Reactor& reactor_;
    const HostQueueOptions options_;
    Phase phase_ = Phase::kNew;
    Error close_reason_;
    std::unique_ptr<tls::Context> tls_context_;  // With TLS only.
    std::unique_ptr<Socket> socket_;
    PduReceiver receiver_;
    PduFormat format_;
    uint32_t h2c_data_bytes_max_ = 0;
    HostOutput output_;
    OwnedEvent<HostQueue, &HostQueue::flush> flush_event_{*this};
    OwnedEvent<HostQueue, &HostQueue::wake> wake_event_{*this};
    Timer phase_timer_;
    Timer age_timer_;
    std::coroutine_handle<> awaiter_;
    Closed closed_ = nullptr;
    void* closed_context_ = nullptr;

    std::vector<Slot> slots_;
    std::vector<uint16_t> free_slots_;  // A stack, so that few slots stay hot.
    HostCommandList waiting_;           // For a slot.
    IntrusiveList<HostCommand, &HostCommand::age_link> aging_;  // Oldest first.
    uint32_t outstanding_ = 0;
    bool is_connected_ = false;  // connect() has succeeded.
    TlsCredential generated_;

    Receiving receiving_ = Receiving::kNothing;
    HostCommand* receiving_command_ = nullptr;
    bool is_last_data_ = false;  // The C2HData PDU being received stands for the response, too.
    Cqe received_cqe_;
    std::vector<iovec> receive_pieces_;
};

/// `co_await execute(queue, command)`: submits and goes on when the command is complete, from the
/// poll loop's top, so that the queue may be ended and destroyed afterwards. The outcome is in
/// command.status, also when the queue did not accept it.
class [[nodiscard]] execute {  // NOLINT(readability-identifier-naming): reads as a verb.
  public:
    execute(HostQueue& queue, HostCommand& command) : queue_(queue), command_(command) {}

    [[nodiscard]] bool await_ready() const { return false; }
    [[nodiscard]] bool await_suspend(std::coroutine_handle<> awaiter) {
        resume_.awaiter = awaiter;
        resume_.set_run(
            [](Event& event, Reactor&) { static_cast<Resume&>(event).awaiter.resume(); });
        command_.set_done(
            [](HostCommand&, void* self) {
                auto& execution = *static_cast<execute*>(self);
                execution.queue_.reactor().defer(execution.resume_);
            },
            this);
        const Status accepted = queue_.submit(command_);
        if (!accepted) {
            command_.status = accepted;
            return false;
        }
        return true;
    }
    void await_resume() const {}

  private:
    struct Resume : Event {
        std::coroutine_handle<> awaiter;
    };

    HostQueue& queue_;
    HostCommand& command_;
    Resume resume_;
};

}  // namespace basalt::nvmf
