#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "bdev/core/latency_histogram.h"
#include "nvmf/initiator/host_queue.h"
#include "perf/load/block_pattern.h"
#include "perf/load/workload.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::perf {

/// One direction's results. Bytes and I/Os of the measured time only.
struct DirectionCounters {
    uint64_t ios = 0;
    uint64_t latency_sum_ns = 0;
    uint64_t latency_max_ns = 0;
    bdev::LatencyHistogram histogram;

    void add(const DirectionCounters& other);
};

/// What all queues of one core have counted. Touched on that core while they run.
struct LoadCounters {
    DirectionCounters reads;
    DirectionCounters writes;
    uint64_t errors = 0;
    Error first_error;
    uint64_t blocks_checked = 0;
    uint64_t blocks_wrong = 0;
    BlockVerdict first_wrong = BlockVerdict::kRight;
    BlockStamp first_expected;
    BlockStamp first_found;

    void add(const LoadCounters& other);
};

/// What one queue does. `workload.queue_depth` I/Os are under way at a time.
struct LoadOptions {
    WorkloadOptions workload;
    nvmf::Nsid nsid;
    uint32_t block_bytes = 0;
    uint32_t io_bytes = 0;  ///< A multiple of block_bytes.
    Lba first;              ///< Where unit 0 begins.
    uint64_t run_seed = 0;  ///< Stamped on the blocks; the same for all queues of a run.
};

/// Loads one queue pair, and checks what it reads.
///
/// Life: connect(), run() for each phase, close(). Owner: the session's part on a core. Core: that
/// core's.
class LoadQueue {
  public:
    /// `buffers` is workload.queue_depth x io_bytes of memory; it, `reactor` and `counters` outlive
    /// the queue.
    LoadQueue(Reactor& reactor,
              const nvmf::HostQueueOptions& queue,
              const LoadOptions& options,
              std::span<std::byte> buffers,
              LoadCounters& counters);
    LoadQueue(const LoadQueue&) = delete;
    LoadQueue& operator=(const LoadQueue&) = delete;
    ~LoadQueue();

    /// Errors: those of HostQueue::connect().
    [[nodiscard]] Task<Status> connect();

    /// Runs a phase to its end; kTimed until stop(), or `end_ns` on the reactor's clock. Only I/Os
    /// that complete from `measure_from_ns` to `end_ns` are counted. Ends early when the connection
    /// is lost.
    [[nodiscard]] Task<void> run(LoadPhase phase, uint64_t measure_from_ns, uint64_t end_ns);

    /// Begins no more I/O in this phase.
    void stop() { is_stopping_ = true; }

    [[nodiscard]] Task<void> close();

    /// I/Os that succeeded, in all phases.
    [[nodiscard]] uint64_t completed() const { return completed_; }

  private:
    struct Job : nvmf::HostCommand {
        ListLink idle_link;
        LoadQueue* owner = nullptr;
        std::span<std::byte> buffer;
        iovec piece{};
        UnitIo io;
        uint64_t start_ns = 0;
    };
    // `co_await` until all jobs are idle and none begins.
    class Quiet {
      public:
        explicit Quiet(LoadQueue& queue) : queue_(queue) {}
        [[nodiscard]] bool await_ready() const { return queue_.idle_count_ == queue_.job_count_; }
        void await_suspend(std::coroutine_handle<> awaiter) { queue_.awaiter_ = awaiter; }
        void await_resume() const {}

      private:
        LoadQueue& queue_;
    };

    static void on_done(nvmf::HostCommand& command, void* context);
    void done(Job& job);
    /// Begins I/Os while there are idle jobs and something to do.
    void refill(uint64_t now_ns);
    [[nodiscard]] bool begin(Job& job, uint64_t now_ns);
    void count(const Job& job, uint64_t now_ns);
    void count_error(Error error);
    void stamp(Job& job);
    void check(const Job& job);
    [[nodiscard]] Lba first_block(const Job& job) const;
    void wake();

    Reactor& reactor_;
    const LoadOptions options_;
    const uint32_t blocks_per_io_;
    LoadCounters& counters_;
    Workload workload_;
    const uint32_t job_count_;
    std::unique_ptr<Job[]> jobs_;
    IntrusiveList<Job, &Job::idle_link> idle_;
    uint32_t idle_count_ = 0;
    // After the jobs: it lets go of them before they are destroyed.
    nvmf::HostQueue queue_;
    uint64_t completed_ = 0;
    uint64_t measure_from_ns_ = 0;
    uint64_t end_ns_ = 0;
    bool is_stopping_ = false;
    std::coroutine_handle<> awaiter_;
    OwnedEvent<LoadQueue, &LoadQueue::wake> wake_event_{*this};
};

}  // namespace basalt::perf
