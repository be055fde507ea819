#pragma once

#include <cstddef>
#include <cstdint>

#include "nvmf/wire/limits.h"
#include "reactor/io/clock.h"
#include "reactor/io/network.h"

namespace basalt::nvmf {

/// Requests that a connection has before its Connect says how deep its queue is: Connect itself. An
/// I/O queue keeps it for when its reactor's requests are all in use.
inline constexpr uint32_t kRequestsBeforeConnect = 1;

/// Commands that may be here beyond the queue's entries: a host may send a new command when it has
/// our response, and of a read in memory of ours we hear a moment later that it is sent. Without
/// slack that pauses the stream.
inline constexpr uint32_t kRequestSlack = 16;

/// Requests that the live I/O queues of one reactor share, some 600 bytes each, and those for
/// commands whose data comes with them. Commands beyond them wait with 66 bytes each, or in their
/// sockets. More than devices are quick with: a million I/Os a second of 10 ms each are 10,000; and
/// than what one turn brings: 128 receives.
inline constexpr uint32_t kRequestsPerGroup = 16'384;
inline constexpr uint32_t kCapsuleRequestsPerGroup = 4'096;
/// Of them, what a queue gets in its turn when it and others have set commands aside. With one at a
/// time, 1000 queues at depth 127 read 5 to 10 % less (perf/tried.md).
inline constexpr uint32_t kRequestsPerGrant = 16;
/// Requests of a reactor, at the least; of the second kind, so that fused pairs leave some to
/// others.
inline constexpr uint32_t kRequestsPerGroupMin = 4;
inline constexpr uint32_t kCapsuleRequestsPerGroupMin = 80;

/// Transfer tags: those below are the reactor's requests, those from here on the connection's own.
inline constexpr uint32_t kOwnTagFirst = 0xc000;
inline constexpr uint32_t kOwnTags = 0x10000 - kOwnTagFirst;
static_assert(kRequestsPerGroup + kCapsuleRequestsPerGroup <= kOwnTagFirst);

/// Headers and digests of one send. 8 KiB hold those of 160 reads or 330 writes.
inline constexpr uint32_t kSendHeaderBytes = 8192;

/// Pieces of one send: with data, a read takes two.
inline constexpr uint32_t kSendPieces = 128;
static_assert(kSendPieces <= kSendPiecesMax);

/// Bytes after which nothing more joins a send: what one connection gets of a turn. A send of 256
/// KiB takes the kernel some 50 us; 64 reads of 128 KiB in one send would hold up all other
/// connections of the reactor for a millisecond.
inline constexpr size_t kSendBytesMax = size_t{256} * 1024;

/// A connection may hold one I/O buffer in so many of each size: a host that does not send what it
/// was asked for, or does not read what it has asked for, takes no more than that from the others.
inline constexpr uint32_t kBufferShare = 4;

/// How long a connection that is to go to another core may take until nothing of it is under way;
/// then it stays. Its host waits that long at most for what it has asked for meanwhile.
inline constexpr uint64_t kMovePatienceNs = 100 * kNsPerMs;

/// How often the control thread looks whether the load of the reactors is uneven, and so the least
/// time between two moves.
inline constexpr uint64_t kBalancePeriodNs = kNsPerSecond;

/// How long a host may take for the data of a write that it was asked for. As long as Linux gives
/// a command by default; its connection is closed then, because only that ends a transfer.
inline constexpr uint64_t kDataTimeoutNs = 30 * kNsPerSecond;

/// A connection's next send starts no sooner than this many times as long after the last one as
/// that one took, if the host is busy: with it are so many of the commands it had outstanding of
/// late that we hold fewer than one in kSendPauseDepthDivisor. Then it has work, and larger sends
/// cost it less; a host that waits for us is answered at once. Without that condition, 4 KiB reads
/// at depth 32 stood still half of the time (467 thousand a second, and 1030 with it; at depth 128
/// 930 and 1250; without any pause 1010 and 1150; perf/README.md).
inline constexpr uint64_t kSendPauseFactor = 2;
inline constexpr uint32_t kSendPauseDepthDivisor = 4;
/// The depth of late falls by one in so many with each send.
inline constexpr uint32_t kDepthDecay = 16;
/// Only after a send of this many responses: a shallow queue gets each at once (with a pause after
/// every send, a round trip at depth 1 took 9.5 us and not 8.4).
inline constexpr uint32_t kSendPauseResponses = 4;
/// And no longer than this, whatever the last one took.
inline constexpr uint64_t kSendPauseNsMax = 20 * kNsPerUs;

/// The headers that one response may need at most: data header, digest, response.
inline constexpr uint32_t kResponseHeaderBytesMax = 2 * kPduHeadBytesMax + kDigestBytes;
static_assert(kSendHeaderBytes >= 2 * kResponseHeaderBytesMax);

/// Fused pairs of one reactor on their way at a time; more stop their streams. Hosts use them for
/// locks, one or two at a time. Each has 128 KiB for the data of both halves and what is compared,
/// backed when used.
inline constexpr uint32_t kFusedPairs = 32;
static_assert(kCapsuleRequestsPerGroupMin > 2 * kFusedPairs);
/// Data of one half: 32 blocks of 512 bytes, 4 of 4096. Locks are one block.
inline constexpr uint32_t kFusedBytesMax = 16384;
/// How long the first half waits for the second, which is the next command of its queue.
inline constexpr uint64_t kFusedPartnerTimeoutNs = 10 * kNsPerSecond;

/// Commands of one reactor that copy, verify and the like at a time, each with 128 KiB; more wait
/// in line. Enough to keep a drive busy, and few enough that they take little from other I/O.
inline constexpr uint32_t kStepJobs = 16;
/// What a command in steps may take, its time in line included: then it ends with Command
/// Interrupted, and the host may try again. Linux gives 30 s before it takes the controller for
/// dead, and a host may have many copies in line at once.
inline constexpr uint32_t kStepPatienceMs = 20'000;
/// What one Copy may move: at 100 MB/s 2.7 s, far from a host's time-out of 30 s.
inline constexpr uint64_t kCopyBytesMax = uint64_t{256} << 20U;
/// Source ranges of one Copy: 4 KiB of descriptors, the smallest buffer there is.
inline constexpr uint32_t kCopyRangesMax = 128;

/// VS and the controller's VER: what 2.0 demands of a controller is here (its log pages, Identify
/// structures and CAP.CRMS among them); hosts of all ages take it.
inline constexpr uint32_t kNvmeVersion = 0x00020000;

/// Asynchronous Event Requests outstanding on a controller (AERL + 1).
inline constexpr uint32_t kAsyncEventRequestsMax = 4;

/// Commands that Abort may have outstanding (ACL + 1).
inline constexpr uint32_t kAbortsMax = 4;

/// Changed namespaces that the log lists; more are told as "all" (NVMe Base Specification, Changed
/// Namespace List log page).
inline constexpr uint32_t kChangedNamespacesMax = 1024;

/// Error Information log entries kept for each controller (ELPE + 1).
inline constexpr uint32_t kErrorLogEntries = 64;

/// What a controller without a thermometer says (WCTEMP, CCTEMP, and the temperature itself). The
/// first two are the values that the Base Specification recommends.
inline constexpr uint16_t kWarningTemperatureKelvin = 0x0157;
inline constexpr uint16_t kCriticalTemperatureKelvin = 0x0175;
inline constexpr uint16_t kRoomTemperatureKelvin = 298;

/// Failures of one queue that travel to the log of its controller at once; of more the number alone
/// is told.
inline constexpr uint32_t kErrorsUnderWayMax = 4;

/// The granularity of the keep alive timer, in units of 100 ms (KAS).
inline constexpr uint16_t kKeepAliveGranularity = 1;

/// How long a discovery controller lasts that has no keep alive: hosts that mean to stay ask for
/// one (explicit persistent connection), the others read the log and leave, or were cut off.
/// Linux's target allows as long.
inline constexpr uint32_t kDiscoverySessionMs = 120'000;

/// Command Retry Delay Times 1 and 2, in units of 100 ms: something short of memory or time is
/// better soon; a namespace or device that is not ready takes longer.
inline constexpr uint16_t kRetryDelayShort = 1;
inline constexpr uint16_t kRetryDelayLong = 10;

/// How long a terminated connection may take to close.
inline constexpr uint64_t kTerminateTimeoutNs = 10 * kNsPerSecond;

/// The least and the most that a host may be given for its handshake or its authentication. With
/// ffdhe8192 and a hundred queues the target alone needs some seconds; an emulated host, too.
inline constexpr uint32_t kOpeningTimeoutMsMin = 100;
inline constexpr uint32_t kOpeningTimeoutMsMax = 600'000;

/// Keys for TLS that one host's authentications have made for one subsystem and that are kept: one
/// an association. One more makes the oldest useless for new connections.
inline constexpr uint32_t kGeneratedKeysPerHost = 32;
/// They are forgotten when no connection has used them for as long as this, up to twice: a host
/// that has just made one connects at once.
inline constexpr uint64_t kGeneratedKeyIdleNs = 60 * kNsPerSecond;

/// How often a group tells at most that it refuses connections.
inline constexpr uint64_t kRefusalLogNs = kNsPerSecond;
/// The same for the failed commands of one connection.
inline constexpr uint64_t kFailureLogNs = kNsPerSecond;

/// How long a connection stays after its authentication has failed, so that the host can receive
/// the reason. As long as with SPDK.
inline constexpr uint64_t kAuthenticationLingerNs = 100 * kNsPerMs;

/// How often a reconfiguration looks whether requests or connections are gone yet.
inline constexpr uint64_t kDrainPollNs = 200 * kNsPerUs;

/// Controllers of one subsystem on one reactor. A bound on memory against a host that connects for
/// ever; the 65,519 ids of a subsystem are shared out to the reactors.
inline constexpr uint32_t kControllersPerGroupMax = 4096;

/// Hosts that may be registered with one namespace. Linux and Windows clusters have 64 nodes at
/// most; one more is refused.
inline constexpr uint32_t kRegistrantsMax = 128;

/// Reservation notices that wait for one controller's host to read them; the page counts no more.
/// Then the oldest is lost.
inline constexpr uint32_t kReservationNoticesMax = 255;

/// Namespaces of one subsystem (NN). Each costs a pointer a reactor; hosts ask for all.
inline constexpr uint32_t kNamespacesMax = 1024;

/// Connections of one reactor. A bound on memory: 16 KB each idle, some 30 to 85 under load.
inline constexpr uint32_t kConnectionsPerGroupMax = 10'000;

}  // namespace basalt::nvmf
