#pragma once

#include <cstdint>

#include "replication/core/messages.h"
#include "replication/core/types.h"

namespace basalt::replication {

/// What a head is told by its shell. A value.
struct HeadEvent {
    enum class Kind : uint8_t {
        kGranted,     ///< The authority made this the head: `epoch`, `set`.
        kLinkUp,      ///< There is a new connection to `replica`.
        kLinkDown,    ///< There is none; what was sent and not answered may be lost.
        kWrite,       ///< Of a host: `tag`, `range`, `write`, `data`.
        kRead,        ///< Of a host, or of a scrub: `tag`, `range`, `compares_all`.
        kSnapshot,    ///< Draw a line through the writes: `tag`.
        kDropLine,    ///< The snapshot of line `number` is not wanted: those that count are told.
        kReply,       ///< `reply` of `replica`.
        kSetAnswer,   ///< To kAskSet: `is_granted`.
        kOpenAnswer,  ///< To kAskOpen: `is_granted`, `lease_until_us`.
        kLease,       ///< It lasts longer now: `lease_until_us`.
        kTick,        ///< Time has passed. Some times a second.
        kStop,        ///< Answer all and do nothing more.
    };
    Kind kind = Kind::kTick;
    uint64_t now_us = 0;  ///< Never goes back.
    uint32_t replica = 0;
    Epoch epoch{};
    ReplicaSet set{};
    uint64_t tag = 0;
    BlockRange range{};
    WriteKind write = WriteKind::kData;
    uint64_t data = 0;
    OpNumber number{};
    /// kRead: what every replica of the set has, whatever read_quorum is. What is wrong with one
    /// block is written anew; of more blocks, and of other reads, it is only told.
    bool compares_all = false;
    const Reply* reply = nullptr;  ///< Lives until apply() returns.
    bool is_short = false;         ///< kTick: hosts wait for memory that writes under way hold.
    bool is_granted = false;
    uint64_t lease_until_us = 0;
};

/// What the shell of a head has to do. A value.
struct HeadAction {
    enum class Kind : uint8_t {
        kSend,         ///< `message` to `replica`.
        kAnswer,       ///< The host's `tag`, with `status`; a read's data is that of reply `data`.
        kLater,        ///< `tag` was not taken: give it again after kRoom.
        kRoom,         ///< There is room again.
        kAskSet,       ///< Ask the authority for `set` in place of that of `epoch`.
        kAskOpen,      ///< Ask it whether `epoch` is still the last, and for the lease.
        kForgetWrite,  ///< A write's `data` is not needed any more.
        kForgetRead,   ///< What came with reply `data` is not needed any more.
        kResetLink,    ///< Close the connection to `replica` and make a new one.
        kMended,       ///< What `replica` had of `range` and was wrong has been written anew.
        kLineDropped,  ///< `replica` has no snapshot of line `number`, and gets none any more.
        kSuperseded,   ///< Another head has begun, or this one can't go on: ask for a new epoch.
    };
    Kind kind = Kind::kSend;
    uint32_t replica = 0;
    Message message{};
    uint64_t tag = 0;
    /// kOk; kOutOfRange, kInvalidArgument: the host's; kStaleEpoch: there is another head, the
    /// outcome of a write is not known; kDataCorrupt, kMediaError: no copy can be read.
    Errc status = Errc::kOk;
    uint64_t data = 0;
    OpNumber number{};  ///< kAnswer to a snapshot: the generation that began. kLineDropped.
    BlockRange range{};
    // kAnswer to a read: replicas that have something else than most, or, when no majority agrees
    // (kDataCorrupt), all that have anything; those that can't read it; whether all of the set were
    // heard, and no write was under way that makes them differ.
    ReplicaSet different{};
    ReplicaSet unreadable{};
    bool is_compared = false;
    Epoch epoch{};
    ReplicaSet set{};
};

}  // namespace basalt::replication
