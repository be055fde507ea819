#include "perf/store/block_load.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace basalt::perf {

namespace {

constexpr uint32_t kBlockBytes = 4096;
constexpr size_t kLatenciesReserved = size_t{4} << 20U;

}  // namespace

double BlockLoadResult::percentile_us(double percent) const {
    if (latencies_ns.empty()) {
        return 0;
    }
    const auto last = static_cast<double>(latencies_ns.size() - 1);
    return latencies_ns[static_cast<size_t>(last * percent / 100)] / 1e3;
}

BlockLoad::BlockLoad(Reactor& reactor, bdev::BdevChannel& channel, const BlockLoadOptions& options)
    : reactor_(reactor),
      channel_(channel),
      options_(options),
      random_(options.seed),
      memory_(options.io_blocks * options.queue_depth),
      jobs_(std::make_unique<Job[]>(options.queue_depth)) {
    BASALT_ASSERT(options.block_count >= options.io_blocks);
    result_.latencies_ns.reserve(options.ios > 0 ? options.ios : kLatenciesReserved);
    const std::span<std::byte> all = memory_.all();
    for (size_t i = 0; !options.is_zero && i < all.size(); i += sizeof(uint64_t)) {
        const uint64_t word = random_.next();
        std::memcpy(&all[i], &word, sizeof(word));
    }
    for (uint32_t i = 0; i < options.queue_depth; ++i) {
        Job& job = jobs_[i];
        job.owner = this;
        const size_t bytes = size_t{options.io_blocks} * kBlockBytes;
        job.piece = {&all[i * bytes], bytes};
        job.request.pieces = &job.piece;
        job.request.piece_count = 1;
    }
}

bool BlockLoad::goes_on() const {
    if (is_stopping_ || !result_.status) {
        return false;
    }
    return options_.ios > 0 ? begun_ < options_.ios : reactor_.now_ns() < end_ns_;
}

uint64_t BlockLoad::next_block() {
    const uint64_t places = options_.block_count / options_.io_blocks;
    const uint64_t place = options_.is_random ? random_.below(places) : cursor_++ % places;
    return options_.first_block + place * options_.io_blocks;
}

void BlockLoad::begin(Job& job) {
    ++begun_;
    ++under_way_;
    job.request.op = options_.op;
    job.request.fua = options_.fua;
    job.request.first = Lba(next_block());
    job.request.count = BlockCount(options_.io_blocks);
    job.request.push_completion(&BlockLoad::on_complete, &job);
    job.start_ns = reactor_.clock().now_ns();
    channel_.submit(job.request);
}

void BlockLoad::on_complete(bdev::IoRequest& request, void* context) {
    Job& job = *static_cast<Job*>(context);
    BlockLoad& load = *job.owner;
    const uint64_t elapsed_ns = load.reactor_.clock().now_ns() - job.start_ns;
    load.result_.latencies_ns.push_back(
        static_cast<uint32_t>(std::min<uint64_t>(elapsed_ns, UINT32_MAX)));
    if (!request.status && load.result_.status) {
        load.result_.status = request.status;
    }
    --load.under_way_;
    if (load.goes_on()) {
        load.begin(job);
    } else if (load.under_way_ == 0 && load.awaiter_) {
        std::exchange(load.awaiter_, nullptr).resume();
    }
}

Task<BlockLoadResult> BlockLoad::run() {
    const uint64_t start_ns = reactor_.clock().now_ns();
    end_ns_ = start_ns + options_.run_ns;
    for (uint32_t i = 0; i < options_.queue_depth && goes_on(); ++i) {
        begin(jobs_[i]);
    }
    co_await Over(*this);
    result_.seconds = static_cast<double>(reactor_.clock().now_ns() - start_ns) / 1e9;
    std::sort(result_.latencies_ns.begin(), result_.latencies_ns.end());
    co_return std::move(result_);
}

}  // namespace basalt::perf
