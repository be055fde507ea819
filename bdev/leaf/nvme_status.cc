#include "bdev/leaf/nvme_status.h"

#include <nvme/types.h>

namespace basalt::bdev {

namespace {

Errc generic(uint16_t code) {
    switch (code) {
        case NVME_SC_INVALID_OPCODE: return Errc::kNotSupported;
        case NVME_SC_INVALID_FIELD: return Errc::kInvalidArgument;
        case NVME_SC_ABORT_REQ:
        case NVME_SC_POWER_LOSS: return Errc::kCancelled;
        case NVME_SC_INVALID_NS: return Errc::kDeviceGone;
        case NVME_SC_NS_WRITE_PROTECTED: return Errc::kReadOnly;
        case NVME_SC_LBA_RANGE: return Errc::kOutOfRange;
        case NVME_SC_CAP_EXCEEDED: return Errc::kNoSpace;
        case NVME_SC_NS_NOT_READY: return Errc::kTryAgain;
        default: return Errc::kIo;
    }
}

Errc media(uint16_t code) {
    switch (code) {
        // A write fault is kIo: what was there before may still be readable.
        case NVME_SC_READ_ERROR:
        case NVME_SC_UNWRITTEN_BLOCK: return Errc::kMediaError;
        case NVME_SC_GUARD_CHECK:
        case NVME_SC_APPTAG_CHECK:
        case NVME_SC_REFTAG_CHECK: return Errc::kDataCorrupt;
        case NVME_SC_COMPARE_FAILED: return Errc::kCompareMismatch;
        case NVME_SC_ACCESS_DENIED: return Errc::kPermissionDenied;
        default: return Errc::kIo;
    }
}

}  // namespace

Status status_from_nvme(uint16_t nvme_status) {
    if (nvme_status == 0) {
        return kOk;
    }
    const auto code = static_cast<uint16_t>(nvme_status & 0xff);
    switch ((nvme_status >> NVME_SCT_SHIFT) & NVME_SCT_MASK) {
        case NVME_SCT_GENERIC: return Error(generic(code), nvme_status);
        case NVME_SCT_CMD_SPECIFIC:
            return Error(code == NVME_SC_READ_ONLY ? Errc::kReadOnly : Errc::kIo, nvme_status);
        case NVME_SCT_MEDIA: return Error(media(code), nvme_status);
        default: return Error(Errc::kIo, nvme_status);
    }
}

}  // namespace basalt::bdev
