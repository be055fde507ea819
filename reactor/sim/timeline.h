#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "reactor/base/strong_int.h"
#include "reactor/io/clock.h"
#include "reactor/io/random.h"
#include "reactor/sim/fault_options.h"

namespace basalt::sim {

/// A simulated server, 0-based in the order of World::add_node().
using NodeId = StrongInt<struct NodeIdTag, uint32_t>;

/// Nodes of one world; bounds the table of paths between them.
inline constexpr uint32_t kNodesMax = 64;

/// Something that the timeline calls when a time has come. Lives as long as the world does, so that
/// nothing needs to be cancelled: `a` and `b` name what it is about, and a target ignores what it
/// does not know any more.
class TimelineTarget {
  public:
    virtual ~TimelineTarget() = default;
    virtual void occur(uint32_t what, uint64_t a, uint64_t b) = 0;
};

/// The one clock, queue of coming occurrences, source of chance and record of the past that all
/// parts of a world share. Whatever has an effect passes through here, so that one seed gives one
/// history. Owner: World. Everything runs in the world's one thread.
class Timeline final : public Clock {
  public:
    Timeline(uint64_t seed, const FaultOptions& options) : faults(options), random_(seed) {}

    [[nodiscard]] uint64_t now_ns() override { return now_ns_; }
    void advance_to(uint64_t now_ns);

    /// Calls `target` `delay_ns` from now. Equal times keep the order of the calls to after().
    void after(uint64_t delay_ns, TimelineTarget& target, uint32_t what, uint64_t a, uint64_t b);

    /// Calls all whose time has come. Returns how many.
    uint32_t run_due();

    /// When the next occurrence is due; UINT64_MAX if there is none.
    [[nodiscard]] uint64_t next_ns() const { return heap_.empty() ? UINT64_MAX : heap_[0].time_ns; }

    [[nodiscard]] Random& random() { return random_; }
    /// True with a probability of `ppm` in a million. Draws nothing when ppm is 0.
    [[nodiscard]] bool roll(uint32_t ppm) { return ppm != 0 && random_.below(1'000'000) < ppm; }
    /// Uniform in [0, most]. Draws nothing when most is 0.
    [[nodiscard]] uint64_t up_to(uint64_t most) { return most == 0 ? 0 : random_.below(most + 1); }

    /// Adds to the record that trace_hash() sums up.
    void trace(uint64_t value);
    void trace(std::span<const std::byte> data);
    [[nodiscard]] uint64_t trace_hash() const { return trace_hash_; }

    FaultOptions faults;

  private:
    struct Entry {
        uint64_t time_ns;
        uint64_t sequence;
        TimelineTarget* target;
        uint64_t a;
        uint64_t b;
        uint32_t what;
    };
    static bool is_later(const Entry& x, const Entry& y);

    std::vector<Entry> heap_;
    uint64_t next_sequence_ = 0;
    uint64_t now_ns_ = kNsPerSecond;  // Not 0, so that "never" and "now" differ.
    uint64_t trace_hash_ = 0;
    Random random_;
};

}  // namespace basalt::sim
