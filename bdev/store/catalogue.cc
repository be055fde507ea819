#include "bdev/store/catalogue.h"

#include <fmt/format.h>

#include "bdev/limits.h"

namespace basalt::bdev::store {

namespace {

/// Whether there are two pairs in `pairs` that begin with `first`.
template <typename Pairs, typename First>
bool is_twice(const Pairs& pairs, const First& first) {
    auto at = pairs.lower_bound({first, {}});
    return at != pairs.end() && at->first == first && ++at != pairs.end() && at->first == first;
}

/// Takes one such value out.
template <typename Values, typename Value>
void take_one(Values& values, const Value& value) {
    const auto found = values.find(value);
    if (found != values.end()) {
        values.erase(found);
    }
}

template <typename Map, typename Key>
auto find_in(const Map& map, const Key& key) -> decltype(&map.begin()->second) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
}

}  // namespace

/// What changes have touched and is to be looked at.
struct Catalogue::Touched {
    std::set<uint32_t> nodes;
    std::set<Uuid> users;
};

// --- Changes -------------------------------------------------------------------------------------

bool Catalogue::allows(std::span<const CatalogueChange> changes, std::string& problem) {
    Touched touched;
    std::vector<CatalogueChange> inverses;
    inverses.reserve(changes.size());
    for (const CatalogueChange& change : changes) {
        touch(change, touched);  // Before and after: an entry may leave one node for another.
        inverses.push_back(inverse_of(change));
        apply(change);
        touch(change, touched);
    }
    bool is_allowed = are_ids_sound(problem);
    for (const uint32_t id : touched.nodes) {
        is_allowed = is_allowed && is_node_sound(id, problem);
    }
    for (const Uuid& uuid : touched.users) {
        is_allowed = is_allowed && is_user_sound(uuid, problem);
    }
    for (auto inverse = inverses.rbegin(); inverse != inverses.rend(); ++inverse) {
        apply(*inverse);
    }
    return is_allowed;
}

void Catalogue::apply(const CatalogueChange& change) {
    struct Apply {
        Catalogue& self;

        void operator()(const NodeEntry& entry) const { self.put(entry); }
        void operator()(const VolumeEntry& entry) const { self.put(entry); }
        void operator()(const SnapshotEntry& entry) const { self.put(entry); }
        void operator()(const NodeGone& gone) const { self.take_node(gone.id); }
        void operator()(const VolumeGone& gone) const { self.take_volume(gone.uuid); }
        void operator()(const SnapshotGone& gone) const { self.take_snapshot(gone.uuid); }
        void operator()(const NextIds& next) const { self.next_ids_ = next; }
    };
    std::visit(Apply{*this}, change);
}

CatalogueChange Catalogue::inverse_of(const CatalogueChange& change) const {
    struct Inverse {
        const Catalogue& self;

        [[nodiscard]] CatalogueChange node(uint32_t id) const {
            const NodeEntry* before = self.find_node(id);
            return before != nullptr ? CatalogueChange(*before) : NodeGone{id};
        }
        [[nodiscard]] CatalogueChange volume(const Uuid& uuid) const {
            const VolumeEntry* before = find_in(self.volumes_, uuid);
            return before != nullptr ? CatalogueChange(*before) : VolumeGone{uuid};
        }
        [[nodiscard]] CatalogueChange snapshot(const Uuid& uuid) const {
            const SnapshotEntry* before = find_in(self.snapshots_, uuid);
            return before != nullptr ? CatalogueChange(*before) : SnapshotGone{uuid};
        }

        CatalogueChange operator()(const NodeEntry& entry) const { return node(entry.id); }
        CatalogueChange operator()(const NodeGone& gone) const { return node(gone.id); }
        CatalogueChange operator()(const VolumeEntry& entry) const { return volume(entry.uuid); }
        CatalogueChange operator()(const VolumeGone& gone) const { return volume(gone.uuid); }
        CatalogueChange operator()(const SnapshotEntry& entry) const {
            return snapshot(entry.uuid);
        }
        CatalogueChange operator()(const SnapshotGone& gone) const { return snapshot(gone.uuid); }
        CatalogueChange operator()(const NextIds&) const { return self.next_ids_; }
    };
    return std::visit(Inverse{*this}, change);
}

void Catalogue::touch(const CatalogueChange& change, Touched& touched) const {
    struct Touch {
        const Catalogue& self;
        Touched& touched;

        void node(uint32_t id) const {
            touched.nodes.insert(id);
            if (const NodeEntry* entry = self.find_node(id);
                entry != nullptr && entry->parent != 0) {
                touched.nodes.insert(entry->parent);
            }
        }
        void user(const Uuid& uuid) const {
            touched.users.insert(uuid);
            if (const VolumeEntry* volume = find_in(self.volumes_, uuid)) {
                touched.nodes.insert(volume->head);
            }
            if (const SnapshotEntry* snapshot = find_in(self.snapshots_, uuid)) {
                touched.nodes.insert(snapshot->node);
            }
        }

        void operator()(const NodeEntry& entry) const { node(entry.id); }
        void operator()(const NodeGone& gone) const { node(gone.id); }
        void operator()(const VolumeEntry& entry) const { user(entry.uuid); }
        void operator()(const VolumeGone& gone) const { user(gone.uuid); }
        void operator()(const SnapshotEntry& entry) const { user(entry.uuid); }
        void operator()(const SnapshotGone& gone) const { user(gone.uuid); }
        void operator()(const NextIds&) const {}
    };
    std::visit(Touch{*this, touched}, change);
}

// --- Entries and what follows from them ----------------------------------------------------------

void Catalogue::put(const NodeEntry& entry) {
    take_node(entry.id);
    nodes_[entry.id] = entry;
    if (entry.parent != 0) {
        children_.insert({entry.parent, entry.id});
    }
}

void Catalogue::take_node(uint32_t id) {
    const auto found = nodes_.find(id);
    if (found != nodes_.end()) {
        children_.erase({found->second.parent, id});
        nodes_.erase(found);
    }
}

void Catalogue::put(const VolumeEntry& entry) {
    take_volume(entry.uuid);
    volumes_[entry.uuid] = entry;
    users_.insert({entry.head, entry.uuid});
    names_.insert({entry.name, entry.uuid});
}

void Catalogue::take_volume(const Uuid& uuid) {
    const auto found = volumes_.find(uuid);
    if (found != volumes_.end()) {
        take_one(users_, std::pair(found->second.head, uuid));
        take_one(names_, std::pair(found->second.name, uuid));
        volumes_.erase(found);
    }
}

void Catalogue::put(const SnapshotEntry& entry) {
    take_snapshot(entry.uuid);
    snapshots_[entry.uuid] = entry;
    users_.insert({entry.node, entry.uuid});
    names_.insert({entry.name, entry.uuid});
}

void Catalogue::take_snapshot(const Uuid& uuid) {
    const auto found = snapshots_.find(uuid);
    if (found != snapshots_.end()) {
        take_one(users_, std::pair(found->second.node, uuid));
        take_one(names_, std::pair(found->second.name, uuid));
        snapshots_.erase(found);
    }
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

// --- Whether it is sound -------------------------------------------------------------------------

bool Catalogue::is_sound(std::string& problem) const {
    if (!are_ids_sound(problem)) {
        return false;
    }
    // Parents that are not there are found with their children.
    std::set<uint32_t> ids;
    for (const auto& [id, node] : nodes_) {
        ids.insert(id);
    }
    for (const auto& [id, user] : users_) {
        ids.insert(id);
    }
    for (const uint32_t id : ids) {
        if (!is_node_sound(id, problem)) {
            return false;
        }
    }
    for (const auto& [name, uuid] : names_) {
        if (!is_user_sound(uuid, problem)) {
            return false;
        }
    }
    return true;
}

bool Catalogue::are_ids_sound(std::string& problem) const {
    if (nodes_.empty()) {
        return true;
    }
    if (nodes_.begin()->first == 0 || nodes_.rbegin()->first >= next_ids_.node) {
        problem = fmt::format("node {} is beyond the next id", nodes_.rbegin()->first);
        return false;
    }
    return true;
}

bool Catalogue::is_node_sound(uint32_t id, std::string& problem) const {
    const NodeEntry* node = find_node(id);
    const Uuid* user = user_of(id);
    const auto child = children_.lower_bound({id, 0});
    const bool has_children = child != children_.end() && child->first == id;
    if (node == nullptr && (user != nullptr || has_children)) {
        problem = fmt::format("node {} is not there and is used", id);
        return false;
    }
    if (node == nullptr) {
        return true;
    }
    const NodeEntry* parent = find_node(node->parent);
    if (node->parent != 0 && (parent == nullptr || parent->id >= id || !parent->is_frozen)) {
        problem = fmt::format("node {} can't have {} as its parent", id, node->parent);
        return false;
    }
    if (has_children && !node->is_frozen) {
        problem = fmt::format("node {} has children and is not frozen", id);
        return false;
    }
    if (is_twice(users_, id)) {
        problem = fmt::format("node {} is used twice", id);
        return false;
    }
    const bool is_of_snapshot = user != nullptr && snapshots_.count(*user) != 0;
    if (user != nullptr && (node->is_hidden || node->is_frozen != is_of_snapshot)) {
        problem = fmt::format("{} can't have node {}", user->to_string(), id);
        return false;
    }
    return true;
}

bool Catalogue::is_user_sound(const Uuid& uuid, std::string& problem) const {
    const VolumeEntry* volume = find_in(volumes_, uuid);
    const SnapshotEntry* snapshot = find_in(snapshots_, uuid);
    if (volume != nullptr && snapshot != nullptr) {
        problem = fmt::format("UUID {} is used twice", uuid.to_string());
        return false;
    }
    if (volume == nullptr && snapshot == nullptr) {
        return true;
    }
    const std::string& name = volume != nullptr ? volume->name : snapshot->name;
    if (name.empty() || name.size() > kNameBytesMax) {
        problem = fmt::format("a name of {} bytes", name.size());
        return false;
    }
    if (is_twice(names_, name)) {
        problem = fmt::format("the name '{}' is used twice", name);
        return false;
    }
    const uint32_t block_bytes = volume != nullptr ? volume->block_bytes : snapshot->block_bytes;
    if (block_bytes != kBlockBytesMin && block_bytes != kBlockBytesMax) {
        problem = fmt::format("'{}' has blocks of {} bytes", name, block_bytes);
        return false;
    }
    return true;
}

// --- Looking things up ---------------------------------------------------------------------------

const NodeEntry* Catalogue::find_node(uint32_t id) const {
    return find_in(nodes_, id);
}

const VolumeEntry* Catalogue::find_volume(std::string_view name) const {
    const auto found = names_.lower_bound({std::string(name), {}});
    return found != names_.end() && found->first == name ? find_in(volumes_, found->second)
                                                         : nullptr;
}

const SnapshotEntry* Catalogue::find_snapshot(std::string_view name) const {
    const auto found = names_.lower_bound({std::string(name), {}});
    return found != names_.end() && found->first == name ? find_in(snapshots_, found->second)
                                                         : nullptr;
}

std::vector<uint32_t> Catalogue::children_of(uint32_t id) const {
    std::vector<uint32_t> children;
    for (auto at = children_.lower_bound({id, 0}); at != children_.end() && at->first == id; ++at) {
        children.push_back(at->second);
    }
    return children;
}

const Uuid* Catalogue::user_of(uint32_t id) const {
    const auto found = users_.lower_bound({id, {}});
    return found != users_.end() && found->first == id ? &found->second : nullptr;
}

}  // namespace basalt::bdev::store
