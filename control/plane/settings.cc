#include "control/plane/settings.h"

#include <array>
#include <charconv>

#include "reactor/io/clock.h"

namespace basalt::cluster {
namespace {

constexpr std::string_view kMapFolder = "map_folder";
// 30 days: no time here is longer.
constexpr uint64_t kTimeMsMax = uint64_t{30} * 86'400'000;

constexpr std::array kKinds{
    SettingKind{
        "domain_out_after_ms",
        "3600000",
        "As out_after_ms, while all nodes of a rack or a datacenter are down. Milliseconds."},
    SettingKind{
        "down_after_ms",
        "30000",
        "A node that was silent for longer is down. Milliseconds, at least two heartbeats."},
    SettingKind{"heartbeat_interval_ms", "10000", "How often nodes are asked. Milliseconds."},
    SettingKind{
        kMapFolder,
        "/var/lib/basalt",
        "Folder, on a node that serves a volume, of the files that say which copies count."},
    SettingKind{"out_after_ms",
                "600000",
                "A node that was down for longer is out: what it had is to be made anew elsewhere. "
                "Milliseconds."},
    SettingKind{"scan_interval_ms",
                "15000",
                "How often it is looked whether nodes are silent. Milliseconds."},
    SettingKind{"up_percent_min",
                "50",
                "No node is out while fewer are up. Percent of those that are not out."},
};

/// Where a setting of health is, and how many units of it are in one of the setting's. Null: it is
/// none of these.
uint64_t* time_of(std::string_view name, health::HealthSettings& health) {
    if (name == "domain_out_after_ms") {
        return &health.domain_out_after_ns;
    }
    if (name == "down_after_ms") {
        return &health.down_after_ns;
    }
    if (name == "heartbeat_interval_ms") {
        return &health.heartbeat_interval_ns;
    }
    if (name == "out_after_ms") {
        return &health.out_after_ns;
    }
    return name == "scan_interval_ms" ? &health.scan_interval_ns : nullptr;
}

/// Errors: kInvalidArgument.
Status apply(std::string_view name, const std::string& value, ClusterSettings& settings) {
    if (name == kMapFolder) {
        if (value.empty() || value.front() != '/' || value.size() > 1024) {
            return Errc::kInvalidArgument;
        }
        settings.map_folder = value;
        return kOk;
    }
    uint64_t number = 0;
    const char* end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, number);
    if (parsed.ec != std::errc() || parsed.ptr != end || number > kTimeMsMax) {
        return Errc::kInvalidArgument;
    }
    if (uint64_t* time = time_of(name, settings.health)) {
        *time = number * kNsPerMs;
        return kOk;
    }
    settings.health.up_percent_min = static_cast<uint32_t>(number);
    return kOk;
}

}  // namespace

std::span<const SettingKind> setting_kinds() {
    return kKinds;
}

ClusterSettings read_settings(const std::map<std::string, Setting>& records) {
    ClusterSettings settings;
    for (const SettingKind& kind : kKinds) {
        static_cast<void>(apply(kind.name, std::string(kind.default_value), settings));
    }
    const ClusterSettings defaults = settings;
    for (const SettingKind& kind : kKinds) {
        if (const auto set = records.find(std::string(kind.name)); set != records.end()) {
            static_cast<void>(apply(kind.name, set->second.value(), settings));
        }
    }
    if (!health::validate(settings.health)) {
        settings.health = defaults.health;
    }
    return settings;
}

Status check_setting(const std::map<std::string, Setting>& records,
                     const std::string& name,
                     const std::string& value) {
    for (const SettingKind& kind : kKinds) {
        if (kind.name == name) {
            ClusterSettings settings = read_settings(records);
            BASALT_CHECK(
                apply(name, value.empty() ? std::string(kind.default_value) : value, settings));
            return health::validate(settings.health);
        }
    }
    return Errc::kNotFound;
}

}  // namespace basalt::cluster
