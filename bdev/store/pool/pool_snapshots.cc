// Snapshots and clones of a pool's volumes.
#include <set>
#include <utility>

#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"

namespace basalt::bdev::store {

// ---- a cut

Task<void> Pool::hold(std::vector<Uuid> volumes) {
    using Held = std::vector<Volume*>;
    Held held;
    for (const Uuid& uuid : volumes) {
        held.push_back(&devices_.at(uuid)->volume());
    }
    const auto run = [](Reactor&, Visit<Held>& visit) -> Task<void> {
        for (Volume* volume : visit.argument) {
            co_await visit.partition().hold_writes(volume->seat(visit.index).node);
        }
    };
    static_cast<void>(co_await on_seats<Held>(held, run));
}

Task<void> Pool::resume(std::vector<Uuid> volumes,
                        std::vector<uint32_t> heirs,
                        std::vector<NodeEntry> nodes) {
    struct Resume {
        std::vector<Volume*> volumes;
        std::vector<uint32_t> heirs;
        std::vector<NodeEntry> nodes;

        static Task<void> run(Reactor&, Visit<Resume>& visit) {
            const Resume& all = visit.argument;
            for (const NodeEntry& node : all.nodes) {
                visit.partition().set_node(node);
            }
            for (size_t i = 0; i < all.volumes.size(); ++i) {
                Volume::Seat& seat = all.volumes[i]->seat(visit.index);
                const uint32_t before = std::exchange(seat.node, all.heirs[i]);
                all.volumes[i]->publish_usage(visit.index);
                visit.partition().resume_writes(before, seat.node);
            }
            co_return;
        }
    };
    Resume all{{}, std::move(heirs), std::move(nodes)};
    for (const Uuid& uuid : volumes) {
        all.volumes.push_back(&devices_.at(uuid)->volume());
    }
    static_cast<void>(co_await on_seats<Resume>(all, &Resume::run));
}

// ---- snapshots

Task<Status> Pool::snapshot(std::vector<SnapshotOptions> snapshots) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    uint32_t next = catalogue_.next_ids().node;
    const auto count = static_cast<uint32_t>(snapshots.size());
    std::vector<CatalogueChange> changes{NextIds{next + count}};
    std::vector<SnapshotEntry> entries;
    std::vector<NodeEntry> nodes;
    std::vector<Uuid> volumes;
    std::vector<uint32_t> heads;
    std::vector<uint32_t> heirs;
    std::set<std::string> names;
    std::vector<Reservation> reserved;
    for (const SnapshotOptions& options : snapshots) {
        const VolumeEntry* volume = catalogue_.find_volume(options.volume);
        if (volume == nullptr || find_bdev(volume->uuid) == nullptr) {
            co_return volume == nullptr ? Errc::kNotFound : Errc::kDeviceGone;
        }
        if (!names.insert(options.name).second || !names.insert("/" + options.volume).second) {
            co_return Errc::kInvalidArgument;  // Twice the same name, or the same volume.
        }
        Result<Reservation> mine = reserve_new(options.name, options.uuid);
        if (!mine) {
            co_return mine.error();
        }
        reserved.push_back(std::move(*mine));
        NodeEntry frozen = *catalogue_.find_node(volume->head);
        frozen.is_frozen = true;
        const NodeEntry head{.id = next++, .parent = frozen.id};
        VolumeEntry changed = *volume;
        changed.head = head.id;
        entries.push_back(SnapshotEntry{.uuid = options.uuid,
                                        .node = frozen.id,
                                        .volume = volume->uuid,
                                        .block_bytes = volume->block_bytes,
                                        .size_blocks = volume->size_blocks,
                                        .deal = volume->deal,
                                        .created_ns = options.created_ns,
                                        .name = options.name});
        volumes.push_back(volume->uuid);
        heads.push_back(frozen.id);
        heirs.push_back(head.id);
        nodes.push_back(frozen);
        nodes.push_back(head);
        changes.emplace_back(frozen);
        changes.emplace_back(head);
        changes.emplace_back(changed);
        changes.emplace_back(entries.back());
    }
    if (entries.empty()) {
        co_return Errc::kInvalidArgument;
    }
    co_await hold(volumes);
    const Status status = co_await commit(changes);
    if (!status) {
        nodes.clear();
        co_await resume(volumes, heads, nodes);
        co_return status;
    }
    co_await resume(volumes, heirs, nodes);
    reserved.clear();
    std::vector<Uuid> taken;
    for (const SnapshotEntry& entry : entries) {
        add_device(options_of(entry));
        taken.push_back(entry.uuid);
    }
    co_await publish_usage(taken);
    co_return kOk;
}

bool Pool::has_clones(const SnapshotEntry& snapshot) const {
    std::vector<uint32_t> nodes = catalogue_.children_of(snapshot.node);
    while (!nodes.empty()) {
        const uint32_t id = nodes.back();
        nodes.pop_back();
        const Uuid* user = catalogue_.user_of(id);
        if (user == nullptr) {  // Hidden: whoever has grown out of it has grown out of us.
            const std::vector<uint32_t> more = catalogue_.children_of(id);
            nodes.insert(nodes.end(), more.begin(), more.end());
            continue;
        }
        const auto other = catalogue_.snapshots().find(*user);
        const Uuid& volume = other == catalogue_.snapshots().end() ? *user : other->second.volume;
        if (volume != snapshot.volume) {
            return true;
        }
    }
    return false;
}

Task<Status> Pool::delete_snapshot(std::string name, WithClones with_clones) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SnapshotEntry* found = catalogue_.find_snapshot(name);
    if (found == nullptr) {
        co_return Errc::kNotFound;
    }
    if (with_clones == WithClones::kRefuse && has_clones(*found)) {
        co_return Errc::kBusy;
    }
    const Uuid uuid = found->uuid;
    const NodeEntry node = *catalogue_.find_node(found->node);
    const CatalogueChange gone = SnapshotGone{uuid};
    co_return co_await hide(uuid, gone, node);
}

Task<Status> Pool::clone(std::string snapshot, VolumeOptions options) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SnapshotEntry* origin = catalogue_.find_snapshot(snapshot);
    if (origin == nullptr) {
        co_return Errc::kNotFound;
    }
    Result<Reservation> reserved = reserve_new(options.name, options.uuid);
    if (!reserved) {
        co_return reserved.error();
    }
    const uint32_t id = catalogue_.next_ids().node;
    const NodeEntry node{.id = id, .parent = origin->node};
    const VolumeEntry volume{.uuid = options.uuid,
                             .head = id,
                             .block_bytes = origin->block_bytes,
                             .size_blocks = origin->size_blocks,
                             .deal = origin->deal,
                             .note_owner = id,
                             .name = options.name};
    std::vector<CatalogueChange> changes{NextIds{id + 1}, node, volume};
    const Status status = co_await commit(changes);
    if (!status) {
        co_return status;
    }
    std::vector<NodeEntry> nodes{node};
    co_await tell_nodes(nodes);
    reserved->release();
    add_device(options_of(volume));
    std::vector<Uuid> devices{volume.uuid};
    co_await publish_usage(devices);
    co_return kOk;
}

Task<Status> Pool::roll_back(std::string volume, std::string snapshot) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* entry = catalogue_.find_volume(volume);
    const SnapshotEntry* origin = catalogue_.find_snapshot(snapshot);
    if (entry == nullptr || origin == nullptr) {
        co_return Errc::kNotFound;
    }
    if (origin->volume != entry->uuid || origin->size_blocks != entry->size_blocks) {
        co_return Errc::kInvalidArgument;
    }
    // Nothing is on its way that has seen the old contents: a write of a part of a block would
    // bring the rest of it back.
    Result<Claim> claimed = claim(entry->uuid);
    if (!claimed) {
        co_return claimed.error();
    }
    const uint32_t id = catalogue_.next_ids().node;
    NodeEntry before = *catalogue_.find_node(entry->head);
    before.is_frozen = true;
    before.is_hidden = true;
    const NodeEntry head{.id = id, .parent = origin->node};
    VolumeEntry changed = *entry;
    changed.head = id;
    changed.note_owner = id;
    std::vector<CatalogueChange> changes{NextIds{id + 1}, before, head, changed};
    std::vector<Uuid> volumes{entry->uuid};
    co_await hold(volumes);
    const Status status = co_await commit(changes);
    std::vector<uint32_t> heirs{status ? id : before.id};
    std::vector<NodeEntry> nodes;
    if (status) {
        nodes = {before, head};
    }
    co_await resume(volumes, heirs, nodes);
    if (status) {
        co_await tell_note_owners();
    }
    if (!status && is_fenced()) {
        suspended_[volumes.front()] = std::move(*claimed);  // Its contents may be another tomorrow.
    }
    start_sweep();
    co_return status;
}

}  // namespace basalt::bdev::store
