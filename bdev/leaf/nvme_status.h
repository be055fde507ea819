#pragma once

#include <cstdint>

#include "reactor/base/result.h"

namespace basalt::bdev {

/// The Status for what an NVMe device answered: status code type and code (bits 10:0 of the
/// completion's status field). The error's detail keeps the number. NVM Express Base Specification
/// 2.0, section 3.3.3.2.1; NVM Command Set Specification 1.0, section 3.1.
[[nodiscard]] Status status_from_nvme(uint16_t nvme_status);

}  // namespace basalt::bdev
