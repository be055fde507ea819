#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "control/cluster/cluster.pb.h"
#include "control/health/settings.h"

namespace basalt::cluster {

/// A setting that there is. A value.
struct SettingKind {
    std::string_view name;
    std::string_view default_value;
    std::string_view help;
};

/// All of them, in the order of their names.
[[nodiscard]] std::span<const SettingKind> setting_kinds();

/// What is set, with defaults. A value.
struct ClusterSettings {
    health::HealthSettings health;
    std::string map_folder;
};

/// What the records say; one that makes no sense, which another version may have written, is as if
/// it were not set.
[[nodiscard]] ClusterSettings read_settings(const std::map<std::string, Setting>& records);

/// Whether `name` can have `value` beside what the records say. Errors: kNotFound: there is no such
/// setting; kInvalidArgument.
[[nodiscard]] Status check_setting(const std::map<std::string, Setting>& records,
                                   const std::string& name,
                                   const std::string& value);

}  // namespace basalt::cluster
