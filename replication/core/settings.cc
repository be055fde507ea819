#include "replication/core/settings.h"

#include <algorithm>

namespace basalt::replication {

Status Settings::validate() const {
    const bool are_quorums_right = replicas >= 1 && replicas <= kReplicasMax && write_quorum >= 1 &&
                                   write_quorum <= replicas && read_quorum >= 1 &&
                                   read_quorum <= replicas;
    const bool is_size_right = blocks >= 1 && blocks <= kVolumeBlocksMax && chunk_blocks >= 1 &&
                               chunk_blocks % kRangeBoundaryBlocks == 0;
    const bool are_bounds_right = window_ops >= 1 && window_ops <= kWindowOpsMax && reads >= 1 &&
                                  reads <= kReadsMax && resync_copies >= 1;
    const bool are_times_right = read_timeout_us > 0 && slow_us > 0 && drop_timeout_us >= slow_us;
    if (!are_quorums_right || !is_size_right || !are_bounds_right || !are_times_right) {
        return Errc::kInvalidArgument;
    }
    return kOk;
}

uint32_t Settings::takeover_quorum(uint32_t set_count) const {
    const uint32_t to_meet_each_write =
        set_count >= write_quorum ? set_count - write_quorum + 1 : 1;
    return std::max(write_quorum, to_meet_each_write);
}

}  // namespace basalt::replication
