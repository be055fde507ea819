// Bad copies under hosts' reads and writes, seed by seed: blocks that can't be read at one replica
// beside blocks that another one has wrong, with a checksum that goes with it. Of each block at
// most one copy is ever bad, so in the end all must be what was written last, at all replicas.

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "replication/head/scrubber.h"
#include "test/replication/head/cluster.h"
#include "test/sim/seeds.h"

namespace basalt::replication::test {
namespace {

constexpr uint64_t kBlocks = 96;
constexpr uint64_t kLongestNs = 60 * kNsPerSecond;

class MendRun {
  public:
    MendRun(uint64_t seed, uint32_t replicas, const Mistakes& mistakes)
        : random_(seed * 31 + 3),
          cluster_(options(seed, replicas, mistakes)),
          scrubber_(cluster_.head()),
          written_(kBlocks, 1) {}

    /// Empty: all is well.
    [[nodiscard]] std::string run() {
        cluster_.start(0);
        EXPECT_EQ(cluster_.write(0, kBlocks, 1), kOk);
        for (uint32_t step = 0; step < 150; ++step) {
            for (uint32_t i = 0; i < hosts_.size(); ++i) {
                if (hosts_[i].is_done && random_.chance(1, 2)) {
                    submit(hosts_[i], i == 0);
                }
            }
            if (random_.chance(1, 3)) {
                spoil();
            }
            if (random_.chance(1, 60) && !scrubber_.state().is_running) {
                EXPECT_EQ(scrubber_.start(0), kOk);
            }
            cluster_.world.run_for(random_.below(2 * kNsPerMs));
        }
        return finish();
    }
    uint64_t spoilt = 0;
    [[nodiscard]] uint64_t mended() { return cluster_.head().findings().mended(); }

  private:
    static ClusterOptions options(uint64_t seed, uint32_t replicas, const Mistakes& mistakes) {
        ClusterOptions how;
        how.seed = seed;
        how.mistakes = mistakes;
        how.delay_max_ns = seed % 3 == 0 ? 2 * kNsPerMs : 200 * kNsPerUs;
        how.settings = {.replicas = replicas,
                        .write_quorum = replicas / 2 + 1,
                        .read_quorum = seed % 4 == 0 ? 2U : 1U,
                        .blocks = kBlocks,
                        .window_ops = 16,
                        .reads = 16,
                        .drop_timeout_us = 1'000'000};
        return how;
    }

    /// Who writes does one write at a time, so that it is known what a block has in the end.
    void submit(HostIo& io, bool writes) {
        const uint64_t first = random_.below(kBlocks);
        const uint64_t count = 1 + random_.below(std::min<uint64_t>(12, kBlocks - first));
        if (writes) {
            ++value_;
            std::fill_n(written_.begin() + static_cast<ptrdiff_t>(first), count, value_);
            io.prepare(HeadOp::kWrite, first, count, value_);
        } else {
            io.prepare(HeadOp::kRead, first, count, 0xeeee);
        }
        io.submit(cluster_.head());
    }

    /// One copy of a block, always at the same replica.
    void spoil() {
        const uint64_t block = random_.below(kBlocks);
        const auto replica = static_cast<uint32_t>((block * 7 + block / 5) % cluster_.disks.size());
        ReplicaDisk& disk = *cluster_.disks[replica];
        ++spoilt;
        if (random_.chance(1, 2)) {
            disk.bad.insert(block);
        } else {
            std::memset(disk.bytes.data() + block * kBlockBytes, 0xbd, kBlockBytes);
        }
    }

    [[nodiscard]] std::string finish() {
        const bool is_over = cluster_.world.run_until(
            [this] {
                return std::all_of(
                    hosts_.begin(), hosts_.end(), [](const HostIo& io) { return io.is_done; });
            },
            kLongestNs);
        scrubber_.cancel();
        if (!is_over ||
            !cluster_.world.run_until([this] { return !scrubber_.is_busy(); }, kLongestNs)) {
            return "somebody waits for ever";
        }
        EXPECT_EQ(scrubber_.start(0), kOk);
        if (!cluster_.world.run_until([this] { return !scrubber_.is_busy(); }, kLongestNs) ||
            !cluster_.has_settled()) {
            return "the last scrub never ends";
        }
        for (uint32_t i = 0; i < cluster_.disks.size(); ++i) {
            const ReplicaDisk& disk = *cluster_.disks[i];
            for (uint64_t block = 0; block < kBlocks; ++block) {
                uint64_t value = 0;
                std::memcpy(&value, disk.bytes.data() + block * kBlockBytes, sizeof(value));
                if (value != written_[block] || disk.bad.count(block) != 0) {
                    return fmt::format("replica {}: block {} has {:x}, written was {:x}",
                                       i,
                                       block,
                                       value,
                                       written_[block]);
                }
            }
        }
        return "";
    }

    Random random_;
    Cluster cluster_;
    Scrubber scrubber_;
    std::array<HostIo, 5> hosts_;
    std::vector<uint64_t> written_;
    uint64_t value_ = 1;
};

TEST(MendSim, WhatIsRightAtMostReplicasIsRightInTheEnd) {
    for (const uint32_t replicas : {3U, 5U}) {
        const Seeds seeds(40);
        uint64_t spoilt = 0;
        uint64_t mended = 0;
        for (const uint64_t seed : seeds) {
            MendRun run(seed, replicas, {});
            ASSERT_EQ(run.run(), "") << "seed " << seed << ", replicas " << replicas;
            spoilt += run.spoilt;
            mended += run.mended();
        }
        if (seeds.are_usual()) {
            EXPECT_GT(spoilt, 40U * 30);
            EXPECT_GT(mended, 40U * 10);
        }
    }
}

/// Whether one of the seeds shows that something is wrong.
bool is_found(const Mistakes& mistakes) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
        if (!MendRun(seed, 3, mistakes).run().empty()) {
            return true;
        }
    }
    return false;
}

TEST(MendSim, FindsRangesThatAreMendedFromOneReplica) {
    EXPECT_TRUE(is_found({.mends_without_asking = true}));
}

}  // namespace
}  // namespace basalt::replication::test
