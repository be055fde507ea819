#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nvmf/host_bdev/path_selector.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// One group of an ANA log (NVMe Base Specification, Asymmetric Namespace Access log page).
struct AnaGroup {
    uint32_t group = 0;
    PathAccess access = PathAccess::kNone;
    std::vector<uint32_t> namespaces{};  ///< Its namespaces' numbers.
};

/// Reads a log, which may be longer than it says. Errors: kProtocol (it ends too early, or has a
/// state that does not exist).
[[nodiscard]] Result<std::vector<AnaGroup>> parse_ana_log(std::span<const std::byte> log);

}  // namespace basalt::nvmf
