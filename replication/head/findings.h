#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "replication/core/types.h"

namespace basalt::replication {

/// Blocks that a replica has otherwise than it should. A value.
struct Finding {
    enum class Kind : uint8_t {
        kUnreadable,  ///< Its checksum is wrong, or the drive can't read it.
        kDifferent,   ///< It has something else than most replicas.
        kUndecided,   ///< Replicas differ, and no majority of them agrees.
    };
    Kind kind = Kind::kUnreadable;
    uint32_t replica = 0;
    BlockRange range{};
    bool is_mended = false;    ///< It was written anew since, from a replica that is right.
    bool is_of_scrub = false;  ///< Else a host read it.
};

/// What was found wrong at a volume's replicas, by reads and scrubs: numbers for ever, and the last
/// few one by one. One owner, one core. Allocates when it is made.
class Findings {
  public:
    static constexpr size_t kKept = 128;

    Findings() { kept_.reserve(kKept); }

    /// Of blocks that are all there already and not mended yet nothing is added.
    void add(const Finding& finding);
    void mended(uint32_t replica, BlockRange range);

    /// The last ones, in order.
    [[nodiscard]] const std::vector<Finding>& kept() const { return kept_; }
    // All, in blocks.
    [[nodiscard]] uint64_t unreadable() const { return unreadable_; }
    [[nodiscard]] uint64_t different() const { return different_; }
    [[nodiscard]] uint64_t undecided() const { return undecided_; }
    [[nodiscard]] uint64_t mended() const { return mended_; }

  private:
    std::vector<Finding> kept_;
    uint64_t unreadable_ = 0;
    uint64_t different_ = 0;
    uint64_t undecided_ = 0;
    uint64_t mended_ = 0;
};

}  // namespace basalt::replication
