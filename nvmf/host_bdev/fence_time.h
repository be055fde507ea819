#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

#include "reactor/base/assert.h"
#include "reactor/io/clock.h"

namespace basalt::nvmf {

/// What is known of an association whose controller says nothing any more. A value.
struct SilentAssociation {
    uint32_t keep_alive_ms = 0;  ///< KATO as we have asked for it.
    uint32_t granularity_ms =
        0;  ///< KAS: to what the controller rounds that up. 0: nothing is said.
    /// CTRATT bit 6 (TBKAS): every command keeps the association alive, not Keep Alive alone.
    bool counts_all_commands = false;
    uint64_t last_answer_ns = 0;    ///< To a Keep Alive, or to what connected it.
    uint64_t dropped_ns = 0;        ///< No I/O queue has sent a command after that,
    uint64_t last_property_ns = 0;  ///< nor the admin queue after that.
};

/// When the controller has certainly given the association up, and executes nothing of it any more.
///
/// An answer may be lost, and what it answered have come: so the time does not begin at the last
/// answer. With Keep Alive alone there is one more of them at the most, since the next goes when
/// one is answered, and it has come within one keep alive time, or too late: two times in all.
/// Where all commands count, the last one may have come when it was sent; the controller looks once
/// in a keep alive time whether any has come since it last looked, so it may take two of them again
/// (NVMe Base Specification, "Keep Alive", traffic based).
[[nodiscard]] constexpr uint64_t silent_at_ns(const SilentAssociation& of) {
    const uint64_t step_ms = std::max<uint64_t>(of.granularity_ms, 1);
    const uint64_t granted_ms = (of.keep_alive_ms + step_ms - 1) / step_ms * step_ms;
    const uint64_t last_command_ns = std::max(of.dropped_ns, of.last_property_ns);
    return (of.counts_all_commands ? last_command_ns : of.last_answer_ns) +
           2 * granted_ms * kNsPerMs;
}

/// The associations of one path that have ended for us and may still be executing something, in the
/// order of their epochs. None is over before those that were there before it: lifting a fence
/// speaks for all epochs up to one. Few: each lasts for two keep alive times at most.
class EndedAssociations {
  public:
    /// `epoch` is higher than those before. From `over_ns` on nothing of it is executed any more.
    void add(uint32_t epoch, uint64_t over_ns) {
        if (!ended_.empty()) {
            BASALT_ASSERT(epoch > ended_.back().epoch);
            over_ns = std::max(over_ns, ended_.back().over_ns);
        }
        ended_.push_back({epoch, over_ns});
    }
    /// The last epoch that is over now; it and those before it are forgotten. 0: there is none.
    [[nodiscard]] uint32_t take_over(uint64_t now_ns) {
        uint32_t epoch = 0;
        while (!ended_.empty() && ended_.front().over_ns <= now_ns) {
            epoch = ended_.front().epoch;
            ended_.pop_front();
        }
        return epoch;
    }
    [[nodiscard]] bool is_empty() const { return ended_.empty(); }
    /// When the next is over. There is one.
    [[nodiscard]] uint64_t next_ns() const { return ended_.front().over_ns; }

  private:
    struct Ended {
        uint32_t epoch = 0;
        uint64_t over_ns = 0;
    };

    std::deque<Ended> ended_;
};

}  // namespace basalt::nvmf
