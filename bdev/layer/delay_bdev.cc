#include "bdev/layer/delay_bdev.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

// One line for each latency: within a line all are held equally long, so it is in order of deadline
// without sorting. (After an update to a shorter time, at most one old time longer.)
enum class Line : uint8_t { kAvgRead, kP99Read, kAvgWrite, kP99Write };
constexpr uint32_t kLines = 4;
constexpr uint64_t kP99In = 100;  // One in a hundred.

bool is_good(const DelayLatencies& latencies) {
    return latencies.p99_read_us <= kDelayUsMax && latencies.p99_write_us <= kDelayUsMax &&
           latencies.avg_read_us <= latencies.p99_read_us &&
           latencies.avg_write_us <= latencies.p99_write_us;
}

/// Owner: whoever opened it. Core: the one it was opened on.
class DelayChannel final : public BdevChannel {
  public:
    DelayChannel(Reactor& here, const DelayLatencies& latencies, std::unique_ptr<BdevChannel> base)
        : here_(here), latencies_(latencies), base_(std::move(base)) {
        timer_.set([](Timer&, void* self) { static_cast<DelayChannel*>(self)->release(); }, this);
    }
    DelayChannel(const DelayChannel&) = delete;
    DelayChannel& operator=(const DelayChannel&) = delete;
    ~DelayChannel() override {
        // Only a loss of power leaves some: who closes in peace has no request under way.
        for (HeldRequests& held : held_) {
            BASALT_ASSERT(held.empty() || here_.is_abandoned());
            held.clear();
        }
        if (timer_.is_running()) {
            here_.stop_timer(timer_);
        }
    }

    void submit(IoRequest& request) override {
        request.push_completion(
            [](IoRequest& done, void* self) { static_cast<DelayChannel*>(self)->hold(done); },
            this);
        base_->submit(request);
    }

  private:
    [[nodiscard]] Line line_of(const IoRequest& request) {
        const bool is_p99 = here_.random().below(kP99In) == 0;
        const bool is_read = request.op == IoOp::kRead || request.op == IoOp::kCompare;
        if (is_read) {
            return is_p99 ? Line::kP99Read : Line::kAvgRead;
        }
        return is_p99 ? Line::kP99Write : Line::kAvgWrite;
    }

    [[nodiscard]] uint64_t delay_ns(Line line) const {
        switch (line) {
            case Line::kAvgRead: return latencies_.avg_read_us * kNsPerUs;
            case Line::kP99Read: return latencies_.p99_read_us * kNsPerUs;
            case Line::kAvgWrite: return latencies_.avg_write_us * kNsPerUs;
            case Line::kP99Write: return latencies_.p99_write_us * kNsPerUs;
        }
        return 0;
    }

    void hold(IoRequest& request) {
        const Line line = line_of(request);
        const uint64_t wait_ns = delay_ns(line);
        HeldRequests& held = held_[static_cast<uint32_t>(line)];
        if (wait_ns == 0 && held.empty()) {
            request.complete(request.status);
            return;
        }
        request.hold_word = here_.now_ns() + wait_ns;
        held.push_back(request);
        arm();
    }

    // One timer for all lines, set to the first that is due.
    void arm() {
        uint64_t due_ns = UINT64_MAX;
        for (const HeldRequests& held : held_) {
            if (const IoRequest* first = held.front()) {
                due_ns = std::min(due_ns, first->hold_word);
            }
        }
        if (timer_.is_running() && timer_.deadline_ns() <= due_ns) {
            return;
        }
        here_.stop_timer(timer_);
        if (due_ns != UINT64_MAX) {
            const uint64_t now_ns = here_.now_ns();
            here_.start_timer(timer_, due_ns > now_ns ? due_ns - now_ns : 0);
        }
    }

    void release() {
        const uint64_t now_ns = here_.now_ns();
        HeldRequests due;
        for (HeldRequests& held : held_) {
            while (held.front() != nullptr && held.front()->hold_word <= now_ns) {
                due.push_back(*held.pop_front());
            }
        }
        while (IoRequest* request = due.pop_front()) {
            request->complete(request->status);
        }
        arm();
    }

    Reactor& here_;
    const DelayLatencies& latencies_;
    std::unique_ptr<BdevChannel> base_;
    std::array<HeldRequests, kLines> held_;
    Timer timer_;
};

struct UpdateVisit {
    PerCore<DelayLatencies>& by_core;
    DelayLatencies latencies;
};

Task<void> update_there(Reactor& there, UpdateVisit& request) {
    request.by_core.on(there) = request.latencies;
    co_return;
}

}  // namespace

Result<std::unique_ptr<DelayBdev>> DelayBdev::make(const DelayOptions& options, Bdev& base) {
    if (!is_good(options.latencies)) {
        return Errc::kInvalidArgument;
    }
    return std::unique_ptr<DelayBdev>(new DelayBdev(options, base));
}

DelayBdev::DelayBdev(const DelayOptions& options, Bdev& base)
    : base_(base), info_(base.info()), latencies_(options.latencies) {
    info_.follow(base.info());
    info_.name = options.name;
    info_.product_name = "delay";
    info_.uuid = options.uuid.is_nil() ? Uuid::make_random() : options.uuid;
    by_core_.fill(options.latencies);
}

BdevConfig DelayBdev::describe() const {
    return {"bdev_delay_create",
            {{"name", info_.name},
             {"base_bdev_name", base_.info().name},
             {"uuid", info_.uuid.to_string()},
             {"avg_read_latency", latencies_.avg_read_us},
             {"p99_read_latency", latencies_.p99_read_us},
             {"avg_write_latency", latencies_.avg_write_us},
             {"p99_write_latency", latencies_.p99_write_us}}};
}

Result<std::unique_ptr<BdevChannel>> DelayBdev::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<BdevChannel> base, base_.open_channel(here));
    return std::unique_ptr<BdevChannel>(
        std::make_unique<DelayChannel>(here, by_core_.on(here), std::move(base)));
}

Task<Status> DelayBdev::update(Reactor& control,
                               std::span<const CoreId> cores,
                               DelayLatencies latencies) {
    if (!is_good(latencies)) {
        co_return Status(Errc::kInvalidArgument);
    }
    latencies_ = latencies;
    UpdateVisit request{by_core_, latencies};
    co_await visit_cores(control, cores, request, &update_there);
    co_return kOk;
}

}  // namespace basalt::bdev
