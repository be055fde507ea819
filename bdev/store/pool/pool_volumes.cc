// Volumes of a pool: made, renamed, resized, deleted.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "bdev/limits.h"
#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

// ---- devices

std::string Pool::full_name(std::string_view name) const {
    return fmt::format("{}/{}", identity_.name, name);
}

VolumeBdevOptions Pool::options_of(const VolumeEntry& volume) const {
    return {.name = full_name(volume.name),
            .uuid = volume.uuid,
            .block_bytes = volume.block_bytes,
            .size_blocks = volume.size_blocks,
            .node = volume.head,
            .note_owner = volume.note_owner,
            .deal = volume.deal,
            .is_read_only = volume.is_read_only};
}

VolumeBdevOptions Pool::options_of(const SnapshotEntry& snapshot) const {
    return {.name = full_name(snapshot.name),
            .uuid = snapshot.uuid,
            .block_bytes = snapshot.block_bytes,
            .size_blocks = snapshot.size_blocks,
            .node = snapshot.node,
            .deal = snapshot.deal,
            .is_read_only = true};
}

void Pool::add_device(const VolumeBdevOptions& options) {
    auto bdev = std::make_unique<VolumeBdev>(places_, options);
    VolumeBdev* const kept = bdev.get();
    const Result<Device*> added = home_.registry.add(std::move(bdev));
    if (added) {
        devices_[options.uuid] = kept;
        return;
    }
    BASALT_LOG(kError,
               "store",
               "{} has no device ({}): remove what has its name or its UUID {}, close the pool and "
               "open it again; or give it another name",
               options.name,
               describe(added.error().code),
               options.uuid.to_string());
}

VolumeBdev* Pool::find_bdev(const Uuid& uuid) const {
    const auto found = devices_.find(uuid);
    return found == devices_.end() ? nullptr : found->second;
}

Task<void> Pool::publish_usage(std::vector<Uuid> devices) {
    using Volumes = std::vector<Volume*>;
    Volumes volumes;
    for (const Uuid& uuid : devices) {
        if (VolumeBdev* bdev = find_bdev(uuid)) {
            volumes.push_back(&bdev->volume());
        }
    }
    const auto publish = [](Reactor&, Visit<Volumes>& visit) -> Task<void> {
        for (Volume* volume : visit.argument) {
            volume->publish_usage(visit.index);
        }
        co_return;
    };
    static_cast<void>(co_await on_seats<Volumes>(volumes, publish));
}

Task<void> Pool::clear_limits(Uuid uuid) {
    Device* device = home_.registry.find(devices_.at(uuid)->info().name);
    co_await device->limits().clear(home_.control);
}

void Pool::remove_device(const Uuid& uuid) {
    const auto found = devices_.find(uuid);
    BASALT_ASSERT(found != devices_.end());
    const std::string name = found->second->info().name;
    devices_.erase(found);
    const Status removed = home_.registry.remove(name);
    BASALT_ASSERT(removed.has_value());
}

Device* Pool::device_of(std::string_view name) const {
    const VolumeEntry* volume = catalogue_.find_volume(name);
    const SnapshotEntry* snapshot = catalogue_.find_snapshot(name);
    if (volume == nullptr && snapshot == nullptr) {
        return nullptr;
    }
    const VolumeBdev* bdev = find_bdev(volume != nullptr ? volume->uuid : snapshot->uuid);
    return bdev == nullptr ? nullptr : home_.registry.find(bdev->info().name);
}

Result<Claim> Pool::claim(const Uuid& uuid) {
    const VolumeBdev* bdev = find_bdev(uuid);
    if (bdev == nullptr) {
        return Errc::kDeviceGone;
    }
    Device* device = home_.registry.find(bdev->info().name);
    BASALT_ASSERT(device != nullptr);
    if (device->open_channels() > 0) {
        return Errc::kBusy;
    }
    return home_.registry.claim(*device, "a change of the pool");
}

bool Pool::is_name(std::string_view name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return static_cast<unsigned char>(c) > ' ' && c != '\x7f' && c != '/';
    });
}

Result<Reservation> Pool::reserve(std::string_view name, const Uuid& uuid) {
    if (!is_name(name) || full_name(name).size() > kNameBytesMax) {
        return Errc::kInvalidArgument;
    }
    return home_.registry.reserve(full_name(name), uuid);
}

Result<Reservation> Pool::reserve_new(std::string_view name, const Uuid& uuid) {
    if (uuid.is_nil()) {
        return Errc::kInvalidArgument;
    }
    // One that has no device has its name and UUID all the same.
    const bool is_known =
        catalogue_.find_volume(name) != nullptr || catalogue_.find_snapshot(name) != nullptr ||
        catalogue_.volumes().count(uuid) != 0 || catalogue_.snapshots().count(uuid) != 0;
    return is_known ? Result<Reservation>(Errc::kExists) : reserve(name, uuid);
}

// ---- the catalogue and those who must know

Task<Status> Pool::commit(std::vector<CatalogueChange> changes) {
    std::string problem;
    if (!catalogue_.allows(changes, problem)) {
        BASALT_LOG(kError, "store", "pool {}: refused a change: {}", identity_.name, problem);
        co_return Errc::kInvalidArgument;
    }
    const bool was_fenced = is_fenced();
    const Status status = co_await file_->commit(catalogue_, changes);
    if (is_fenced()) {
        BASALT_LOG(kError,
                   "store",
                   "pool {}: {}: close it and open it again to see what came of it",
                   identity_.name,
                   was_fenced ? "takes no changes since one of its catalogue failed"
                              : "a change of its catalogue failed");
    }
    co_return status;
}

Task<Status> Pool::commit_one(CatalogueChange change) {
    std::vector<CatalogueChange> changes{std::move(change)};
    co_return co_await commit(changes);
}

Task<void> Pool::tell_nodes(std::vector<NodeEntry> nodes) {
    using Nodes = std::vector<NodeEntry>;
    const auto tell = [](Reactor&, Visit<Nodes>& visit) -> Task<void> {
        for (const NodeEntry& node : visit.argument) {
            visit.partition().set_node(node);
        }
        co_return;
    };
    static_cast<void>(co_await on_seats<Nodes>(nodes, tell));
}

// ---- volumes

Task<Status> Pool::create_volume(VolumeOptions options) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    Result<Reservation> reserved = reserve_new(options.name, options.uuid);
    if (!reserved) {
        co_return reserved.error();
    }
    const bool has_block_size =
        options.block_bytes == kBlockBytesMin || options.block_bytes == kBlockBytesMax;
    if (!has_block_size || options.size_blocks == 0 || options.size_blocks > kBlockNumberMax) {
        co_return Errc::kInvalidArgument;
    }
    const uint32_t id = catalogue_.next_ids().node;
    const NodeEntry node{.id = id};
    const VolumeEntry volume{.uuid = options.uuid,
                             .head = id,
                             .block_bytes = options.block_bytes,
                             .size_blocks = options.size_blocks,
                             .deal = id,
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
    co_return kOk;
}

Task<Status> Pool::delete_volume(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* found = catalogue_.find_volume(name);
    if (found == nullptr) {
        co_return Errc::kNotFound;
    }
    const Uuid uuid = found->uuid;
    const NodeEntry node = *catalogue_.find_node(found->head);
    const CatalogueChange gone = VolumeGone{uuid};
    const Status status = co_await hide(uuid, gone, node);
    if (status) {
        co_await tell_note_owners();
    }
    co_return status;
}

bool Pool::is_held(const Uuid& uuid, uint32_t node) const {
    if (held_.count(uuid) != 0) {
        return true;
    }
    const std::vector<uint32_t> children = catalogue_.children_of(node);
    return std::any_of(children.begin(), children.end(), [this](uint32_t child) {
        const Uuid* user = catalogue_.user_of(child);
        const auto volume =
            user == nullptr ? catalogue_.volumes().end() : catalogue_.volumes().find(*user);
        return volume != catalogue_.volumes().end() && volume->second.is_receiving;
    });
}

/// Notes of volumes that are not there any more, or were rolled back, go.
Task<void> Pool::tell_note_owners() {
    struct Owners {
        std::vector<uint32_t> all;
        std::vector<std::pair<Volume*, uint32_t>> of_volumes;

        static Task<void> run(Reactor&, Visit<Owners>& visit) {
            for (const auto& [volume, owner] : visit.argument.of_volumes) {
                volume->seat(visit.index).note_owner = owner;
            }
            visit.partition().keep_notes(visit.argument.all);
            co_return;
        }
    };
    Owners owners;
    for (const auto& [uuid, volume] : catalogue_.volumes()) {
        owners.all.push_back(volume.note_owner);
        if (VolumeBdev* bdev = find_bdev(uuid)) {
            owners.of_volumes.emplace_back(&bdev->volume(), volume.note_owner);
        }
    }
    std::sort(owners.all.begin(), owners.all.end());
    static_cast<void>(co_await on_seats<Owners>(owners, &Owners::run));
}

/// A volume or snapshot goes; its node stays until it is swept.
Task<Status> Pool::hide(Uuid uuid, CatalogueChange gone, NodeEntry node) {
    if (is_held(uuid, node.id)) {
        co_return Errc::kBusy;
    }
    const bool has_device = find_bdev(uuid) != nullptr;
    Claim claimed;
    if (has_device) {
        Result<Claim> mine = claim(uuid);
        if (!mine) {
            co_return mine.error();
        }
        claimed = std::move(*mine);
    }
    node.is_frozen = true;
    node.is_hidden = true;
    std::vector<CatalogueChange> changes{gone, node};
    const Status status = co_await commit(changes);
    if (!status) {
        if (has_device && is_fenced()) {
            suspended_[uuid] = std::move(claimed);
        }
        co_return status;
    }
    std::vector<NodeEntry> nodes{node};
    co_await tell_nodes(nodes);
    if (has_device) {
        co_await clear_limits(uuid);
        claimed.release();
        remove_device(uuid);
    }
    start_sweep();
    co_return kOk;
}

// ---- what changes while a volume is used

Task<Status> Pool::rename(std::string name, std::string new_name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* volume = catalogue_.find_volume(name);
    const SnapshotEntry* snapshot = catalogue_.find_snapshot(name);
    if (volume == nullptr && snapshot == nullptr) {
        co_return Errc::kNotFound;
    }
    const Uuid uuid = volume != nullptr ? volume->uuid : snapshot->uuid;
    const bool is_receiving = volume != nullptr && volume->is_receiving;
    if (catalogue_.find_volume(new_name) != nullptr ||
        catalogue_.find_snapshot(new_name) != nullptr) {
        co_return Errc::kExists;
    }
    Result<Reservation> reserved = reserve(new_name, Uuid{});
    if (!reserved) {
        co_return reserved.error();
    }
    CatalogueChange change = NodeGone{};
    VolumeBdevOptions options;
    if (volume != nullptr) {
        VolumeEntry entry = *volume;
        entry.name = new_name;
        options = options_of(entry);
        change = entry;
    } else {
        SnapshotEntry entry = *snapshot;
        entry.name = new_name;
        options = options_of(entry);
        change = entry;
    }
    const Status status = co_await commit_one(change);
    reserved->release();
    if (!status || is_receiving) {
        co_return status;
    }
    if (VolumeBdev* bdev = find_bdev(uuid)) {
        bdev->set_name(options.name);
        co_return kOk;
    }
    add_device(options);
    std::vector<Uuid> devices{uuid};
    co_await publish_usage(devices);
    co_return kOk;
}

Task<void> Pool::set_bounds(VolumeBdev& bdev, uint64_t end, bool is_read_only) {
    struct Bounds {
        Volume& volume;
        uint64_t end;
        bool is_read_only;

        static Task<void> run(Reactor&, Visit<Bounds>& visit) {
            const Bounds& bounds = visit.argument;
            Volume::Seat& seat = bounds.volume.seat(visit.index);
            seat.end = bounds.end;
            seat.is_read_only = bounds.is_read_only;
            co_return;
        }
    };
    Bounds bounds{bdev.volume(), end, is_read_only};
    static_cast<void>(co_await on_seats<Bounds>(bounds, &Bounds::run));
}

Task<Status> Pool::set_read_only(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* volume = catalogue_.find_volume(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    VolumeBdev* bdev = find_bdev(volume->uuid);
    if (bdev == nullptr) {
        co_return Errc::kDeviceGone;
    }
    VolumeEntry entry = *volume;
    entry.is_read_only = true;
    const CatalogueChange change = entry;
    const Status status = co_await commit_one(change);
    if (status) {
        bdev->set_read_only();
        co_await set_bounds(*bdev, entry.size_blocks, true);
    }
    co_return status;
}

Task<Status> Pool::resize(std::string name, uint64_t size_blocks) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* volume = catalogue_.find_volume(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    if (size_blocks == 0 || size_blocks > kBlockNumberMax || volume->is_read_only) {
        co_return Errc::kInvalidArgument;
    }
    VolumeBdev* bdev = find_bdev(volume->uuid);
    if (bdev == nullptr) {
        co_return Errc::kDeviceGone;
    }
    if (is_fenced()) {
        co_return Errc::kIo;  // Before anything beyond the end is lost.
    }
    const VolumeEntry before = *volume;
    Status status = kOk;
    if (size_blocks < before.size_blocks) {
        bdev->set_size(size_blocks);
        co_await set_bounds(*bdev, size_blocks, false);
        // Now, that nothing comes there any more, and first: what lies beyond the end must not
        // come back when the volume grows again.
        status = co_await unmap_beyond(before, size_blocks);
    }
    if (status) {
        VolumeEntry after = before;
        after.size_blocks = size_blocks;
        const CatalogueChange change = after;
        status = co_await commit_one(change);
    }
    if (!status && is_fenced()) {
        co_return status;  // The smaller one of the two sizes holds: nothing that was written goes.
    }
    const uint64_t end = status ? size_blocks : before.size_blocks;
    co_await set_bounds(*bdev, end, false);
    bdev->set_size(end);
    co_return status;
}

Task<Status> Pool::unmap_beyond(VolumeEntry volume, uint64_t size_blocks) {
    struct Beyond {
        Volume& volume;
        uint64_t first;
        uint64_t end;

        static Task<void> run(Reactor&, Visit<Beyond>& visit) {
            const Beyond& beyond = visit.argument;
            PartitionIo io;
            for (uint64_t first = beyond.first; first < beyond.end && visit.status;) {
                const uint64_t end = std::min(beyond.end, Volume::chunk_end(first));
                if (beyond.volume.partition_of(first) == visit.index) {
                    io.op = PartitionOp::kUnmap;
                    io.node = beyond.volume.seat(visit.index).node;
                    io.first = first;
                    io.count = end - first;
                    co_await PartitionCall(visit.partition(), io);
                    visit.status = io.status;
                }
                first = end;
            }
            beyond.volume.publish_usage(visit.index);
        }
    };
    Volume& of_device = devices_.at(volume.uuid)->volume();
    Beyond beyond{of_device, size_blocks, volume.size_blocks};
    co_return co_await on_seats<Beyond>(beyond, &Beyond::run);
}

}  // namespace basalt::bdev::store
