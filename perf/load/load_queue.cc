#include "perf/load/load_queue.h"

#include <algorithm>
#include <utility>

#include "nvmf/wire/command_build.h"

namespace basalt::perf {

void DirectionCounters::add(const DirectionCounters& other) {
    ios += other.ios;
    latency_sum_ns += other.latency_sum_ns;
    latency_max_ns = std::max(latency_max_ns, other.latency_max_ns);
    histogram.add(other.histogram);
}

void LoadCounters::add(const LoadCounters& other) {
    reads.add(other.reads);
    writes.add(other.writes);
    if (errors == 0) {
        first_error = other.first_error;
    }
    errors += other.errors;
    blocks_checked += other.blocks_checked;
    if (blocks_wrong == 0) {
        first_wrong = other.first_wrong;
        first_expected = other.first_expected;
        first_found = other.first_found;
    }
    blocks_wrong += other.blocks_wrong;
}

LoadQueue::LoadQueue(Reactor& reactor,
                     const nvmf::HostQueueOptions& queue,
                     const LoadOptions& options,
                     std::span<std::byte> buffers,
                     LoadCounters& counters)
    : reactor_(reactor),
      options_(options),
      blocks_per_io_(options.io_bytes / options.block_bytes),
      counters_(counters),
      workload_(options.workload),
      job_count_(options.workload.queue_depth),
      jobs_(std::make_unique<Job[]>(job_count_)),
      queue_(reactor, queue) {
    BASALT_ASSERT(options.io_bytes % options.block_bytes == 0);
    BASALT_ASSERT(buffers.size() >= size_t{job_count_} * options.io_bytes);
    Random random(options.workload.seed);
    for (uint32_t i = 0; i < job_count_; ++i) {
        Job& job = jobs_[i];
        job.owner = this;
        job.buffer = buffers.subspan(size_t{i} * options.io_bytes, options.io_bytes);
        std::generate(job.buffer.begin(), job.buffer.end(), [&] {
            return static_cast<std::byte>(random.next());
        });
        job.piece = iovec{job.buffer.data(), job.buffer.size()};
        job.pieces = {&job.piece, 1};
        job.data_bytes = options.io_bytes;
        job.set_done(&LoadQueue::on_done, &job);
        idle_.push_back(job);
    }
    idle_count_ = job_count_;
}

LoadQueue::~LoadQueue() {
    BASALT_ASSERT(idle_count_ == job_count_);
    idle_.clear();
}

Task<Status> LoadQueue::connect() {
    const Result<nvmf::ControllerId> connected = co_await queue_.connect();
    co_return connected ? kOk : Status(connected.error());
}

Task<void> LoadQueue::close() {
    co_await queue_.end();
}

Task<void> LoadQueue::run(LoadPhase phase, uint64_t measure_from_ns, uint64_t end_ns) {
    workload_.begin(phase);
    measure_from_ns_ = measure_from_ns;
    end_ns_ = end_ns;
    is_stopping_ = false;
    refill(reactor_.clock().now_ns());
    co_await Quiet(*this);
}

void LoadQueue::wake() {
    const std::coroutine_handle<> awaiter = std::exchange(awaiter_, nullptr);
    if (awaiter) {
        awaiter.resume();
    }
}

// --- One I/O ---------------------------------------------------------------------------------

Lba LoadQueue::first_block(const Job& job) const {
    return options_.first + BlockCount(job.io.unit * blocks_per_io_);
}

void LoadQueue::refill(uint64_t now_ns) {
    if (now_ns >= end_ns_) {
        is_stopping_ = true;
    }
    while (!is_stopping_) {
        Job* job = idle_.front();
        if (job == nullptr || !begin(*job, now_ns)) {
            break;
        }
        idle_.pop_front();
        --idle_count_;
    }
    if (idle_count_ == job_count_ && awaiter_ && !wake_event_.is_waiting()) {
        reactor_.defer(wake_event_);
    }
}

/// False if there is nothing to do for the job now.
bool LoadQueue::begin(Job& job, uint64_t now_ns) {
    const std::optional<UnitIo> io = workload_.next();
    if (!io) {
        return false;
    }
    job.io = *io;
    job.start_ns = now_ns;
    const uint8_t opcode = io->is_write ? nvme_cmd_write : nvme_cmd_read;
    job.sqe = nvmf::make_command(opcode, nvmf::CommandId(0), options_.nsid);
    nvmf::set_range(job.sqe, first_block(job), BlockCount(blocks_per_io_));
    if (options_.workload.verifies) {
        stamp(job);
    }
    const Status accepted = queue_.submit(job);
    if (!accepted) {
        workload_.finished(job.io, false);
        count_error(accepted.error());
        is_stopping_ = true;
        return false;
    }
    return true;
}

/// Prepares the buffer: a write's pattern, or nothing that could pass for what a read must bring.
void LoadQueue::stamp(Job& job) {
    BlockStamp stamp{
        .lba = first_block(job), .generation = job.io.generation, .seed = options_.run_seed};
    for (uint32_t i = 0; i < blocks_per_io_; ++i) {
        const auto block =
            job.buffer.subspan(size_t{i} * options_.block_bytes, options_.block_bytes);
        if (job.io.is_write) {
            write_pattern(block, stamp);
        } else {
            spoil_pattern(block);
        }
        stamp.lba = stamp.lba + BlockCount(1);
    }
}

void LoadQueue::check(const Job& job) {
    BlockStamp expected{
        .lba = first_block(job), .generation = job.io.generation, .seed = options_.run_seed};
    for (uint32_t i = 0; i < blocks_per_io_; ++i) {
        const auto block =
            job.buffer.subspan(size_t{i} * options_.block_bytes, options_.block_bytes);
        BlockStamp found;
        const BlockVerdict verdict = check_pattern(block, expected, found);
        ++counters_.blocks_checked;
        if (verdict != BlockVerdict::kRight) {
            if (counters_.blocks_wrong == 0) {
                counters_.first_wrong = verdict;
                counters_.first_expected = expected;
                counters_.first_found = found;
            }
            ++counters_.blocks_wrong;
        }
        expected.lba = expected.lba + BlockCount(1);
    }
}

void LoadQueue::on_done(nvmf::HostCommand& /*command*/, void* context) {
    auto& job = *static_cast<Job*>(context);
    job.owner->done(job);
}

void LoadQueue::done(Job& job) {
    const uint64_t now_ns = reactor_.clock().now_ns();
    const bool succeeded = job.status.has_value();
    workload_.finished(job.io, succeeded);
    if (succeeded) {
        ++completed_;
        count(job, now_ns);
        if (options_.workload.verifies && !job.io.is_write && job.io.generation != 0) {
            check(job);
        }
    } else {
        count_error(job.status.error());
        if (!queue_.is_live()) {
            is_stopping_ = true;
        }
    }
    idle_.push_front(job);
    ++idle_count_;
    refill(now_ns);
}

void LoadQueue::count(const Job& job, uint64_t now_ns) {
    if (now_ns < measure_from_ns_ || now_ns > end_ns_) {
        return;
    }
    DirectionCounters& counters = job.io.is_write ? counters_.writes : counters_.reads;
    const uint64_t latency_ns = now_ns - job.start_ns;
    ++counters.ios;
    counters.latency_sum_ns += latency_ns;
    counters.latency_max_ns = std::max(counters.latency_max_ns, latency_ns);
    counters.histogram.record(latency_ns);
}

void LoadQueue::count_error(Error error) {
    if (counters_.errors == 0) {
        counters_.first_error = error;
    }
    ++counters_.errors;
}

}  // namespace basalt::perf
