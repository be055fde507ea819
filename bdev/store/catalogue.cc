#include "bdev/store/catalogue.h"

#include <set>

#include <fmt/format.h>

#include "bdev/limits.h"

namespace basalt::bdev::store {

namespace {

template <typename Map>
auto find_by_name(const Map& map, std::string_view name) -> decltype(&map.begin()->second) {
    for (const auto& [uuid, entry] : map) {
        if (entry.name == name) {
            return &entry;
        }
    }
    return nullptr;
}

/// Makes one kind of change after the other.
struct Apply {
    std::map<uint32_t, NodeEntry>& nodes;
    std::map<Uuid, VolumeEntry>& volumes;
    std::map<Uuid, SnapshotEntry>& snapshots;
    NextIds& next_ids;

    void operator()(const NodeEntry& entry) const { nodes[entry.id] = entry; }
    void operator()(const NodeGone& gone) const { nodes.erase(gone.id); }
    void operator()(const VolumeEntry& entry) const { volumes[entry.uuid] = entry; }
    void operator()(const VolumeGone& gone) const { volumes.erase(gone.uuid); }
    void operator()(const SnapshotEntry& entry) const { snapshots[entry.uuid] = entry; }
    void operator()(const SnapshotGone& gone) const { snapshots.erase(gone.uuid); }
    void operator()(const NextIds& next) const { next_ids = next; }
};

}  // namespace

bool Catalogue::allows(std::span<const CatalogueChange> changes, std::string& problem) const {
    Catalogue after = *this;
    for (const CatalogueChange& change : changes) {
        after.apply(change);
    }
    return after.is_sound(problem);
}

void Catalogue::apply(const CatalogueChange& change) {
    std::visit(Apply{nodes_, volumes_, snapshots_, next_ids_}, change);
}

std::vector<CatalogueChange> Catalogue::image() const {
    std::vector<CatalogueChange> all;
    all.reserve(1 + nodes_.size() + volumes_.size() + snapshots_.size());
    all.emplace_back(next_ids_);
    for (const auto& [id, node] : nodes_) {
        all.emplace_back(node);
    }
    for (const auto& [uuid, volume] : volumes_) {
        all.emplace_back(volume);
    }
    for (const auto& [uuid, snapshot] : snapshots_) {
        all.emplace_back(snapshot);
    }
    return all;
}

bool Catalogue::is_sound(std::string& problem) const {
    return are_nodes_sound(problem) && are_names_sound(problem);
}

bool Catalogue::are_nodes_sound(std::string& problem) const {
    std::set<uint32_t> slots;
    for (const auto& [id, node] : nodes_) {
        if (id == 0 || id >= next_ids_.node || node.slot >= next_ids_.slot) {
            problem = fmt::format("node {} or its slot {} is beyond the next ids", id, node.slot);
            return false;
        }
        if (!slots.insert(node.slot).second) {
            problem = fmt::format("slot {} is used twice", node.slot);
            return false;
        }
        if (node.parent == 0) {
            continue;
        }
        const NodeEntry* parent = find_node(node.parent);
        if (parent == nullptr || parent->id >= id || !parent->is_frozen) {
            problem = fmt::format("node {} can't have {} as its parent", id, node.parent);
            return false;
        }
    }
    return true;
}

bool Catalogue::are_names_sound(std::string& problem) const {
    std::set<std::string_view> names;
    std::set<uint32_t> used;
    const auto check = [&](const auto& entry, uint32_t node_id, bool is_frozen) {
        const NodeEntry* node = find_node(node_id);
        if (node == nullptr || node->is_frozen != is_frozen || node->is_hidden) {
            problem = fmt::format("'{}' can't have node {}", entry.name, node_id);
        } else if (!used.insert(node_id).second) {
            problem = fmt::format("node {} is used twice", node_id);
        } else if (entry.name.empty() || entry.name.size() > kNameBytesMax) {
            problem = fmt::format("a name of {} bytes", entry.name.size());
        } else if (!names.insert(entry.name).second) {
            problem = fmt::format("the name '{}' is used twice", entry.name);
        } else {
            return true;
        }
        return false;
    };
    for (const auto& [uuid, volume] : volumes_) {
        if (!check(volume, volume.head, false)) {
            return false;
        }
        if (volume.block_bytes != kBlockBytesMin && volume.block_bytes != kBlockBytesMax) {
            problem = fmt::format("'{}' has blocks of {} bytes", volume.name, volume.block_bytes);
            return false;
        }
        if (snapshots_.count(uuid) != 0) {
            problem = fmt::format("UUID {} is used twice", uuid.to_string());
            return false;
        }
    }
    for (const auto& [uuid, snapshot] : snapshots_) {
        if (!check(snapshot, snapshot.node, true)) {
            return false;
        }
    }
    return true;
}

const NodeEntry* Catalogue::find_node(uint32_t id) const {
    const auto found = nodes_.find(id);
    return found == nodes_.end() ? nullptr : &found->second;
}

const VolumeEntry* Catalogue::find_volume(std::string_view name) const {
    return find_by_name(volumes_, name);
}

const SnapshotEntry* Catalogue::find_snapshot(std::string_view name) const {
    return find_by_name(snapshots_, name);
}

std::vector<uint32_t> Catalogue::children_of(uint32_t id) const {
    std::vector<uint32_t> children;
    for (const auto& [child, node] : nodes_) {
        if (node.parent == id) {
            children.push_back(child);
        }
    }
    return children;
}

}  // namespace basalt::bdev::store
