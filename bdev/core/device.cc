#include "bdev/core/device.h"

#include <utility>

#include "bdev/core/deferred.h"
#include "bdev/core/validate.h"
#include "reactor/base/assert.h"

namespace basalt::bdev {

DeviceChannel::DeviceChannel(Device& device, Reactor& here, std::unique_ptr<BdevChannel> inner)
    : device_(device),
      info_(device.info()),
      here_(here),
      counters_(device.counters_.on(here)),
      inner_(std::move(inner)),
      next_(inner_.get()),
      throttle_(*inner_, info_.block_size_bytes) {
    device_.open_channels_.fetch_add(1);
    CoreChannels& mine = device_.channels_.on(here_);
    mine.open.push_back(*this);
    set_lane(mine.lane);
}

DeviceChannel::~DeviceChannel() {
    BASALT_ASSERT((in_flight_ == 0 && idle_event_ == nullptr) || here_.is_abandoned());
    if (in_flight_ != 0) {
        throttle_.abandon();
    }
    decltype(CoreChannels::open)::remove(*this);
    inner_.reset();
    device_.open_channels_.fetch_sub(1);
}

void DeviceChannel::submit(IoRequest& request) {
    assert_valid(request, info_);
    ++in_flight_;
    ++counters_.stats.in_flight;
    request.push_completion(&DeviceChannel::on_complete, this, here_.clock().now_ns());
    if (const Errc refused = refusal(request, info_); refused != Errc::kOk) [[unlikely]] {
        complete_later(here_, request, refused);
        return;
    }
    next_->submit(request);
}

void DeviceChannel::set_lane(qos::Lane* lane) {
    throttle_.set_lane(lane);
    next_ = lane != nullptr ? static_cast<BdevChannel*>(&throttle_) : inner_.get();
}

void DeviceChannel::on_complete(IoRequest& request, void* context) {
    auto& self = *static_cast<DeviceChannel*>(context);
    const uint64_t started_ns = request.completion_word();
    const uint64_t now_ns = self.here_.clock().now_ns();
    self.record(request, now_ns - started_ns);
    BASALT_ASSERT(self.in_flight_ > 0);
    --self.counters_.stats.in_flight;
    if (--self.in_flight_ == 0 && self.idle_event_ != nullptr) [[unlikely]] {
        // Deferred, so that it runs after the maker's completion below.
        self.here_.defer(*std::exchange(self.idle_event_, nullptr));
    }
    request.complete(request.status);
}

void DeviceChannel::record(const IoRequest& request, uint64_t elapsed_ns) {
    OpStats& op = counters_.stats.of(request.op);
    if (request.status) [[likely]] {
        op.record_success(request.count, elapsed_ns);
    } else {
        ++op.errors;
    }
    if (counters_.histogram) [[unlikely]] {
        counters_.histogram->record(elapsed_ns);
    }
}

void DeviceChannel::notify_idle(Event& event) {
    BASALT_ASSERT(idle_event_ == nullptr);
    if (in_flight_ == 0) {
        here_.defer(event);
        return;
    }
    idle_event_ = &event;
    throttle_.release();
}

Device::Device(std::unique_ptr<Bdev> inner, std::span<const CoreId> cores)
    : inner_(std::move(inner)), cores_(cores) {}

Device::~Device() {
    BASALT_ASSERT(open_channels() == 0);
    BASALT_ASSERT(user_.empty());
}

void Device::use_lane(const Reactor& here, qos::Lane* lane) {
    CoreChannels& mine = channels_.on(here);
    mine.lane = lane;
    for (DeviceChannel* at = mine.open.front(); at != nullptr; at = mine.open.next(*at)) {
        at->set_lane(lane);
    }
}

Result<std::unique_ptr<DeviceChannel>> Device::open(Reactor& here) {
    BASALT_TRY(std::unique_ptr<BdevChannel> channel, inner_->open_channel(here));
    return std::make_unique<DeviceChannel>(*this, here, std::move(channel));
}

Result<std::unique_ptr<BdevChannel>> Device::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<DeviceChannel> channel, open(here));
    return std::unique_ptr<BdevChannel>(std::move(channel));
}

namespace {

struct StatsVisit {
    PerCore<CoreCounters>& counters;
    IoStats sum{};
    LatencyHistogram* histogram_sum = nullptr;
};

Task<void> collect(Reactor& there, StatsVisit& request) {
    const CoreCounters& mine = request.counters.on(there);
    request.sum.add(mine.stats);
    if (request.histogram_sum != nullptr && mine.histogram) {
        request.histogram_sum->add(*mine.histogram);
    }
    co_return;
}

Task<void> clear(Reactor& there, StatsVisit& request) {
    CoreCounters& mine = request.counters.on(there);
    mine.stats.ops = {};
    if (mine.histogram) {
        *mine.histogram = {};
    }
    co_return;
}

// Carries a new histogram to a core and the old one back, so that the control thread is the one
// that allocates and frees.
struct HistogramVisit {
    PerCore<CoreCounters>& counters;
    std::unique_ptr<LatencyHistogram> histogram{};
};

Task<void> swap_histogram(Reactor& there, HistogramVisit& request) {
    std::swap(request.counters.on(there).histogram, request.histogram);
    co_return;
}

}  // namespace

Task<IoStats> Device::read_stats(Reactor& control) {
    StatsVisit request{counters_};
    co_await visit_cores(control, cores_, request, &collect);
    co_return request.sum;
}

Task<IoStats> Device::read_stats_on(Reactor& control, CoreId core) {
    StatsVisit request{counters_};
    visit<StatsVisit> there(control, core, request, &collect);
    co_await there;
    co_return request.sum;
}

Task<void> Device::reset_stats(Reactor& control) {
    StatsVisit request{counters_};
    co_await visit_cores(control, cores_, request, &clear);
}

Task<void> Device::enable_histogram(Reactor& control, bool is_enabled) {
    for (const CoreId core : cores_) {
        HistogramVisit request{counters_};
        if (is_enabled) {
            request.histogram = std::make_unique<LatencyHistogram>();
        }
        visit<HistogramVisit> there(control, core, request, &swap_histogram);
        co_await there;
    }
    is_histogram_enabled_ = is_enabled;
}

Task<Result<std::unique_ptr<LatencyHistogram>>> Device::read_histogram(Reactor& control) {
    if (!is_histogram_enabled_) {
        co_return Result<std::unique_ptr<LatencyHistogram>>(Errc::kNotFound);
    }
    auto sum = std::make_unique<LatencyHistogram>();
    StatsVisit request{counters_};
    request.histogram_sum = sum.get();
    co_await visit_cores(control, cores_, request, &collect);
    co_return Result<std::unique_ptr<LatencyHistogram>>(std::move(sum));
}

}  // namespace basalt::bdev
