#include "reactor/base/errc.h"

#include <array>
#include <cerrno>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

struct ErrcTraits {
    Errc code;
    std::string_view text;
    bool retryable;
    bool data_loss;
};

// In the order of the enumeration, so that the code is the index.
constexpr std::array<ErrcTraits, kErrcCount> kTraits{{
    {Errc::kOk, "success", false, false},
    {Errc::kInvalidArgument, "invalid argument", false, false},
    {Errc::kOutOfRange, "beyond the end of the device", false, false},
    {Errc::kNotFound, "no such object", false, false},
    {Errc::kExists, "already exists", false, false},
    {Errc::kBusy, "in use", true, false},
    {Errc::kNotSupported, "not supported", false, false},
    {Errc::kPermissionDenied, "permission denied", false, false},
    {Errc::kNoMemory, "out of memory", true, false},
    {Errc::kNoSpace, "no space left", false, false},
    {Errc::kMediaError, "media error", false, true},
    {Errc::kDataCorrupt, "checksum mismatch", false, true},
    {Errc::kCompareMismatch, "data compared is different", false, false},
    {Errc::kReadOnly, "read only", false, false},
    {Errc::kIo, "input/output error", false, false},
    {Errc::kTimedOut, "timed out", true, false},
    {Errc::kCancelled, "cancelled", true, false},
    {Errc::kConnectionClosed, "connection closed", true, false},
    {Errc::kConnectionRefused, "connection refused", true, false},
    {Errc::kUnreachable, "unreachable", true, false},
    {Errc::kAddressInUse, "address in use", false, false},
    {Errc::kProtocol, "protocol violation", false, false},
    {Errc::kStaleEpoch, "fenced by a newer epoch", false, false},
    {Errc::kTryAgain, "temporarily exhausted", true, false},
    {Errc::kDeviceGone, "device is gone", false, false},
}};

const ErrcTraits& traits(Errc code) {
    const auto index = static_cast<uint16_t>(code);
    BASALT_ASSERT(index < kErrcCount);
    BASALT_ASSERT(kTraits[index].code == code);
    return kTraits[index];
}

}  // namespace

std::string_view describe(Errc code) {
    return traits(code).text;
}

bool is_retryable(Errc code) {
    return traits(code).retryable;
}

bool is_data_loss(Errc code) {
    return traits(code).data_loss;
}

Errc errc_from_errno(int error_number) {
    switch (error_number) {
        case 0: return Errc::kOk;
        case EINVAL: return Errc::kInvalidArgument;
        case ENOENT: return Errc::kNotFound;
        case EEXIST: return Errc::kExists;
        case EBUSY: return Errc::kBusy;
        case EOPNOTSUPP:
        case ENOSYS: return Errc::kNotSupported;
        case EACCES:
        case EPERM: return Errc::kPermissionDenied;
        case ENOMEM: return Errc::kNoMemory;
        case ENOSPC:
        case EDQUOT: return Errc::kNoSpace;
        case ENODATA:
        case EILSEQ: return Errc::kMediaError;
        case EROFS: return Errc::kReadOnly;
        case ETIMEDOUT:
        case ETIME: return Errc::kTimedOut;
        case ECANCELED: return Errc::kCancelled;
        case ECONNRESET:
        case EPIPE:
        case ENOTCONN: return Errc::kConnectionClosed;
        case ECONNREFUSED: return Errc::kConnectionRefused;
        case EHOSTUNREACH:
        case ENETUNREACH: return Errc::kUnreachable;
        case EADDRINUSE: return Errc::kAddressInUse;
        case EPROTO: return Errc::kProtocol;
        case EAGAIN: return Errc::kTryAgain;
        case ENODEV:
        case ENXIO: return Errc::kDeviceGone;
        default: return Errc::kIo;
    }
}

}  // namespace basalt
