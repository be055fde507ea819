#include "rpc/error.h"

#include <cerrno>
#include <cstring>

namespace basalt::rpc {

namespace {

// The errno that SPDK's scripts know for each of our errors.
int errno_of(Errc code) {
    switch (code) {
        case Errc::kOk: return 0;
        case Errc::kInvalidArgument: return EINVAL;
        case Errc::kOutOfRange: return ERANGE;
        case Errc::kNotFound: return ENODEV;
        case Errc::kExists: return EEXIST;
        case Errc::kBusy: return EBUSY;
        case Errc::kNotSupported: return EOPNOTSUPP;
        case Errc::kPermissionDenied: return EACCES;
        case Errc::kNoMemory: return ENOMEM;
        case Errc::kNoSpace: return ENOSPC;
        case Errc::kMediaError: return EIO;
        case Errc::kDataCorrupt: return EILSEQ;
        case Errc::kCompareMismatch: return EILSEQ;
        case Errc::kReadOnly: return EROFS;
        case Errc::kIo: return EIO;
        case Errc::kTimedOut: return ETIMEDOUT;
        case Errc::kCancelled: return ECANCELED;
        case Errc::kConnectionClosed: return ECONNRESET;
        case Errc::kConnectionRefused: return ECONNREFUSED;
        case Errc::kUnreachable: return EHOSTUNREACH;
        case Errc::kAddressInUse: return EADDRINUSE;
        case Errc::kProtocol: return EPROTO;
        case Errc::kStaleEpoch: return ESTALE;
        case Errc::kTryAgain: return EAGAIN;
        case Errc::kDeviceGone: return ENXIO;
    }
    return EIO;
}

}  // namespace

RpcError to_rpc_error(Error error, std::string_view what) {
    std::string message(what);
    message += ": ";
    message += describe(error.code);
    int number = errno_of(error.code);
    if (error.error_number > 0) {
        number = error.error_number;
        message += " (";
        message += std::strerror(number);
        message += ")";
    }
    if (error.code == Errc::kInvalidArgument && error.error_number == 0) {
        return RpcError(RpcCode::kInvalidParams, std::move(message));
    }
    return RpcError(-number, std::move(message));
}

// The right-hand numbers are those of the gRPC protocol ("Status codes and their use in gRPC").
int grpc_status_code(int32_t rpc_code) {
    constexpr int kInvalidArgument = 3;
    constexpr int kDeadlineExceeded = 4;
    constexpr int kNotFound = 5;
    constexpr int kAlreadyExists = 6;
    constexpr int kPermissionDenied = 7;
    constexpr int kResourceExhausted = 8;
    constexpr int kFailedPrecondition = 9;
    constexpr int kAborted = 10;
    constexpr int kOutOfRange = 11;
    constexpr int kUnimplemented = 12;
    constexpr int kInternal = 13;
    constexpr int kUnavailable = 14;
    constexpr int kCancelled = 1;
    constexpr int kUnknown = 2;
    switch (rpc_code) {
        case static_cast<int32_t>(RpcCode::kParseError):
        case static_cast<int32_t>(RpcCode::kInvalidRequest):
        case static_cast<int32_t>(RpcCode::kInvalidParams):
        case -EINVAL: return kInvalidArgument;
        case static_cast<int32_t>(RpcCode::kMethodNotFound):
        case -EOPNOTSUPP:
        case -ENOSYS: return kUnimplemented;
        case static_cast<int32_t>(RpcCode::kInternalError): return kInternal;
        case -ENODEV:
        case -ENOENT:
        case -ENXIO: return kNotFound;
        case -EEXIST:
        case -EADDRINUSE: return kAlreadyExists;
        case -EPERM:
        case -EACCES: return kPermissionDenied;
        case -ENOMEM:
        case -ENOSPC: return kResourceExhausted;
        case -EBUSY:
        case -EROFS: return kFailedPrecondition;
        case -ESTALE: return kAborted;
        case -ERANGE: return kOutOfRange;
        case -ETIMEDOUT: return kDeadlineExceeded;
        case -EAGAIN:
        case -ECONNREFUSED:
        case -ECONNRESET:
        case -EHOSTUNREACH: return kUnavailable;
        case -ECANCELED: return kCancelled;
        default: return kUnknown;
    }
}

}  // namespace basalt::rpc
