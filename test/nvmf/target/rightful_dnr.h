#pragma once

#include <algorithm>
#include <array>

#include "nvmf/wire/status.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

/// Statuses that say that the command itself is wrong, and will be on every path and at any time:
/// they come with Do Not Retry, or a host tries in vain.
inline constexpr std::array kNeverAgain{
    status::kInvalidOpcode,
    status::kInvalidField,
    status::kInvalidNamespace,
    status::kCommandSequenceError,
    status::kDataSglLengthInvalid,
    status::kSglTypeInvalid,
    status::kSglOffsetInvalid,
    status::kAtomicWriteUnitExceeded,
    status::kOperationDenied,
    status::kHostIdInconsistentFormat,
    status::kKeepAliveInvalid,
    status::kNamespaceWriteProtected,
    status::kLbaOutOfRange,
    status::kCapacityExceeded,
    status::kReservationConflict,
    status::kAsyncEventLimitExceeded,
    status::kInvalidLogPage,
    status::kFeatureNotSaveable,
    status::kFeatureNotChangeable,
    status::kFeatureNotPerNamespace,
    status::kConnectIncompatibleFormat,
    status::kCommandSizeLimitExceeded,
    status::kIncompatibleNamespace,
    status::kFastCopyNotPossible,
    status::kOverlappingRange,
    status::kWriteFault,
    status::kUnrecoveredReadError,
    status::kCompareFailure,
};
/// And those that say that it was not the command's fault: with Do Not Retry a host would give up
/// what another path, or a little later this one, can do.
inline constexpr std::array kPerhapsAgain{
    status::kAbortRequested,
    status::kAbortedSqDeletion,
    status::kAbortedByPreempt,
    status::kCommandInterrupted,
    status::kTransientTransportError,
    status::kNamespaceNotReady,
    status::kAbortLimitExceeded,
    status::kConnectControllerBusy,
    status::kAuthenticationRequired,
    status::kInternalPathError,
    status::kAnaInaccessible,
    status::kAnaTransition,
};

/// Of other statuses (Invalid Host, a failed fused pair) it depends: their tests say on what. Fuzz
/// targets, which have no test around them, ask too.
inline void check_dnr(NvmeStatus status) {
    const auto is_same = [status](NvmeStatus other) { return status.is(other); };
    const bool is_never = std::any_of(kNeverAgain.begin(), kNeverAgain.end(), is_same);
    const bool is_perhaps = std::any_of(kPerhapsAgain.begin(), kPerhapsAgain.end(), is_same);
    BASALT_ASSERT(!is_never || status.dnr);
    BASALT_ASSERT(!is_perhaps || !status.dnr);
}

}  // namespace basalt::nvmf
