#pragma once

#include "bdev/core/bdev.h"
#include "bdev/core/io_request.h"
#include "reactor/base/result.h"

namespace basalt::bdev {

/// Checks that a device of this description can be given `request`, which somebody outside made up.
/// Errors: kReadOnly; kNotSupported (the operation); kInvalidArgument (no blocks, more than
/// transfer_max, or memory that does not fit the length, the block size or the alignment);
/// kOutOfRange.
[[nodiscard]] Status validate(const IoRequest& request, const BdevInfo& info);

/// The part of validate() that costs nothing: the operation and the range. For assertions.
[[nodiscard]] inline bool fits_device(const IoRequest& request, const BdevInfo& info) {
    if (!info.can(request.op)) {
        return false;
    }
    const uint64_t blocks = info.block_count.raw();
    return request.op == IoOp::kFlush ||
           (request.count.raw() > 0 && request.first.raw() <= blocks &&
            request.count.raw() <= blocks - request.first.raw());
}

/// States that `request` was validated.
inline void assert_valid(const IoRequest& request, const BdevInfo& info) {
    BASALT_ASSERT(fits_device(request, info));
    BASALT_ASSERT_SLOW(validate(request, info).has_value());
}

}  // namespace basalt::bdev
