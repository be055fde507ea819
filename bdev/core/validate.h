#pragma once

#include "bdev/core/bdev.h"
#include "bdev/core/io_request.h"
#include "reactor/base/result.h"

namespace basalt::bdev {

/// Whether the operation changes what is stored.
[[nodiscard]] constexpr bool changes_data(IoOp op) {
    return op == IoOp::kWrite || op == IoOp::kWriteZeroes || op == IoOp::kUnmap;
}

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

/// What a device answers to a request that was valid when somebody looked: kOutOfRange or kReadOnly
/// if it has become smaller or read-only since; else kOk.
[[nodiscard]] inline Errc refusal(const IoRequest& request, const BdevInfo& info) {
    if (!fits_device(request, info)) [[unlikely]] {
        return Errc::kOutOfRange;
    }
    return changes_data(request.op) && info.is_read_only ? Errc::kReadOnly : Errc::kOk;
}

/// States that `request` was validated, perhaps before the device became smaller or read-only.
inline void assert_valid(const IoRequest& request, const BdevInfo& info) {
    BASALT_ASSERT(info.can(request.op));
    BASALT_ASSERT_SLOW(refusal(request, info) != Errc::kOk || validate(request, info).has_value());
}

}  // namespace basalt::bdev
