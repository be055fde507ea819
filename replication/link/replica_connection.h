#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "replication/link/bridge.h"
#include "replication/link/frame_channel.h"
#include "replication/link/list_pages.h"
#include "replication/link/replica_port.h"

namespace basalt::replication {

class ReplicaServer;

/// The store's end of one connection of a head's core: judges what comes, hands messages to the
/// replicas that they are for, and sends what those answer. A request takes one of the slots that
/// are its credits, from its head to when its answer is gathered to be sent; with it, what it holds
/// is bounded, also while the peer does not read.
///
///   kFree -> kGreeting -> kServing -> kFree; kGreeting -> kFree
///
/// Owner: ReplicaServer. Core: the server's. Allocates when it is made.
class ReplicaConnection final : private FrameHandler, private ReplyPort {
  public:
    explicit ReplicaConnection(ReplicaServer& server);
    ReplicaConnection(const ReplicaConnection&) = delete;
    ReplicaConnection& operator=(const ReplicaConnection&) = delete;
    ~ReplicaConnection() override;

    /// Errors: those of Network::adopt(); the connection is free then.
    [[nodiscard]] Status adopt(AcceptedSocket accepted);
    void close(Error reason) { channel_.close(reason); }
    [[nodiscard]] bool is_greeting() const { return state_ == State::kGreeting; }
    /// Requests that came and whose answers are not gathered yet.
    [[nodiscard]] uint32_t outstanding() const { return outstanding_; }

  private:
    enum class State : uint8_t {
        kFree,      ///< adopt().
        kGreeting,  ///< The peer's hello, or the timer.
        kServing,   ///< FrameChannel, ended.
    };
    struct Request {
        OutFrame answer{};
        ReplicaConnection* connection = nullptr;
        uint64_t volume = 0;
        uint64_t id = 0;  ///< The peer's.
        uint32_t index = 0;
        uint32_t uses = 0;
        uint32_t blocks = 0;
        bool is_used = false;
    };
    /// A replica that this connection has spoken to.
    struct Attached {
        uint64_t volume = 0;
        ReplicaPort* port = nullptr;
        uint64_t name = 0;
    };

    // FrameHandler.
    FramePlace place(const InFrame& frame) override;
    void received(InFrame& frame) override;
    void ended(Error reason) override;
    // ReplyPort.
    void reply(const Reply& reply, BlockRef data) override;
    void replica_gone(const ReplicaPort& replica, uint64_t connection) override;

    [[nodiscard]] FramePlace place_request(const wire::Header& header,
                                           const wire::RequestFields& fields,
                                           PayloadKind payload);
    [[nodiscard]] Errc judge(const wire::Header& header, const wire::RequestFields& fields);
    [[nodiscard]] FramePlace place_data(ReplicaPort& port, uint32_t blocks);
    void greet(const InFrame& frame);
    void trim(const InFrame& frame);
    void request_received(Request& request, InFrame& frame);
    void list_received(Request& request, const Attached& to, const InFrame& frame);
    void take_message(Request& request, const Attached& to, InFrame& frame);
    [[nodiscard]] const Attached* attach(uint64_t volume);
    [[nodiscard]] Request& begin_request(const wire::Header& header,
                                         const wire::RequestFields& fields);
    void answer(Request& request, Errc status, const wire::AnswerFields& fields = {});
    void stop_waiting();
    void fail(Error reason, const char* what);
    static void on_taken(OutFrame& frame, void* context);
    static void granted(void* context, BlockRef buffer);

    ReplicaServer& server_;
    FrameChannel channel_;
    State state_ = State::kFree;
    Timer hello_timer_;
    OutFrame hello_{};
    bdev::Uuid drive_{};
    std::unique_ptr<Request[]> requests_;
    std::vector<uint32_t> free_requests_;
    uint32_t outstanding_ = 0;
    std::vector<Attached> attached_;  ///< By volume.

    // The request that is coming in.
    Request* incoming_ = nullptr;
    Errc refusal_ = Errc::kOk;  ///< What it is answered with, whatever it carries.
    BlockWaiter waiter_{&ReplicaConnection::granted, this};
    ReplicaPort* waits_for_ = nullptr;  ///< Whose buffers waiter_ is in line for.
    BlockRef granted_{};
    std::unique_ptr<std::byte[]> page_in_;
    std::unique_ptr<std::byte[]> page_out_;
    bool is_page_out_used_ = false;  ///< By an answer that is not gathered yet.
};

}  // namespace basalt::replication
