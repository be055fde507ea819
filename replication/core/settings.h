#pragma once

#include <array>
#include <cstdint>

#include "reactor/base/result.h"
#include "replication/core/types.h"

namespace basalt::replication {

/// How one volume, or the part of it that has the same replicas, is replicated. Checked once by
/// validate(), then never changed.
struct Settings {
    uint32_t replicas = 3;
    uint32_t write_quorum = 2;      ///< Copies that a write needs before the host is told.
    uint32_t read_quorum = 1;       ///< Copies that a read compares.
    uint64_t blocks = 0;            ///< Size, in blocks of 4 KiB.
    uint32_t chunk_blocks = 16384;  ///< What no write or read crosses; x 256. 64 MiB.
    bool prefers_nearest = true;    ///< Reads go to the least distance; else round about.
    std::array<uint8_t, kReplicasMax> distance{};  ///< Of each replica from the head.

    uint32_t window_ops = kWindowOpsMax;
    uint32_t reads = kReadsMax;
    uint32_t resync_copies = 4;  ///< Copies under way while a replica comes back; one if hosts ask.
    uint64_t resync_bytes_per_second = kResyncBytesPerSecond;  ///< 0: as fast as it goes.

    uint64_t read_timeout_us = kReadTimeoutUs;  ///< Then another replica is asked.
    /// Silent for so long: reads avoid it, and it is dropped if hosts would wait because of it.
    uint64_t slow_us = kSlowUs;
    uint64_t drop_timeout_us = kDropTimeoutUs;    ///< Silent for so long: it is dropped.
    uint64_t takeover_wait_us = kTakeoverWaitUs;  ///< How long a new head waits for all.

    /// Errors: kInvalidArgument: a number out of its bounds, or quorums that could lose a write:
    /// write_quorum must be at least one, at most `replicas`.
    [[nodiscard]] Status validate() const;

    /// How many replicas of a set of `set_count` a new head must hear.
    [[nodiscard]] uint32_t takeover_quorum(uint32_t set_count) const;
};

/// Mistakes on purpose, so that tests can prove that the simulation finds them. All false in
/// production. Each is the mistake of the same name in replication/model/.
struct Mistakes {
    bool acks_before_quorum = false;
    bool skips_fence = false;
    bool has_no_lease = false;
    bool reads_unacknowledged = false;
    bool moves_watermark_early = false;
    bool counts_any_window = false;
    bool drops_early = false;
    bool loses_dirty = false;
    bool lets_resync_race = false;
    // Not in the model, which knows neither bad copies nor the end of a snapshot.
    bool mends_without_asking = false;
    bool drops_lines_early = false;
};

}  // namespace basalt::replication
