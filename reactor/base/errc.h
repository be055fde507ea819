#pragma once

#include <cstdint>
#include <string_view>

namespace basalt {

/// Every expected failure of the project, with who can act on it. One list, so that a failure means
/// the same in every room; the mapping to NVMe status is nvmf/wire/status.h, to RPC codes rpc/.
enum class Errc : uint16_t {
    kOk = 0,            ///< No error. Never inside a failed Result.
    kInvalidArgument,   ///< Caller or operator: the request makes no sense as it stands.
    kOutOfRange,        ///< Host: a block range ends beyond the device.
    kNotFound,          ///< Operator: no object of that name or id.
    kExists,            ///< Operator: an object of that name or id is there already.
    kBusy,              ///< Operator: the object is in use; remove its users first.
    kNotSupported,      ///< Caller: the device or the peer can't do that at all.
    kPermissionDenied,  ///< Operator: the host or process lacks the right.
    kNoMemory,          ///< Operator: a configured bound on memory is reached; retry later.
    kNoSpace,           ///< Operator: the device or pool is full.
    kMediaError,        ///< Operator: the medium failed; the data of that range is not readable.
    kDataCorrupt,       ///< Peer or operator: a checksum does not match.
    kCompareMismatch,   ///< Host: the data compared is different; nothing was written.
    kReadOnly,          ///< Host: the device refuses writes.
    kIo,                ///< Operator: the device failed in a way that has no name here (see errno).
    kTimedOut,          ///< Caller: no answer in time; the outcome is unknown.
    kCancelled,         ///< Caller: stopped on request or by shutdown.
    kConnectionClosed,  ///< Peer: the stream ended; reconnect.
    kConnectionRefused,  ///< Operator: nobody listens there.
    kUnreachable,        ///< Operator: the network does not lead there.
    kAddressInUse,       ///< Operator: another socket listens there.
    kProtocol,           ///< Peer: it broke the protocol; the connection is of no more use.
    kStaleEpoch,         ///< Head: a newer head has fenced this one. Never retry.
    kTryAgain,           ///< Caller: a bounded resource is exhausted for now; retry when told.
    kDeviceGone,         ///< Operator: the device has left or was removed.
};

/// How many enumerators Errc has (tests walk all of them).
inline constexpr uint16_t kErrcCount = static_cast<uint16_t>(Errc::kDeviceGone) + 1;

/// The enumerator in words for people, for example "no such object". Static storage.
[[nodiscard]] std::string_view describe(Errc code);

/// True if the same call may succeed later without anybody changing anything.
[[nodiscard]] bool is_retryable(Errc code);

/// True if data that was once stored can't be returned as it was.
[[nodiscard]] bool is_data_loss(Errc code);

/// The Errc for a system call's errno value; kIo for those that have no name here.
[[nodiscard]] Errc errc_from_errno(int error_number);

}  // namespace basalt
