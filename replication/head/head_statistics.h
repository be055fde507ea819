#pragma once

#include <array>
#include <cstdint>

#include "replication/core/head_core.h"

namespace basalt::replication {

/// What a head knows of one replica.
struct ReplicaStatistics {
    bool is_linked = false;
    bool is_in_set = false;         ///< In sync, as the map has it.
    bool is_live = false;           ///< Its answers count.
    uint64_t writes = 0;            ///< Sent.
    uint64_t reads = 0;             ///< Sent.
    uint64_t errors = 0;            ///< Answers that were neither kOk nor kTryAgain.
    uint64_t lost_links = 0;        ///< Connections that ended.
    uint64_t write_latency_us = 0;  ///< From sending to the answer, averaged over about 16 samples.
};

/// What a head has done since it was made, and how it stands.
struct HeadStatistics {
    HeadCore::State state = HeadCore::State::kIdle;
    bool is_other_chosen = false;  ///< Another head has the volume.
    Epoch epoch;
    ReplicaSet set;
    ReplicaSet live;
    ReplicaSet joining;
    uint64_t blocks_to_copy = 0;  ///< To the joining replica.
    uint64_t blocks_dirty = 0;    ///< Replicas that are away may lack them.
    OpNumber watermark;
    OpNumber generation;
    uint32_t ops = 0;               ///< Writes that are not known to be everywhere.
    uint32_t requests_waiting = 0;  ///< Of hosts, for room or for the head to open.
    uint64_t reads = 0;             ///< Parts of requests, done.
    uint64_t writes = 0;            ///< Likewise, with zeroes and unmaps.
    uint64_t stale_requests = 0;    ///< Answered with kStaleEpoch.
    uint64_t openings = 0;
    uint64_t drops = 0;          ///< Times that a smaller set was granted.
    uint64_t returns = 0;        ///< Times that a larger set was.
    uint64_t repairs = 0;        ///< Copies that replaced what a replica could not read right.
    uint64_t copied_blocks = 0;  ///< To replicas that came back.
    uint64_t resync_blocks = 0;  ///< Of these, to the joining replica, this time;
    uint64_t resync_us = 0;      ///< and for how long it has been copied to.
    std::array<ReplicaStatistics, kReplicasMax> replicas{};
};

}  // namespace basalt::replication
