#pragma once

#include <cstdint>

#include "nvmf/wire/limits.h"
#include "reactor/io/clock.h"
#include "reactor/io/network.h"

namespace basalt::nvmf {

/// A command identifier is the command's slot in its lower bits and a generation above, so that an
/// answer that comes twice, or to a command long gone, meets nobody. Linux does the same.
inline constexpr uint32_t kSlotBits = 12;

/// Entries of one of our queues. More would take the generation's bits, and no target that we know
/// offers more.
inline constexpr uint32_t kHostQueueEntriesMax = 1U << kSlotBits;
inline constexpr uint32_t kHostQueueEntriesMin = 2;

/// The admin queue's entries: what Linux and SPDK ask for.
inline constexpr uint32_t kHostAdminQueueEntries = 32;

/// Pieces of memory of one command. 128 KiB in pieces of 1 KiB; more are for the user to merge.
inline constexpr uint32_t kHostPiecesMax = 128;

/// Pieces of one send. A command with in-capsule data takes its own, its header and its digest.
inline constexpr uint32_t kHostSendPieces = 256;
static_assert(kHostSendPieces <= kSendPiecesMax);
static_assert(kHostPiecesMax + 2 <= kHostSendPieces);

/// Headers and digests of one send: those of 200 reads, or of 200 writes with digests.
inline constexpr uint32_t kHostSendHeaderBytes = 16384;
static_assert(kHostSendHeaderBytes >= 2 * (kPduHeadBytesMax + kDigestBytes));

/// R2Ts that a command may have outstanding: one, as Linux and SPDK have it. A second would save a
/// round trip only for writes larger than the controller asks for at once.
inline constexpr uint32_t kHostR2tMax = 1;

/// How long TCP's handshake and ICReq to ICResp may take together.
inline constexpr uint64_t kHandshakeTimeoutNs = 10 * kNsPerSecond;

/// How long an authentication may take, all messages together: as long as our target allows.
inline constexpr uint64_t kHostAuthenticationTimeoutNs = 30 * kNsPerSecond;

/// How long the peer may take to accept our terminate request before the connection is closed
/// without.
inline constexpr uint64_t kHostTerminateTimeoutNs = kNsPerSecond;

/// How often CSTS is looked at while the controller becomes ready or shuts down.
inline constexpr uint64_t kReadyPollNs = 10 * kNsPerMs;

/// The least time that enabling may take, whatever CAP.TO says: some controllers say 0.
inline constexpr uint64_t kReadyTimeoutNsMin = 5 * kNsPerSecond;

/// A shutdown that takes longer, answers and all, is not waited for: the connection is closed.
inline constexpr uint64_t kShutdownTimeoutNs = 5 * kNsPerSecond;

/// How long a command of the admin queue, or Connect, may take where commands have no time-out:
/// what a sequence awaits must end. Linux has as long for them (NVME_ADMIN_TIMEOUT).
inline constexpr uint64_t kHostAdminTimeoutNs = 60 * kNsPerSecond;

/// Asynchronous Event Requests that we keep with the controller.
inline constexpr uint32_t kHostAsyncEventRequests = 1;

/// Active namespaces that we ask for: what 16 lists tell. The rest is not seen.
inline constexpr uint32_t kHostNamespacesMax = 16 * 1024;

/// Records of a discovery log that we read at most; a log with more is cut with a warning.
inline constexpr uint32_t kDiscoveryRecordsMax = 4096;

/// How often a discovery log that changes under our eyes is read again.
inline constexpr uint32_t kDiscoveryAttempts = 8;

/// What one Get Log Page transfers of it.
inline constexpr uint32_t kDiscoveryReadBytes = 4096;

}  // namespace basalt::nvmf
