#include "replication/replica/replicas.h"

#include <gtest/gtest.h>

#include "test/bdev/support/sim_node.h"
#include "test/replication/replica/memory_store.h"

namespace basalt::replication::test {
namespace {

const Settings kSettings{.blocks = 64, .window_ops = 4, .reads = 4};

bdev::Uuid uuid(uint8_t number) {
    bdev::Uuid out;
    out.bytes[0] = number;
    return out;
}

class ReplicasTest : public ::testing::Test {
  protected:
    static constexpr BlockBuffers::Counts kCounts{.small = 4, .large = 1};

    ReplicasTest() { EXPECT_TRUE(replicas_.add_drive(drive_)); }
    ~ReplicasTest() override { EXPECT_TRUE(node_.wait(replicas_.close_all())); }

    Errc create(uint64_t volume, ReplicaOrigin origin = ReplicaOrigin::kNewVolume) {
        return code(replicas_.create({drive_.uuid(), volume}, kSettings, origin));
    }
    Errc code(Task<Status> task) {
        const Status status = node_.wait(std::move(task));
        return status ? Errc::kOk : status.error().code;
    }

    bdev::SimNode node_{1};
    std::vector<std::byte> region_ = std::vector<std::byte>(BlockBuffers::region_bytes(kCounts));
    BlockBuffers buffers_{region_, kCounts};
    MemoryDrive drive_{node_.core(0), uuid(1)};
    Replicas replicas_{node_.core(0), buffers_};
};

TEST_F(ReplicasTest, FindsTheReplicasThatAreOpen) {
    EXPECT_EQ(create(7), Errc::kOk);
    EXPECT_EQ(create(8, ReplicaOrigin::kReplacement), Errc::kOk);
    EXPECT_NE(replicas_.find(uuid(1), 7), nullptr);
    EXPECT_EQ(replicas_.find(uuid(1), 9), nullptr);
    EXPECT_EQ(replicas_.find(uuid(2), 7), nullptr);
    EXPECT_TRUE(replicas_.has_drive(uuid(1)));
    EXPECT_FALSE(replicas_.has_drive(uuid(2)));
    const std::vector<ReplicaReport> reports = replicas_.list();
    ASSERT_EQ(reports.size(), 2U);
    EXPECT_EQ(reports[0].key.volume, 7U);
    EXPECT_FALSE(reports[0].marks.is_blank);
    EXPECT_TRUE(reports[1].marks.is_blank);
    EXPECT_EQ(reports[0].blocks, 64U);
}

TEST_F(ReplicasTest, ClosesAndOpensAgain) {
    EXPECT_EQ(create(7), Errc::kOk);
    EXPECT_EQ(create(8), Errc::kOk);
    EXPECT_EQ(code(replicas_.open({uuid(1), 7})), Errc::kExists);
    EXPECT_EQ(code(replicas_.close({uuid(1), 7})), Errc::kOk);
    EXPECT_EQ(code(replicas_.close({uuid(1), 7})), Errc::kNotFound);
    EXPECT_EQ(replicas_.find(uuid(1), 7), nullptr);
    EXPECT_EQ(code(replicas_.open_all(uuid(1))), Errc::kOk);
    EXPECT_NE(replicas_.find(uuid(1), 7), nullptr);
    EXPECT_EQ(code(replicas_.open({uuid(1), 9})), Errc::kNotFound);
    EXPECT_EQ(code(replicas_.open_all(uuid(2))), Errc::kNotFound);
}

TEST_F(ReplicasTest, DeletesWhatIsOpenAndWhatIsNot) {
    EXPECT_EQ(create(7), Errc::kOk);
    EXPECT_EQ(create(7), Errc::kExists);
    EXPECT_EQ(code(replicas_.remove({uuid(1), 7})), Errc::kOk);
    EXPECT_EQ(replicas_.find(uuid(1), 7), nullptr);
    EXPECT_TRUE(drive_.disks.empty());
    EXPECT_EQ(create(7), Errc::kOk);
    EXPECT_EQ(code(replicas_.close({uuid(1), 7})), Errc::kOk);
    EXPECT_EQ(code(replicas_.remove({uuid(1), 7})), Errc::kOk);
    EXPECT_EQ(code(replicas_.remove({uuid(1), 7})), Errc::kNotFound);
}

TEST_F(ReplicasTest, KeepsDrivesThatAreUsed) {
    EXPECT_EQ(create(7), Errc::kOk);
    EXPECT_EQ(replicas_.add_drive(drive_).error().code, Errc::kExists);
    EXPECT_EQ(replicas_.remove_drive(uuid(1)).error().code, Errc::kBusy);
    EXPECT_EQ(code(replicas_.close({uuid(1), 7})), Errc::kOk);
    EXPECT_TRUE(replicas_.remove_drive(uuid(1)));
    EXPECT_EQ(replicas_.remove_drive(uuid(1)).error().code, Errc::kNotFound);
    EXPECT_EQ(code(replicas_.open({uuid(1), 7})), Errc::kNotFound);
}

TEST_F(ReplicasTest, RefusesSettingsThatCanNotBe) {
    Settings settings = kSettings;
    settings.blocks = 0;
    EXPECT_EQ(code(replicas_.create({uuid(1), 7}, settings, ReplicaOrigin::kNewVolume)),
              Errc::kInvalidArgument);
    EXPECT_TRUE(drive_.disks.empty());
}

}  // namespace
}  // namespace basalt::replication::test
