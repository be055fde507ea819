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

Status Pool::add_device(const VolumeBdevOptions& options) {
    auto bdev = std::make_unique<VolumeBdev>(places_, options);
    VolumeBdev* const kept = bdev.get();
    const Result<Device*> added = home_.registry.add(std::move(bdev));
    if (!added) {
        return added.error();
    }
    devices_[options.uuid] = kept;
    return kOk;
}

Task<void> Pool::publish_usage(std::vector<Uuid> devices) {
    using Volumes = std::vector<Volume*>;
    Volumes volumes;
    for (const Uuid& uuid : devices) {
        volumes.push_back(&devices_.at(uuid)->volume());
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
    return home_.registry.find(full_name(name));
}

Result<Claim> Pool::claim(const Uuid& uuid) {
    Device* device = home_.registry.find(devices_.at(uuid)->info().name);
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

Status Pool::check_new_name(std::string_view name) const {
    if (!is_name(name) || full_name(name).size() > kNameBytesMax) {
        return Errc::kInvalidArgument;
    }
    return home_.registry.find(full_name(name)) != nullptr ? Status(Errc::kExists) : kOk;
}

Status Pool::check_new(std::string_view name, const Uuid& uuid) const {
    if (uuid.is_nil()) {
        return Errc::kInvalidArgument;
    }
    if (home_.registry.find(uuid.to_string()) != nullptr) {
        return Errc::kExists;
    }
    return check_new_name(name);
}

// ---- the catalogue and those who must know

Task<Status> Pool::commit(std::vector<CatalogueChange> changes) {
    std::string problem;
    if (!catalogue_.allows(changes, problem)) {
        BASALT_LOG(kError, "store", "pool {}: refused a change: {}", identity_.name, problem);
        co_return Errc::kInvalidArgument;
    }
    co_return co_await file_->commit(catalogue_, changes);
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
    const Status is_new = check_new(options.name, options.uuid);
    if (!is_new) {
        co_return is_new;
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
                             .name = options.name};
    std::vector<CatalogueChange> changes{NextIds{id + 1}, node, volume};
    const Status status = co_await commit(changes);
    if (!status) {
        co_return status;
    }
    std::vector<NodeEntry> nodes{node};
    co_await tell_nodes(nodes);
    co_return add_device(options_of(volume));
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
    co_return co_await hide(uuid, gone, node);
}

/// A volume or snapshot goes; its node stays until it is swept.
Task<Status> Pool::hide(Uuid uuid, CatalogueChange gone, NodeEntry node) {
    Result<Claim> claimed = claim(uuid);
    if (!claimed) {
        co_return claimed.error();
    }
    node.is_frozen = true;
    node.is_hidden = true;
    std::vector<CatalogueChange> changes{gone, node};
    const Status status = co_await commit(changes);
    if (!status) {
        co_return status;
    }
    std::vector<NodeEntry> nodes{node};
    co_await tell_nodes(nodes);
    co_await clear_limits(uuid);
    claimed->release();
    remove_device(uuid);
    start_sweep();
    co_return kOk;
}

/// An entry changes so that its device must be made anew.
Task<Status> Pool::replace(CatalogueChange entry, VolumeBdevOptions options) {
    Result<Claim> claimed = claim(options.uuid);
    if (!claimed) {
        co_return claimed.error();
    }
    std::vector<CatalogueChange> changes{std::move(entry)};
    const Status status = co_await commit(changes);
    if (!status) {
        co_return status;
    }
    co_await clear_limits(options.uuid);
    claimed->release();
    remove_device(options.uuid);
    const Status added = add_device(options);
    if (added) {
        std::vector<Uuid> devices{options.uuid};
        co_await publish_usage(devices);
    }
    co_return added;
}

Task<Status> Pool::rename(std::string name, std::string new_name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* volume = catalogue_.find_volume(name);
    const SnapshotEntry* snapshot = catalogue_.find_snapshot(name);
    if (volume == nullptr && snapshot == nullptr) {
        co_return Errc::kNotFound;
    }
    const Status is_new = check_new_name(new_name);
    if (!is_new) {
        co_return is_new;
    }
    if (volume != nullptr) {
        VolumeEntry entry = *volume;
        entry.name = new_name;
        const VolumeBdevOptions options = options_of(entry);
        const CatalogueChange change = entry;
        co_return co_await replace(change, options);
    }
    SnapshotEntry entry = *snapshot;
    entry.name = new_name;
    const VolumeBdevOptions options = options_of(entry);
    const CatalogueChange change = entry;
    co_return co_await replace(change, options);
}

Task<Status> Pool::set_read_only(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const VolumeEntry* volume = catalogue_.find_volume(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    VolumeEntry entry = *volume;
    entry.is_read_only = true;
    const VolumeBdevOptions options = options_of(entry);
    const CatalogueChange change = entry;
    co_return co_await replace(change, options);
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
    VolumeEntry entry = *volume;
    Result<Claim> claimed = claim(entry.uuid);
    if (!claimed) {
        co_return claimed.error();
    }
    if (size_blocks < entry.size_blocks) {
        // First: what lies beyond the end must not come back when the volume grows again.
        const Status unmapped = co_await unmap_beyond(entry, size_blocks);
        if (!unmapped) {
            co_return unmapped;
        }
    }
    claimed->release();
    entry.size_blocks = size_blocks;
    const VolumeBdevOptions options = options_of(entry);
    const CatalogueChange change = entry;
    co_return co_await replace(change, options);
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
        }
    };
    Volume& of_device = devices_.at(volume.uuid)->volume();
    Beyond beyond{of_device, size_blocks, volume.size_blocks};
    co_return co_await on_seats<Beyond>(beyond, &Beyond::run);
}

}  // namespace basalt::bdev::store
