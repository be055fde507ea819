// The snapshots of a volume with two heads over replicas in memory.

#include "replication/node/volume_lines.h"

#include <array>
#include <memory>

#include <gtest/gtest.h>

#include "test/replication/head/cluster.h"

namespace basalt::replication::test {
namespace {

using State = LineRecord::State;

class VolumeLinesTest : public ::testing::Test {
  protected:
    static ClusterOptions options() {
        ClusterOptions how;
        how.settings = {.blocks = 64,
                        .window_ops = 16,
                        .reads = 8,
                        .drop_timeout_us = 300'000,
                        .takeover_wait_us = 50'000};
        how.lease_us = 50'000;
        return how;
    }

    VolumeLinesTest() : cluster_(options()) {
        for (uint32_t seat = 0; seat < 2; ++seat) {
            lines_[seat] = std::make_unique<VolumeLines>(
                *cluster_.control, files(), "/map.lines", Cluster::kVolume, cluster_.head(seat));
        }
        cluster_.start(0);
        EXPECT_TRUE(cluster_.open());
        lines_[0]->set_serving(true);
    }
    ~VolumeLinesTest() override {
        for (auto& lines : lines_) {
            close(*lines);
        }
    }

    [[nodiscard]] FileSystem& files() { return cluster_.world.file_system(cluster_.node); }
    void close(VolumeLines& lines) {
        Task<void> closing = lines.close();
        EXPECT_TRUE(
            cluster_.world.run_until([&closing] { return closing.is_done(); }, kNsPerSecond));
    }
    template <typename Outcome>
    Outcome wait(Task<Outcome> task) {
        EXPECT_TRUE(
            cluster_.world.run_until([&task] { return task.is_done(); }, 10 * kNsPerSecond));
        return std::move(task.result());
    }
    Errc draw(const std::string& name, uint32_t seat = 0) {
        const Result<OpNumber> drawn = wait(lines_[seat]->draw(name));
        return drawn ? Errc::kOk : drawn.error().code;
    }
    Errc remove(const std::string& name, uint32_t seat = 0) {
        const Status removed = wait(lines_[seat]->remove(name));
        return removed ? Errc::kOk : removed.error().code;
    }
    [[nodiscard]] std::vector<LineRecord> list(uint32_t seat = 0) {
        return wait(lines_[seat]->list()).value();
    }
    [[nodiscard]] bool is_gone(size_t left, uint32_t seat = 0) {
        for (uint32_t i = 0; i < 100 && list(seat).size() > left; ++i) {
            cluster_.world.run_for(50 * kNsPerMs);
        }
        return list(seat).size() == left;
    }
    /// How many snapshots each replica has; ~0: they differ.
    [[nodiscard]] size_t snapshots() const {
        const size_t first = cluster_.disks[0]->snapshots.size();
        for (const auto& disk : cluster_.disks) {
            if (disk->snapshots.size() != first) {
                return ~size_t{0};
            }
        }
        return first;
    }
    /// The next one becomes the head.
    void take_over() {
        cluster_.start(1, Claim::kTakeOver);
        EXPECT_TRUE(cluster_.open(1));
        lines_[0]->set_serving(false);
        lines_[1]->set_serving(true);
    }
    /// A head dies while it draws.
    void leave_unfinished(OpNumber newest) {
        LineFile file(*cluster_.control, files(), "/map.lines", Cluster::kVolume);
        LineList known = wait(file.lock(true)).value();
        known.lines.push_back({State::kDrawing, newest, "unfinished"});
        EXPECT_TRUE(wait(file.write(known)));
    }

    Cluster cluster_;
    std::array<std::unique_ptr<VolumeLines>, 2> lines_;
};

TEST_F(VolumeLinesTest, AreDrawnListedAndDeleted) {
    EXPECT_TRUE(list().empty());
    EXPECT_EQ(remove("a"), Errc::kNotFound);
    EXPECT_EQ(draw("a"), Errc::kOk);
    EXPECT_EQ(draw("a"), Errc::kExists);
    EXPECT_EQ(draw(""), Errc::kInvalidArgument);
    EXPECT_EQ(draw(std::string(kLineNameMax + 1, 'n')), Errc::kInvalidArgument);
    EXPECT_EQ(draw("b"), Errc::kOk);
    ASSERT_TRUE(cluster_.has_settled());
    const auto two = list();
    ASSERT_EQ(two.size(), 2U);
    EXPECT_EQ(two[0].name, "a");
    EXPECT_EQ(two[0].state, State::kThere);
    EXPECT_EQ(snapshots(), 2U);
    EXPECT_EQ(cluster_.disks[0]->snapshots.count(two[1].number), 1U);
    EXPECT_EQ(remove("a"), Errc::kOk);
    EXPECT_TRUE(is_gone(1));
    EXPECT_EQ(snapshots(), 1U);
    EXPECT_EQ(draw("a"), Errc::kOk);
    EXPECT_EQ(list().size(), 2U);
}

TEST_F(VolumeLinesTest, AReplicaThatWasAwayDeletesWhatWasDeletedMeanwhile) {
    EXPECT_EQ(draw("a"), Errc::kOk);
    EXPECT_EQ(draw("b"), Errc::kOk);
    ASSERT_TRUE(cluster_.has_settled());
    cluster_.crash(2);
    ASSERT_EQ(cluster_.write(0, 4, 5), kOk);
    EXPECT_EQ(remove("a"), Errc::kOk);
    EXPECT_EQ(remove("b"), Errc::kOk);
    cluster_.world.run_for(3 * kNsPerSecond);
    ASSERT_EQ(list().size(), 2U);
    EXPECT_EQ(list()[0].state, State::kDeleting);
    EXPECT_EQ(cluster_.disks[0]->snapshots.size(), 0U) << "one does not wait for the other";
    EXPECT_EQ(draw("a"), Errc::kExists);
    // The next head goes on with it.
    take_over();
    EXPECT_EQ(draw("c"), Errc::kBusy);
    EXPECT_EQ(remove("a"), Errc::kBusy);
    EXPECT_EQ(list(), list(1)) << "all know it";
    cluster_.restart(2);
    EXPECT_TRUE(is_gone(0, 1));
    EXPECT_EQ(snapshots(), 0U);
    EXPECT_EQ(draw("a", 1), Errc::kOk);
}

TEST_F(VolumeLinesTest, WhatADeadHeadWasDrawingIsDeleted) {
    EXPECT_EQ(draw("a"), Errc::kOk);
    const OpNumber newest = list()[0].number;
    leave_unfinished(newest);
    EXPECT_EQ(list()[1].state, State::kDrawing);
    EXPECT_EQ(remove("unfinished"), Errc::kNotFound) << "no replica has it";
    HostIo io;
    io.prepare(HeadOp::kSnapshot, 0, 0);
    ASSERT_EQ(cluster_.run(io), kOk);
    leave_unfinished(newest);
    ASSERT_TRUE(cluster_.has_settled());
    EXPECT_EQ(snapshots(), 2U);
    take_over();
    EXPECT_TRUE(is_gone(1, 1));
    EXPECT_EQ(list(1)[0].name, "a");
    EXPECT_EQ(snapshots(), 1U);
}

TEST_F(VolumeLinesTest, ADrawingThatWaitsForReplicasHoldsNobodyUp) {
    cluster_.crash(1);
    cluster_.crash(2);
    Task<Result<OpNumber>> drawing = lines_[0]->draw("a");
    cluster_.world.run_for(kNsPerSecond);
    EXPECT_FALSE(drawing.is_done());
    EXPECT_TRUE(lines_[0]->is_drawing());
    EXPECT_EQ(list().size(), 1U);
    lines_[0]->begin_closing();
    cluster_.head().give_up();
    close(*lines_[0]);
    ASSERT_TRUE(drawing.is_done());
    EXPECT_EQ(drawing.result().error().code, Errc::kStaleEpoch);
    // Nobody was told of it.
    cluster_.restart(1);
    cluster_.restart(2);
    take_over();
    EXPECT_TRUE(is_gone(0, 1));
    cluster_.world.run_for(kNsPerSecond);
    EXPECT_EQ(snapshots(), 0U);
}

TEST_F(VolumeLinesTest, AListOfAnotherVolumeIsRefused) {
    LineFile file(*cluster_.control, files(), "/map.lines", bdev::Uuid{{9}});
    EXPECT_TRUE(wait(file.lock(true)));
    LineList other;
    other.volume = bdev::Uuid{{9}};
    EXPECT_TRUE(wait(file.write(other)));
    file.unlock();
    EXPECT_EQ(draw("a"), Errc::kInvalidArgument);
}

}  // namespace
}  // namespace basalt::replication::test
