#pragma once

#include <memory>

#include "bdev/core/device.h"
#include "bdev/core/per_core.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::bdev {

/// One channel of a device on each core: what a namespace holds.
///
/// Life: made on the control thread, open(), used by the cores through on(), close(), destroyed on
/// the control thread. Owner: a front end's namespace. Invariant: closed when destroyed.
class ChannelSet {
  public:
    /// `device` outlives the set.
    explicit ChannelSet(Device& device) : device_(device) {}
    ChannelSet(const ChannelSet&) = delete;
    ChannelSet& operator=(const ChannelSet&) = delete;
    ~ChannelSet() { BASALT_ASSERT(!is_open_); }

    /// Opens a channel on each of the device's cores, one after the other. When one fails those
    /// that are open already are closed. Runs on the control thread, whose reactor is `control`.
    /// Errors: those of Bdev::open_channel.
    [[nodiscard]] Task<Status> open(Reactor& control);

    /// On each core: waits for the requests under way and closes the channel. Before, every core
    /// has stopped submitting (its front end has taken the namespace away).
    [[nodiscard]] Task<void> close(Reactor& control);

    /// The channel of `here`'s core, on that core; null before open() and after close().
    [[nodiscard]] DeviceChannel* on(const Reactor& here) { return channels_.on(here).get(); }

    [[nodiscard]] Device& device() { return device_; }
    [[nodiscard]] bool is_open() const { return is_open_; }

  private:
    struct OpenVisit;
    static Task<void> open_there(Reactor& there, OpenVisit& request);
    static Task<void> close_there(Reactor& there, ChannelSet& set);

    Device& device_;
    PerCore<std::unique_ptr<DeviceChannel>> channels_;
    bool is_open_ = false;
};

}  // namespace basalt::bdev
