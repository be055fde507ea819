// Epochs that never repeat, sets that are never forgotten, one head at a time.

#include "replication/head/static_authority.h"

#include <cstring>
#include <deque>

#include <gtest/gtest.h>

#include "reactor/file_call.h"
#include "reactor/sim/world.h"
#include "test/reactor/may_leak.h"

namespace basalt::replication {
namespace {

constexpr bdev::Uuid kVolume{{1, 2, 3}};
using Slot = std::array<std::byte, kMapSlotBytes>;

constexpr size_t kRecordBytes = 152;

MapRecord some_record() {
    MapRecord record{kVolume, Epoch(5), ReplicaSet(5), 6, bdev::Uuid{{7}}, 8};
    record.drives[1] = bdev::Uuid{{9}};
    return record;
}

TEST(MapRecord, HasTheBytesOfItsFormat) {
    Slot slot{};
    encode_map_record(some_record(), slot);
    Slot golden{};
    std::memcpy(golden.data(), "BSLTMAP2", 8);
    const auto put = [&golden](size_t at, uint8_t value) { golden[at] = std::byte{value}; };
    put(8, 1), put(9, 2), put(10, 3);
    put(24, 5);
    put(32, 5);
    put(36, 6);
    put(44, 7);
    put(60, 8);
    put(84, 9);
    std::copy_n(slot.begin() + kRecordBytes - 4, 4, golden.begin() + kRecordBytes - 4);
    EXPECT_EQ(slot, golden);
    EXPECT_EQ(decode_map_record(slot).value(), some_record());
}

TEST(MapRecord, NoChangedBitGoesUnnoticed) {
    Slot good{};
    EXPECT_EQ(decode_map_record(good).error().code, Errc::kNotFound);
    encode_map_record(some_record(), good);
    for (size_t bit = 0; bit < kRecordBytes * 8; ++bit) {
        Slot bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const Result<MapRecord> record = decode_map_record(bad);
        ASSERT_FALSE(record) << bit;
        EXPECT_EQ(record.error().code, Errc::kDataCorrupt);
    }
}

/// Remembers what it was told.
class User final : public MapUser {
  public:
    void granted(Epoch to, ReplicaSet with) override {
        epoch = to;
        set = with;
        ++grants;
        is_other = false;
    }
    void other_chosen() override { is_other = true; }
    void set_answered(Epoch, bool is_granted) override { sets.push_back(is_granted); }
    void open_answered(Epoch, bool is_granted, uint64_t) override { opens.push_back(is_granted); }
    void lease_answered(Epoch, bool is_granted, uint64_t) override { leases.push_back(is_granted); }

    Epoch epoch;
    ReplicaSet set;
    uint32_t grants = 0;
    bool is_other = false;
    std::deque<bool> sets;
    std::deque<bool> opens;
    std::deque<bool> leases;
};

/// Two heads on cores of their own, and the authority on a third.
class AuthorityWorld {
  public:
    explicit AuthorityWorld(uint64_t seed = 1) : world(seed), node(world.add_node()) { boot(); }

    void boot() {
        for (Reactor*& core : cores) {
            core = &world.add_reactor(node);
        }
        ASSERT_EQ(open().error().code, Errc::kOk);
        for (uint32_t i = 0; i < 2; ++i) {
            users[i] = User();
            ports[i] = &authority->add_port(*cores[i]);
            ports[i]->start(users[i]);
        }
    }
    Status open(bdev::Uuid volume = kVolume, uint32_t replicas = 3) {
        const StaticAuthorityOptions options{
            .volume = volume, .replicas = replicas, .lease_us = 100'000, .path = "/map"};
        auto opening = StaticAuthority::open(*cores[2], world.file_system(node), options);
        EXPECT_TRUE(world.run_until([&] { return opening.is_done(); }, kNsPerSecond));
        auto opened = opening.result();
        if (!opened) {
            return opened.error();
        }
        authority = std::move(opened).value();
        return kOk;
    }
    void close() {
        for (MapAuthority* port : ports) {
            port->stop();
        }
        auto closing = authority->close();
        EXPECT_TRUE(world.run_until([&] { return closing.is_done(); }, kNsPerSecond));
        authority.reset();
    }
    void settle() { EXPECT_TRUE(world.run_until_idle(kNsPerSecond)); }

    sim::World world;
    sim::NodeId node;
    std::array<Reactor*, 3> cores{};
    std::unique_ptr<StaticAuthority> authority;
    std::array<User, 2> users;
    std::array<MapAuthority*, 2> ports{};
};

TEST(StaticAuthority, TheFirstThatAsksIsTheHead) {
    AuthorityWorld of;
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.settle();
    EXPECT_EQ(of.users[0].epoch, Epoch(1));
    EXPECT_EQ(of.users[0].set, ReplicaSet(7));
    of.ports[1]->ask_grant(Claim::kIfFree);
    of.settle();
    EXPECT_EQ(of.users[1].grants, 0U);
    EXPECT_TRUE(of.users[1].is_other);
    EXPECT_FALSE(of.users[0].is_other);
    of.ports[0]->ask_set(Epoch(1), ReplicaSet(3));
    of.settle();
    EXPECT_EQ(of.users[0].sets, std::deque<bool>({true}));
    EXPECT_EQ(of.authority->epoch(), Epoch(2));
    // The old epoch again, and sets of replicas that are not there.
    of.ports[0]->ask_set(Epoch(1), ReplicaSet(1));
    of.settle();
    of.ports[0]->ask_set(Epoch(2), ReplicaSet(8));
    of.settle();
    of.ports[0]->ask_set(Epoch(2), ReplicaSet());
    of.settle();
    EXPECT_EQ(of.users[0].sets, std::deque<bool>({true, false, false, false}));
    EXPECT_EQ(of.authority->set(), ReplicaSet(3));
    // Its turn comes when the first one has gone.
    of.ports[0]->stop();
    of.settle();
    EXPECT_EQ(of.users[1].epoch, Epoch(3));
    EXPECT_EQ(of.users[1].set, ReplicaSet(3));
    of.close();
}

TEST(StaticAuthority, AskingAgainIsANewEpoch) {
    AuthorityWorld of;
    for (uint64_t i = 1; i <= 3; ++i) {
        of.ports[0]->ask_grant(Claim::kIfFree);
        of.settle();
        EXPECT_EQ(of.users[0].epoch, Epoch(i));
    }
    of.close();
}

TEST(StaticAuthority, OneThatTakesOverServesWhenTheOtherHasHeardOfIt) {
    AuthorityWorld of;
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.settle();
    of.ports[0]->ask_open(Epoch(1));
    of.settle();
    EXPECT_EQ(of.users[0].opens, std::deque<bool>({true}));
    of.ports[1]->ask_grant(Claim::kTakeOver);
    of.ports[0]->ask_set(Epoch(1), ReplicaSet(1));
    EXPECT_TRUE(of.world.run_until([&] { return of.users[1].grants == 1; }, kNsPerSecond));
    EXPECT_TRUE(of.users[0].is_other);
    const uint64_t start_ns = of.world.now_ns();
    of.ports[1]->ask_open(of.users[1].epoch);
    EXPECT_TRUE(of.world.run_until([&] { return !of.users[1].opens.empty(); }, kNsPerSecond));
    EXPECT_TRUE(of.users[1].opens.front());
    EXPECT_LT(of.world.now_ns() - start_ns, 50 * kNsPerMs);
    // The old one is refused everything.
    of.ports[0]->ask_lease(Epoch(1));
    of.ports[0]->ask_open(Epoch(1));
    of.settle();
    EXPECT_EQ(of.users[0].opens, std::deque<bool>({true, false}));
    EXPECT_EQ(of.users[0].leases, std::deque<bool>({false}));
    of.ports[1]->ask_lease(of.users[1].epoch);
    of.settle();
    EXPECT_EQ(of.users[1].leases, std::deque<bool>({true}));
    of.close();
}

TEST(StaticAuthority, WaitsForTheLeaseOfAHeadThatDiedWithItsProcess) {
    [[maybe_unused]] const test::MayLeak may_leak;
    AuthorityWorld of;
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.settle();
    of.ports[0]->ask_open(Epoch(1));
    of.settle();
    of.world.crash_node(of.node, sim::Crash::kProcess);
    of.authority.reset();
    of.world.restart_node(of.node);
    of.boot();
    const uint64_t start_ns = of.world.now_ns();
    of.ports[1]->ask_grant(Claim::kIfFree);
    EXPECT_TRUE(of.world.run_until([&] { return of.users[1].grants == 1; }, kNsPerSecond));
    EXPECT_EQ(of.users[1].epoch, Epoch(2));
    of.ports[1]->ask_open(Epoch(2));
    EXPECT_TRUE(of.world.run_until([&] { return !of.users[1].opens.empty(); }, kNsPerSecond));
    EXPECT_TRUE(of.users[1].opens.front());
    EXPECT_GT(of.world.now_ns() - start_ns, 90 * kNsPerMs);
    of.close();
}

TEST(StaticAuthority, ChoosesNoHeadThatHasLeft) {
    AuthorityWorld of;
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.settle();
    // Its grant waits while the set is saved; then it leaves.
    of.ports[0]->ask_set(Epoch(1), ReplicaSet(3));
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.ports[0]->stop();
    of.settle();
    of.ports[1]->ask_grant(Claim::kIfFree);
    of.settle();
    EXPECT_EQ(of.users[1].grants, 1U);
    EXPECT_FALSE(of.users[1].is_other);
    of.close();
}

Task<Status> write_slot(Reactor& on, FileSystem& files, uint64_t slot, Slot& bytes) {
    const Result<FileInfo> info = files.open("/map", {});
    if (!info) {
        co_return info.error();
    }
    FileCall write(on.storage(), FileRequest::Op::kWriteDurable, info->handle);
    write.set_memory(slot * kMapSlotBytes, bytes);
    const Status written = co_await write;
    files.close(info->handle);
    co_return written;
}

TEST(StaticAuthority, LosesNothingWhenOneSlotRots) {
    for (uint64_t slot = 0; slot < 2; ++slot) {
        AuthorityWorld of;
        for (uint64_t i = 1; i <= 3; ++i) {
            of.ports[0]->ask_grant(Claim::kIfFree);
            of.settle();
        }
        of.ports[0]->ask_set(Epoch(3), ReplicaSet(3));
        of.settle();
        of.close();
        alignas(4096) Slot rotten{};
        rotten[5] = std::byte{1};
        auto writing = write_slot(*of.cores[2], of.world.file_system(of.node), slot, rotten);
        EXPECT_TRUE(of.world.run_until([&] { return writing.is_done(); }, kNsPerSecond));
        ASSERT_TRUE(writing.result());
        ASSERT_TRUE(of.open());
        EXPECT_EQ(of.authority->epoch(), Epoch(4)) << slot;
        EXPECT_EQ(of.authority->set(), ReplicaSet(3)) << slot;
        of.ports = {&of.authority->add_port(*of.cores[0]), &of.authority->add_port(*of.cores[1])};
        of.close();
    }
}

TEST(StaticAuthority, RefusesFilesOfOthers) {
    AuthorityWorld of;
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.settle();
    of.close();
    EXPECT_EQ(of.open(bdev::Uuid{{9}}).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(of.open(kVolume, 2).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(of.open(kVolume, 9).error().code, Errc::kInvalidArgument);
    EXPECT_TRUE(of.open(kVolume, 5));
    of.ports = {&of.authority->add_port(*of.cores[0]), &of.authority->add_port(*of.cores[1])};
    of.close();
}

/// Another process with the same file: an authority with one head, on cores of its own.
struct OtherProcess final : ServingUser {
    OtherProcess(AuthorityWorld& of, std::vector<bdev::Uuid> drives = {})
        : world(of.world), control(of.world.add_reactor(of.node)), core(control) {
        const StaticAuthorityOptions options{.volume = kVolume,
                                             .lease_us = 100'000,
                                             .path = "/map",
                                             .is_standby = true,
                                             .drives = std::move(drives),
                                             .watch_ns = 0,
                                             .user = this};
        auto opening = StaticAuthority::open(control, world.file_system(of.node), options);
        EXPECT_TRUE(world.run_until([&] { return opening.is_done(); }, kNsPerSecond));
        authority = opening.result().value();
        port = &authority->add_port(core);
        port->start(user);
    }
    void serving_changed(bool is_so) override { serves.push_back(is_so); }
    void close() {
        port->stop();
        auto closing = authority->close();
        EXPECT_TRUE(world.run_until([&] { return closing.is_done(); }, kNsPerSecond));
    }

    sim::World& world;
    Reactor& control;
    Reactor& core;
    std::unique_ptr<StaticAuthority> authority;
    MapAuthority* port = nullptr;
    User user;
    std::deque<bool> serves;
};

TEST(StaticAuthority, AStandbyIsNoHeadUntilItTakesOverAndThenTheOtherOneIsRefusedAll) {
    AuthorityWorld of;
    of.ports[0]->ask_grant(Claim::kIfFree);
    of.settle();
    of.ports[0]->ask_open(Epoch(1));
    of.settle();
    OtherProcess other(of);
    other.port->ask_grant(Claim::kIfFree);
    of.settle();
    EXPECT_EQ(other.user.grants, 0U);
    EXPECT_TRUE(other.user.is_other);
    EXPECT_TRUE(other.authority->is_standby());
    other.port->ask_grant(Claim::kTakeOver);
    EXPECT_TRUE(of.world.run_until([&] { return other.user.grants == 1; }, kNsPerSecond));
    const uint64_t taken_ns = of.world.now_ns();
    EXPECT_EQ(other.user.epoch, Epoch(2));
    other.port->ask_open(Epoch(2));
    // The old one does not know it yet; it finds out by whatever it asks.
    EXPECT_FALSE(of.authority->is_standby());
    of.ports[0]->ask_lease(Epoch(1));
    of.ports[0]->ask_set(Epoch(1), ReplicaSet(3));
    of.ports[0]->ask_grant(Claim::kIfFree);
    EXPECT_TRUE(of.world.run_until([&] { return of.users[0].is_other; }, kNsPerSecond));
    EXPECT_TRUE(of.world.run_until([&] { return !other.user.opens.empty(); }, kNsPerSecond));
    EXPECT_GE(of.world.now_ns() - taken_ns, 100 * kNsPerMs) << "a lease of the old one may last";
    EXPECT_EQ(of.users[0].leases, std::deque<bool>({false}));
    EXPECT_EQ(of.users[0].sets, std::deque<bool>({false}));
    EXPECT_EQ(of.users[0].grants, 1U) << "it does not take the volume back";
    EXPECT_TRUE(of.authority->is_standby());
    EXPECT_EQ(other.user.opens, std::deque<bool>({true}));
    EXPECT_EQ(other.serves, std::deque<bool>({true}));
    other.port->ask_set(Epoch(2), ReplicaSet(6));
    of.settle();
    EXPECT_EQ(other.user.sets, std::deque<bool>({true}));
    // And back again, with what the other one decided.
    of.ports[0]->ask_grant(Claim::kTakeOver);
    of.settle();
    EXPECT_EQ(of.users[0].epoch, Epoch(4));
    EXPECT_EQ(of.users[0].set, ReplicaSet(6));
    other.port->ask_open(Epoch(3));
    of.settle();
    EXPECT_EQ(other.user.opens, std::deque<bool>({true, false}));
    EXPECT_EQ(other.serves, std::deque<bool>({true, false}));
    other.close();
    of.close();
}

TEST(StaticAuthority, TheOldHeadFindsOutThoughItAsksNothing) {
    AuthorityWorld of;
    OtherProcess first(of);
    first.port->ask_grant(Claim::kTakeOver);
    of.settle();
    EXPECT_EQ(first.user.epoch, Epoch(1));
    first.port->ask_open(Epoch(1));
    of.settle();
    OtherProcess second(of);
    second.port->ask_grant(Claim::kTakeOver);
    of.settle();
    second.port->ask_open(Epoch(2));
    of.settle();
    EXPECT_FALSE(first.authority->is_standby()) << "without a watch";
    first.port->ask_open(Epoch(1));
    of.settle();
    EXPECT_EQ(first.user.opens, std::deque<bool>({true, false}));
    EXPECT_TRUE(first.authority->is_standby());
    first.close();
    second.close();
    of.close();
}

TEST(StaticAuthority, GrantsNothingToWhoHasAReplicaElsewhere) {
    AuthorityWorld of;
    const std::array<bdev::Uuid, 4> drive{
        bdev::Uuid{{1}}, bdev::Uuid{{2}}, bdev::Uuid{{3}}, bdev::Uuid{{4}}};
    OtherProcess first(of, {drive[0], drive[1], drive[2]});
    OtherProcess second(of, {drive[0], drive[1], drive[2]});
    const auto set_drive = [&](OtherProcess& at, uint32_t index, bdev::Uuid to) {
        auto setting = at.authority->set_drive(index, to);
        EXPECT_TRUE(of.world.run_until([&] { return setting.is_done(); }, kNsPerSecond));
        return setting.result();
    };
    first.port->ask_grant(Claim::kTakeOver);
    of.settle();
    EXPECT_TRUE(set_drive(first, 2, drive[3]));
    second.port->ask_grant(Claim::kTakeOver);
    of.settle();
    EXPECT_EQ(second.user.grants, 0U);
    EXPECT_TRUE(second.authority->is_standby());
    EXPECT_EQ(set_drive(second, 1, drive[3]).error().code, Errc::kBusy) << "the head's to say";
    EXPECT_TRUE(set_drive(second, 2, drive[3]));
    second.port->ask_grant(Claim::kTakeOver);
    of.settle();
    EXPECT_EQ(second.user.grants, 1U);
    first.close();
    second.close();
    of.close();
}

TEST(StaticAuthority, NoEpochIsGrantedTwiceWhateverALossOfPowerTears) {
    [[maybe_unused]] const test::MayLeak may_leak;
    for (uint64_t seed = 0; seed < 200; ++seed) {
        AuthorityWorld of(seed);
        Epoch last;
        for (uint32_t life = 0; life < 4; ++life) {
            const uint64_t end_ns = of.world.now_ns() + of.world.random().below(3 * kNsPerMs);
            of.ports[0]->ask_grant(Claim::kIfFree);
            while (of.world.now_ns() < end_ns && of.world.step(end_ns)) {
                User& user = of.users[0];
                if (user.grants > 0) {
                    ASSERT_GT(user.epoch, last) << "seed " << seed;
                    last = user.epoch;
                    user.grants = 0;
                    of.ports[0]->ask_grant(Claim::kIfFree);
                }
            }
            if (of.users[0].grants > 0) {
                ASSERT_GT(of.users[0].epoch, last) << "seed " << seed;
                last = of.users[0].epoch;
            }
            of.world.crash_node(of.node, sim::Crash::kPowerLoss);
            of.authority.reset();
            of.world.restart_node(of.node);
            of.boot();
        }
        of.close();
    }
}

}  // namespace
}  // namespace basalt::replication
