#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bdev/core/bdev.h"
#include "bdev/core/io_stats.h"
#include "bdev/core/latency_histogram.h"
#include "bdev/core/per_core.h"
#include "bdev/qos/device_limits.h"
#include "bdev/qos/throttle.h"
#include "reactor/task.h"

namespace basalt::bdev {

class Device;

/// What a device counts on one core. Touched on that core only.
struct CoreCounters {
    IoStats stats;
    std::unique_ptr<LatencyHistogram> histogram;  ///< Null while switched off.
};

/// A channel that counts: every channel of a registered device is one. It notes the time of each
/// submission and completion, and knows how many requests are under way.
///
/// Owner: whoever opened it. Core: the one that it was opened on. Invariant: in_flight() is 0 when
/// it is destroyed, unless its (simulated) machine has lost its power.
class DeviceChannel final : public BdevChannel {
  public:
    DeviceChannel(Device& device, Reactor& here, std::unique_ptr<BdevChannel> inner);
    DeviceChannel(const DeviceChannel&) = delete;
    DeviceChannel& operator=(const DeviceChannel&) = delete;
    ~DeviceChannel() override;

    void submit(IoRequest& request) override;

    /// Requests wait for this lane's tokens from now on; null: for none.
    void set_lane(qos::Lane* lane);

    [[nodiscard]] const BdevInfo& info() const { return info_; }
    [[nodiscard]] Device& device() { return device_; }

    /// Requests submitted through this channel and not completed.
    [[nodiscard]] uint32_t in_flight() const { return in_flight_; }

    /// Runs `event` once, from the poll loop, when no request is under way (at the latest after the
    /// completion of the last one). One event at a time. Nobody submits any more, or it may wait
    /// for ever; what waits for a rate goes on at once.
    void notify_idle(Event& event);

  private:
    static void on_complete(IoRequest& request, void* context);
    void record(const IoRequest& request, uint64_t elapsed_ns);

    Device& device_;
    const BdevInfo& info_;
    Reactor& here_;
    CoreCounters& counters_;
    std::unique_ptr<BdevChannel> inner_;
    BdevChannel* next_;  // inner_, or throttle_ in front of it: no limits, no cost.
    qos::Throttle throttle_;
    Event* idle_event_ = nullptr;
    uint32_t in_flight_ = 0;

  public:
    ListLink open_link;  ///< Among the device's channels of this core.
};

/// A device's channels on one core, and the lane that they share while the device has limits.
struct CoreChannels {
    IntrusiveList<DeviceChannel, &DeviceChannel::open_link> open;
    qos::Lane* lane = nullptr;
};

/// `co_await drained(channel)`: goes on when the channel has no request under way, on its core.
class [[nodiscard]] drained {  // NOLINT(readability-identifier-naming): reads as a verb.
  public:
    explicit drained(DeviceChannel& channel) : channel_(channel) {}

    [[nodiscard]] bool await_ready() const { return channel_.in_flight() == 0; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        idle_.awaiter = awaiter;
        idle_.set_run([](Event& event, Reactor&) { static_cast<Idle&>(event).awaiter.resume(); });
        channel_.notify_idle(idle_);
    }
    void await_resume() const {}

  private:
    struct Idle : Event {
        std::coroutine_handle<> awaiter;
    };

    DeviceChannel& channel_;
    Idle idle_;
};

/// A block device as the process knows it: a leaf or layer, its statistics, and who uses it. It is
/// a Bdev itself, so that layers and front ends alike open it, and everything is counted.
///
/// Owner: BdevRegistry. Made, claimed and destroyed on the control thread; a slot of counters
/// belongs to its core. Invariant: at most one user, and no open channel at the end.
class Device final : public Bdev {
  public:
    /// `cores` are all reactors that may open it; the list outlives the device.
    Device(std::unique_ptr<Bdev> inner, std::span<const CoreId> cores);
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    ~Device() override;

    [[nodiscard]] const BdevInfo& info() const override { return inner_->info(); }
    [[nodiscard]] Bdev* base() const override { return inner_->base(); }
    [[nodiscard]] BlockCount allocated_blocks() const override {
        return inner_->allocated_blocks();
    }
    [[nodiscard]] BdevConfig describe() const override { return inner_->describe(); }
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

    /// open_channel() with the type that a front end wants. Errors: those of the device.
    [[nodiscard]] Result<std::unique_ptr<DeviceChannel>> open(Reactor& here);

    /// The leaf or layer itself, for what only its kind can do (inject an error, set a delay).
    [[nodiscard]] Bdev& inner() { return *inner_; }

    [[nodiscard]] std::span<const CoreId> cores() const { return cores_; }

    /// Who uses the device, in words; empty if nobody does.
    [[nodiscard]] const std::string& user() const { return user_; }

    /// Channels open now, on all cores.
    [[nodiscard]] uint32_t open_channels() const { return open_channels_.load(); }

    /// The sum of all cores' statistics, asked for one core after the other. Runs on the control
    /// thread, whose reactor is `control`; the device lives until it ends.
    [[nodiscard]] Task<IoStats> read_stats(Reactor& control);

    /// The statistics of one core alone.
    [[nodiscard]] Task<IoStats> read_stats_on(Reactor& control, CoreId core);

    /// Sets all statistics but in_flight, and the histogram, to zero.
    [[nodiscard]] Task<void> reset_stats(Reactor& control);

    /// Switches the latency histogram on (from zero) or off, on all cores.
    [[nodiscard]] Task<void> enable_histogram(Reactor& control, bool is_enabled);
    [[nodiscard]] bool is_histogram_enabled() const { return is_histogram_enabled_; }

    /// The sum of all cores' histograms. Errors: kNotFound while it is switched off.
    [[nodiscard]] Task<Result<std::unique_ptr<LatencyHistogram>>> read_histogram(Reactor& control);

    /// What may be done to it in a second, and how to change that.
    [[nodiscard]] qos::DeviceLimits& limits() { return limits_; }
    [[nodiscard]] const qos::DeviceLimits& limits() const { return limits_; }

  private:
    friend class Claim;
    friend class DeviceChannel;
    friend class qos::DeviceLimits;

    /// On `here`'s core: lets what is submitted from now on go through this lane.
    void use_lane(const Reactor& here, qos::Lane* lane);

    std::unique_ptr<Bdev> inner_;
    std::span<const CoreId> cores_;
    PerCore<CoreCounters> counters_;
    PerCore<CoreChannels> channels_;
    qos::DeviceLimits limits_{*this};
    std::string user_;
    std::atomic<uint32_t> open_channels_{0};  // Opening and closing only, so contention is no cost.
    bool is_histogram_enabled_ = false;
};

}  // namespace basalt::bdev
