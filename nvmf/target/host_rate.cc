#include "nvmf/target/host_rate.h"

#include "nvmf/wire/command.h"

namespace basalt::nvmf {

std::optional<qos::IoCost> host_cost(const Sqe& command,
                                     uint32_t data_bytes,
                                     uint32_t block_bytes) {
    switch (command.opcode) {
        case nvme_cmd_read:
        case nvme_cmd_compare: return qos::IoCost{.bytes = data_bytes, .is_write = false};
        case nvme_cmd_write: return qos::IoCost{.bytes = data_bytes, .is_write = true};
        case nvme_cmd_verify: {
            const auto blocks = static_cast<uint32_t>(RwView(command).nlb().raw());
            return qos::IoCost{.bytes = blocks * block_bytes, .is_write = false};
        }
        case nvme_cmd_write_zeroes:
        case nvme_cmd_dsm:
        // What a copy moves is charged step by step; it begins when nothing is owed.
        case nvme_cmd_copy: return qos::IoCost{.bytes = 0, .is_write = true};
        default: return std::nullopt;
    }
}

}  // namespace basalt::nvmf
