#pragma once

#include <cstdint>
#include <span>

#include "reactor/base/errc.h"
#include "replication/core/block_bitmap.h"
#include "replication/core/types.h"
#include "replication/core/window.h"

namespace basalt::replication {

enum class MessageKind : uint8_t {
    kWrite,     ///< A write of any WriteKind. Answered when it is durable.
    kRead,      ///< Answered with data.
    kTrim,      ///< Only the watermark. Not answered.
    kFence,     ///< A new head begins: nothing below its epoch is taken from now on.
    kSettle,    ///< The new head's decision: exactly this window.
    kCarryOn,   ///< The same head has another epoch, because the in-sync set has changed.
    kJoin,      ///< The replica comes back: it gets new writes, and copies of what it lacks.
    kCopyRead,  ///< Reads what shall be copied to another replica.
    kCopy,      ///< Writes what was read from another replica.
    kJoined,    ///< It has all: it may count for quorums when the set has it.
    kDropLine,  ///< The snapshot of line `number` is not wanted any more, if there is one.
};

/// From a head to one replica. What `window` and `dirty` lead to lives until the core that made the
/// message is next called.
struct Message {
    MessageKind kind = MessageKind::kWrite;
    WriteKind write = WriteKind::kData;
    Epoch epoch{};
    Epoch tenure{};           ///< In which this head began: says which head it is.
    uint32_t session = 0;     ///< Counts this head's connections to the replica.
    uint64_t id = 0;          ///< Comes back in the answer.
    uint64_t connection = 0;  ///< The replica's shell's name for where the answer goes.
    OpNumber number{};        ///< kWrite; kDropLine; kCopy in a beginning: of what is copied.
    BlockRange range{};
    OpNumber generation{};  ///< To which a write belongs, or which is current.
    OpNumber watermark{};   ///< Every replica has all up to here.
    OpNumber as_of{};       ///< kCopy: blocks with a later write stay as they are.
    bool is_exact = false;  ///< kCopy in a beginning: this, and nothing later, is in the blocks.
    bool is_replica_away = false;  ///< kWrite: mark the blocks dirty. kCarryOn: keep the marks.
    uint64_t data = 0;             ///< The shell's name for the data of a write or copy, on each
                                   ///< side its own.
    std::span<const WindowEntry> window{};  ///< kSettle.
    const BlockBitmap* dirty = nullptr;     ///< kSettle, kJoined.
};

/// From a replica to the head. What `window` and `dirty` lead to lives until the replica is next
/// called.
struct Reply {
    MessageKind kind = MessageKind::kWrite;
    /// kOk; kStaleEpoch: a higher epoch is known, see `epoch`; kTryAgain: not taken in this state;
    /// kNoMemory: no room; kDataCorrupt, kMediaError, kIo, kNoSpace: the store failed.
    Errc status = Errc::kOk;
    Epoch epoch{};  ///< The replica's fence.
    uint32_t session = 0;
    uint64_t id = 0;
    uint64_t connection = 0;  ///< Of the message. Nobody answers on another one.
    OpNumber number{};
    OpNumber newest{};    ///< Reads: no write above this can be in the data, of those in a window.
    uint64_t digest = 0;  ///< Reads: the same for the same data.
    bool is_blank = false;  ///< kFence: the drive is a new one, and nothing is known here.
    Epoch agreed{};         ///< kFence.
    OpNumber watermark{};   ///< kFence.
    OpNumber generation{};  ///< kFence.
    std::span<const WindowEntry> window{};  ///< kFence.
    const BlockBitmap* dirty = nullptr;     ///< kFence, kJoin.
};

}  // namespace basalt::replication
