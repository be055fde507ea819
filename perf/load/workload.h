#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "reactor/io/random.h"

namespace basalt::perf {

/// What part of a run a queue is in.
enum class LoadPhase : uint8_t {
    kFill,   ///< Writes each unit once, so that there is something to verify.
    kTimed,  ///< The mix that is measured, until told to stop.
    kCheck,  ///< Reads each unit that was written, once.
};

/// The shape of the I/O of one queue. Units are pieces of io_bytes, aligned to it: unit 0 is the
/// first of the queue's part of the range.
struct WorkloadOptions {
    uint64_t unit_count = 0;      ///< At least 1.
    uint32_t read_percent = 100;  ///< Of the I/Os of the timed phase.
    bool is_random = true;
    bool verifies = false;  ///< Keeps a generation for each unit: 4 bytes of memory.
    uint32_t queue_depth = 1;
    uint64_t seed = 0;
};

/// One I/O to do.
struct UnitIo {
    uint64_t unit = 0;
    bool is_write = false;
    uint32_t generation = 0;  ///< Of a write: what to stamp on it. Of a read: what must come; 0:
                              ///< unknown, nothing to compare with.
};

/// Decides which I/O comes next and, when verifying, remembers for each unit which write was last
/// acknowledged; two I/Os of one unit are never under way at the same time, so a read always knows
/// what must come. Pure: no I/O, no clock. Owner: LoadQueue. Core: its.
class Workload {
  public:
    explicit Workload(const WorkloadOptions& options);
    Workload(const Workload&) = delete;
    Workload& operator=(const Workload&) = delete;

    void begin(LoadPhase phase);

    /// The next I/O; none when the phase has no more to begin now (in kTimed: as long as every
    /// unit that it could take is under way).
    [[nodiscard]] std::optional<UnitIo> next();

    /// An I/O of next() is over. A write that failed may or may not have happened: its unit is not
    /// compared until it is written again.
    void finished(const UnitIo& io, bool succeeded);

  private:
    // Generations of a unit; the highest bit says that an I/O is under way.
    static constexpr uint32_t kBusy = 1U << 31U;

    [[nodiscard]] std::optional<uint64_t> next_timed_unit();
    [[nodiscard]] std::optional<UnitIo> next_in_order();

    const WorkloadOptions options_;
    Random random_;
    LoadPhase phase_ = LoadPhase::kTimed;
    uint64_t cursor_ = 0;
    std::vector<uint32_t> acknowledged_;  // By unit; 0: never written by us, or unknown.
    std::vector<uint32_t> written_;       // By unit: the last generation handed out.
};

}  // namespace basalt::perf
