#pragma once

#include <cstdint>
#include <span>

#include <sys/uio.h>

#include "nvmf/wire/sqe.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// A place in a list of pieces, moved on as their bytes are used in order.
struct PiecePosition {
    uint32_t index = 0;
    size_t offset_bytes = 0;
};

/// One command of ours on a HostQueue, from submit() to its completion. Pooled by whoever submits
/// it; it, the pieces and their memory belong to the queue until `done` runs.
///
///   kIdle -> kWaiting -> kQueued -> kInFlight <-> kSendingData
///     ^  \________________^           |    |           |
///     |                               |    +-----> kEnding
///     +-------------------------------+--------------'   (any state: the connection has ended)
///
/// Owner: the user. Core: the queue's.
class HostCommand {
  public:
    /// Each comment names who moves the command out of the state.
    enum class State : uint8_t {
        kIdle,         ///< The user, by submit().
        kWaiting,      ///< Another command's completion, which frees a slot.
        kQueued,       ///< The queue's flush: the capsule is in the send.
        kInFlight,     ///< The controller, with an R2T or a response.
        kSendingData,  ///< The queue's flush: all of an R2T's data is in a send; or a response.
        kEnding,       ///< Socket: the response is here, but a send still reads the memory.
    };

    /// Runs once for each accepted submit(), from the poll loop. May submit the command again, or
    /// destroy it; may close the queue, but not destroy it.
    using Done = void (*)(HostCommand& command, void* context);

    HostCommand() = default;
    HostCommand(const HostCommand&) = delete;
    HostCommand& operator=(const HostCommand&) = delete;

    void set_done(Done done, void* context) {
        done_ = done;
        context_ = context;
    }

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] static constexpr bool is_valid_transition(State from, State to);

    /// The command; the queue writes its command identifier and its data pointer.
    Sqe sqe;
    /// The data's memory, in order, in the direction that the opcode says; from `start` on at least
    /// data_bytes. At most kHostPiecesMax pieces.
    std::span<const iovec> pieces{};
    /// Where in the pieces the data begins; for a part of a longer request.
    PiecePosition start{};
    uint32_t data_bytes = 0;
    /// An Asynchronous Event Request may take for ever.
    bool never_times_out = false;
    /// The controller may answer with less data than there is room for.
    bool may_get_less = false;

    /// The outcome, valid in `done`: success, the controller's status (Error::detail has it),
    /// kDataCorrupt for a wrong data digest, kProtocol for an answer that does not fit the command,
    /// or why the connection ended: then the command may or may not have been executed.
    Status status;
    Cqe cqe;  ///< The controller's completion; all zero where there was none.
    /// How much of the data has moved.
    [[nodiscard]] uint32_t moved_bytes() const { return moved_bytes_; }

    // For the queue.
    ListLink link;       ///< Waiting for a slot, or in the output queue.
    ListLink send_link;  ///< In the send under way, which reads our memory.
    ListLink age_link;   ///< In the list of commands that can time out.

  private:
    friend class HostQueue;
    friend class HostOutput;

    [[nodiscard]] bool is_to_controller() const {
        return data_bytes > 0 && sqe.data_direction() == DataDirection::kHostToController;
    }
    [[nodiscard]] bool is_to_host() const {
        return data_bytes > 0 && sqe.data_direction() == DataDirection::kControllerToHost;
    }
    /// The single writer of the state; asserts that the edge is in the diagram.
    void set_state(State to);
    /// Forgets what an earlier use left.
    void reset();

    Done done_ = nullptr;
    void* context_ = nullptr;
    uint64_t deadline_ns_ = 0;
    uint32_t moved_bytes_ = 0;    // Of the data: sent, or received.
    PiecePosition position_;      // Of moved_bytes_ in the pieces.
    uint32_t r2t_end_bytes_ = 0;  // Where the present R2T's data ends.
    TransferTag r2t_tag_;
    bool is_in_capsule_ = false;
    bool has_digest_error_ = false;
    State state_ = State::kIdle;
};

/// The commands of one stage of the way.
using HostCommandList = IntrusiveList<HostCommand, &HostCommand::link>;

}  // namespace basalt::nvmf
