#include "bdev/layer/error_bdev.h"

#include <utility>

#include "bdev/core/deferred.h"
#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

// The offset and the value share one word of a completion.
constexpr uint64_t kCorruptOffsetMax = UINT64_MAX >> 8;

bool carries_data(IoOp op) {
    return op == IoOp::kRead || op == IoOp::kWrite;
}

// The word of a request that is not corrupted; else it is the offset and, in the lowest byte, what
// to XOR with, which is never 0.
constexpr uint64_t kUnharmed = 0;

// Changes one byte of the request's memory, if it has that byte. Doing it twice undoes it.
void flip(const IoRequest& request, uint64_t word) {
    uint64_t offset = word >> 8;
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        if (offset < piece.iov_len) {
            static_cast<std::byte*>(piece.iov_base)[offset] ^= static_cast<std::byte>(word);
            return;
        }
        offset -= piece.iov_len;
    }
}

}  // namespace

/// Owner: whoever opened it. Core: the one it was opened on.
class ErrorChannel final : public BdevChannel {
  public:
    ErrorChannel(Reactor& here, ErrorBdev& bdev, std::unique_ptr<BdevChannel> base)
        : here_(here), bdev_(bdev), state_(bdev.by_core_.on(here)), base_(std::move(base)) {}

    void submit(IoRequest& request) override {
        const ErrorInjection& rule = state_.rules[static_cast<uint32_t>(request.op)];
        ++in_flight_;
        if (bdev_.remaining(request.op) == 0 || in_flight_ < rule.queue_depth ||
            !bdev_.take_one(request.op)) [[likely]] {
            request.push_completion(&ErrorChannel::on_complete, this, kUnharmed);
            base_->submit(request);
            return;
        }
        inject(request, rule);
    }

  private:
    void inject(IoRequest& request, const ErrorInjection& rule) {
        if (rule.error == InjectedError::kCorruptData) {
            // The rule travels in the completion's word: it may change meanwhile.
            const uint64_t word = rule.corrupt_offset << 8 | rule.corrupt_value;
            request.push_completion(&ErrorChannel::on_complete, this, word);
            if (request.op == IoOp::kWrite) {
                flip(request, word);
            }
            base_->submit(request);
            return;
        }
        request.push_completion(&ErrorChannel::on_complete, this, kUnharmed);
        if (rule.error == InjectedError::kPending) {
            state_.pending.push_back(request);
            return;
        }
        const bool is_failure = rule.error == InjectedError::kFailure;
        complete_later(here_, request, is_failure ? rule.failure : Error(Errc::kNoMemory));
    }

    static void on_complete(IoRequest& request, void* context) {
        --static_cast<ErrorChannel*>(context)->in_flight_;
        if (request.completion_word() != kUnharmed) {
            // Spoils what was read, and gives a writer its memory back as it was.
            flip(request, request.completion_word());
        }
        request.complete(request.status);
    }

    Reactor& here_;
    ErrorBdev& bdev_;
    ErrorBdev::CoreState& state_;
    std::unique_ptr<BdevChannel> base_;
    uint32_t in_flight_ = 0;
};

ErrorBdev::ErrorBdev(const ErrorOptions& options, Bdev& base) : base_(base), info_(base.info()) {
    info_.follow(base.info());
    info_.name = options.name;
    info_.product_name = "Error Injection Disk";
    info_.uuid = options.uuid.is_nil() ? Uuid::make_random() : options.uuid;
    // Data that is lent never changes, so it could not be corrupted.
    info_.supplies_read_memory = false;
}

BdevConfig ErrorBdev::describe() const {
    // The call names the layer after its base ("EE_…"), as SPDK's does.
    return {"bdev_error_create",
            {{"base_name", base_.info().name}, {"uuid", info_.uuid.to_string()}}};
}

Result<std::unique_ptr<BdevChannel>> ErrorBdev::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<BdevChannel> base, base_.open_channel(here));
    return std::unique_ptr<BdevChannel>(
        std::make_unique<ErrorChannel>(here, *this, std::move(base)));
}

bool ErrorBdev::take_one(IoOp op) {
    std::atomic<uint32_t>& left = remaining_[static_cast<uint32_t>(op)];
    uint32_t seen = left.load(std::memory_order_relaxed);
    while (seen > 0) {
        if (left.compare_exchange_weak(seen, seen - 1, std::memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

struct ErrorBdev::InjectVisit {
    ErrorBdev& self;
    ErrorInjection injection;
};

Task<void> ErrorBdev::inject_there(Reactor& there, InjectVisit& request) {
    CoreState& state = request.self.by_core_.on(there);
    for (uint32_t op = 0; op < kIoOpCount; ++op) {
        if (!request.injection.op || *request.injection.op == static_cast<IoOp>(op)) {
            state.rules[op] = request.injection;
        }
    }
    co_return;
}

Task<Status> ErrorBdev::inject(Reactor& control,
                               std::span<const CoreId> cores,
                               ErrorInjection injection) {
    const bool is_corrupting = injection.error == InjectedError::kCorruptData;
    if (is_corrupting &&
        (injection.corrupt_value == 0 || injection.corrupt_offset > kCorruptOffsetMax ||
         (injection.op && !carries_data(*injection.op)))) {
        co_return Status(Errc::kInvalidArgument);
    }
    InjectVisit request{*this, injection};
    co_await visit_cores(control, cores, request, &ErrorBdev::inject_there);
    // After the rules, so that no core applies an old rule to a new count.
    for (uint32_t op = 0; op < kIoOpCount; ++op) {
        const auto io_op = static_cast<IoOp>(op);
        const bool is_meant = !injection.op || *injection.op == io_op;
        if (is_meant && (!is_corrupting || carries_data(io_op))) {
            remaining_[op].store(injection.count, std::memory_order_relaxed);
        }
    }
    co_return kOk;
}

Task<void> ErrorBdev::clear_there(Reactor& there, ErrorBdev& self) {
    HeldRequests pending;
    pending.splice_back(self.by_core_.on(there).pending);
    while (IoRequest* request = pending.pop_front()) {
        complete_later(there, *request, Errc::kIo);
    }
    co_return;
}

Task<void> ErrorBdev::clear(Reactor& control, std::span<const CoreId> cores) {
    for (std::atomic<uint32_t>& left : remaining_) {
        left.store(0, std::memory_order_relaxed);
    }
    co_await visit_cores(control, cores, *this, &ErrorBdev::clear_there);
}

}  // namespace basalt::bdev
