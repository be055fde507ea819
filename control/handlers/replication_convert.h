#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/handlers/live_config.h"

namespace basalt::control {

/// Reads "10.0.0.1:4500/3f2b0d3e-…": a store's server, and one of its drives. Nothing if it is
/// wrong.
[[nodiscard]] std::optional<replication::ReplicaPlace> parse_replica_place(std::string_view text);
/// The same as text.
[[nodiscard]] std::string replica_place_text(const replication::ReplicaPlace& place);

/// The calls that make the server of replicas, and the devices of replicated volumes, again.
[[nodiscard]] std::vector<SavedCall> replication_calls(const Context& context);
/// And the drives of replicas, when their pools are there.
[[nodiscard]] std::vector<SavedCall> replica_drive_calls(const Context& context);

/// Whether `pool` is on the device of a replicated volume, with layers and other pools between.
[[nodiscard]] bool stands_on_replicated(const Context& context, const bdev::store::Pool& pool);

}  // namespace basalt::control
