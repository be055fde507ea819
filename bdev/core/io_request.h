#pragma once

#include <array>
#include <cstdint>

#include <sys/uio.h>

#include "bdev/limits.h"
#include "reactor/base/assert.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/base/result.h"
#include "reactor/base/strong_int.h"
#include "reactor/msg/event.h"

namespace basalt::qos {
class Lane;
}  // namespace basalt::qos

namespace basalt::bdev {

/// Forced unit access: the write is durable when it completes.
enum class Fua : bool { kNo, kYes };

/// The device operations. Which of them a device offers is in BdevInfo.
enum class IoOp : uint8_t {
    kRead,
    kWrite,
    kWriteZeroes,
    kUnmap,
    kFlush,
    kCompare,
};
inline constexpr uint32_t kIoOpCount = static_cast<uint32_t>(IoOp::kCompare) + 1;

class IoRequest;

/// The event of a request's leaf: an Event that knows its request. Part of the request.
class LeafEvent : public Event {
  public:
    explicit LeafEvent(IoRequest& request) : request_(request) {}

    /// The request of `event`, which is a request's leaf_event.
    [[nodiscard]] static IoRequest& request_of(Event& event) {
        return static_cast<LeafEvent&>(event).request_;
    }

  private:
    IoRequest& request_;
};

/// A completion that a request is to run. Part of the request; uninitialised until it is pushed.
struct CompletionFrame {
    void (*complete)(IoRequest& request, void* context);
    void* context;
    uint64_t word;
};

/// Room for a request's completions beyond kCompletionsInline. Untouched memory until a deep stack
/// of layers needs it.
using DeepCompletions = std::array<CompletionFrame, kCompletionsMax - kCompletionsInline>;

/// One request to a block device, pooled by whoever makes it (a queue pair, a test).
///
/// Life: the maker fills in the operation, its range, memory and completion, and calls
/// BdevChannel::submit(). From then until the completion runs the request and the memory belong to
/// the device. A layer passes the same request on to the device below: it pushes a frame that is
/// run on the way back, and may change the range, but must change it back. The leaf calls
/// complete(), which runs the frames from the lowest layer to the maker. complete() is only called
/// from the poll loop (an I/O completion or Reactor::defer), never inside submit(), so that nothing
/// re-enters.
///
/// Core: the one whose channel it was submitted to, for the whole life.
class IoRequest {
  public:
    /// Called on completion; request.status is set. May complete or submit again.
    using Complete = void (*)(IoRequest& request, void* context);

    /// `deep` outlives the request.
    explicit IoRequest(DeepCompletions& deep) : deep_(deep) {}  // NOLINT(*-member-init): frames_
    IoRequest(const IoRequest&) = delete;
    IoRequest& operator=(const IoRequest&) = delete;

    IoOp op = IoOp::kRead;
    Fua fua = Fua::kNo;
    /// kUnmap and kWriteZeroes: the range should not stay allocated (NVMe DEAC). A hint.
    bool may_deallocate = true;
    /// kRead only: the maker gave no memory; the device points `pieces` at memory of its own that
    /// never changes and lives as long as the channel (BdevInfo::supplies_read_memory).
    bool wants_device_memory = false;

    Lba first;
    BlockCount count;  ///< At least 1, except for kFlush.

    /// The memory of read, write and compare, in order; together count x block size bytes, each
    /// piece a multiple of the block size.
    const iovec* pieces = nullptr;
    uint32_t piece_count = 0;

    Status status;  ///< The outcome, valid in completions.

    /// For the leaf alone while it owns the request: a deferred completion, a queue, a timer's
    /// owner.
    LeafEvent leaf_event{*this};
    void* leaf_context = nullptr;
    uint64_t leaf_word = 0;
    /// For whoever holds the request back for now: a leaf short of something, a layer that delays.
    ListLink hold_link;
    uint64_t hold_word = 0;
    /// In which it waits for the rate that its device or host may have; null: in none. Whoever made
    /// the request may take it out (Lane::forget) and complete it, kCancelled.
    qos::Lane* lane = nullptr;

    /// Adds a completion on top. At most kCompletionsMax are pending.
    void push_completion(Complete function, void* context, uint64_t word = 0) {
        frame(depth_) = CompletionFrame{function, context, word};
        ++depth_;
    }

    /// The word that the frame being completed was pushed with.
    [[nodiscard]] uint64_t completion_word() { return frame(depth_).word; }

    /// Takes the top completion off and runs it.
    void complete(Status outcome) {
        BASALT_ASSERT(depth_ > 0);
        status = outcome;
        --depth_;
        // A copy: the completion may reuse or free the request.
        const CompletionFrame top = frame(depth_);
        top.complete(*this, top.context);
    }

    [[nodiscard]] uint32_t pending_completions() const { return depth_; }

  private:
    [[nodiscard]] CompletionFrame& frame(uint32_t index) {
        if (index < kCompletionsInline) [[likely]] {
            return frames_[index];
        }
        BASALT_ASSERT(index < kCompletionsMax);
        return deep_[index - kCompletionsInline];
    }

    uint32_t depth_ = 0;
    std::array<CompletionFrame, kCompletionsInline> frames_;
    DeepCompletions& deep_;
};
/// A base of WholeIoRequest, so that it is there before the IoRequest that refers to it.
struct RoomForCompletions {
    DeepCompletions deep;
};

/// A request with all of its room in one place, for makers that have few.
class WholeIoRequest : private RoomForCompletions, public IoRequest {
  public:
    WholeIoRequest() : IoRequest(deep) {}  // NOLINT(*-member-init): as above
};

/// Requests that somebody holds back, in order.
using HeldRequests = IntrusiveList<IoRequest, &IoRequest::hold_link>;

}  // namespace basalt::bdev
