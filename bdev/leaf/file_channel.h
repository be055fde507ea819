#pragma once

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
        uint64_t done_bytes = 0;    // Of a range.
        bool is_last_step = false;  // The flush that makes zeroes durable.
        Operation* next_free = nullptr;
    };

    void start(Operation& operation, IoRequest& request);
    void transfer(Operation& operation);
    void bounced(Operation& operation);
    void zero_step(Operation& operation);
    void flush(Operation& operation);
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
};

}  // namespace basalt::bdev
