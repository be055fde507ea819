#include "perf/store/plain_uring.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include "reactor/base/assert.h"
#include "reactor/io/random.h"

namespace basalt::perf {

namespace {

constexpr uint32_t kIoBytes = 4096;

uint64_t now_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::nanoseconds(now).count());
}

struct FreeMemory {
    void operator()(std::byte* memory) const { std::free(memory); }
};

class PlainLoop {
  public:
    explicit PlainLoop(const PlainUringOptions& options)
        : options_(options),
          random_(options.seed),
          starts_(options.queue_depth),
          memory_(static_cast<std::byte*>(
              std::aligned_alloc(kIoBytes, size_t{kIoBytes} * options.queue_depth))) {
        std::memset(memory_.get(), 0x5a, size_t{kIoBytes} * options.queue_depth);
    }
    PlainLoop(const PlainLoop&) = delete;
    PlainLoop& operator=(const PlainLoop&) = delete;
    ~PlainLoop() {
        if (is_ready_) {
            io_uring_queue_exit(&ring_);
        }
        if (fd_ >= 0) {
            close(fd_);
        }
    }

    Status open() {
        fd_ = ::open(options_.path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd_ < 0) {
            return Error(Errc::kIo, 0, errno);
        }
        const int made = io_uring_queue_init(
            options_.queue_depth, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
        is_ready_ = made == 0;
        return is_ready_ ? kOk : Status(Error(Errc::kIo, 0, -made));
    }

    Status run(PlainUringResult& result) {
        const uint64_t start = now_ns();
        const uint64_t end = start + options_.run_ns;
        uint32_t under_way = 0;
        for (; under_way < options_.queue_depth; ++under_way) {
            begin(under_way);
        }
        while (under_way > 0) {
            io_uring_submit_and_wait(&ring_, 1);
            io_uring_cqe* completion = nullptr;
            while (io_uring_peek_cqe(&ring_, &completion) == 0) {
                const auto slot = static_cast<uint32_t>(io_uring_cqe_get_data64(completion));
                const int outcome = completion->res;
                io_uring_cqe_seen(&ring_, completion);
                if (outcome != static_cast<int>(kIoBytes)) {
                    return Error(Errc::kIo, 0, outcome < 0 ? -outcome : EIO);
                }
                const uint64_t now = now_ns();
                result.latencies_ns.push_back(static_cast<uint32_t>(now - starts_[slot]));
                if (now < end) {
                    begin(slot);
                } else {
                    --under_way;
                }
            }
        }
        result.seconds = static_cast<double>(now_ns() - start) / 1e9;
        std::ranges::sort(result.latencies_ns);
        return kOk;
    }

  private:
    void begin(uint32_t slot) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        BASALT_ASSERT(entry != nullptr);
        std::byte* buffer = memory_.get() + size_t{slot} * kIoBytes;
        const uint64_t at = random_.below(options_.bytes / kIoBytes) * kIoBytes;
        if (options_.writes) {
            io_uring_prep_write(entry, fd_, buffer, kIoBytes, at);
            entry->rw_flags = RWF_DSYNC;
        } else {
            io_uring_prep_read(entry, fd_, buffer, kIoBytes, at);
        }
        io_uring_sqe_set_data64(entry, slot);
        starts_[slot] = now_ns();
    }

    const PlainUringOptions& options_;
    Random random_;
    std::vector<uint64_t> starts_;
    std::unique_ptr<std::byte, FreeMemory> memory_;
    io_uring ring_{};
    int fd_ = -1;
    bool is_ready_ = false;
};

}  // namespace

Result<PlainUringResult> run_plain_uring(const PlainUringOptions& options) {
    PlainLoop loop(options);
    PlainUringResult result;
    BASALT_CHECK(loop.open());
    BASALT_CHECK(loop.run(result));
    return result;
}

}  // namespace basalt::perf
