#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>

#include <sys/uio.h>

#include "bdev/core/io_request.h"
#include "nvmf/target/queue_memory.h"
#include "nvmf/wire/sqe.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/buffer_pool.h"
#include "reactor/fair_lines.h"
#include "reactor/io/network.h"

namespace basalt::nvmf {

class Connection;
class FusedPair;
class Namespace;
class RequestPool;
class StepJob;

/// Where a request comes from: a pool, and whose account there; or a connection's own.
struct RequestSource {
    RequestPool* pool = nullptr;
    FairLine* account = nullptr;
};

/// One host command on one connection, from its capsule to the last byte of its response.
///
///   kFree -> kReceiving -> kNeedsBuffer -> kAwaitingData -> kExecuting -> kResponding -> kFree
///                |              |  (read)                        ^ ^            ^
///                |              +--------------------------------+ |            |
///                +-- (no data, or all of it in the capsule) -------+            |
///                +-- (refused at once) -----------------------------------------+
///
/// kNeedsBuffer and kAwaitingData may go to kResponding: aborted, or the data was broken. A host
/// with limits may have to wait in kThrottled behind kReceiving for what it may do next.
/// A half of a fused pair waits in kAwaitingPartner for what the other half lacks, before and after
/// its own data comes: see FusedPair. Any state but kExecuting may go to kFree when the connection
/// has closed. Owner: a RequestStore. Core: the store's, for the whole life.
class Request {
  public:
    /// Each comment names who moves the request out of the state.
    enum class State : uint8_t {
        kFree,             ///< Connection, on a command capsule.
        kReceiving,        ///< PduReceiver, when the capsule's last byte is there.
        kThrottled,        ///< The host's lane, when it has tokens.
        kNeedsBuffer,      ///< BufferPool, when a buffer is free.
        kAwaitingData,     ///< PduReceiver, on the last byte of H2CData.
        kAwaitingPartner,  ///< FusedPair, when both halves are as far; or in place of the second.
        kExecuting,        ///< The device, or the controller.
        kResponding,       ///< Socket, when the response is sent.
    };
    static constexpr uint32_t kStateCount = 8;

    /// `deep`, for the completions of deep stacks of devices, outlives it.
    Request(uint16_t transfer_tag, bdev::DeepCompletions& deep);
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    /// Makes it the request for the command that has just come in.
    void reset(const Sqe& command);

    [[nodiscard]] State state() const { return state_; }
    /// The single writer of the state; asserts that the edge is in the diagram.
    void set_state(State to) {
        BASALT_ASSERT(is_valid_transition(state_, to));
        state_ = to;
    }
    [[nodiscard]] static constexpr bool is_valid_transition(State from, State to);

    /// Whether memory of ours lives as long as the request: the payload must outlive the send.
    [[nodiscard]] bool holds_memory() const { return buffer.is_valid() || kept.has_value(); }

    /// The payload: data_bytes of memory. There is a buffer, or the device supplied memory.
    [[nodiscard]] std::span<std::byte> payload() const {
        return {static_cast<std::byte*>(piece.iov_base), data_bytes};
    }

    /// Whose command it is, while it is in use.
    [[nodiscard]] Connection& connection() const { return *owner; }

    const uint16_t tag;  ///< Of its R2T; no other request of its core has the same.
    Connection* owner = nullptr;
    RequestSource source_of_request;  ///< Where it goes back to.
    ListLink owner_link;              ///< Among those that its connection has in use.

    Sqe sqe;
    Cqe cqe;
    NvmeStatus early_status;      ///< What was wrong with the capsule; success: nothing.
    uint32_t data_bytes = 0;      ///< The command's data, either way.
    uint32_t received_bytes = 0;  ///< Of data to us.
    bool is_data_in_capsule = false;
    bool is_data_for_host = false;    ///< The response carries payload: `piece`.
    bool may_elide_response = false;  ///< The SUCCESS flag stands for the response capsule.
    bool has_digest_error = false;
    bool is_abort_wanted = false;     ///< To be ended when the host has sent all of it.
    bool is_paid = false;             ///< Its host has spent tokens for it.
    bool completes_later = false;     ///< Admin: a function of a table has sent it on a journey.
    bool is_buffer_of_share = false;  ///< Counts in what the connection may hold.
    uint64_t asked_ns = 0;            ///< When data last came, or was asked for.
    /// Subsystem::namespaces_version when it was judged; on an admin queue Controller::resets()
    /// when it came.
    uint32_t checked_version = 0;
    uint32_t scratch = 0;  ///< The command's own: a range index, a namespace index.

    Buffer buffer;
    BufferSource source;             ///< Where the buffer comes from.
    std::optional<KeptMemory> kept;  ///< Instead of a buffer: the data lies where it was received.
    BufferWaiter waiter;
    iovec destination{};  ///< Where the receiver puts what is coming, inside buffer.
    iovec piece{};        ///< The payload's memory: inside buffer, or the device's own.
    Namespace* target_namespace = nullptr;  ///< Holds a use of it while executing.
    uint8_t gate_epoch = 0;                 ///< Of that use, if it went through the gate.
    FusedPair* fused = nullptr;             ///< The pair that it is half of.
    bdev::IoRequest io;
    StepJob* job = nullptr;  ///< While it is at work for the command.
    /// Goes on with a command that waited at a fence.
    void (*resume)(Request& request) = nullptr;

    ListLink link;  ///< In its connection's line for buffers, output queue, or event requests.

  private:
    State state_ = State::kFree;
};

namespace detail {

/// By state, the states that a request may go to from it, as bits.
inline constexpr std::array<uint8_t, Request::kStateCount> kRequestEdges = [] {
    using State = Request::State;
    const auto bit = [](State state) {
        return static_cast<uint8_t>(1U << static_cast<uint8_t>(state));
    };
    std::array<uint8_t, Request::kStateCount> edges{};
    const auto allow = [&](State from, std::initializer_list<State> to) {
        for (const State state : to) {
            edges[static_cast<uint8_t>(from)] |= bit(state);
        }
    };
    allow(State::kFree, {State::kReceiving});
    allow(State::kReceiving,
          {State::kNeedsBuffer,
           State::kExecuting,
           State::kResponding,
           State::kFree,
           State::kAwaitingData,
           State::kAwaitingPartner,
           State::kThrottled});
    allow(State::kThrottled,
          {State::kNeedsBuffer, State::kExecuting, State::kResponding, State::kFree});
    allow(State::kNeedsBuffer,
          {State::kThrottled,
           State::kAwaitingData,
           State::kExecuting,
           State::kResponding,
           State::kFree});
    allow(State::kAwaitingData,
          {State::kExecuting, State::kResponding, State::kFree, State::kAwaitingPartner});
    allow(State::kAwaitingPartner,
          {State::kAwaitingData, State::kExecuting, State::kResponding, State::kFree});
    allow(State::kExecuting, {State::kResponding, State::kFree});
    allow(State::kResponding, {State::kFree});
    return edges;
}();

}  // namespace detail

constexpr bool Request::is_valid_transition(State from, State to) {
    const uint32_t edges = detail::kRequestEdges[static_cast<uint8_t>(from)];
    return ((edges >> static_cast<uint8_t>(to)) & 1U) != 0;
}

using RequestList = IntrusiveList<Request, &Request::link>;

}  // namespace basalt::nvmf
