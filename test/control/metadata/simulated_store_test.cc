#include "control/metadata/sim/simulated_store.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"
#include "test/control/metadata/conformance.h"
#include "test/reactor/may_leak.h"
#include "test/sim/seeds.h"

namespace basalt::metadata {
namespace {

class SimulatedUnderTest final : public StoreUnderTest {
  public:
    [[nodiscard]] MetadataStore& store() override { return one_; }
    [[nodiscard]] MetadataStore& other() override { return two_; }
    void step() override { world_.run_for(kNsPerMs); }
    [[nodiscard]] uint64_t now_ns() override { return world_.now_ns(); }

  private:
    sim::World world_{1, sim::calm()};
    Reactor& first_{world_.add_reactor(world_.add_node())};
    Reactor& second_{world_.add_reactor(world_.add_node())};
    SimulatedMetadata metadata_{first_.clock(), 1};
    SimulatedStore one_{first_, metadata_};
    SimulatedStore two_{second_, metadata_};
};

INSTANTIATE_TEST_SUITE_P(Simulated,
                         MetadataStoreConformance,
                         testing::Values(StoreKind{
                             .name = "Simulated",
                             .make = []() -> std::unique_ptr<StoreUnderTest> {
                                 return std::make_unique<SimulatedUnderTest>();
                             },
                             .shortest_lease_ns = kLeaseMinNs}),
                         name_of_kind);

constexpr uint64_t kTtlNs = kNsPerSecond;
constexpr const char* kLock = "lock";

/// A control process: keeps a copy of all keys by a watch, tries to have the lock by a lease, and
/// counts a counter up while it has it.
class Process final : public WatchUser {
  public:
    Process(Reactor& here, SimulatedMetadata& metadata) : here_(here), store_(here, metadata) {
        copy().detach();
        reign().detach();
    }

    void changed(std::span<const WatchEvent> events) override {
        EXPECT_GT(events.front().revision, last_);
        last_ = events.back().revision;
        for (const WatchEvent& one : events) {
            if (one.now) {
                keys_[one.key] = *one.now;
            } else {
                keys_.erase(one.key);
            }
        }
    }
    void lost() override {
        ++losses_;
        copy().detach();
    }

    [[nodiscard]] bool is_holder() { return here_.clock().now_ns() < held_until_ns_; }
    void end() { is_ending_ = true; }
    [[nodiscard]] bool has_ended() const { return has_ended_; }
    [[nodiscard]] SimulatedStore& store() { return store_; }
    [[nodiscard]] const std::map<std::string, KeyValue>& keys() const { return keys_; }
    [[nodiscard]] uint64_t counted() const { return counted_; }
    [[nodiscard]] uint64_t losses() const { return losses_; }

  private:
    Task<void> copy() {
        while (true) {
            std::map<std::string, KeyValue> keys;
            ListRequest request{.prefix = "", .after = "", .limit = 2, .at = {}};
            Result<Page> page = co_await store_.list(request);
            while (page && page->has_more) {
                take(keys, *page);
                request.after = page->keys.back().key;
                request.at = page->revision;
                page = co_await store_.list(request);
            }
            if (page) {
                take(keys, *page);
                keys_ = std::move(keys);
                last_ = page->revision;
                store_.watch(*this, "", page->revision);
                co_return;
            }
            sleep_for pause(here_, 10 * kNsPerMs);
            co_await pause;
        }
    }
    static void take(std::map<std::string, KeyValue>& keys, const Page& page) {
        for (const KeyValue& one : page.keys) {
            keys[one.key] = one;
        }
    }

    Task<void> reign() {
        while (!is_ending_) {
            const uint64_t called_ns = here_.clock().now_ns();
            const Result<LeaseId> lease = co_await store_.grant(kTtlNs);
            if (lease) {
                Transaction take_it{.conditions = {{kLock, Revision(0)}},
                                    .changes = {put_of(kLock, "mine", *lease)}};
                const Result<Outcome> taken = co_await store_.commit(take_it);
                if (taken && taken->is_applied) {
                    held_until_ns_ = called_ns + kTtlNs;
                    co_await serve(*lease, taken->revision);
                    held_until_ns_ = 0;
                }
                static_cast<void>(co_await store_.revoke(*lease));
            }
            sleep_for pause(here_, 50 * kNsPerMs);
            co_await pause;
        }
        has_ended_ = true;
    }
    /// As long as it has the lock, or a little less.
    Task<void> serve(LeaseId lease, Revision lock) {
        for (int i = 0; i < 5 && is_holder(); ++i) {
            const Result<KeyValue> now = co_await store_.get("counter");
            if (!now && now.error().code != Errc::kNotFound) {
                continue;
            }
            const uint64_t number = now ? std::stoull(now->value) : 0;
            Transaction count{.conditions = {{kLock, lock}},
                              .changes = {put_of("counter", std::to_string(number + 1))}};
            const Result<Outcome> counted = co_await store_.commit(count);
            counted_ += counted && counted->is_applied ? 1U : 0U;
            const uint64_t called_ns = here_.clock().now_ns();
            const Status kept = co_await store_.keep_alive(lease);
            held_until_ns_ = kept ? called_ns + kTtlNs : held_until_ns_;
        }
    }

    Reactor& here_;
    SimulatedStore store_;
    std::map<std::string, KeyValue> keys_;
    Revision last_;
    uint64_t held_until_ns_ = 0;
    uint64_t counted_ = 0;
    uint64_t losses_ = 0;
    bool is_ending_ = false;
    bool has_ended_ = false;
};

/// What happened in a run.
struct Tally {
    uint64_t counted = 0;
    uint64_t losses = 0;
};

void run_processes(uint64_t seed, Tally& tally) {
    SCOPED_TRACE(seed);
    sim::World world(seed, sim::calm());
    std::vector<Reactor*> reactors;
    reactors.reserve(3);
    for (int i = 0; i < 3; ++i) {
        reactors.push_back(&world.add_reactor(world.add_node()));
    }
    SimulatedMetadata metadata(reactors[0]->clock(), seed);
    metadata.faults = {.delay_ns_max = 50 * kNsPerMs,
                       .timeout_ns = 300 * kNsPerMs,
                       .lease_late_ns = world.random().below(500 * kNsPerMs),
                       .request_lost_ppm = 20'000,
                       .answer_lost_ppm = 20'000,
                       .watch_lost_ppm = 20'000,
                       .forget_ppm = 50'000};
    std::vector<std::unique_ptr<Process>> processes;
    processes.reserve(reactors.size());
    for (Reactor* one : reactors) {
        processes.push_back(std::make_unique<Process>(*one, metadata));
    }
    for (int round = 0; round < 3000; ++round) {
        world.run_for(10 * kNsPerMs);
        if (world.random().chance(1, 30)) {
            processes[world.random().below(3)]->store().set_reachable(world.random().chance(2, 3));
        }
        const auto holders =
            std::ranges::count_if(processes, [](const auto& one) { return one->is_holder(); });
        ASSERT_LE(holders, 1);
    }
    for (const auto& one : processes) {
        one->store().set_reachable(true);
        one->end();
    }
    metadata.faults = {};
    ASSERT_TRUE(world.run_until(
        [&] { return std::ranges::all_of(processes, [](auto& one) { return one->has_ended(); }); },
        30 * kNsPerSecond));
    world.run_for(5 * kNsPerSecond);
    uint64_t counted = 0;
    for (const auto& one : processes) {
        counted += one->counted();
        tally.losses += one->losses();
        EXPECT_EQ(one->keys().size(), 1U);  // The lock was given up, or has ended.
        EXPECT_EQ(one->keys().at("counter"), metadata.state().get("counter").value());
        one->store().unwatch(*one);
    }
    // More may be done than was heard of, never less.
    EXPECT_LE(counted, std::stoull(metadata.state().get("counter")->value));
    tally.counted += counted;
}

TEST(SimulatedStore, NobodyHasALockThatAnotherHasAndCopiesComeTrue) {
    const Seeds seeds(20);
    Tally tally;
    for (const uint64_t seed : seeds) {
        run_processes(seed, tally);
        if (testing::Test::HasFatalFailure()) {
            return;
        }
    }
    if (seeds.are_usual()) {
        EXPECT_GT(tally.counted, 500U);
        EXPECT_GT(tally.losses, 50U);
    }
}

TEST(SimulatedStore, TheSameSeedGivesTheSameRun) {
    const auto run = [](uint64_t seed) {
        Tally tally;
        run_processes(seed, tally);
        return std::pair(tally.counted, tally.losses);
    };
    EXPECT_EQ(run(3), run(3));
}

TEST(SimulatedStore, SaysWhatIsNotKnownAndDoesItOrNot) {
    sim::World world(1, sim::calm());
    Reactor& here = world.add_reactor(world.add_node());
    SimulatedMetadata metadata(here.clock(), 1);
    SimulatedStore store(here, metadata);
    const auto put = [&](const char* key) {
        Task<Result<Outcome>> task = store.commit({.conditions = {}, .changes = {put_of(key, "")}});
        EXPECT_TRUE(world.run_until([&task] { return task.is_done(); }, 10 * kNsPerSecond));
        return task.result().error().code;
    };
    metadata.faults.answer_lost_ppm = 1'000'000;
    EXPECT_EQ(put("done"), Errc::kTimedOut);
    metadata.faults = {};
    store.set_reachable(false);
    bool was_unreachable = false;
    for (int i = 0; i < 20; ++i) {
        const Errc code = put("not done");
        EXPECT_TRUE(code == Errc::kTimedOut || code == Errc::kUnreachable);
        was_unreachable = was_unreachable || code == Errc::kUnreachable;
    }
    EXPECT_TRUE(was_unreachable);
    EXPECT_TRUE(metadata.state().get("done"));
    EXPECT_FALSE(metadata.state().get("not done"));
}

TEST(SimulatedStore, LeasesOfACrashedProcessEndForTheOthers) {
    [[maybe_unused]] const test::MayLeak crashed_sequences;
    sim::World world(1, sim::calm());
    const sim::NodeId node = world.add_node();
    Reactor& here = world.add_reactor(world.add_node());
    SimulatedMetadata metadata(here.clock(), 1);
    SimulatedStore survivor(here, metadata);
    auto gone = std::make_unique<SimulatedStore>(world.add_reactor(node), metadata);
    Task<Result<LeaseId>> granted = gone->grant(kTtlNs);
    EXPECT_TRUE(world.run_until([&] { return granted.is_done(); }, kNsPerSecond));
    const LeaseId lease = granted.result().value();
    Task<Result<Outcome>> put =
        gone->commit({.conditions = {}, .changes = {put_of(kLock, "", lease)}});
    EXPECT_TRUE(world.run_until([&] { return put.is_done(); }, kNsPerSecond));
    Watcher watcher;
    survivor.watch(watcher, "", put.result()->revision);
    Watcher dead;
    gone->watch(dead, "", Revision());
    world.crash_node(node);
    gone.reset();
    EXPECT_TRUE(world.run_until([&] { return !watcher.told.empty(); }, 2 * kTtlNs));
    EXPECT_FALSE(watcher.told.at(0).now.has_value());
    EXPECT_TRUE(dead.told.empty());
    survivor.unwatch(watcher);
}

}  // namespace
}  // namespace basalt::metadata
