#include "bdev/core/validate.h"

#include <span>

namespace basalt::bdev {

namespace {

bool carries_data(IoOp op) {
    return op == IoOp::kRead || op == IoOp::kWrite || op == IoOp::kCompare;
}

Status validate_memory(const IoRequest& request, const BdevInfo& info) {
    if (request.wants_device_memory) {
        const bool may = request.op == IoOp::kRead && info.supplies_read_memory;
        return may ? kOk : Status(Errc::kInvalidArgument);
    }
    if (request.piece_count == 0 || request.piece_count > kPiecesMax) {
        return Errc::kInvalidArgument;
    }
    uint64_t blocks = 0;
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        const bool is_aligned =
            reinterpret_cast<uintptr_t>(piece.iov_base) % info.memory_alignment_bytes == 0;
        if (!is_aligned || piece.iov_len == 0 || piece.iov_len % info.block_size_bytes != 0) {
            return Errc::kInvalidArgument;
        }
        blocks += piece.iov_len / info.block_size_bytes;
    }
    return blocks == request.count.raw() ? kOk : Status(Errc::kInvalidArgument);
}

}  // namespace

Status validate(const IoRequest& request, const BdevInfo& info) {
    if (info.is_read_only && changes_data(request.op)) {
        return Errc::kReadOnly;
    }
    if (!info.can(request.op)) {
        return Errc::kNotSupported;
    }
    if (request.op == IoOp::kFlush) {
        return kOk;
    }
    if (request.count.raw() == 0) {
        return Errc::kInvalidArgument;
    }
    if (!fits_device(request, info)) {
        return Errc::kOutOfRange;
    }
    if (!carries_data(request.op)) {
        return kOk;
    }
    if (info.transfer_max.raw() != 0 && request.count > info.transfer_max) {
        return Errc::kInvalidArgument;
    }
    return validate_memory(request, info);
}

}  // namespace basalt::bdev
