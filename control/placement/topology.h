#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"

namespace basalt::placement {

/// The levels of the tree, from the root down. What is of one level can fail at once.
enum class Level : uint8_t { kDatacenter, kRack, kHost, kDrive };
inline constexpr uint32_t kLevelCount = 4;

[[nodiscard]] std::string_view to_string(Level level);
/// "datacenter", "rack", "host" or "drive". Errors: kInvalidArgument.
[[nodiscard]] Result<Level> parse_level(std::string_view text);

/// A drive and where it is. A value.
struct DriveDescription {
    bdev::Uuid drive;
    std::string datacenter;
    std::string rack;     ///< Of its datacenter: two datacenters may each have a rack "1".
    std::string host;     ///< Of its rack.
    uint64_t weight = 0;  ///< Its capacity, in any unit. 0: nothing new is put there.
};

/// A datacenter, rack, host or drive of a Topology.
struct Domain {
    std::string path;          ///< "dc1/rack-a/host7", a drive's with its UUID.
    uint64_t hash = 0;         ///< XXH3 of the path: what chance goes by.
    uint64_t weight = 0;       ///< The sum of its drives'.
    uint32_t parent = 0;       ///< Index at the level above; 0 for datacenters.
    uint32_t first_child = 0;  ///< Index at the level below.
    uint32_t child_count = 0;
};

/// Where drives are: datacenter, rack, host, drive. The same drives in any order make the same
/// tree: at each level domains are in the order of their paths, and so children lie side by side.
///
/// Immutable. Any thread.
class Topology {
  public:
    /// Errors: kExists: a drive is there twice; kOutOfRange: too many drives, or too much weight;
    /// kInvalidArgument: a name that is empty, too long, or has a '/' or a control character.
    [[nodiscard]] static Result<Topology> make(std::span<const DriveDescription> drives);

    [[nodiscard]] std::span<const Domain> domains(Level level) const {
        return levels_[static_cast<size_t>(level)];
    }
    [[nodiscard]] const Domain& domain(Level level, uint32_t index) const {
        return domains(level)[index];
    }
    [[nodiscard]] uint32_t drive_count() const { return static_cast<uint32_t>(drives_.size()); }
    [[nodiscard]] const bdev::Uuid& drive(uint32_t index) const { return drives_[index]; }
    /// The domain of `level` that has this drive.
    [[nodiscard]] uint32_t domain_of(uint32_t drive, Level level) const;
    /// Errors: kNotFound.
    [[nodiscard]] Result<uint32_t> find(const bdev::Uuid& drive) const;
    [[nodiscard]] uint64_t weight() const { return weight_; }

    /// Only some of the drives, each with a weight of its own. `weights` has one for each of
    /// `drives`, which are indexes here, in ascending order.
    [[nodiscard]] Topology subset(std::span<const uint32_t> drives,
                                  std::span<const uint64_t> weights) const;

  private:
    Topology() = default;

    void add(const DriveDescription& description);
    Domain& enter(Level level, std::string path);
    void sum_up();

    std::array<std::vector<Domain>, kLevelCount> levels_;
    std::vector<bdev::Uuid> drives_;  // Of the last level, in the same order.
    std::vector<uint32_t> by_uuid_;   // Indexes of drives_, in the order of their UUIDs.
    std::vector<std::array<uint32_t, kLevelCount>> places_;  // Of each drive, by level.
    uint64_t weight_ = 0;
};

}  // namespace basalt::placement
