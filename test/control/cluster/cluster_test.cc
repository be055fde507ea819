#include <algorithm>
#include <memory>
#include <set>

#include <gtest/gtest.h>

#include "control/cluster/operations.h"
#include "control/metadata/backup.h"
#include "control/metadata/limits.h"
#include "control/metadata/sim/simulated_store.h"
#include "reactor/sim/world.h"
#include "test/sim/seeds.h"

namespace basalt::cluster {
namespace {

constexpr uint64_t kGib = uint64_t{1} << 30U;

Uuid uuid_of(uint8_t kind, uint32_t number) {
    Uuid uuid;
    uuid.bytes[0] = kind;
    for (uint32_t i = 0; i < 4; ++i) {
        uuid.bytes[15 - i] = static_cast<uint8_t>(number >> (8 * i));
    }
    return uuid;
}
Uuid node_uuid(uint32_t number) {
    return uuid_of(1, number);
}
Uuid drive_uuid(uint32_t number) {
    return uuid_of(2, number);
}
Uuid volume_uuid(uint32_t number) {
    return uuid_of(3, number);
}

Node node_of(uint32_t number) {
    Node node;
    node.set_uuid(to_field(node_uuid(number)));
    node.set_address("10.0.0.1:9101");
    node.set_datacenter("dc");
    node.set_rack("rack" + std::to_string(number % 3));
    node.set_host("host" + std::to_string(number));
    return node;
}
Drive drive_of(uint32_t number, uint32_t node) {
    Drive drive;
    drive.set_uuid(to_field(drive_uuid(number)));
    drive.set_node(to_field(node_uuid(node)));
    drive.set_backend("malloc:1G");
    drive.set_capacity_bytes((100 + number % 7) * kGib);
    return drive;
}

/// Three control processes of one cluster.
class ClusterTest : public testing::Test {
  protected:
    explicit ClusterTest(uint64_t seed = 1) : world_(seed, sim::calm()) {
        for (uint32_t i = 0; i < 3; ++i) {
            reactors_.push_back(&world_.add_reactor(world_.add_node()));
        }
        metadata_ = std::make_unique<metadata::SimulatedMetadata>(reactors_[0]->clock(), seed);
        for (Reactor* one : reactors_) {
            stores_.push_back(std::make_unique<metadata::SimulatedStore>(*one, *metadata_));
            views_.push_back(std::make_unique<ClusterView>(*stores_.back()));
        }
    }
    ~ClusterTest() override {
        for (const auto& one : views_) {
            one->stop();
        }
    }

    template <typename T>
    T wait(basalt::Task<T> task) {
        EXPECT_TRUE(world_.run_until([&task] { return task.is_done(); }, 1000 * kNsPerSecond));
        return task.result();
    }
    MetadataStore& store(size_t i = 0) { return *stores_[i]; }
    ClusterView& view(size_t i = 0) { return *views_[i]; }

    void add_hardware(uint32_t nodes, uint32_t drives_each) {
        for (uint32_t n = 0; n < nodes; ++n) {
            EXPECT_TRUE(wait(register_node(store(), node_of(n))));
            for (uint32_t d = 0; d < drives_each; ++d) {
                EXPECT_TRUE(wait(add_drive(store(), drive_of(n * drives_each + d, n))));
            }
        }
        for (const auto& one : views_) {
            EXPECT_TRUE(wait(one->load()));
        }
    }
    Result<Versioned<Volume>> create(const VolumeWish& wish, uint32_t fresh, size_t by = 0) {
        return wait(create_volume(store(by), view(by), wish, volume_uuid(fresh)));
    }
    Errc create_error(const VolumeWish& wish) {
        const Result<Versioned<Volume>> made = create(wish, 99);
        return made ? Errc::kOk : made.error().code;
    }
    /// Each chunk on distinct hosts, drives by their share.
    void expect_sound(const ChunkMap& map) {
        std::map<uint32_t, std::string> hosts;
        for (const auto& [uuid, drive] : view().drives()) {
            hosts[drive.record.number()] = drive.record.node();
        }
        EXPECT_TRUE(map.is_complete());
        for (uint64_t chunk = 0; chunk < map.chunks(); ++chunk) {
            std::set<std::string> on;
            for (const uint32_t drive : map.drives(chunk)) {
                on.insert(hosts.at(drive));
            }
            ASSERT_EQ(on.size(), map.replicas()) << chunk;
        }
    }
    void settle() { world_.run_for(100 * kNsPerMs); }

    sim::World world_;
    std::vector<Reactor*> reactors_;
    std::unique_ptr<metadata::SimulatedMetadata> metadata_;
    std::vector<std::unique_ptr<metadata::SimulatedStore>> stores_;
    std::vector<std::unique_ptr<ClusterView>> views_;
};

TEST_F(ClusterTest, AllProcessesAgreeOnOneUuid) {
    auto one = open_cluster(store(0), uuid_of(9, 1), 5);
    auto two = open_cluster(store(1), uuid_of(9, 2), 5);
    const Uuid first = wait(std::move(one)).value();
    EXPECT_EQ(wait(std::move(two)).value(), first);
    EXPECT_EQ(wait(open_cluster(store(2), uuid_of(9, 3), 5)).value(), first);
}

TEST_F(ClusterTest, NodesAndDrivesAreThereOnceAndDrivesHaveNumbersOfTheirOwn) {
    EXPECT_EQ(wait(add_drive(store(), drive_of(1, 1))).error().code, Errc::kNotFound);
    EXPECT_EQ(wait(register_node(store(), Node())).error().code, Errc::kInvalidArgument);
    const Revision version = wait(register_node(store(), node_of(1)))->version;
    Node moved = node_of(1);
    moved.set_rack("elsewhere");
    const Versioned<Node> again = wait(register_node(store(1), moved)).value();
    EXPECT_EQ(again.version, version);
    EXPECT_EQ(again.record.rack(), "rack1");
    EXPECT_TRUE(wait(register_node(store(), node_of(2))));
    EXPECT_EQ(wait(add_drive(store(), Drive())).error().code, Errc::kInvalidArgument);
    std::vector<basalt::Task<Result<Versioned<Drive>>>> tasks;
    for (uint32_t i = 0; i < 20; ++i) {
        tasks.push_back(add_drive(store(i % 3), drive_of(i / 2, 1)));  // Each twice.
    }
    std::map<std::string, uint32_t> numbers;
    for (auto& task : tasks) {
        const Versioned<Drive> drive = wait(std::move(task)).value();
        const auto [at, is_new] = numbers.emplace(drive.record.uuid(), drive.record.number());
        EXPECT_EQ(at->second, drive.record.number());
    }
    std::set<uint32_t> distinct;
    for (const auto& [uuid, number] : numbers) {
        EXPECT_GT(number, 0U);
        distinct.insert(number);
    }
    EXPECT_EQ(distinct.size(), 10U);
    EXPECT_EQ(wait(add_drive(store(), drive_of(3, 2))).error().code, Errc::kExists);
}

TEST_F(ClusterTest, AChangeIsMadeOnTheVersionThatItNames) {
    const Versioned<Node> node = wait(register_node(store(), node_of(1))).value();
    const std::string key = key_of(kNodes, node_uuid(1));
    Node draining = node.record;
    draining.set_state(Node::DRAINING);
    const Result<Revision> put = wait(put_record(store(), key, draining, node.version));
    EXPECT_TRUE(put);
    EXPECT_EQ(wait(put_record(store(), key, node.record, node.version)).error().code,
              Errc::kCompareMismatch);
    const Versioned<Node> now = wait(get_record<Node>(store(), key)).value();
    EXPECT_EQ(now.version, *put);
    EXPECT_EQ(now.record.state(), Node::DRAINING);
}

TEST_F(ClusterTest, RecordsAreListedInPages) {
    for (uint32_t i = 0; i < 25; ++i) {
        EXPECT_TRUE(wait(register_node(store(), node_of(i))));
    }
    std::string after;
    uint32_t count = 0;
    do {
        const RecordPage<Node> page =
            wait(list_records<Node>(store(), std::string(kNodes), after, 10)).value();
        for (const Versioned<Node>& one : page.records) {
            EXPECT_EQ(to_uuid(one.record.uuid()), node_uuid(count++));
        }
        after = page.next;
    } while (!after.empty());
    EXPECT_EQ(count, 25U);
}

TEST_F(ClusterTest, AVolumeHasAMapThatAllProcessesSee) {
    add_hardware(6, 2);
    const Versioned<Volume> volume =
        create({.name = "v", .size_bytes = 300 * kGib, .chunk_bytes = kGib / 8}, 1).value();
    EXPECT_EQ(volume.record.state(), Volume::READY);
    EXPECT_EQ(volume.record.number(), 1U);
    EXPECT_EQ(volume.record.write_quorum(), 2U);
    settle();
    for (size_t i = 0; i < 3; ++i) {
        const ChunkMap* map = view(i).chunks(volume_uuid(1));
        ASSERT_NE(map, nullptr);
        EXPECT_EQ(map->chunks(), 2400U);
        EXPECT_EQ(map->groups(), 3U);
        expect_sound(*map);
        EXPECT_EQ(view(i).volumes().at(volume_uuid(1)).version, volume.version);
    }
    // By weight, within what was promised and what one chunk is.
    std::map<uint32_t, uint32_t> slots;
    for (uint64_t chunk = 0; chunk < 2400; ++chunk) {
        for (const uint32_t drive : view().chunks(volume_uuid(1))->drives(chunk)) {
            ++slots[drive];
        }
    }
    EXPECT_EQ(slots.size(), 12U);
    for (const auto& [drive, count] : slots) {
        EXPECT_NEAR(count, 600, 60) << drive;
    }
}

TEST_F(ClusterTest, ANameOrARequestGivenTwiceIsOneVolume) {
    add_hardware(3, 1);
    const VolumeWish wish{.name = "v", .size_bytes = kGib};
    const Versioned<Volume> volume = create(wish, 1).value();
    const Versioned<Volume> again = create(wish, 2, 1).value();
    EXPECT_EQ(again.version, volume.version);
    EXPECT_EQ(again.record.uuid(), volume.record.uuid());
    EXPECT_EQ(create_error({.name = "v", .size_bytes = 2 * kGib}), Errc::kExists);
    EXPECT_EQ(create_error({.name = "v", .request_id = "r", .size_bytes = kGib}), Errc::kExists);
    VolumeWish named{.name = "w", .request_id = "r1", .size_bytes = kGib};
    const Versioned<Volume> by_request = create(named, 3).value();
    EXPECT_EQ(by_request.record.number(), 2U);
    named.name = "another name";
    EXPECT_EQ(create(named, 4)->record.uuid(), by_request.record.uuid());
    // Many at once.
    std::vector<basalt::Task<Result<Versioned<Volume>>>> tasks;
    for (uint32_t i = 0; i < 12; ++i) {
        const VolumeWish same{.name = "many" + std::to_string(i % 2), .size_bytes = kGib};
        tasks.push_back(create_volume(store(i % 3), view(i % 3), same, volume_uuid(10 + i)));
    }
    std::set<std::string> made;
    std::set<uint64_t> numbers;
    for (auto& task : tasks) {
        const Versioned<Volume> one = wait(std::move(task)).value();
        made.insert(one.record.uuid());
        numbers.insert(one.record.number());
    }
    EXPECT_EQ(made.size(), 2U);
    EXPECT_EQ(numbers, (std::set<uint64_t>{3, 4}));
}

TEST_F(ClusterTest, RefusesVolumesThatMakeNoSense) {
    EXPECT_TRUE(wait(view().load()));
    EXPECT_EQ(create_error({.name = "v", .size_bytes = kGib}), Errc::kNoSpace);
    view().stop();
    add_hardware(3, 1);
    const VolumeWish good{.name = "v", .size_bytes = kGib};
    const auto error = [&](void (*spoil)(VolumeWish & wish)) {
        VolumeWish wish = good;
        spoil(wish);
        return create_error(wish);
    };
    using enum Errc;
    EXPECT_EQ(error([](VolumeWish& wish) { wish.name = ""; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.name = "a\nb"; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.name = std::string(254, 'n'); }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.request_id = "\x01"; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.size_bytes = 0; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.size_bytes = 4095; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.block_bytes = 0; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.chunk_bytes = 3 << 20; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.chunk_bytes = 4096; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.replicas = 0; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.replicas = 6; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.write_quorum = 4; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.read_quorum = 0; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.stride = 2; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.placement_rule = "shelf:3"; }), kInvalidArgument);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.size_bytes = uint64_t{1} << 60U; }), kOutOfRange);
    EXPECT_EQ(error([](VolumeWish& wish) { wish.replicas = 5; }), kNoSpace);
    EXPECT_TRUE(metadata_->state()
                    .list({.prefix = "volume", .after = "", .limit = 10, .at = {}})
                    ->keys.empty());
}

TEST_F(ClusterTest, ALargeVolumeIsCompleteOrBeingCreatedWhateverBreaksOff) {
    add_hardware(6, 2);
    // 130 groups: two transactions.
    VolumeWish wish{.name = "", .size_bytes = 130 * kGib, .chunk_bytes = kChunkBytesMin};
    int partial = 0;
    uint32_t volumes = 0;
    for (; volumes < 20 && partial == 0; ++volumes) {
        wish.name = "v" + std::to_string(volumes);
        metadata_->faults = {
            .timeout_ns = kNsPerMs, .request_lost_ppm = 150'000, .answer_lost_ppm = 300'000};
        Result<Versioned<Volume>> made = Errc::kTimedOut;
        for (uint32_t i = 0; i < 500 && !made; ++i) {
            made = create(wish, volumes * 1000 + i, i % 3);
            const auto named = metadata_->state().get("volume-name/" + wish.name);
            if (named) {
                const Uuid uuid = to_uuid(named->value);
                const auto entry = metadata_->state().get(key_of(kVolumes, uuid));
                const bool is_ready = to_record<Volume>(*entry)->record.state() == Volume::READY;
                const auto last = metadata_->state().get(key_of_chunks(uuid, 129));
                EXPECT_EQ(is_ready, last.has_value());
                partial += is_ready ? 0 : 1;
            }
        }
        ASSERT_TRUE(made);
        metadata_->faults = {};
        EXPECT_EQ(made->record.state(), Volume::READY);
        EXPECT_EQ(made->record.number(), volumes + 1);
        settle();
        expect_sound(*view().chunks(to_uuid(made->record.uuid())));
    }
    EXPECT_GT(partial, 0);
    EXPECT_EQ(view().volumes().size(), volumes);
}

TEST_F(ClusterTest, AViewSaysWhenItIsNotCurrentAndRefusesNonsense) {
    add_hardware(3, 1);
    EXPECT_TRUE(create({.name = "v", .size_bytes = kGib}, 1));
    settle();
    EXPECT_EQ(view().revision(), metadata_->state().revision());
    metadata_->faults.watch_lost_ppm = 1'000'000;
    EXPECT_TRUE(wait(register_node(store(), node_of(10))));
    settle();
    EXPECT_FALSE(view().is_current());
    EXPECT_EQ(view().nodes().size(), 3U);
    metadata_->faults = {};
    EXPECT_TRUE(wait(view().load()));
    EXPECT_EQ(view().nodes().size(), 4U);
    EXPECT_NE(view().chunks(volume_uuid(1)), nullptr);

    const auto put = [this](std::string key, std::string value) {
        EXPECT_TRUE(wait(store(1).commit(
            {.conditions = {},
             .changes = {{.key = std::move(key), .value = std::move(value), .lease = {}}}})));
    };
    const std::string key = key_of_chunks(volume_uuid(1), 0);
    const std::string sound = metadata_->state().get(key)->value;
    put(key, sound.substr(1));
    settle();
    EXPECT_FALSE(view().is_current());
    EXPECT_EQ(wait(view().load()).error().code, Errc::kDataCorrupt);
    put(key, sound);
    put("node/nobody", "");
    EXPECT_EQ(wait(view().load()).error().code, Errc::kDataCorrupt);
    EXPECT_TRUE(
        wait(store().commit({.conditions = {}, .changes = {{"node/nobody", std::nullopt, {}}}})));
    put(metadata::kImportKey, "");
    EXPECT_EQ(wait(view().load()).error().code, Errc::kBusy);
    EXPECT_EQ(view().nodes().size(), 4U);
}

TEST(ChunkMap, IsWrittenAndReadByGroups) {
    ChunkMap map(kGroupChunks + 10, 2);
    map.drives(kGroupChunks + 9)[1] = 70'000;
    ChunkMap copy(kGroupChunks + 10, 2);
    EXPECT_TRUE(copy.take(1, map.to_record(1, 7)));
    EXPECT_EQ(copy.drives(kGroupChunks + 9)[1], 70'000U);
    EXPECT_EQ(copy.version(1), 7U);
    EXPECT_FALSE(copy.is_complete());
    EXPECT_FALSE(copy.take(0, map.to_record(1, 7)));
    EXPECT_FALSE(copy.take(2, map.to_record(1, 7)));
    EXPECT_FALSE(copy.take(1, map.to_record(1, 0)));
    EXPECT_FALSE(ChunkMap(kGroupChunks + 10, 1).take(1, map.to_record(1, 7)));
    EXPECT_TRUE(copy.take(0, map.to_record(0, 1)));
    EXPECT_TRUE(copy.is_complete());
    const ChunkMap larger = copy.resized(3 * kGroupChunks);
    EXPECT_EQ(larger.version(0), 1U);
    EXPECT_EQ(larger.version(1), 0U);  // It has more chunks now.
    EXPECT_EQ(copy.resized(kGroupChunks).groups(), 1U);
}

/// A process that wants to be the head of a volume again and again.
class Candidate {
  public:
    Candidate(Reactor& here, MetadataStore& store, Uuid node)
        : here_(here), store_(store), node_(node) {
        run().detach();
    }

    [[nodiscard]] bool is_head() { return here_.clock().now_ns() < until_ns_; }
    [[nodiscard]] const std::vector<replication::Epoch>& epochs() const { return epochs_; }
    void end() { is_ending_ = true; }
    [[nodiscard]] bool has_ended() const { return has_ended_; }

  private:
    static constexpr uint64_t kTtlNs = kNsPerSecond;

    basalt::Task<void> run() {
        while (!is_ending_) {
            const uint64_t called_ns = here_.clock().now_ns();
            const Result<metadata::LeaseId> lease = co_await store_.grant(kTtlNs);
            if (lease) {
                const Result<replication::Epoch> epoch =
                    co_await claim_head(store_, volume_uuid(1), node_, *lease);
                if (epoch) {
                    epochs_.push_back(*epoch);
                    until_ns_ = called_ns + kTtlNs;
                    co_await serve(*lease);
                    until_ns_ = 0;
                }
            }
            sleep_for pause(here_, 100 * kNsPerMs);
            co_await pause;
        }
        has_ended_ = true;
    }
    basalt::Task<void> serve(metadata::LeaseId lease) {
        for (int i = 0; i < 3 && is_head(); ++i) {
            sleep_for pause(here_, kTtlNs / 3);
            co_await pause;
            const uint64_t called_ns = here_.clock().now_ns();
            const Status kept = co_await store_.keep_alive(lease);
            until_ns_ = kept ? called_ns + kTtlNs : until_ns_;
        }
    }

    Reactor& here_;
    MetadataStore& store_;
    const Uuid node_;
    uint64_t until_ns_ = 0;
    std::vector<replication::Epoch> epochs_;
    bool is_ending_ = false;
    bool has_ended_ = false;
};

class HeadsRun : public ClusterTest {
  public:
    explicit HeadsRun(uint64_t seed) : ClusterTest(seed) {}
    void TestBody() override {}

    size_t run() {
        add_hardware(3, 1);
        EXPECT_TRUE(create({.name = "v", .size_bytes = kGib}, 1));
        metadata_->faults = {.delay_ns_max = 50 * kNsPerMs,
                             .timeout_ns = 300 * kNsPerMs,
                             .lease_late_ns = world_.random().below(500 * kNsPerMs),
                             .request_lost_ppm = 20'000,
                             .answer_lost_ppm = 50'000,
                             .watch_lost_ppm = 20'000};
        std::vector<std::unique_ptr<Candidate>> candidates;
        for (uint32_t i = 0; i < 3; ++i) {
            candidates.push_back(
                std::make_unique<Candidate>(*reactors_[i], store(i), node_uuid(i)));
        }
        for (int round = 0; round < 2000; ++round) {
            world_.run_for(10 * kNsPerMs);
            if (world_.random().chance(1, 40)) {
                stores_[world_.random().below(3)]->set_reachable(world_.random().chance(2, 3));
            }
            const auto heads =
                std::ranges::count_if(candidates, [](const auto& one) { return one->is_head(); });
            EXPECT_LE(heads, 1);
        }
        metadata_->faults = {};
        std::set<replication::Epoch> epochs;
        size_t grants = 0;
        for (size_t i = 0; i < 3; ++i) {
            stores_[i]->set_reachable(true);
            candidates[i]->end();
            epochs.insert(candidates[i]->epochs().begin(), candidates[i]->epochs().end());
            grants += candidates[i]->epochs().size();
        }
        EXPECT_EQ(epochs.size(), grants);  // None was given twice.
        EXPECT_TRUE(world_.run_until(
            [&] {
                return std::ranges::all_of(candidates, [](auto& one) { return one->has_ended(); });
            },
            60 * kNsPerSecond));
        return grants;
    }
};

TEST(Heads, NoEpochIsGivenTwiceAndNoTwoAreHeadsAtOnce) {
    const Seeds seeds(20);
    size_t grants = 0;
    for (const uint64_t seed : seeds) {
        SCOPED_TRACE(seed);
        grants += HeadsRun(seed).run();
    }
    if (seeds.are_usual()) {
        EXPECT_GT(grants, 50U);
    }
}

TEST_F(ClusterTest, AHeadIsOneOfAVolumeThatIsThereAndHasALease) {
    add_hardware(3, 1);
    const metadata::LeaseId lease = wait(store().grant(kNsPerSecond)).value();
    const metadata::LeaseId other = wait(store(1).grant(kNsPerSecond)).value();
    const auto claim = [this](metadata::LeaseId by) {
        return wait(claim_head(store(), volume_uuid(1), node_uuid(1), by));
    };
    EXPECT_EQ(claim(lease).error().code, Errc::kNotFound);
    EXPECT_TRUE(create({.name = "v", .size_bytes = kGib}, 1));
    EXPECT_EQ(claim(lease).value(), replication::Epoch(1));
    EXPECT_EQ(claim(other).error().code, Errc::kBusy);
    EXPECT_EQ(claim(lease).value(), replication::Epoch(2));
    EXPECT_TRUE(wait(store().revoke(lease)));
    EXPECT_EQ(claim(lease).error().code, Errc::kNotFound);
    EXPECT_EQ(claim(other).value(), replication::Epoch(3));
    settle();
    EXPECT_EQ(view().heads().at(volume_uuid(1)).record.epoch(), 3U);
}

}  // namespace
}  // namespace basalt::cluster
