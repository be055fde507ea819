#include "nvmf/target/health.h"

#include "nvmf/wire/command.h"

namespace basalt::nvmf {

void HealthCounters::count(const Request& request,
                           Status outcome,
                           NvmeStatus status,
                           uint32_t block_bytes) {
    constexpr uint8_t kMediaErrorType = 2;
    if (!outcome) [[unlikely]] {
        const bool is_media_error =
            status.sct == kMediaErrorType && !status.is(status::kCompareFailure);
        media_errors += is_media_error ? 1U : 0U;
        is_degraded = is_degraded || outcome.error().code == Errc::kDeviceGone;
        return;
    }
    is_degraded = false;
    switch (request.sqe.opcode) {
        case nvme_cmd_read:
        case nvme_cmd_compare:
        case nvme_cmd_verify:
            ++read_commands;
            bytes_read += RwView(request.sqe).nlb().raw() * block_bytes;
            break;
        case nvme_cmd_write:
            ++write_commands;
            bytes_written += RwView(request.sqe).nlb().raw() * block_bytes;
            break;
        default: break;
    }
}

}  // namespace basalt::nvmf
