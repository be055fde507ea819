#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <vector>

#include "bdev/core/bdev.h"
#include "bdev/store/block_io.h"
#include "reactor/io/random.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::perf {

/// What one load does: I/Os of one size and kind, each at a place of its own size.
struct BlockLoadOptions {
    bdev::IoOp op = bdev::IoOp::kRead;
    bdev::Fua fua = bdev::Fua::kNo;
    uint32_t io_blocks = 1;  ///< Of 4096 bytes.
    uint32_t queue_depth = 1;
    uint64_t first_block = 0;  ///< The range: a multiple of io_blocks from here on.
    uint64_t block_count = 0;
    bool is_random = true;  ///< If not: in order, round and round.
    bool is_zero = false;   ///< Writes zeroes instead of a pattern.
    uint64_t ios = 0;       ///< Ends after so many; 0: by time.
    uint64_t run_ns = 0;
    uint64_t seed = 1;
};

/// What came of it. Latencies are sorted.
struct BlockLoadResult {
    Status status;  ///< The first error.
    double seconds = 0;
    std::vector<uint32_t> latencies_ns;

    [[nodiscard]] double iops() const { return static_cast<double>(latencies_ns.size()) / seconds; }
    [[nodiscard]] double percentile_us(double percent) const;
    [[nodiscard]] double max_us() const { return percentile_us(100); }
};

/// A closed loop on one channel: queue_depth I/Os are under way at any time. Owner: whoever
/// measures. Core: the channel's.
class BlockLoad {
  public:
    /// `channel` and `reactor` outlive it.
    BlockLoad(Reactor& reactor, bdev::BdevChannel& channel, const BlockLoadOptions& options);
    BlockLoad(const BlockLoad&) = delete;
    BlockLoad& operator=(const BlockLoad&) = delete;

    /// Ends when the last I/O is over.
    [[nodiscard]] Task<BlockLoadResult> run();

    /// Begins no more I/O.
    void stop() { is_stopping_ = true; }

  private:
    struct Job {
        bdev::WholeIoRequest request;
        iovec piece{};
        BlockLoad* owner = nullptr;
        uint64_t start_ns = 0;
    };
    class Over {
      public:
        explicit Over(BlockLoad& load) : load_(load) {}
        [[nodiscard]] bool await_ready() const { return load_.under_way_ == 0; }
        void await_suspend(std::coroutine_handle<> awaiter) { load_.awaiter_ = awaiter; }
        void await_resume() const {}

      private:
        BlockLoad& load_;
    };

    static void on_complete(bdev::IoRequest& request, void* context);
    void begin(Job& job);
    [[nodiscard]] bool goes_on() const;
    [[nodiscard]] uint64_t next_block();

    Reactor& reactor_;
    bdev::BdevChannel& channel_;
    const BlockLoadOptions options_;
    Random random_;
    bdev::store::BlockMemory memory_;
    std::unique_ptr<Job[]> jobs_;
    BlockLoadResult result_;
    uint64_t begun_ = 0;
    uint64_t cursor_ = 0;
    uint64_t end_ns_ = 0;
    uint32_t under_way_ = 0;
    bool is_stopping_ = false;
    std::coroutine_handle<> awaiter_;
};

}  // namespace basalt::perf
