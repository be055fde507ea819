// Changes of what is there: records, names, removals, deletions.
#include <memory>

#include <gtest/gtest.h>

#include "control/cluster/operations.h"
#include "control/metadata/limits.h"
#include "control/metadata/sim/simulated_store.h"
#include "reactor/sim/world.h"

namespace basalt::cluster {
namespace {

constexpr uint64_t kGib = uint64_t{1} << 30U;

Uuid uuid_of(uint8_t kind, uint8_t number) {
    Uuid uuid;
    uuid.bytes[0] = kind;
    uuid.bytes[15] = number;
    return uuid;
}

/// Four nodes with a drive each, and one process that knows them.
class ClusterChange : public testing::Test {
  protected:
    ClusterChange() : world_(1, sim::calm()), here_(world_.add_reactor(world_.add_node())) {
        metadata_ = std::make_unique<metadata::SimulatedMetadata>(here_.clock(), 1);
        store_ = std::make_unique<metadata::SimulatedStore>(here_, *metadata_);
        view_ = std::make_unique<ClusterView>(*store_);
        for (uint8_t i = 1; i <= 4; ++i) {
            Node node;
            node.set_uuid(to_field(uuid_of(1, i)));
            node.set_datacenter("dc");
            node.set_rack("r");
            node.set_host("h" + std::to_string(i));
            EXPECT_TRUE(wait(register_node(*store_, node)));
            Drive drive;
            drive.set_uuid(to_field(uuid_of(2, i)));
            drive.set_node(node.uuid());
            drive.set_capacity_bytes(i < 4 ? 1000 * kGib : 1);  // Too small to get anything.
            EXPECT_TRUE(wait(add_drive(*store_, drive)));
        }
        EXPECT_TRUE(wait(view_->load()));
    }
    ~ClusterChange() override { view_->stop(); }

    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(world_.run_until([&task] { return task.is_done(); }, 1000 * kNsPerSecond));
        return task.result();
    }
    void settle() { world_.run_for(100 * kNsPerMs); }
    Versioned<Volume> create(const std::string& name, uint8_t number, uint64_t size_bytes = kGib) {
        const VolumeWish wish{.name = name,
                              .request_id = "request-" + std::to_string(number),
                              .size_bytes = size_bytes,
                              .chunk_bytes = kChunkBytesMin,
                              .stride = 3};
        Result<Versioned<Volume>> made =
            wait(create_volume(*store_, *view_, wish, uuid_of(3, number)));
        EXPECT_TRUE(made);
        settle();
        return std::move(*made);
    }
    Errc error_of(const Status& status) { return status ? Errc::kOk : status.error().code; }
    template <typename T>
    Errc error_of(const Result<T>& result) {
        return result ? Errc::kOk : result.error().code;
    }
    /// Keys that are there.
    size_t keys() {
        metadata::ListRequest all{
            .prefix = "", .after = "", .limit = metadata::kPageKeysMax, .at = {}};
        return wait(store_->list(std::move(all)))->keys.size();
    }

    sim::World world_;
    Reactor& here_;
    std::unique_ptr<metadata::SimulatedMetadata> metadata_;
    std::unique_ptr<metadata::SimulatedStore> store_;
    std::unique_ptr<ClusterView> view_;
};

TEST_F(ClusterChange, ARecordIsChangedAsItIsWhenItsTurnComes) {
    const std::string key = key_of(kNodes, uuid_of(1, 1));
    const auto put = [](const char* name) -> std::function<Status(Node&)> {
        return [name](Node& node) -> Status {
            node.add_labels()->set_name(name);
            return kOk;
        };
    };
    auto one = update_record<Node>(*store_, key, Revision(), put("a"));
    auto two = update_record<Node>(*store_, key, Revision(), put("b"));
    const Versioned<Node> first = wait(std::move(one)).value();
    const Versioned<Node> second = wait(std::move(two)).value();
    // Either may have been first.
    const Versioned<Node>& both = first.version > second.version ? first : second;
    EXPECT_EQ(both.record.labels_size(), 2);
    EXPECT_EQ(error_of(wait(update_record<Node>(*store_, key, Revision(1), put("c")))),
              Errc::kCompareMismatch);
    EXPECT_TRUE(wait(update_record<Node>(*store_, key, both.version, put("c"))));
    const std::function<Status(Node&)> nothing = [](Node&) -> Status { return kOk; };
    const Revision before = wait(update_record<Node>(*store_, key, Revision(), nothing))->version;
    EXPECT_EQ(wait(update_record<Node>(*store_, key, Revision(), nothing))->version, before);
    const std::function<Status(Node&)> refuse = [](Node&) -> Status { return Errc::kBusy; };
    EXPECT_EQ(error_of(wait(update_record<Node>(*store_, key, Revision(), refuse))), Errc::kBusy);
    EXPECT_EQ(error_of(wait(update_record<Node>(
                  *store_, key_of(kNodes, uuid_of(1, 9)), Revision(), nothing))),
              Errc::kNotFound);
}

TEST_F(ClusterChange, AVolumeGetsANameThatIsFree) {
    const Uuid uuid = uuid_of(3, 1);
    const Versioned<Volume> made = create("v", 1);
    create("w", 2);
    const auto rename = [&](const std::string& name, Revision version = {}) {
        return error_of(wait(rename_volume(*store_, uuid, name, version)));
    };
    EXPECT_EQ(rename("w"), Errc::kExists);
    EXPECT_EQ(rename(""), Errc::kInvalidArgument);
    EXPECT_EQ(rename("x", Revision(1)), Errc::kCompareMismatch);
    EXPECT_EQ(rename("x", made.version), Errc::kOk);
    EXPECT_EQ(rename("x", made.version), Errc::kOk) << "it was done";
    settle();
    EXPECT_EQ(view_->volumes().at(uuid).record.name(), "x");
    create("v", 3);  // Its old name is free.
    EXPECT_EQ(rename("v"), Errc::kExists);
    EXPECT_EQ(error_of(wait(rename_volume(*store_, uuid_of(3, 9), "y", {}))), Errc::kNotFound);
}

TEST_F(ClusterChange, AVolumeIsForgottenWithAllThatBelongsToIt) {
    const size_t before = keys();
    const Uuid uuid = uuid_of(3, 1);
    create("v", 1, 200 * kGib);  // 200 groups of chunks: several transactions.
    EXPECT_GT(keys(), before + 200);
    EXPECT_EQ(error_of(wait(finish_delete_volume(*store_, uuid))), Errc::kBusy);
    EXPECT_EQ(error_of(wait(begin_delete_volume(*store_, uuid, Revision(1)))),
              Errc::kCompareMismatch);
    EXPECT_TRUE(wait(begin_delete_volume(*store_, uuid, {})));
    EXPECT_TRUE(wait(begin_delete_volume(*store_, uuid, {}))) << "again";
    EXPECT_EQ(error_of(wait(rename_volume(*store_, uuid, "x", {}))), Errc::kBusy);
    EXPECT_TRUE(wait(finish_delete_volume(*store_, uuid)));
    EXPECT_TRUE(wait(finish_delete_volume(*store_, uuid))) << "again";
    EXPECT_EQ(keys(), before + 1) << "the count of volumes";
    settle();
    EXPECT_TRUE(view_->volumes().empty());
    EXPECT_EQ(view_->chunks(uuid), nullptr);
    EXPECT_EQ(create("v", 2).record.number(), 2U) << "its number is never given again";
}

TEST_F(ClusterChange, AnAttachmentAndADeletionExcludeEachOther) {
    const Versioned<Volume> volume = create("v", 1);
    Versioned<Attachment> attachment;
    attachment.record.set_volume(volume.record.uuid());
    attachment.record.set_node(to_field(uuid_of(1, 4)));
    const Result<Revision> put = wait(put_attachment(*store_, attachment, volume));
    ASSERT_TRUE(put);
    EXPECT_EQ(error_of(wait(put_attachment(*store_, attachment, volume))), Errc::kCompareMismatch);
    EXPECT_EQ(error_of(wait(begin_delete_volume(*store_, uuid_of(3, 1), {}))), Errc::kBusy);
    settle();
    EXPECT_EQ(view_->attachments().at(uuid_of(3, 1)).version, *put);
    EXPECT_EQ(error_of(wait(remove_node(*store_, *view_, uuid_of(1, 4), {}))), Errc::kBusy);
    const Versioned<Volume> other = create("w", 2);
    EXPECT_TRUE(wait(begin_delete_volume(*store_, uuid_of(3, 2), {})));
    EXPECT_EQ(error_of(wait(put_attachment(*store_, attachment, other))), Errc::kCompareMismatch);
}

TEST_F(ClusterChange, NodesAndDrivesGoWhenNothingUsesThem) {
    create("v", 1);
    EXPECT_EQ(drives_of(*view_, uuid_of(3, 1)), (std::vector<uint32_t>{1, 2, 3}));
    EXPECT_EQ(volumes_on(*view_, {3, 4}), (std::vector<Uuid>{uuid_of(3, 1)}));
    EXPECT_TRUE(volumes_on(*view_, {4}).empty());
    EXPECT_EQ(error_of(wait(remove_drive(*store_, *view_, uuid_of(2, 1), {}))), Errc::kBusy);
    EXPECT_EQ(error_of(wait(remove_node(*store_, *view_, uuid_of(1, 1), {}))), Errc::kBusy);
    EXPECT_EQ(error_of(wait(remove_node(*store_, *view_, uuid_of(1, 4), Revision(1)))),
              Errc::kCompareMismatch);
    EXPECT_TRUE(wait(remove_node(*store_, *view_, uuid_of(1, 4), {})));
    settle();
    EXPECT_FALSE(view_->drives().contains(uuid_of(2, 4))) << "it goes with its node";
    EXPECT_EQ(error_of(wait(remove_node(*store_, *view_, uuid_of(1, 4), {}))), Errc::kNotFound);
    EXPECT_EQ(error_of(wait(remove_drive(*store_, *view_, uuid_of(2, 4), {}))), Errc::kNotFound);
    EXPECT_TRUE(wait(begin_delete_volume(*store_, uuid_of(3, 1), {})));
    EXPECT_TRUE(wait(finish_delete_volume(*store_, uuid_of(3, 1))));
    settle();
    EXPECT_TRUE(wait(remove_drive(*store_, *view_, uuid_of(2, 1), {})));
    settle();
    EXPECT_EQ(view_->drives().size(), 2U);
}

TEST_F(ClusterChange, NothingNewGoesToANodeThatIsDown) {
    const std::function<Status(Node&)> fall = [](Node& node) -> Status {
        node.set_health(Node::DOWN);
        return kOk;
    };
    EXPECT_TRUE(
        wait(update_record<Node>(*store_, key_of(kNodes, uuid_of(1, 1)), Revision(), fall)));
    settle();
    EXPECT_EQ(view_->topology()->weight(), 2 * 1000 * 1024U);
}

}  // namespace
}  // namespace basalt::cluster
