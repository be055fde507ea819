#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "bdev/core/uuid.h"

namespace basalt::health {

/// A copy that is to be made: of a chunk, or of a group of them that lies on the same drives. A
/// value.
struct Repair {
    uint64_t id = 0;     ///< The caller's.
    uint32_t spare = 0;  ///< How many more drives may be lost before data is. 0: none.
    bdev::Uuid from;     ///< The drive that is read.
    bdev::Uuid to;       ///< The drive that gets the copy.

    bool operator==(const Repair&) const = default;
};

/// How much is copied at once. Settings of the cluster. A value.
struct RepairLimits {
    uint32_t in_all = 64;    ///< At least 1.
    uint32_t per_drive = 2;  ///< Read or written. At least 1.
};

/// Copies that wait for their turn: those first whose data is in the most danger, and among these
/// those that came first; none beyond the limits. A repair that can't start because one of its
/// drives is busy does not hold up those behind it.
///
/// Pure: no clock, no messages. Owner: the leading control process. Core: the control thread's.
/// Memory: about 200 bytes for each repair. Each call costs a logarithm of the number of repairs
/// for each that it moves; a drive that is free again wakes one of those that wait for it, not
/// all.
class RepairQueue {
  public:
    /// What a repair is doing.
    enum class State : uint8_t { kUnknown, kWaiting, kRunning };

    explicit RepairQueue(const RepairLimits& limits);

    /// A repair that waits under the same id is replaced, and keeps its place in line if its danger
    /// is the same. One that runs goes on, and nothing changes: false.
    bool add(const Repair& repair);

    /// It is not needed any more, was done, or has failed. Says what it was doing: one that ran is
    /// the caller's to stop.
    State remove(uint64_t id);

    /// Counts from now on; what runs is not stopped.
    void set(const RepairLimits& limits);

    /// Those that may start now. They run until they are removed.
    [[nodiscard]] std::vector<Repair> start();

    [[nodiscard]] State state(uint64_t id) const;
    [[nodiscard]] uint64_t running() const { return running_; }
    /// How many wait, by what is spare.
    [[nodiscard]] std::map<uint32_t, uint64_t> waiting() const { return waiting_; }

  private:
    /// The order of turns.
    struct Turn {
        uint32_t spare = 0;
        uint64_t number = 0;
        uint64_t id = 0;

        auto operator<=>(const Turn&) const = default;  // NOLINT(*nullptr): no pointer
    };
    using Line = std::set<Turn>;

    struct Drive {
        uint32_t running = 0;
        Line line;  // Those that found it busy.
    };
    struct Entry {
        Repair repair;
        Turn turn;
        State state = State::kWaiting;
        std::optional<bdev::Uuid> in_line_of;  // Else, while it waits, it is in ready_.
        std::optional<bdev::Uuid> woken_by;    // A drive that has a place, given to this one.
    };

    void insert(const Repair& repair, uint64_t number);
    void take_out(Entry& entry);
    [[nodiscard]] std::optional<bdev::Uuid> busy_drive(const Repair& repair) const;
    void run(Entry& entry);
    void stand_in_line(Entry& entry, const bdev::Uuid& drive);
    void wake(const bdev::Uuid& drive);
    void release(const bdev::Uuid& drive);

    RepairLimits limits_;
    std::map<uint64_t, Entry> entries_;
    std::map<bdev::Uuid, Drive> drives_;
    std::map<uint32_t, uint64_t> waiting_;
    Line ready_;
    uint64_t running_ = 0;
    uint64_t next_number_ = 0;
};

}  // namespace basalt::health
