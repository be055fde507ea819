#pragma once

#include <string>
#include <vector>

#include "control/config/config.h"
#include "control/config/table_reader.h"

namespace basalt::control {

/// Reads [replication]: the call that starts the server of replicas, if there is one. Gives the
/// cluster's UUID; empty if the file does not say it. Throws ConfigError.
[[nodiscard]] std::string read_replication(TableReader& top, std::vector<StartupCall>& calls);

/// Reads what a [[bdev]] of type "replicated" has besides its name, whose cluster is `cluster` if
/// it says no other.
void read_replicated_bdev(TableReader& table, const std::string& cluster, nlohmann::json& params);

/// Reads what a [[pool]] says of the replicas in it: that it is a drive, and which are made if they
/// are not there.
void read_replicas(TableReader& pool, const std::string& name, std::vector<StartupCall>& calls);

}  // namespace basalt::control
