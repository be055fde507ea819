#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

/// One state of a volume's contents: its head, or what it was at a snapshot. Nodes are a tree: a
/// node began as its parent. Only a node without children that is not frozen is written to.
struct NodeEntry {
    uint32_t id = 0;      ///< From 1 on; never used twice. A child's is higher than its parent's.
    uint32_t parent = 0;  ///< 0: none, it began empty.
    bool is_frozen = false;
    bool is_hidden = false;  ///< Nobody's any more, but others have grown out of it.

    bool operator==(const NodeEntry&) const = default;
};

/// What a host uses, or what is to become a snapshot when all of it has been received. Its name and
/// UUID are unique in the pool, among snapshots too.
struct VolumeEntry {
    Uuid uuid;
    uint32_t head = 0;
    uint32_t block_bytes = 4096;
    uint64_t size_blocks = 0;  ///< Of 4096 bytes.
    uint32_t deal = 0;         ///< Which partition has chunk 0: that one modulo how many there are.
    /// Whose its notes are: the head that it began with, or was rolled back to, in all partitions
    /// and after any number of snapshots. 0: it takes none, as one that is being received.
    uint32_t note_owner = 0;
    bool is_read_only = false;
    std::string name;
    /// It is being received, and nobody's yet; the UUID is the snapshot's, and the head's parent
    /// the snapshot that the stream tells the differences to.
    bool is_receiving = false;
    uint64_t received_blocks = 0;  ///< Blocks before this one are all there.

    bool operator==(const VolumeEntry&) const = default;
};

/// What a volume was at one moment. Read-only, and can be exported as such.
struct SnapshotEntry {
    Uuid uuid;
    uint32_t node = 0;
    Uuid volume;  ///< Of which it was taken; that may be gone.
    uint32_t block_bytes = 4096;
    uint64_t size_blocks = 0;
    uint32_t deal = 0;
    uint64_t created_ns = 0;  ///< Wall clock.
    std::string name;

    bool operator==(const SnapshotEntry&) const = default;
};

/// The node with that id is no more.
struct NodeGone {
    uint32_t id = 0;
};
/// The volume with that UUID is no more.
struct VolumeGone {
    Uuid uuid;
};
/// The snapshot with that UUID is no more.
struct SnapshotGone {
    Uuid uuid;
};
/// Set in the same transaction as what uses up an id.
struct NextIds {
    uint32_t node = 1;
};

/// One change; an entry of a thing that exists replaces it.
using CatalogueChange = std::
    variant<NodeEntry, NodeGone, VolumeEntry, VolumeGone, SnapshotEntry, SnapshotGone, NextIds>;

/// What there is in a pool: nodes, volumes and snapshots, whole and in memory. Pure; the file that
/// keeps it on the device is catalogue_file.h. Owner: the pool. Core: the control thread.
///
/// All that a change needs to know is found without a walk, so that a volume's thousandth snapshot
/// costs what its first did.
class Catalogue {
  public:
    /// Whether the changes, one after the other, lead from a catalogue that is_sound() to one that
    /// is. Afterwards it is as before. Says what is wrong in `problem`. Looks at what the changes
    /// touch and no more.
    [[nodiscard]] bool allows(std::span<const CatalogueChange> changes, std::string& problem);

    /// Makes the change.
    void apply(const CatalogueChange& change);

    /// Everything as changes that make it out of nothing.
    [[nodiscard]] std::vector<CatalogueChange> image() const;

    /// Whether every name leads somewhere and nothing contradicts: parents exist and are frozen,
    /// have lower ids; heads are leaves of the tree; names and UUIDs are
    /// unique; next ids are beyond what is used. Says what is wrong in `problem`. Looks at all.
    [[nodiscard]] bool is_sound(std::string& problem) const;

    [[nodiscard]] const std::map<uint32_t, NodeEntry>& nodes() const { return nodes_; }
    [[nodiscard]] const std::map<Uuid, VolumeEntry>& volumes() const { return volumes_; }
    [[nodiscard]] const std::map<Uuid, SnapshotEntry>& snapshots() const { return snapshots_; }
    [[nodiscard]] const NextIds& next_ids() const { return next_ids_; }

    /// Null if there is none.
    [[nodiscard]] const NodeEntry* find_node(uint32_t id) const;
    [[nodiscard]] const VolumeEntry* find_volume(std::string_view name) const;
    [[nodiscard]] const SnapshotEntry* find_snapshot(std::string_view name) const;
    /// The nodes whose parent is `id`, in order.
    [[nodiscard]] std::vector<uint32_t> children_of(uint32_t id) const;
    /// The volume or snapshot whose node `id` is; null if it is nobody's.
    [[nodiscard]] const Uuid* user_of(uint32_t id) const;

  private:
    struct Touched;

    [[nodiscard]] CatalogueChange inverse_of(const CatalogueChange& change) const;
    void touch(const CatalogueChange& change, Touched& touched) const;

    void put(const NodeEntry& entry);
    void put(const VolumeEntry& entry);
    void put(const SnapshotEntry& entry);
    void take_node(uint32_t id);
    void take_volume(const Uuid& uuid);
    void take_snapshot(const Uuid& uuid);

    [[nodiscard]] bool are_ids_sound(std::string& problem) const;
    [[nodiscard]] bool is_node_sound(uint32_t id, std::string& problem) const;
    [[nodiscard]] bool is_user_sound(const Uuid& uuid, std::string& problem) const;

    std::map<uint32_t, NodeEntry> nodes_;
    std::map<Uuid, VolumeEntry> volumes_;
    std::map<Uuid, SnapshotEntry> snapshots_;
    NextIds next_ids_;

    // What follows from these. In a sound catalogue each user's node and each name occurs once.
    std::set<std::pair<uint32_t, uint32_t>> children_;  // Parent, child.
    std::multiset<std::pair<uint32_t, Uuid>> users_;    // Node, volume or snapshot.
    std::multiset<std::pair<std::string, Uuid>> names_;
};

}  // namespace basalt::bdev::store
