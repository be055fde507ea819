#pragma once

#include <cstdint>

#include "reactor/base/intrusive_list.h"

namespace basalt::bdev::store {

/// A change of a range of blocks that must not overlap another one's. Part of an operation.
class GateEntry {
  public:
    /// Called when the entry may go on, from RangeGate::leave().
    using Granted = void (*)(void* context);

    uint64_t first = 0;
    uint64_t count = 0;
    Granted granted = nullptr;
    void* context = nullptr;

  private:
    friend class RangeGate;

    [[nodiscard]] bool overlaps(const GateEntry& other) const {
        return first < other.first + other.count && other.first < first + count;
    }

    ListLink link_;
    bool is_inside_ = false;
};

/// Lets changes of a volume through whose blocks don't overlap, the others one after the other in
/// the order in which they came. For volumes with sectors smaller than a block: a write of a sector
/// reads its block, changes it and writes it back, and a write in between would be lost.
///
/// Looks at all entries: of one volume in one partition, at most what its channels have under way.
/// Owner: the volume. Core: the partition's.
class RangeGate {
  public:
    RangeGate() = default;
    RangeGate(const RangeGate&) = delete;
    RangeGate& operator=(const RangeGate&) = delete;

    /// True: `entry` is inside. False: it waits, and `granted` will be called. Ends with leave().
    [[nodiscard]] bool enter(GateEntry& entry);

    /// `entry`, which is inside, is over. Lets in those that waited for it.
    void leave(GateEntry& entry);

    /// Takes `entry` out of the gate that it may be in: the machine has lost its power.
    static void forget(GateEntry& entry);

    [[nodiscard]] bool is_empty() const { return entries_.empty(); }

  private:
    using Entries = IntrusiveList<GateEntry, &GateEntry::link_>;

    [[nodiscard]] bool must_wait(const GateEntry& entry);

    Entries entries_;  // In the order in which they came, inside or not.
};

}  // namespace basalt::bdev::store
