#pragma once

#include <string>
#include <vector>

#include "bdev/leaf/nvme_identity.h"

namespace basalt::bdev {

/// The namespaces that the Linux kernel shows as /dev/ngXnY. Asks each with Identify (libnvme),
/// because the kernel hides the ids of drives that it does not trust (QEMU's) from sysfs. Identify
/// needs CAP_SYS_ADMIN before Linux 6.2. Stateless.
class LinuxNvmeFinder final : public NvmeFinder {
  public:
    [[nodiscard]] Result<std::vector<std::string>> list() override;
    [[nodiscard]] Result<NvmeIdentity> identify(const std::string& path) override;
};

}  // namespace basalt::bdev
