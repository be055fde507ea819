#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "control/config/config.h"
#include "control/config/table_reader.h"

namespace basalt::control {

/// Turns [nvmf], [[bdev]], [[pool]] and [[subsystem]] of the file's top table into the calls that
/// make them, in the order in which they depend on one another. `nvme_tcp_port` is the port of
/// addresses that name none. Throws ConfigError.
[[nodiscard]] std::vector<StartupCall> read_volume_tables(TableReader& top, uint16_t nvme_tcp_port);

/// The addresses at which subsystems that name none are served. Throws ConfigError.
[[nodiscard]] std::vector<SocketAddress> read_nvmf_listen(TableReader& top, uint16_t nvme_tcp_port);

/// [nvmf] discovery_port, if it is there. Throws ConfigError.
[[nodiscard]] std::optional<uint16_t> read_discovery_port(TableReader& top);

}  // namespace basalt::control
