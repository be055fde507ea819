#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include <sys/uio.h>

#include "bdev/core/bdev.h"
#include "bdev/leaf/bounce_memory.h"
#include "reactor/buffer_pool.h"
#include "reactor/io/storage.h"

namespace basalt::bdev {

/// What the channels of one file share. Lives in the FileBdev.
struct FileShared {
    FileHandle handle;
    uint32_t block_bytes = 0;
    uint32_t alignment_bytes = 0;
    bool can_punch = false;
    std::atomic<bool>* has_lost_writes = nullptr;
};

/// A file on one core. A request takes an operation (a slot with a FileRequest) and waits in line
/// when all are taken; long ranges go in steps, each with the same slot; what needs a bounce buffer
/// waits for one with its slot in hand.
///
///   submit -> [line for a slot] -> start -> [line for a buffer] -> issue -> step_done -+-> finish
///                                                                    ^-----------------+
///
/// A durable write that is alone, or one of two, is durable by itself (RWF_DSYNC), for which most
/// drives flush all of their cache. More than two share flushes: the first that is written waits
/// for what else is on its way just then, and one flush makes all of it durable. What comes during
/// a flush waits for the next one.
///
/// Owner: whoever opened it. Core: the one it was opened on.
class FileChannel final : public BdevChannel {
  public:
    FileChannel(Reactor& here, const FileShared& shared, std::unique_ptr<BounceMemory> bounce);
    FileChannel(const FileChannel&) = delete;
    FileChannel& operator=(const FileChannel&) = delete;
    ~FileChannel() override;

    void submit(IoRequest& request) override;

  private:
    struct Operation : FileRequest {
        Operation();

        FileChannel* channel = nullptr;
        IoRequest* request = nullptr;
        BufferWaiter waiter;
        Buffer buffer{};
        iovec piece{};
        uint64_t done_bytes = 0;  // Of a range.
        bool is_durable = false;  // Is to be, before it completes.
        bool is_unsaved = false;  // Not by itself: counts in unsaved_[round].
        uint8_t round = 0;
        Operation* next = nullptr;  // Of the free ones, or of those that wait for a flush.
    };

    /// The one flush that is under way.
    struct Flush : FileRequest {
        FileChannel* channel = nullptr;
        bool is_under_way = false;
        Operation* served = nullptr;  // Who is to be durable by it.
    };

    void start(Operation& operation, IoRequest& request);
    void transfer(Operation& operation);
    void bounced(Operation& operation);
    void zero_step(Operation& operation);
    [[nodiscard]] static FileRequest::Op write_op(const Operation& operation);
    void make_durable(Operation& operation);
    void leave_round(Operation& operation);
    void start_flush();
    void flushed();
    void issue(Operation& operation, FileRequest::Op op);
    void step_done(Operation& operation);
    [[nodiscard]] Status take_out(const Operation& operation) const;
    void finish(Operation& operation, Status outcome);
    [[nodiscard]] bool needs_bounce(const IoRequest& request) const;

    Reactor& here_;
    const FileShared& shared_;
    const FileHandle file_;  // Registered with this core's storage.
    std::unique_ptr<BounceMemory> bounce_;
    std::unique_ptr<Operation[]> operations_;
    Operation* free_ = nullptr;
    HeldRequests line_;
    bool writes_zeroes_ = false;  // The file system can't zero a range by itself.
    uint32_t durable_ = 0;        // Operations that are to be.
    Flush flush_;
    Operation* unflushed_ = nullptr;  // Written, and not served by the flush that is under way.
    // Being written, to be durable: of the open round, and of the one that is closed because
    // somebody waits for it.
    std::array<uint32_t, 2> unsaved_{};
    uint8_t open_round_ = 0;
    bool is_round_closed_ = false;
};

}  // namespace basalt::bdev
