#pragma once

#include <cstdint>
#include <span>

#include "replication/core/messages.h"
#include "replication/core/settings.h"
#include "replication/core/window.h"

namespace basalt::replication {

/// What a replica is, but for its window and its dirty blocks. A value.
struct ReplicaMarks {
    Epoch fence;    ///< Everything of a lower epoch is refused for ever.
    Epoch agreed;   ///< The tenure in which it took part last: from the beginning, or joined.
    Epoch joining;  ///< In which it is brought up to date; 0: it is not.
    OpNumber watermark;
    OpNumber generation;     ///< The newest that began here.
    OpNumber history_after;  ///< Snapshots of lines after this one are all here.
    bool is_blank = false;   ///< A new drive in place of a lost one.

    bool operator==(const ReplicaMarks&) const = default;
};

/// What a replica must find again after a crash: durable, together with the data, when the store
/// that changed it is. A value.
struct ReplicaState : ReplicaMarks {
    explicit ReplicaState(const Settings& settings);

    Window window;
    BlockBitmap dirty;  ///< What a replica that is away may lack, or this one while it joins.
};

/// What becomes of the dirty blocks with a control message.
enum class DirtyChange : uint8_t {
    kSame,
    kMore,      ///< Some are added; too early does no harm.
    kCleared,   ///< None are left.
    kReplaced,  ///< Others.
};

/// What a control message makes of a state: all of it. Views.
struct ControlChange {
    ReplicaMarks marks;
    std::span<const WindowEntry> window;
    DirtyChange dirty_change = DirtyChange::kSame;
    const BlockBitmap* dirty = nullptr;  ///< As it will be: kMore, kReplaced.
};

/// Whether `kind` changes what a replica is, and has it to itself.
[[nodiscard]] bool is_control(MessageKind kind);
/// Whether it changes blocks, and what is in the window.
[[nodiscard]] constexpr bool is_write(MessageKind kind) {
    return kind == MessageKind::kWrite || kind == MessageKind::kCopy;
}

/// Every replica has all up to `watermark`.
void advance(ReplicaState& state, OpNumber watermark);

/// What a write or a copy that has been stored changes in the state; its data is elsewhere. The
/// same when it is done and when it is found again after a crash. Uses of the message: kind, write,
/// number, range, is_exact, is_replica_away.
void commit_write(ReplicaState& state, const Message& message);

}  // namespace basalt::replication
