#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "bdev/core/bdev.h"
#include "bdev/core/per_core.h"
#include "reactor/task.h"

namespace basalt::bdev {

/// What the delay layer adds to each request, in microseconds. One request in a hundred, at random,
/// takes the p99 time instead of the average.
struct DelayLatencies {
    uint64_t avg_read_us = 0;
    uint64_t p99_read_us = 0;
    uint64_t avg_write_us = 0;  ///< Write, write zeroes, unmap, flush.
    uint64_t p99_write_us = 0;
};

/// The longest delay that may be set: an hour. More is a typing error, and would overflow one day.
inline constexpr uint64_t kDelayUsMax = uint64_t{3600} * 1'000'000;

struct DelayOptions {
    std::string name;
    Uuid uuid;  ///< Nil: a random one.
    DelayLatencies latencies;
};

/// A layer that makes a device slow: it holds each completion of its base back for a set time.
/// Owner: BdevRegistry. The latencies of each core are that core's; update() goes to all of them.
class DelayBdev final : public Bdev {
  public:
    /// `base` outlives the layer: the registry claims it. Errors: kInvalidArgument (a latency over
    /// kDelayUsMax, or a p99 below its average).
    [[nodiscard]] static Result<std::unique_ptr<DelayBdev>> make(const DelayOptions& options,
                                                                 Bdev& base);

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] Bdev* base() const override { return &base_; }
    [[nodiscard]] BdevConfig describe() const override;
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

    [[nodiscard]] const DelayLatencies& latencies() const { return latencies_; }

    /// Changes the latencies of requests that complete from now on; those that are held keep
    /// theirs. `cores` are all that have channels. Control thread. Errors: as make().
    [[nodiscard]] Task<Status> update(Reactor& control,
                                      std::span<const CoreId> cores,
                                      DelayLatencies latencies);

  private:
    DelayBdev(const DelayOptions& options, Bdev& base);

    Bdev& base_;
    BdevInfo info_;
    DelayLatencies latencies_;  // The control thread's copy.
    PerCore<DelayLatencies> by_core_;
};

}  // namespace basalt::bdev
