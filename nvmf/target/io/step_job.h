#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"
#include "reactor/buffer_pool.h"

namespace basalt::nvmf {

class PollGroup;
class StepJobs;

/// A command that moves blocks without its host: Copy, Verify, and what a device can't do by
/// itself, Compare and Write Zeroes. It goes in steps of one buffer, which reads and then writes or
/// compares. Between two steps others have their turn, and it may be aborted.
///
/// Owner: StepJobs. Core: the group's. One request at a time, which is in kExecuting.
class StepJob {
  public:
    StepJob(PollGroup& group, StepJobs& owner, Buffer buffer);
    StepJob(const StepJob&) = delete;
    StepJob& operator=(const StepJob&) = delete;

    /// Judges the command once more, does it, and completes it.
    void run(Request& request);

  private:
    [[nodiscard]] NvmeStatus begin();
    [[nodiscard]] NvmeStatus begin_source();
    void next();
    void read();
    void read_done(Status outcome);
    void write();
    void write_done(Status outcome);
    void step_over();
    [[nodiscard]] bool has_to_stop() const;
    [[nodiscard]] bool is_equal() const;
    void submit(bdev::IoOp op, uint64_t first);
    void end(NvmeStatus outcome);

    PollGroup& group_;
    StepJobs& owner_;
    const Buffer buffer_;
    iovec piece_{};
    Request* request_ = nullptr;
    Namespace* source_ = nullptr;       // Both are held open while set.
    Namespace* destination_ = nullptr;  // Of the command; for one that does not write, its source.
    uint32_t source_count_ = 0;         // Ranges of a Copy; else 1.
    uint32_t source_index_ = 0;
    uint64_t first_ = 0;  // Of the source range: what is left of it.
    uint64_t left_blocks_ = 0;
    uint64_t write_first_ = 0;  // Where the next step writes.
    uint64_t done_blocks_ = 0;  // Of the command.
    uint64_t step_blocks_ = 0;
};

/// The step jobs of one reactor and their buffers. Made at start. Owner: PollGroup.
class StepJobs {
  public:
    [[nodiscard]] static size_t region_bytes();
    /// `region` is page aligned and region_bytes() long.
    StepJobs(PollGroup& group, std::span<std::byte> region);

    /// Begins an executing command, or lets it wait in line (Request::waiter).
    void start(Request& request);
    /// What it waited for is there.
    void granted(Request& request, Buffer buffer);

    /// Buffers that stand for jobs.
    [[nodiscard]] BufferPool& pool() { return pool_; }

  private:
    std::byte* const region_;
    BufferPool pool_;
    std::vector<std::unique_ptr<StepJob>> jobs_;
};

}  // namespace basalt::nvmf
