#include "replication/core/replica_state.h"

namespace basalt::replication {

ReplicaState::ReplicaState(const Settings& settings)
    : window(settings.window_ops * kWindowEntriesPerOp), dirty(settings.blocks) {}

bool is_control(MessageKind kind) {
    return kind == MessageKind::kFence || kind == MessageKind::kSettle ||
           kind == MessageKind::kCarryOn || kind == MessageKind::kJoin ||
           kind == MessageKind::kJoined;
}

void advance(ReplicaState& state, OpNumber watermark) {
    if (watermark > state.watermark) {
        state.watermark = watermark;
        state.window.trim(watermark);
    }
}

void commit_write(ReplicaState& state, const Message& message) {
    BASALT_ASSERT(is_write(message.kind));
    if (message.kind == MessageKind::kCopy) {
        if (message.is_exact) {
            state.window.cut(message.range);
        }
        if (!message.number.is_none()) {
            state.window.add({message.number, message.range});
        }
        return;
    }
    state.window.add({message.number, message.range});
    if (message.is_replica_away) {
        state.dirty.set(message.range);
    }
    if (message.write == WriteKind::kBarrier) {
        state.generation = message.number;
    }
}

}  // namespace basalt::replication
