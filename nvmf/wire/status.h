#pragma once

#include <cstdint>

#include "reactor/base/result.h"

namespace basalt::nvmf {

/// The status of a completed command: status code type, status code and the flags beside them. A
/// value, 4 bytes. `raw()` is the 15 bits of the completion's status field without the phase bit,
/// the layout of libnvme's `enum nvme_status_field`.
struct NvmeStatus {
    uint8_t sct = 0;  ///< Status Code Type, 3 bits.
    uint8_t sc = 0;   ///< Status Code.
    uint8_t crd = 0;  ///< Command Retry Delay, 2 bits: which of CRDT1..3 the host waits; 0 none.
    bool more : 1 = false;  ///< More about it is in the Error Information log page.
    bool dnr : 1 = false;   ///< Do Not Retry: the same command would fail again.

    [[nodiscard]] constexpr bool ok() const { return sct == 0 && sc == 0; }

    [[nodiscard]] constexpr NvmeStatus with_dnr() const {
        NvmeStatus status = *this;
        status.dnr = true;
        return status;
    }

    /// True for the same type and code; the flags don't matter.
    [[nodiscard]] constexpr bool is(NvmeStatus other) const {
        return sct == other.sct && sc == other.sc;
    }

    [[nodiscard]] constexpr uint16_t raw() const {
        return static_cast<uint16_t>(sc | ((sct & 7U) << 8U) | ((crd & 3U) << 11U) |
                                     (more ? 1U << 13U : 0U) | (dnr ? 1U << 14U : 0U));
    }

    [[nodiscard]] static constexpr NvmeStatus from_raw(uint16_t raw) {
        NvmeStatus status;
        status.sc = static_cast<uint8_t>(raw & 0xffU);
        status.sct = static_cast<uint8_t>((raw >> 8U) & 7U);
        status.crd = static_cast<uint8_t>((raw >> 11U) & 3U);
        status.more = ((raw >> 13U) & 1U) != 0;
        status.dnr = ((raw >> 14U) & 1U) != 0;
        return status;
    }

    constexpr bool operator==(const NvmeStatus&) const = default;
};

/// The statuses in use here, named as in the NVMe Base and NVM Command Set specifications. None has
/// DNR set; whoever knows that a retry is of no use adds it with `with_dnr()`.
namespace status {
// Generic command status, type 0h.
inline constexpr NvmeStatus kSuccess{0x0, 0x00};
inline constexpr NvmeStatus kInvalidOpcode{0x0, 0x01};
inline constexpr NvmeStatus kInvalidField{0x0, 0x02};
inline constexpr NvmeStatus kCommandIdConflict{0x0, 0x03};
inline constexpr NvmeStatus kDataTransferError{0x0, 0x04};
inline constexpr NvmeStatus kInternalError{0x0, 0x06};
inline constexpr NvmeStatus kAbortRequested{0x0, 0x07};
inline constexpr NvmeStatus kAbortedSqDeletion{0x0, 0x08};
inline constexpr NvmeStatus kAbortedFailedFused{0x0, 0x09};
inline constexpr NvmeStatus kAbortedMissingFused{0x0, 0x0a};
inline constexpr NvmeStatus kInvalidNamespace{0x0, 0x0b};
inline constexpr NvmeStatus kCommandSequenceError{0x0, 0x0c};
inline constexpr NvmeStatus kInvalidSglSegment{0x0, 0x0d};
inline constexpr NvmeStatus kInvalidSglCount{0x0, 0x0e};
inline constexpr NvmeStatus kDataSglLengthInvalid{0x0, 0x0f};
inline constexpr NvmeStatus kSglTypeInvalid{0x0, 0x11};
inline constexpr NvmeStatus kAtomicWriteUnitExceeded{0x0, 0x14};
inline constexpr NvmeStatus kOperationDenied{0x0, 0x15};
inline constexpr NvmeStatus kSglOffsetInvalid{0x0, 0x16};
inline constexpr NvmeStatus kHostIdInconsistentFormat{0x0, 0x18};
inline constexpr NvmeStatus kKeepAliveExpired{0x0, 0x19};
inline constexpr NvmeStatus kKeepAliveInvalid{0x0, 0x1a};
inline constexpr NvmeStatus kAbortedByPreempt{0x0, 0x1b};
inline constexpr NvmeStatus kNamespaceWriteProtected{0x0, 0x20};
inline constexpr NvmeStatus kCommandInterrupted{0x0, 0x21};
inline constexpr NvmeStatus kTransientTransportError{0x0, 0x22};
inline constexpr NvmeStatus kLbaOutOfRange{0x0, 0x80};
inline constexpr NvmeStatus kCapacityExceeded{0x0, 0x81};
inline constexpr NvmeStatus kNamespaceNotReady{0x0, 0x82};
inline constexpr NvmeStatus kReservationConflict{0x0, 0x83};
// Command specific status, type 1h.
inline constexpr NvmeStatus kInvalidQueueId{0x1, 0x01};
inline constexpr NvmeStatus kInvalidQueueSize{0x1, 0x02};
inline constexpr NvmeStatus kAbortLimitExceeded{0x1, 0x03};
inline constexpr NvmeStatus kAsyncEventLimitExceeded{0x1, 0x05};
inline constexpr NvmeStatus kInvalidLogPage{0x1, 0x09};
inline constexpr NvmeStatus kFeatureNotSaveable{0x1, 0x0d};
inline constexpr NvmeStatus kFeatureNotChangeable{0x1, 0x0e};
inline constexpr NvmeStatus kFeatureNotPerNamespace{0x1, 0x0f};
// Command specific status of fabrics commands, type 1h.
inline constexpr NvmeStatus kConnectIncompatibleFormat{0x1, 0x80};
inline constexpr NvmeStatus kConnectControllerBusy{0x1, 0x81};
inline constexpr NvmeStatus kConnectInvalidParameters{0x1, 0x82};
inline constexpr NvmeStatus kConnectRestartDiscovery{0x1, 0x83};
inline constexpr NvmeStatus kConnectInvalidHost{0x1, 0x84};
inline constexpr NvmeStatus kDisconnectInvalidQueueType{0x1, 0x85};
inline constexpr NvmeStatus kAuthenticationRequired{0x1, 0x91};
// Command specific status of NVM commands, type 1h.
inline constexpr NvmeStatus kConflictingAttributes{0x1, 0x80};
inline constexpr NvmeStatus kWriteToReadOnlyRange{0x1, 0x82};
inline constexpr NvmeStatus kCommandSizeLimitExceeded{0x1, 0x83};
inline constexpr NvmeStatus kIncompatibleNamespace{0x1, 0x85};
inline constexpr NvmeStatus kFastCopyNotPossible{0x1, 0x86};
inline constexpr NvmeStatus kOverlappingRange{0x1, 0x87};
// Media and data integrity errors, type 2h.
inline constexpr NvmeStatus kWriteFault{0x2, 0x80};
inline constexpr NvmeStatus kUnrecoveredReadError{0x2, 0x81};
inline constexpr NvmeStatus kCompareFailure{0x2, 0x85};
inline constexpr NvmeStatus kAccessDenied{0x2, 0x86};
inline constexpr NvmeStatus kUnwrittenBlock{0x2, 0x87};
// Path related status, type 3h.
inline constexpr NvmeStatus kInternalPathError{0x3, 0x00};
inline constexpr NvmeStatus kAnaPersistentLoss{0x3, 0x01};
inline constexpr NvmeStatus kAnaInaccessible{0x3, 0x02};
inline constexpr NvmeStatus kAnaTransition{0x3, 0x03};
inline constexpr NvmeStatus kControllerPathError{0x3, 0x60};
inline constexpr NvmeStatus kHostPathError{0x3, 0x70};
inline constexpr NvmeStatus kAbortedByHost{0x3, 0x71};
}  // namespace status

/// Which way a failed command moved data: a medium fails a read and a write with different codes.
enum class MediaAccess : uint8_t { kRead, kWrite };

/// The error that carries `status`, which is not success, in its detail and the nearest Errc as its
/// code. Error::detail holds NvmeStatus::raw() wherever a device or a peer gave an NVMe status.
[[nodiscard]] Error to_error(NvmeStatus status);

/// The status to complete a command with that failed with `error`: the status in its detail if it
/// has one, otherwise that of its code (see status.cc for the table and its reasons). kOk gives
/// success.
[[nodiscard]] NvmeStatus to_nvme_status(Error error, MediaAccess access = MediaAccess::kRead);

/// The nearest Errc for a status that a controller gave us; kOk for success, kIo for a failure that
/// has no better name. Whether to retry is for `status.dnr` to say, not for the code.
[[nodiscard]] Errc to_errc(NvmeStatus status);

}  // namespace basalt::nvmf
