#include "control/placement/topology.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include <xxhash.h>

#include "control/placement/limits.h"

namespace basalt::placement {
namespace {

constexpr std::array<std::string_view, kLevelCount> kLevelNames{
    "datacenter", "rack", "host", "drive"};

bool is_name(std::string_view name) {
    return !name.empty() && name.size() <= kNameBytesMax && std::ranges::none_of(name, [](char c) {
        return c == '/' || c == '\x7f' || static_cast<unsigned char>(c) < 0x20;
    });
}

Status check(std::span<const DriveDescription> drives) {
    if (drives.size() > kDrivesMax) {
        return Error(Errc::kOutOfRange);
    }
    uint64_t sum = 0;
    for (const DriveDescription& one : drives) {
        if (!is_name(one.datacenter) || !is_name(one.rack) || !is_name(one.host)) {
            return Error(Errc::kInvalidArgument);
        }
        if (one.weight >= kWeightSumMax - sum) {
            return Error(Errc::kOutOfRange);
        }
        sum += one.weight;
    }
    std::vector<bdev::Uuid> uuids;
    uuids.reserve(drives.size());
    for (const DriveDescription& one : drives) {
        uuids.push_back(one.drive);
    }
    std::ranges::sort(uuids);
    return std::ranges::adjacent_find(uuids) == uuids.end() ? Status() : Error(Errc::kExists);
}

/// '/' comes before all that a name may begin with in this order, so that what is below one domain
/// lies together.
auto order(const DriveDescription& one) {
    return std::tie(one.datacenter, one.rack, one.host, one.drive);
}

}  // namespace

std::string_view to_string(Level level) {
    return kLevelNames[static_cast<size_t>(level)];
}

Result<Level> parse_level(std::string_view text) {
    const auto* found = std::ranges::find(kLevelNames, text);
    if (found == kLevelNames.end()) {
        return Error(Errc::kInvalidArgument);
    }
    return static_cast<Level>(found - kLevelNames.begin());
}

Result<Topology> Topology::make(std::span<const DriveDescription> drives) {
    if (const Status checked = check(drives); !checked) {
        return checked.error();
    }
    std::vector<const DriveDescription*> sorted;
    sorted.reserve(drives.size());
    for (const DriveDescription& one : drives) {
        sorted.push_back(&one);
    }
    std::ranges::sort(sorted, {}, [](const DriveDescription* one) { return order(*one); });
    Topology made;
    for (const DriveDescription* one : sorted) {
        made.add(*one);
    }
    made.sum_up();
    return made;
}

void Topology::add(const DriveDescription& description) {
    std::string path = description.datacenter;
    enter(Level::kDatacenter, path);
    enter(Level::kRack, path += "/" + description.rack);
    enter(Level::kHost, path += "/" + description.host);
    enter(Level::kDrive, path += "/" + description.drive.to_string()).weight = description.weight;
    drives_.push_back(description.drive);
}

/// The domain of that path, which is the last of its level or a new one.
Domain& Topology::enter(Level level, std::string path) {
    std::vector<Domain>& here = levels_[static_cast<size_t>(level)];
    if (here.empty() || here.back().path != path) {
        const uint64_t hash = XXH3_64bits(path.data(), path.size());
        here.push_back(Domain{.path = std::move(path), .hash = hash});
        if (level != Level::kDatacenter) {
            std::vector<Domain>& above = levels_[static_cast<size_t>(level) - 1];
            here.back().parent = static_cast<uint32_t>(above.size() - 1);
            Domain& parent = above.back();
            if (parent.child_count == 0) {
                parent.first_child = static_cast<uint32_t>(here.size() - 1);
            }
            ++parent.child_count;
        }
    }
    return here.back();
}

/// What follows from the domains: weights of the upper levels, each drive's places, the index.
void Topology::sum_up() {
    for (size_t level = kLevelCount - 1; level > 0; --level) {
        for (const Domain& one : levels_[level]) {
            levels_[level - 1][one.parent].weight += one.weight;
        }
    }
    for (const Domain& one : levels_.front()) {
        weight_ += one.weight;
    }
    by_uuid_.resize(drives_.size());
    std::iota(by_uuid_.begin(), by_uuid_.end(), 0U);
    std::ranges::sort(by_uuid_, {}, [this](uint32_t index) { return drives_[index]; });
    places_.resize(drives_.size());
    for (uint32_t drive = 0; drive < drives_.size(); ++drive) {
        uint32_t index = drive;
        for (size_t level = kLevelCount; level-- > 0;) {
            places_[drive][level] = index;
            index = levels_[level][index].parent;
        }
    }
}

uint32_t Topology::domain_of(uint32_t drive, Level level) const {
    return places_[drive][static_cast<size_t>(level)];
}

Result<uint32_t> Topology::find(const bdev::Uuid& drive) const {
    const auto found = std::ranges::lower_bound(
        by_uuid_, drive, {}, [this](uint32_t index) { return drives_[index]; });
    if (found == by_uuid_.end() || drives_[*found] != drive) {
        return Error(Errc::kNotFound);
    }
    return *found;
}

Topology Topology::subset(std::span<const uint32_t> drives,
                          std::span<const uint64_t> weights) const {
    BASALT_ASSERT(drives.size() == weights.size());
    BASALT_ASSERT(std::ranges::is_sorted(drives));
    Topology made;
    for (size_t i = 0; i < drives.size(); ++i) {
        for (size_t level = 0; level < kLevelCount; ++level) {
            made.enter(static_cast<Level>(level), levels_[level][places_[drives[i]][level]].path);
        }
        made.levels_.back().back().weight = weights[i];
        made.drives_.push_back(drives_[drives[i]]);
    }
    made.sum_up();
    return made;
}

}  // namespace basalt::placement
