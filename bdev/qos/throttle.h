#pragma once

#include <cstdint>

#include "bdev/core/bdev.h"
#include "bdev/qos/lane.h"

namespace basalt::qos {

/// What a request to a device costs: a read or compare the bytes that it reads, a write those that
/// it writes. Unmap and write zeroes move no data, and cost as one I/O.
[[nodiscard]] IoCost cost_of(const bdev::IoRequest& request, uint32_t block_bytes);

/// The channel that a device with limits has in front of its own: a request passes when its lane
/// has tokens for it. Flushes pass free: they only keep promises about writes that were paid for.
///
/// Owner: DeviceChannel. Core: its channel's.
class Throttle final : public bdev::BdevChannel {
  public:
    Throttle(bdev::BdevChannel& inner, uint32_t block_bytes)
        : inner_(inner), block_bytes_(block_bytes) {}

    void submit(bdev::IoRequest& request) override;

    /// Whose tokens count; null: submit() is not called.
    void set_lane(Lane* lane) { lane_ = lane; }
    /// Lets all of this channel's requests go that wait. (Those of a lane that was replaced go
    /// without that: it ends.)
    void release();
    /// Forgets them: the machine has lost its power.
    void abandon();
    /// The Go of lanes of devices.
    static void go(bdev::IoRequest& request, void* context);

  private:
    bdev::BdevChannel& inner_;
    const uint32_t block_bytes_;
    Lane* lane_ = nullptr;
};

}  // namespace basalt::qos
