#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nvmf/target/io/range_fence.h"
#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"
#include "reactor/buffer_pool.h"
#include "reactor/timer_queue.h"

namespace basalt::nvmf {

class FusedPairs;

/// Compare and Write as one operation (NVM Command Set Specification, "Fused Operation"): the write
/// happens if the compare finds what the host expects, and no other command comes between them.
///
/// The two halves are neighbours in their queue. The first waits for the second, each gets its
/// data, then a fence keeps all others out of the range on every core while the device compares and
/// writes. Memory for both halves is taken together when the first one comes, so that a pair never
/// waits for memory with some in its hands.
///
///   kFree -> kHasFirst -> kReceiving -> kFencing -> kComparing -> kWriting -> kDone -> kFree
///                |             +------- (refused) ---------------------------^
///                +----------------- (no partner, refused) -------------------^
///
/// Owner: FusedPairs. Core: the group's. Free when both requests have let go and the fence is idle.
class FusedPair {
  public:
    FusedPair(PollGroup& group, FusedPairs& owner, Buffer buffer);
    FusedPair(const FusedPair&) = delete;
    FusedPair& operator=(const FusedPair&) = delete;
    ~FusedPair() { BASALT_ASSERT(state_ == State::kFree); }

    /// Where the data of a half goes.
    [[nodiscard]] std::byte* memory(Fuse half) const;

    /// A capsule for the pair begins to come in: it belongs to the pair until forget().
    void add(Request& request);
    /// It is there, with the data that it carries.
    void capsule_received(Request& request);
    /// All data that the host was asked for is there.
    void data_received(Request& request);
    /// The queue's next command is not the second half, or does not come, or the first is aborted:
    /// ends the first half with `status`.
    void partner_missing(NvmeStatus status = status::kAbortedMissingFused.with_dnr());
    /// The connection frees a request of the pair.
    void forget(const Request& request);

  private:
    enum class State : uint8_t {
        kFree,
        kHasFirst,   ///< The connection, with the next command; or time.
        kReceiving,  ///< The host, with its data.
        kFencing,    ///< The fence.
        kComparing,  ///< The device.
        kWriting,    ///< The device.
        kDone,       ///< The fence and the requests, by letting go.
    };

    [[nodiscard]] static NvmeStatus judge(Request& request);
    static void complete(Request& request, NvmeStatus status);
    void first_received();
    void second_received();
    [[nodiscard]] NvmeStatus judge_both();
    void receive_data(Request& request);
    void execute();
    void compare();
    void compare_by_reading();
    void compared(Status outcome);
    void written(Status outcome);
    void end(NvmeStatus first, NvmeStatus second);
    void free_if_unused();

    PollGroup& group_;
    FusedPairs& owner_;
    const Buffer buffer_;
    iovec stored_{};  // What was read, where the device can't compare.
    RangeFence fence_;
    Timer partner_timer_;
    Connection* connection_ = nullptr;
    HostShare* host_ = nullptr;  // While it is not free.
    Request* first_ = nullptr;
    Request* second_ = nullptr;
    Namespace* namespace_ = nullptr;  // Held open until the fence is idle again.
    State state_ = State::kFree;
    uint8_t data_awaited_ = 0;  // Halves whose data the host still sends.
    bool is_first_refused_ = false;
    bool is_busy_ = false;  // Inside a function that still needs the pair.
};

/// The fused pairs of one reactor and their memory. Made at start. Owner: PollGroup.
class FusedPairs {
  public:
    /// Of a pair's memory: 32 KiB for each half, 64 KiB for what is read to be compared.
    static constexpr uint32_t kBufferBytes = BufferPool::kBufferBytesMax;

    [[nodiscard]] static size_t region_bytes();
    /// `region` is page aligned and region_bytes() long.
    FusedPairs(PollGroup& group, std::span<std::byte> region);

    /// Buffers that stand for pairs; wait here for one.
    [[nodiscard]] BufferPool& pool() { return pool_; }
    /// The free pair that a buffer of the pool stands for.
    [[nodiscard]] FusedPair& pair_of(Buffer buffer);

  private:
    std::byte* const region_;
    BufferPool pool_;
    std::vector<std::unique_ptr<FusedPair>> pairs_;
};

}  // namespace basalt::nvmf
