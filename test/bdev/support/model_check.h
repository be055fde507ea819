#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "bdev/core/bdev.h"
#include "reactor/io/random.h"

namespace basalt::bdev {

struct ModelOptions {
    uint64_t seed = 1;
    uint32_t operations = 2000;
    uint32_t queue_depth = 8;
    uint64_t blocks_max = 16;     ///< Of one request.
    uint64_t range_blocks = 0;    ///< Long unmaps and write zeroes; 0: blocks_max.
    uint32_t misalign_max = 0;    ///< Memory starts up to this far from a page.
    bool is_always_zero = false;  ///< The model of a null device.
    bool may_fail = false;        ///< Injected errors: what failed is unknown afterwards.
};

/// Runs random operations, several at once on ranges that don't overlap, on a device that reads as
/// zeroes at first, and compares every read with an array of bytes. `turn` lets the world go on.
/// Returns what went wrong with the seed, or nothing.
[[nodiscard]] std::string check_against_model(BdevChannel& channel,
                                              const BdevInfo& info,
                                              const ModelOptions& options,
                                              const std::function<void()>& turn);

}  // namespace basalt::bdev
