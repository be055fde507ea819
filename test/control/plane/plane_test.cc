// Control processes in a simulated world: a store that they share, and daemons that are no more
// than what they were told, and that fail as they are told.
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "control/metadata/sim/simulated_store.h"
#include "control/plane/control_plane.h"
#include "reactor/sim/world.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/proto/replication.pb.h"
#include "test/sim/seeds.h"

namespace basalt::cluster {
namespace {

using google::protobuf::Message;
using rpc::RpcError;

constexpr uint64_t kGib = uint64_t{1} << 30U;

Uuid uuid_of(uint8_t kind, uint8_t number) {
    Uuid uuid;
    uuid.bytes[0] = kind;
    uuid.bytes[15] = number;
    return uuid;
}
Uuid node_uuid(uint8_t number) {
    return uuid_of(1, number);
}
Uuid drive_uuid(uint8_t number) {
    return uuid_of(2, number);
}

template <typename Part>
const Part& as(const Message& message) {
    return static_cast<const Part&>(message);
}
template <typename Part>
Part& as(Message& message) {
    return static_cast<Part&>(message);
}

/// Four daemons: 1 to 3 are stores, and 4 is a target.
class FakeDaemons final : public NodeApi {
  public:
    /// What becomes of a call.
    enum class Fate : uint8_t {
        kDone,
        kRefused,   ///< The daemon refuses it.
        kNotAsked,  ///< Nobody answers, and nothing was done.
        kNotHeard,  ///< It is done, and the answer gets lost.
    };

    explicit FakeDaemons(Reactor& here) : here_(here) {}

    Task<std::optional<RpcError>> call(std::string address,
                                       std::string method,
                                       const Message& request,
                                       Message& response,
                                       uint64_t /*timeout_ns*/) override {
        co_await sleep_for(here_, kNsPerMs);
        const Fate fate = fate_of(address, method);
        if (fate == Fate::kNotAsked) {
            co_return RpcError(-EHOSTUNREACH, "nobody answers");
        }
        if (fate == Fate::kRefused) {
            co_return RpcError(-ENOENT, "no such folder");
        }
        const int32_t code = carry_out(address, method, request, response);
        if (fate == Fate::kNotHeard) {
            co_return RpcError(-ETIMEDOUT, "no answer in time");
        }
        co_return code == 0 ? std::nullopt : std::optional(RpcError(code, "the daemon says no"));
    }

    /// The call of that number from now on, counted from 1 without questions for how a node is.
    void fail(uint32_t number, Fate fate) {
        fail_at_ = number;
        fate_ = fate;
        calls = 0;
    }

    std::set<std::string> dead;                   ///< Addresses that nobody answers at.
    std::map<Uuid, std::set<uint64_t>> replicas;  ///< Volumes, by drive.
    std::map<std::string, std::string> heads;     ///< UUID by device name.
    std::map<std::string, v1::BdevReplicatedCreateRequest> head_requests;
    std::map<std::string, std::set<std::string>> subsystems;  ///< What was done to each.
    uint64_t fence_epoch = 0;                                 ///< Of all replicas.
    bool had_head = false;  ///< From then on a replica that is made loses data.
    uint32_t calls = 0;
    uint32_t questions = 0;

  private:
    Fate fate_of(const std::string& address, const std::string& method) {
        if (dead.contains(address)) {
            return Fate::kNotAsked;
        }
        if (method == "node_get_info") {
            ++questions;
            return Fate::kDone;
        }
        return ++calls == fail_at_ ? fate_ : Fate::kDone;
    }

    int32_t carry_out(const std::string& address,
                      const std::string& method,
                      const Message& request,
                      Message& response) {
        const auto number = static_cast<uint8_t>(address.back() - '0');
        if (method == "node_get_info") {
            tell(number, as<v1::NodeGetInfoResponse>(response));
            return 0;
        }
        if (method == "replication_create_replica") {
            EXPECT_FALSE(had_head) << "a copy of a volume that somebody may have written to";
            const auto& wanted = as<v1::ReplicationCreateReplicaRequest>(request);
            EXPECT_EQ(wanted.uuid(), drive_uuid(number).to_string());
            EXPECT_FALSE(wanted.replacement());
            return replicas[drive_uuid(number)].insert(wanted.volume()).second ? 0 : -EEXIST;
        }
        if (method == "replication_get_replicas") {
            for (const uint64_t volume : replicas[drive_uuid(number)]) {
                v1::ReplicationReplica& one =
                    *as<v1::ReplicationGetReplicasResponse>(response).add_replicas();
                one.set_volume(volume);
                one.set_open(true);
                one.set_num_blocks(kGib / 4096);
                one.set_fence_epoch(fence_epoch);
            }
            return 0;
        }
        if (method == "replication_delete_replica") {
            const auto& wanted = as<v1::ReplicationDeleteReplicaRequest>(request);
            return replicas[drive_uuid(number)].erase(wanted.volume()) == 1 ? 0 : -ENODEV;
        }
        EXPECT_EQ(number, 4) << method;
        return method.starts_with("bdev") ? carry_out_head(method, request)
                                          : carry_out_subsystem(method, request);
    }

    int32_t carry_out_head(const std::string& method, const Message& request) {
        if (method == "bdev_replicated_create") {
            const auto& wanted = as<v1::BdevReplicatedCreateRequest>(request);
            for (const auto& [drive, volumes] : replicas) {
                EXPECT_TRUE(volumes.contains(wanted.volume())) << drive.to_string();
            }
            had_head = true;
            head_requests[wanted.name()] = wanted;
            return heads.emplace(wanted.name(), wanted.uuid()).second ? 0 : -EEXIST;
        }
        if (method == "bdev_replicated_get") {
            return heads.contains(as<v1::BdevReplicatedGetRequest>(request).name()) ? 0 : -ENODEV;
        }
        EXPECT_EQ(method, "bdev_replicated_delete");
        EXPECT_TRUE(subsystems.empty()) << "hosts use it";
        return heads.erase(as<v1::BdevReplicatedDeleteRequest>(request).name()) == 1 ? 0 : -ENODEV;
    }

    int32_t carry_out_subsystem(const std::string& method, const Message& request) {
        if (method == "nvmf_create_transport") {
            return std::exchange(has_transport_, true) ? -EEXIST : 0;
        }
        const auto* field = request.GetDescriptor()->FindFieldByName("nqn");
        const std::string nqn = request.GetReflection()->GetString(request, field);
        if (method == "nvmf_create_subsystem") {
            return subsystems.try_emplace(nqn).second ? 0 : -EEXIST;
        }
        const auto known = subsystems.find(nqn);
        if (known == subsystems.end()) {
            return -ENODEV;
        }
        if (method == "nvmf_delete_subsystem") {
            subsystems.erase(known);
            return 0;
        }
        if (method == "nvmf_subsystem_add_ns") {
            EXPECT_FALSE(heads.empty());
        }
        if (method == "nvmf_subsystem_add_listener") {
            EXPECT_TRUE(known->second.contains("nvmf_subsystem_add_ns")) << "a way to nothing";
        }
        return known->second.insert(method).second ? 0 : -EEXIST;
    }

    void tell(uint8_t number, v1::NodeGetInfoResponse& info) const {
        info.set_uuid(node_uuid(number).to_string());
        info.add_nvmf_addresses("10.0.0.4:4420");
        if (number == 4) {
            for (const auto& [name, uuid] : heads) {
                v1::NodeVolumeInfo& volume = *info.add_volumes();
                volume.set_name(name);
                volume.set_uuid(uuid);
                volume.set_role("serves");
            }
        }
    }

    Reactor& here_;
    uint32_t fail_at_ = 0;
    Fate fate_ = Fate::kDone;
    bool has_transport_ = false;
};

/// A store that can be out of reach when it is opened.
class FakeSource final : public StoreSource {
  public:
    explicit FakeSource(metadata::MetadataStore& store) : store_(store) {}
    Result<metadata::MetadataStore*> open(std::string& problem) override {
        if (!is_there) {
            problem = "no such file";
            return Errc::kNotFound;
        }
        return &store_;
    }
    void close() override {}
    std::string kind() const override { return "fake"; }
    std::string address() const override { return "here"; }

    bool is_there = true;

  private:
    metadata::MetadataStore& store_;
};

/// Two control processes, of which `a` begins.
class PlaneTest : public testing::Test {
  protected:
    explicit PlaneTest(uint64_t seed = 1) : world_(seed, sim::calm()) {
        for (int i = 0; i < 2; ++i) {
            reactors_.push_back(&world_.add_reactor(world_.add_node()));
        }
        metadata_ = std::make_unique<metadata::SimulatedMetadata>(reactors_[0]->clock(), seed);
        daemons_ = std::make_unique<FakeDaemons>(*reactors_[0]);
        for (uint8_t i = 0; i < 2; ++i) {
            stores_.push_back(
                std::make_unique<metadata::SimulatedStore>(*reactors_[i], *metadata_));
            sources_.push_back(std::make_unique<FakeSource>(*stores_[i]));
            planes_.push_back(
                std::make_unique<ControlPlane>(*reactors_[i],
                                               *sources_[i],
                                               *daemons_,
                                               ControlPlaneOptions{.process = uuid_of(9, i)}));
        }
    }
    ~PlaneTest() override {
        for (size_t i = 0; i < planes_.size(); ++i) {
            if (is_started_[i]) {
                stop(i);
            }
        }
    }

    void start(size_t i = 0) {
        planes_[i]->start();
        is_started_[i] = true;
    }
    void stop(size_t i = 0) {
        planes_[i]->begin_stop();
        wait(planes_[i]->stop());
        is_started_[i] = false;
    }
    bool run_until(const std::function<bool()>& predicate, uint64_t limit_ns = 60 * kNsPerSecond) {
        return world_.run_until(predicate, limit_ns);
    }
    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(run_until([&task] { return task.is_done(); }));
        return task.result();
    }
    ControlPlane& plane(size_t i = 0) { return *planes_[i]; }
    ClusterView& view(size_t i = 0) { return plane(i).parts().view; }

    /// Nodes, drives, and a volume of three copies.
    void fill_cluster() {
        start();
        ASSERT_TRUE(run_until([this] { return plane().is_leader(); }));
        for (uint8_t i = 1; i <= 4; ++i) {
            Node node;
            node.set_uuid(to_field(node_uuid(i)));
            node.set_address("10.0.0." + std::to_string(i));
            node.set_datacenter("dc");
            node.set_rack("r");
            node.set_host("h" + std::to_string(i));
            EXPECT_TRUE(wait(register_node(*stores_[0], node)));
            if (i == 4) {
                break;
            }
            Drive drive;
            drive.set_uuid(to_field(drive_uuid(i)));
            drive.set_node(node.uuid());
            drive.set_address(node.address() + ":4500");
            drive.set_capacity_bytes(100 * kGib);
            EXPECT_TRUE(wait(add_drive(*stores_[0], drive)));
        }
        ASSERT_TRUE(run_until([this] {
            const NodeWatch::Heard* heard = plane().parts().watch.find(node_uuid(4));
            return view().drives().size() == 3 && heard != nullptr && heard->heard_ns > 0;
        }));
        const VolumeWish wish{.name = "v", .size_bytes = kGib, .stride = 3};
        EXPECT_TRUE(wait(create_volume(*stores_[0], view(), wish, volume_)));
        ASSERT_TRUE(run_until([this] { return view().volumes().contains(volume_); }));
    }
    int32_t attach() {
        AttachWish wish{.volume = volume_, .node = node_uuid(4), .hosts = {"nqn.host"}};
        const Failure failure = wait(plane().attachments().attach(std::move(wish)));
        return failure ? failure->code : 0;
    }
    int32_t detach() {
        const Failure failure = wait(plane().attachments().detach(volume_));
        return failure ? failure->code : 0;
    }
    int32_t remove(bool force = false) {
        const Failure failure = wait(plane().attachments().remove(volume_, force, Revision()));
        return failure ? failure->code : 0;
    }
    [[nodiscard]] size_t copies() const {
        size_t count = 0;
        for (const auto& [drive, volumes] : daemons_->replicas) {
            count += volumes.size();
        }
        return count;
    }
    void expect_served() {
        EXPECT_EQ(copies(), 3U);
        ASSERT_EQ(daemons_->heads.size(), 1U);
        EXPECT_EQ(daemons_->heads.begin()->second, volume_.to_string());
        ASSERT_EQ(daemons_->subsystems.size(), 1U);
        EXPECT_EQ(daemons_->subsystems.begin()->second,
                  (std::set<std::string>{"nvmf_subsystem_add_host",
                                         "nvmf_subsystem_add_listener",
                                         "nvmf_subsystem_add_ns"}));
    }

    const Uuid volume_ = uuid_of(3, 1);
    sim::World world_;
    std::vector<Reactor*> reactors_;
    std::unique_ptr<metadata::SimulatedMetadata> metadata_;
    std::vector<std::unique_ptr<metadata::SimulatedStore>> stores_;
    std::unique_ptr<FakeDaemons> daemons_;
    std::vector<std::unique_ptr<FakeSource>> sources_;
    std::vector<std::unique_ptr<ControlPlane>> planes_;
    bool is_started_[2] = {false, false};
};

TEST_F(PlaneTest, AStoreOutOfReachIsTriedAgain) {
    sources_[0]->is_there = false;
    start();
    EXPECT_TRUE(run_until([this] { return plane().problem() == "no such file"; }));
    EXPECT_FALSE(plane().is_ready());
    sources_[0]->is_there = true;
    EXPECT_TRUE(run_until([this] { return plane().is_leader(); }, 5 * kNsPerSecond));
    EXPECT_EQ(plane().problem(), "");
    EXPECT_FALSE(plane().parts().cluster.is_nil());
}

TEST_F(PlaneTest, AnotherLeadsSoonAfterTheLeaderIsGone) {
    start(0);
    ASSERT_TRUE(run_until([this] { return plane(0).is_leader(); }));
    start(1);
    ASSERT_TRUE(run_until([this] { return plane(1).is_ready(); }));
    EXPECT_EQ(plane(0).parts().cluster, plane(1).parts().cluster);
    world_.run_for(10 * kNsPerSecond);
    EXPECT_TRUE(plane(0).is_leader());
    EXPECT_FALSE(plane(1).is_leader());
    stop(0);
    EXPECT_TRUE(run_until([this] { return plane(1).is_leader(); }, 3 * kNsPerSecond));
}

TEST_F(PlaneTest, ANodeThatIsSilentIsDownForAllAndUpWhenItSpeaks) {
    fill_cluster();
    start(1);
    ASSERT_TRUE(run_until([this] { return plane(1).is_ready(); }));
    daemons_->dead.insert("10.0.0.2");
    const auto health = [this](size_t i) {
        return view(i).nodes().at(node_uuid(2)).record.health();
    };
    EXPECT_TRUE(run_until([&] { return health(1) == Node::DOWN; }, 60 * kNsPerSecond));
    EXPECT_EQ(plane().parts().watch.state(node_uuid(2)), health::NodeState::kDown);
    EXPECT_EQ(plane().parts().watch.find(node_uuid(2))->problem, "nobody answers");
    const VolumeWish wish{.name = "w", .size_bytes = kGib, .stride = 3};
    EXPECT_EQ(wait(create_volume(*stores_[0], view(), wish, uuid_of(3, 2))).error().code,
              Errc::kNoSpace)
        << "nothing new goes to a node that is down";
    daemons_->dead.clear();
    EXPECT_TRUE(run_until([&] { return health(1) == Node::UP; }, 12 * kNsPerSecond));
}

TEST_F(PlaneTest, SettingsCountAtOnce) {
    fill_cluster();
    const auto put = [this](const char* name, const char* value) {
        Setting setting;
        setting.set_name(name);
        setting.set_value(value);
        EXPECT_TRUE(wait(put_record(*stores_[0], key_of(kSettings, name), setting, Revision())));
    };
    put("heartbeat_interval_ms", "100");
    put("scan_interval_ms", "100");
    put("down_after_ms", "300");
    world_.run_for(kNsPerSecond);
    const uint32_t before = daemons_->questions;
    world_.run_for(kNsPerSecond);
    EXPECT_GT(daemons_->questions, before + 20) << "of four nodes";
    daemons_->dead.insert("10.0.0.2");
    EXPECT_TRUE(
        run_until([this] { return view().nodes().at(node_uuid(2)).record.health() == Node::DOWN; },
                  kNsPerSecond));
}

TEST_F(PlaneTest, AVolumeIsAttachedDetachedAndDeleted) {
    fill_cluster();
    EXPECT_EQ(attach(), 0);
    expect_served();
    const v1::BdevReplicatedCreateRequest head = daemons_->head_requests.begin()->second;
    EXPECT_EQ(head.volume(), 1U);
    EXPECT_EQ(head.size_in_mib(), 1024U);
    EXPECT_EQ(head.write_quorum(), 2U);
    EXPECT_EQ(head.replicas(0), "10.0.0.1:4500/" + drive_uuid(1).to_string());
    EXPECT_EQ(head.replicas_size(), 3);
    EXPECT_EQ(head.map_file(), "/var/lib/basalt/" + volume_.to_string() + ".map");
    EXPECT_EQ(attach(), 0) << "again";
    expect_served();
    EXPECT_EQ(remove(), -EBUSY) << "it is attached";
    EXPECT_EQ(detach(), 0);
    EXPECT_EQ(detach(), 0) << "again";
    EXPECT_TRUE(daemons_->heads.empty());
    EXPECT_EQ(copies(), 3U);
    EXPECT_EQ(attach(), 0) << "its copies are as they were";
    expect_served();
    EXPECT_EQ(daemons_->head_requests.begin()->second.SerializeAsString(),
              head.SerializeAsString());
    EXPECT_EQ(detach(), 0);
    EXPECT_EQ(remove(), 0);
    EXPECT_EQ(copies(), 0U);
    EXPECT_TRUE(view().volumes().empty());
}

TEST_F(PlaneTest, TheMapOfAVolumeStaysWhereItIs) {
    fill_cluster();
    EXPECT_EQ(attach(), 0);
    EXPECT_EQ(detach(), 0);
    AttachWish elsewhere{.volume = volume_, .node = node_uuid(3), .allow_any_host = true};
    const Failure failure = wait(plane().attachments().attach(std::move(elsewhere)));
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->code, -EBUSY);
    EXPECT_NE(failure->message.find(node_uuid(4).to_string()), std::string::npos);
}

TEST_F(PlaneTest, AVolumeOnMoreDrivesThanCopiesIsRefusedBeforeAnythingIsMade) {
    fill_cluster();
    const VolumeWish wish{.name = "w", .size_bytes = 10 * kGib, .replicas = 2, .stride = 0};
    const Uuid wide = uuid_of(3, 2);
    EXPECT_TRUE(wait(create_volume(*stores_[0], view(), wish, wide)));
    ASSERT_TRUE(run_until([&] { return view().volumes().contains(wide); }));
    AttachWish attaching{.volume = wide, .node = node_uuid(4), .allow_any_host = true};
    const Failure failure = wait(plane().attachments().attach(std::move(attaching)));
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->code, -EOPNOTSUPP);
    EXPECT_EQ(copies(), 0U);
}

// As when the metadata was lost, and numbers are given anew.
TEST_F(PlaneTest, ACopyThatAHeadHadDoesNotBecomeANewVolumes) {
    fill_cluster();
    daemons_->replicas[drive_uuid(2)].insert(1);
    daemons_->fence_epoch = 5;
    EXPECT_EQ(attach(), -EEXIST);
    EXPECT_TRUE(daemons_->heads.empty());
    EXPECT_TRUE(view().attachments().empty());
    daemons_->fence_epoch = 0;
    EXPECT_EQ(attach(), 0) << "it was made by a call that was broken off";
    expect_served();
}

// The same: what has the number of a volume that never had copies is not deleted with it.
TEST_F(PlaneTest, ACopyThatAHeadHadIsNotDeletedWithANewVolume) {
    fill_cluster();
    daemons_->replicas[drive_uuid(2)].insert(1);
    daemons_->fence_epoch = 5;
    EXPECT_EQ(attach(), -EEXIST);
    daemons_->dead.insert("10.0.0.2");
    EXPECT_EQ(remove(), -EHOSTUNREACH) << "it may be this volume's";
    daemons_->dead.clear();
    EXPECT_EQ(remove(), 0);
    EXPECT_TRUE(view().volumes().empty());
    EXPECT_TRUE(daemons_->replicas[drive_uuid(2)].contains(1));
}

TEST_F(PlaneTest, WhatABrokenOffAttachmentMadeIsDeletedWithTheVolume) {
    using Fate = FakeDaemons::Fate;
    fill_cluster();
    daemons_->fail(3, Fate::kNotAsked);
    EXPECT_EQ(attach(), -EHOSTUNREACH);
    EXPECT_EQ(copies(), 2U);
    EXPECT_EQ(remove(), 0);
    EXPECT_EQ(copies(), 0U);
}

// Whatever is lost on the way: nothing is made twice, no copy is made after a head, and calling
// again ends it.
TEST_F(PlaneTest, WhatWasBrokenOffIsBroughtToItsEndByCallingAgain) {
    using Fate = FakeDaemons::Fate;
    fill_cluster();
    for (const Fate fate : {Fate::kNotAsked, Fate::kNotHeard}) {
        for (uint32_t at = 1; at < 30; ++at) {
            daemons_->fail(at, fate);
            const int32_t attached = attach();
            EXPECT_TRUE(attached == 0 || attached == -EHOSTUNREACH || attached == -ETIMEDOUT);
            daemons_->fail(0, Fate::kDone);
            EXPECT_EQ(attach(), 0) << at;
            expect_served();
            daemons_->fail(at, fate);
            const int32_t detached = detach();
            EXPECT_TRUE(detached == 0 || detached == -EHOSTUNREACH || detached == -ETIMEDOUT);
            daemons_->fail(0, Fate::kDone);
            EXPECT_EQ(detach(), 0) << at;
            EXPECT_TRUE(daemons_->heads.empty());
            EXPECT_TRUE(daemons_->subsystems.empty());
            daemons_->fail(at, fate);
            const int32_t removed = remove();
            EXPECT_TRUE(removed == 0 || removed == -EHOSTUNREACH || removed == -ETIMEDOUT);
            daemons_->fail(0, Fate::kDone);
            EXPECT_EQ(removed == 0 ? 0 : remove(), 0) << at;
            EXPECT_EQ(copies(), 0U);
            EXPECT_TRUE(view().attachments().empty());
            EXPECT_TRUE(view().volumes().empty());
            daemons_->had_head = false;
            const VolumeWish wish{.name = "v", .size_bytes = kGib, .stride = 3};
            EXPECT_TRUE(wait(create_volume(*stores_[0], view(), wish, volume_)));
            ASSERT_TRUE(run_until([this] { return view().volumes().contains(volume_); }));
        }
    }
}

// And without calling again, too: the leader does what the records say.
TEST_F(PlaneTest, WhatWasBrokenOffIsBroughtToItsEndByTheLeader) {
    using Fate = FakeDaemons::Fate;
    fill_cluster();
    EXPECT_EQ(attach(), 0);
    // A target that lost its head, and a call of the leader on the way.
    daemons_->heads.clear();
    daemons_->subsystems.clear();
    daemons_->fail(3, Fate::kNotHeard);
    world_.run_for(40 * kNsPerSecond);
    expect_served();
    daemons_->fail(2, Fate::kNotAsked);
    EXPECT_EQ(detach(), -EHOSTUNREACH);
    EXPECT_FALSE(daemons_->heads.empty());
    EXPECT_TRUE(run_until([this] { return view().attachments().empty(); }, 25 * kNsPerSecond));
    EXPECT_TRUE(daemons_->heads.empty());
}

TEST_F(PlaneTest, AnAttachmentThatTheNodeRefusesIsTakenBack) {
    using Fate = FakeDaemons::Fate;
    fill_cluster();
    // 3 copies, then the head, then the transport, the subsystem ...
    for (const uint32_t at : {4U, 5U, 6U, 8U}) {
        daemons_->fail(at - (at == 4 ? 0 : 3), Fate::kRefused);
        EXPECT_EQ(attach(), -ENOENT) << at;
        EXPECT_TRUE(daemons_->heads.empty());
        EXPECT_TRUE(daemons_->subsystems.empty());
        ASSERT_TRUE(run_until([this] { return view().attachments().empty(); }));
        const Volume& volume = view().volumes().at(volume_).record;
        EXPECT_EQ(volume.map_node().empty(), at == 4) << "only then there was never a head";
    }
    daemons_->fail(0, Fate::kDone);
    EXPECT_EQ(attach(), 0);
    expect_served();
}

TEST_F(PlaneTest, AVolumeIsDeletedThoughANodeIsGoneIfThatIsForced) {
    fill_cluster();
    EXPECT_EQ(attach(), 0);
    EXPECT_EQ(detach(), 0);
    daemons_->dead.insert("10.0.0.3");
    EXPECT_EQ(remove(), -EHOSTUNREACH);
    EXPECT_EQ(attach(), -EBUSY) << "it is being deleted";
    EXPECT_EQ(remove(true), 0);
    EXPECT_EQ(copies(), 1U);
    EXPECT_TRUE(view().volumes().empty());
}

TEST(ClusterSettings, AreCheckedTogether) {
    std::map<std::string, Setting> records;
    EXPECT_EQ(read_settings(records).health, health::HealthSettings());
    EXPECT_EQ(check_setting(records, "colour", "red").error().code, Errc::kNotFound);
    for (const char* value : {"0", "-1", "x", "1e3", "99999999999999999999"}) {
        EXPECT_FALSE(check_setting(records, "down_after_ms", value)) << value;
    }
    EXPECT_FALSE(check_setting(records, "down_after_ms", "15000")) << "less than two heartbeats";
    EXPECT_TRUE(check_setting(records, "down_after_ms", "20000"));
    EXPECT_TRUE(check_setting(records, "down_after_ms", "")) << "the default";
    EXPECT_FALSE(check_setting(records, "map_folder", "relative"));
    EXPECT_TRUE(check_setting(records, "map_folder", "/srv"));
    records["heartbeat_interval_ms"].set_value("5000");
    records["up_percent_min"].set_value("of another version");
    EXPECT_EQ(read_settings(records).health.heartbeat_interval_ns, 5 * kNsPerSecond);
    EXPECT_EQ(read_settings(records).health.up_percent_min, 50U);
}

TEST(NodeAddress, IsAHostWithAPort) {
    for (const char* text : {"10.0.0.1:9101", "[::1]:9101", "node-1.example:1"}) {
        EXPECT_TRUE(is_node_address(text)) << text;
    }
    for (const char* text : {"",
                             ":1",
                             "node",
                             "node:",
                             "node:0",
                             "node:65536",
                             "node:1x",
                             "unix:/tmp/x:1",
                             "::1:9101",
                             "a b:1",
                             "[]:1"}) {
        EXPECT_FALSE(is_node_address(text)) << text;
    }
}

}  // namespace
}  // namespace basalt::cluster
