#include "nvmf/wire/status.h"

#include <array>

#include "reactor/base/assert.h"
#include "reactor/base/errc.h"

namespace basalt::nvmf {

namespace {

struct Mapping {
    Errc code = Errc::kOk;
    NvmeStatus on_read;
    NvmeStatus on_write;
};

constexpr Mapping both(Errc code, NvmeStatus status) {
    return {code, status, status};
}

// In the order of Errc, so that the code is the index. DNR says that the same command would fail
// again on every path; so it is not set where another path, a little patience or a new connection
// can help, whatever is_retryable() says of a caller inside this process:
//   - kIo is unnamed, so a retry may well succeed (another replica, a device that recovered);
//   - kProtocol is a broken peer behind us, not the host: another path may have a sound one;
//   - kDeviceGone may be back, or be replaced, before the host has tried as often as it does;
//   - kStaleEpoch must never be retried here, but the host must retry at the newer head, so it is
//     an ANA state, which makes a multipath host fail over.
constexpr std::array<Mapping, kErrcCount> kMappings{{
    both(Errc::kOk, status::kSuccess),
    both(Errc::kInvalidArgument, status::kInvalidField.with_dnr()),
    both(Errc::kOutOfRange, status::kLbaOutOfRange.with_dnr()),
    both(Errc::kNotFound, status::kInvalidNamespace.with_dnr()),
    both(Errc::kExists, status::kInternalError.with_dnr()),
    both(Errc::kBusy, status::kNamespaceNotReady),
    both(Errc::kNotSupported, status::kInvalidOpcode.with_dnr()),
    both(Errc::kPermissionDenied, status::kOperationDenied.with_dnr()),
    both(Errc::kNoMemory, status::kCommandInterrupted),
    both(Errc::kNoSpace, status::kCapacityExceeded.with_dnr()),
    {Errc::kMediaError, status::kUnrecoveredReadError.with_dnr(), status::kWriteFault.with_dnr()},
    {Errc::kDataCorrupt, status::kUnrecoveredReadError.with_dnr(), status::kWriteFault.with_dnr()},
    both(Errc::kCompareMismatch, status::kCompareFailure.with_dnr()),
    both(Errc::kReadOnly, status::kNamespaceWriteProtected.with_dnr()),
    both(Errc::kIo, status::kInternalError),
    both(Errc::kTimedOut, status::kInternalPathError),
    both(Errc::kCancelled, status::kAbortRequested),
    both(Errc::kConnectionClosed, status::kInternalPathError),
    both(Errc::kConnectionRefused, status::kInternalPathError),
    both(Errc::kUnreachable, status::kInternalPathError),
    both(Errc::kAddressInUse, status::kInternalError.with_dnr()),
    both(Errc::kProtocol, status::kInternalPathError),
    both(Errc::kStaleEpoch, status::kAnaInaccessible),
    both(Errc::kTryAgain, status::kCommandInterrupted),
    both(Errc::kDeviceGone, status::kNamespaceNotReady),
}};

struct Reverse {
    NvmeStatus status;
    Errc code = Errc::kOk;
};

constexpr std::array kReverse{
    Reverse{status::kSuccess, Errc::kOk},
    Reverse{status::kInvalidOpcode, Errc::kNotSupported},
    Reverse{status::kInvalidField, Errc::kInvalidArgument},
    Reverse{status::kCommandIdConflict, Errc::kProtocol},
    Reverse{status::kDataTransferError, Errc::kTryAgain},
    Reverse{status::kInternalError, Errc::kIo},
    Reverse{status::kAbortRequested, Errc::kCancelled},
    Reverse{status::kAbortedSqDeletion, Errc::kCancelled},
    Reverse{status::kAbortedFailedFused, Errc::kCancelled},
    Reverse{status::kAbortedMissingFused, Errc::kInvalidArgument},
    Reverse{status::kInvalidNamespace, Errc::kNotFound},
    Reverse{status::kCommandSequenceError, Errc::kProtocol},
    Reverse{status::kInvalidSglSegment, Errc::kInvalidArgument},
    Reverse{status::kInvalidSglCount, Errc::kInvalidArgument},
    Reverse{status::kDataSglLengthInvalid, Errc::kInvalidArgument},
    Reverse{status::kSglTypeInvalid, Errc::kInvalidArgument},
    Reverse{status::kAtomicWriteUnitExceeded, Errc::kInvalidArgument},
    Reverse{status::kOperationDenied, Errc::kPermissionDenied},
    Reverse{status::kSglOffsetInvalid, Errc::kInvalidArgument},
    Reverse{status::kHostIdInconsistentFormat, Errc::kInvalidArgument},
    Reverse{status::kKeepAliveExpired, Errc::kTimedOut},
    Reverse{status::kKeepAliveInvalid, Errc::kInvalidArgument},
    Reverse{status::kAbortedByPreempt, Errc::kCancelled},
    Reverse{status::kNamespaceWriteProtected, Errc::kReadOnly},
    Reverse{status::kCommandInterrupted, Errc::kTryAgain},
    Reverse{status::kTransientTransportError, Errc::kTryAgain},
    Reverse{status::kLbaOutOfRange, Errc::kOutOfRange},
    Reverse{status::kCapacityExceeded, Errc::kNoSpace},
    Reverse{status::kNamespaceNotReady, Errc::kBusy},
    Reverse{status::kReservationConflict, Errc::kPermissionDenied},
    Reverse{status::kInvalidQueueId, Errc::kInvalidArgument},
    Reverse{status::kInvalidQueueSize, Errc::kInvalidArgument},
    Reverse{status::kAbortLimitExceeded, Errc::kTryAgain},
    Reverse{status::kAsyncEventLimitExceeded, Errc::kTryAgain},
    Reverse{status::kInvalidLogPage, Errc::kNotSupported},
    Reverse{status::kFeatureNotSaveable, Errc::kNotSupported},
    Reverse{status::kFeatureNotChangeable, Errc::kNotSupported},
    Reverse{status::kFeatureNotPerNamespace, Errc::kNotSupported},
    // 1h/80h is also Conflicting Attributes; both mean that the command makes no sense as it is.
    Reverse{status::kConnectIncompatibleFormat, Errc::kInvalidArgument},
    Reverse{status::kConnectControllerBusy, Errc::kBusy},
    // 1h/82h is also Attempted Write to Read Only Range, which only a write can get.
    Reverse{status::kConnectInvalidParameters, Errc::kInvalidArgument},
    // 1h/83h is also Command Size Limit Exceeded, for Dataset Management and Copy.
    Reverse{status::kConnectRestartDiscovery, Errc::kTryAgain},
    Reverse{status::kConnectInvalidHost, Errc::kPermissionDenied},
    Reverse{status::kDisconnectInvalidQueueType, Errc::kInvalidArgument},
    // 1h/85h is also Disconnect's Invalid Queue Type, above.
    Reverse{status::kFastCopyNotPossible, Errc::kNotSupported},
    Reverse{status::kOverlappingRange, Errc::kInvalidArgument},
    Reverse{status::kWriteFault, Errc::kMediaError},
    Reverse{status::kUnrecoveredReadError, Errc::kMediaError},
    Reverse{status::kCompareFailure, Errc::kCompareMismatch},
    Reverse{status::kAccessDenied, Errc::kPermissionDenied},
    Reverse{status::kUnwrittenBlock, Errc::kMediaError},
    Reverse{status::kInternalPathError, Errc::kTryAgain},
    Reverse{status::kAnaPersistentLoss, Errc::kDeviceGone},
    Reverse{status::kAnaInaccessible, Errc::kStaleEpoch},
    Reverse{status::kAnaTransition, Errc::kTryAgain},
    Reverse{status::kControllerPathError, Errc::kTryAgain},
    Reverse{status::kHostPathError, Errc::kTryAgain},
    Reverse{status::kAbortedByHost, Errc::kCancelled},
};

}  // namespace

Error to_error(NvmeStatus status) {
    BASALT_ASSERT(!status.ok());
    return Error(to_errc(status), status.raw());
}

NvmeStatus to_nvme_status(Error error, MediaAccess access) {
    if (error.detail != 0) {
        // Another controller's: its log and its delays of retries are not the ones of who hears it.
        NvmeStatus passed_on = NvmeStatus::from_raw(error.detail);
        passed_on.more = false;
        passed_on.crd = 0;
        return passed_on;
    }
    const auto index = static_cast<uint16_t>(error.code);
    BASALT_ASSERT(index < kErrcCount);
    const Mapping& mapping = kMappings[index];
    BASALT_ASSERT(mapping.code == error.code);
    return access == MediaAccess::kRead ? mapping.on_read : mapping.on_write;
}

Errc to_errc(NvmeStatus status) {
    for (const Reverse& reverse : kReverse) {
        if (reverse.status.is(status)) {
            return reverse.code;
        }
    }
    return Errc::kIo;
}

}  // namespace basalt::nvmf
