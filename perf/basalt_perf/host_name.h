#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace basalt::perf {

/// Who we are to a target.
struct HostName {
    std::string nqn;
    std::array<uint8_t, 16> id{};
};

/// This machine's name, from /etc/nvme/hostnqn and /etc/nvme/hostid as nvme-cli has them; a random
/// one where there is none.
[[nodiscard]] HostName find_host_name();

/// The name given, with an id that follows from it: the UUID in it, or a hash.
[[nodiscard]] HostName host_name_of(const std::string& nqn);

}  // namespace basalt::perf
