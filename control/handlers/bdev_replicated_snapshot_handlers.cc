#include "control/handlers/bdev_replicated_snapshot_handlers.h"

#include <string>
#include <vector>

#include <fmt/format.h>

namespace basalt::control {

namespace {

using replication::LineRecord;
using replication::OpNumber;
using rpc::Reply;

/// What there is not, or what could not be done.
std::string words_for(const Context& context,
                      const std::string& name,
                      const std::string& snapshot,
                      Error error) {
    std::string words = fmt::format("replicated volume '{}'", name);
    if (context.replicated.find(name) == nullptr) {
        return words;
    }
    if (error.code == Errc::kBusy) {
        return words + ", which this process does not serve now";
    }
    return fmt::format("snapshot '{}' of {}", snapshot, words);
}

std::string line_text(OpNumber line) {
    return fmt::format("{}.{}", line.epoch.raw(), line.count);
}

Task<void> snapshot(Context& context,
                    const v1::BdevReplicatedSnapshotRequest& request,
                    Reply<v1::BdevReplicatedSnapshotResponse> reply) {
    const std::string& name = request.name();
    const std::string& snapshot_name = request.snapshot_name();
    if (snapshot_name.size() > replication::kLineNameMax) {
        reply.fail(Error(Errc::kInvalidArgument), "a name of more than 63 bytes");
        co_return;
    }
    const Result<OpNumber> line = co_await context.replicated.snapshot(name, snapshot_name);
    if (!line) {
        reply.fail(line.error(), words_for(context, name, snapshot_name, line.error()));
        co_return;
    }
    reply.result().set_line(line_text(*line));
    reply.send();
}

const char* state_word(LineRecord::State state) {
    switch (state) {
        case LineRecord::State::kDrawing: return "drawing";
        case LineRecord::State::kThere: return "there";
        case LineRecord::State::kDeleting: break;
    }
    return "deleting";
}

Task<void> get_snapshots(Context& context,
                         const v1::BdevReplicatedGetSnapshotsRequest& request,
                         Reply<v1::BdevReplicatedGetSnapshotsResponse> reply) {
    const std::string& name = request.name();
    const Result<std::vector<LineRecord>> lines = co_await context.replicated.snapshots(name);
    if (!lines) {
        reply.fail(lines.error(), "the list of snapshots of replicated volume '" + name + "'");
        co_return;
    }
    for (const LineRecord& line : *lines) {
        v1::ReplicatedSnapshot& one = *reply.result().add_snapshots();
        one.set_name(line.name);
        if (line.state != LineRecord::State::kDrawing) {
            one.set_line(line_text(line.number));
        }
        one.set_state(state_word(line.state));
    }
    reply.send();
}

Task<void> delete_snapshot(Context& context,
                           const v1::BdevReplicatedDeleteSnapshotRequest& request,
                           Reply<v1::Done> reply) {
    const std::string& name = request.name();
    const std::string& snapshot_name = request.snapshot_name();
    const Status deleted = co_await context.replicated.delete_snapshot(name, snapshot_name);
    if (deleted) {
        reply.send();
    } else {
        reply.fail(deleted.error(), words_for(context, name, snapshot_name, deleted.error()));
    }
}

}  // namespace

void BdevReplicatedSnapshotHandlers::add_to(rpc::MethodTable& table) {
    add<&snapshot>(table, "bdev_replicated_snapshot", &snapshot);
    add<&get_snapshots>(table, "bdev_replicated_get_snapshots", &get_snapshots);
    add<&delete_snapshot>(table, "bdev_replicated_delete_snapshot", &delete_snapshot);
}

}  // namespace basalt::control
