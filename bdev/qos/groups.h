#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/qos/domain.h"

namespace basalt::qos {

/// The groups of devices that share a capacity, by name. Owner: whoever wires the process; outlives
/// the devices. Core: the control thread.
class Groups {
  public:
    /// A group and its name, for listings.
    struct Group {
        std::string name;
        std::unique_ptr<Domain> domain;
    };

    /// `cores` are those that devices are used on; list and `control` outlive the groups.
    Groups(Reactor& control, std::span<const CoreId> cores) : control_(control), cores_(cores) {}
    Groups(const Groups&) = delete;
    Groups& operator=(const Groups&) = delete;

    /// Errors: kExists; kInvalidArgument: no name, no limits, or those of Domain::can_offer.
    [[nodiscard]] Status create(const std::string& name, const Policy& capacity);
    /// Errors: kNotFound; kBusy: it has members.
    [[nodiscard]] Status remove(std::string_view name);
    /// Null if there is none.
    [[nodiscard]] Domain* find(std::string_view name);
    /// Empty if it is none of these.
    [[nodiscard]] std::string_view name_of(const Domain* domain) const;
    [[nodiscard]] std::span<const Group> all() const { return groups_; }

  private:
    Reactor& control_;
    const std::span<const CoreId> cores_;
    std::vector<Group> groups_;
};

}  // namespace basalt::qos
