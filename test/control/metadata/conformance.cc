#include "test/control/metadata/conformance.h"

#include <algorithm>

#include "control/metadata/limits.h"

namespace basalt::metadata {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MetadataStoreConformance);

namespace {

Revision next(Revision revision) {
    return Revision(revision.raw() + 1);
}

TEST_P(MetadataStoreConformance, AKeyHasTheRevisionsOfItsBirthAndOfItsLastChange) {
    const Revision first = put("a", "1")->revision;
    EXPECT_EQ(put("b", std::string("\0binary\xff", 8))->revision, next(first));
    const Revision third = put("a", "")->revision;
    EXPECT_EQ(third, next(next(first)));
    const KeyValue expected{
        .key = "a", .value = "", .created = first, .modified = third, .lease = {}};
    EXPECT_EQ(wait(store_.get("a")).value(), expected);
    EXPECT_EQ(get("b"), std::string("\0binary\xff", 8));
    EXPECT_EQ(commit({}, {erase_of("a")})->revision, next(third));
    EXPECT_EQ(wait(store_.get("a")).error().code, Errc::kNotFound);
    const Revision again = put("a", "3")->revision;
    EXPECT_EQ(wait(store_.get("a"))->created, again);
}

TEST_P(MetadataStoreConformance, ATransactionIsDoneWhollyOrNotAtAll) {
    const Revision a = put("a", "1")->revision;
    const Result<Outcome> both =
        commit({{"a", a}, {"b", Revision(0)}}, {put_of("a", "2"), put_of("b", "1")});
    EXPECT_TRUE(both->is_applied);
    EXPECT_EQ(both->revision, next(a));
    EXPECT_EQ(wait(store_.get("b"))->modified, both->revision);

    const Result<Outcome> stale =
        commit({{"a", both->revision}, {"b", a}}, {put_of("a", "3"), put_of("c", "1")});
    EXPECT_FALSE(stale->is_applied);
    EXPECT_EQ(stale->revision, both->revision);
    EXPECT_FALSE(commit({{"a", Revision(0)}}, {put_of("c", "1")})->is_applied);
    EXPECT_FALSE(commit({{"c", a}}, {put_of("c", "1")})->is_applied);
    EXPECT_EQ(get("a"), "2");
    EXPECT_EQ(get("c"), "(none)");
    EXPECT_EQ(now(), both->revision);
}

TEST_P(MetadataStoreConformance, WhatChangesNothingHasNoRevision) {
    const Revision before = put("a", "1")->revision;
    const Result<Outcome> erased = commit({}, {erase_of("b")});
    EXPECT_TRUE(erased->is_applied);
    EXPECT_EQ(erased->revision, before);
    EXPECT_TRUE(commit({}, {})->is_applied);
    EXPECT_TRUE(commit({{"a", before}}, {})->is_applied);
    EXPECT_FALSE(commit({{"a", next(before)}}, {})->is_applied);
    EXPECT_EQ(now(), before);
    // The same value is a change.
    EXPECT_EQ(put("a", "1")->revision, next(before));
}

TEST_P(MetadataStoreConformance, OfManyAtOnceOneOfEachRevisionWins) {
    const Revision start = put("counter", "0")->revision;
    std::vector<Task<Result<Outcome>>> tasks;
    for (int i = 0; i < 50; ++i) {
        MetadataStore& by = i % 2 == 0 ? store_ : world_->other();
        tasks.push_back(by.commit({.conditions = {{"counter", start}},
                                   .changes = {put_of("counter", std::to_string(i))}}));
    }
    int applied = 0;
    for (auto& task : tasks) {
        applied += wait(std::move(task))->is_applied ? 1 : 0;
    }
    EXPECT_EQ(applied, 1);
    EXPECT_EQ(wait(store_.get("counter"))->modified, next(start));
}

Task<int> count_up(MetadataStore& store, int rounds) {
    int conflicts = 0;
    for (int done = 0; done < rounds;) {
        const Result<KeyValue> now = co_await store.get("counter");
        Transaction transaction{
            .conditions = {{"counter", now->modified}},
            .changes = {put_of("counter", std::to_string(std::stoi(now->value) + 1))}};
        const Result<Outcome> outcome = co_await store.commit(std::move(transaction));
        done += outcome->is_applied ? 1 : 0;
        conflicts += outcome->is_applied ? 0 : 1;
    }
    co_return conflicts;
}

TEST_P(MetadataStoreConformance, TwoProcessesLoseNoUpdate) {
    EXPECT_TRUE(put("counter", "0"));
    Task<int> one = count_up(store_, 30);
    Task<int> two = count_up(world_->other(), 30);
    static_cast<void>(wait(std::move(one)));
    static_cast<void>(wait(std::move(two)));
    EXPECT_EQ(get("counter"), "60");
}

TEST_P(MetadataStoreConformance, WhatWasAnsweredIsSeenByTheOtherProcess) {
    for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(put("key", std::to_string(i)));
        EXPECT_EQ(wait(world_->other().get("key"))->value, std::to_string(i));
    }
}

TEST_P(MetadataStoreConformance, ListsAPrefixInPages) {
    std::vector<Change> changes;
    for (const char* key : {"a", "b/1", "b/2", "b/3", "c", "\xff\xff", "\xff\xff\x01"}) {
        changes.push_back(put_of(key, key));
    }
    const Revision all = commit({}, changes)->revision;
    const Page first = list("b/", "", 2).value();
    ASSERT_EQ(first.keys.size(), 2U);
    EXPECT_EQ(first.keys[0].key, "b/1");
    EXPECT_EQ(first.keys[1].value, "b/2");
    EXPECT_EQ(first.keys[1].modified, all);
    EXPECT_TRUE(first.has_more);
    EXPECT_EQ(first.revision, all);
    const Page rest = list("b/", "b/2", 2, first.revision).value();
    ASSERT_EQ(rest.keys.size(), 1U);
    EXPECT_EQ(rest.keys[0].key, "b/3");
    EXPECT_FALSE(rest.has_more);
    EXPECT_EQ(list("", "", kPageKeysMax)->keys.size(), 7U);
    EXPECT_EQ(list("", "b/3", kPageKeysMax)->keys.size(), 3U);
    EXPECT_EQ(list("\xff\xff", "", 10)->keys.size(), 2U);
    EXPECT_EQ(list("b/", "a", 10)->keys.size(), 3U);
    EXPECT_TRUE(list("b/", "b/3", 2)->keys.empty());
    EXPECT_TRUE(list("b/", "c", 2)->keys.empty());
    EXPECT_TRUE(list("d", "", 2)->keys.empty());
    EXPECT_EQ(list("", "", 10, next(next(all))).error().code, Errc::kOutOfRange);
}

TEST_P(MetadataStoreConformance, PagesOfOneRevisionAreACutOrSayThatTheyAreNot) {
    const Revision before = commit({}, {put_of("a", "1"), put_of("b", "1")})->revision;
    const Page first = list("", "", 1).value();
    EXPECT_TRUE(commit({}, {put_of("b", "2"), put_of("c", "2")}));
    const Result<Page> second = list("", "a", 5, first.revision);
    if (second) {
        EXPECT_EQ(second->revision, before);
        ASSERT_EQ(second->keys.size(), 1U);
        EXPECT_EQ(second->keys[0].value, "1");
    } else {
        EXPECT_EQ(second.error().code, Errc::kOutOfRange);
    }
    EXPECT_TRUE(wait(store_.forget(now())));
    EXPECT_EQ(list("", "a", 5, first.revision).error().code, Errc::kOutOfRange);
}

TEST_P(MetadataStoreConformance, RefusesWhatIsOutsideOfTheLimits) {
    const auto refusal = [this](std::vector<Condition> conditions, std::vector<Change> changes) {
        const Result<Outcome> outcome = commit(std::move(conditions), std::move(changes));
        return outcome ? Errc::kOk : outcome.error().code;
    };
    const std::string long_key(kKeyBytesMax, 'k');
    EXPECT_EQ(refusal({}, {put_of(long_key, "1")}), Errc::kOk);
    EXPECT_EQ(refusal({}, {put_of(long_key + "k", "1")}), Errc::kInvalidArgument);
    EXPECT_EQ(refusal({}, {put_of("", "1")}), Errc::kInvalidArgument);
    EXPECT_EQ(refusal({{"", Revision(0)}}, {}), Errc::kInvalidArgument);
    EXPECT_EQ(refusal({}, {put_of("a", "1"), erase_of("a")}), Errc::kInvalidArgument);
    EXPECT_EQ(refusal({}, {{.key = "a", .value = {}, .lease = LeaseId(1)}}),
              Errc::kInvalidArgument);
    const std::string large(kTransactionBytesMax - 1, 'v');
    EXPECT_EQ(refusal({}, {put_of("a", large)}), Errc::kOk);
    EXPECT_EQ(get("a"), large);
    EXPECT_EQ(refusal({}, {put_of("a", large + "v")}), Errc::kInvalidArgument);
    std::vector<Change> many;
    std::vector<Condition> conditions;
    for (uint32_t i = 0; i < kTransactionItemsMax; ++i) {
        many.push_back(put_of("m" + std::to_string(i), "1"));
        conditions.push_back({"m" + std::to_string(i), Revision(0)});
    }
    EXPECT_EQ(refusal(conditions, many), Errc::kOk);
    many.push_back(put_of("one more", "1"));
    EXPECT_EQ(refusal({}, many), Errc::kInvalidArgument);
    EXPECT_EQ(list("", "", 0).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(list("", "", kPageKeysMax + 1).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(wait(store_.grant(kLeaseMinNs - 1)).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(wait(store_.grant(kLeaseMaxNs + 1)).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(wait(store_.get("nobody")).error().code, Errc::kNotFound);
    EXPECT_EQ(wait(store_.get("")).error().code, Errc::kNotFound);
}

TEST_P(MetadataStoreConformance, AWatchIsToldAllChangesOfItsPrefixInOrder) {
    const Revision start = put("a/0", "1")->revision;
    Watcher all;
    store_.watch(all, "a/", start);
    EXPECT_TRUE(put("b/1", "1"));
    EXPECT_TRUE(commit({}, {put_of("a/2", "1"), put_of("a/1", "1"), put_of("b/2", "1")}));
    EXPECT_TRUE(commit({}, {erase_of("a/2"), put_of("a/3", "1")}));
    expect_told(all, 4);
    ASSERT_EQ(all.told.size(), 4U);
    EXPECT_EQ(all.told[0].key, "a/2");  // As the transaction has them.
    EXPECT_EQ(all.told[1].key, "a/1");
    EXPECT_EQ(all.told[0].revision, next(next(start)));
    EXPECT_EQ(all.told[1].revision, all.told[0].revision);
    EXPECT_EQ(*all.told[1].now, wait(store_.get("a/1")).value());
    EXPECT_EQ(all.told[2].key, "a/2");
    EXPECT_FALSE(all.told[2].now.has_value());
    EXPECT_EQ(all.told[2].revision, all.told[3].revision);
    store_.unwatch(all);
    EXPECT_TRUE(put("a/4", "1"));
    world_->run_for(20 * kNsPerMs);
    EXPECT_EQ(all.told.size(), 4U);
}

TEST_P(MetadataStoreConformance, AWatchGoesOnFromAnyRevisionThatIsRemembered) {
    Watcher before_all;
    store_.watch(before_all, "k", now());
    std::vector<Revision> revisions;
    for (int round = 0; round < 20; ++round) {
        std::vector<Change> changes;
        changes.reserve(100);
        for (int i = 0; i < 100; ++i) {
            changes.push_back(put_of("k" + std::to_string(i), std::to_string(round)));
        }
        revisions.push_back(commit({}, changes)->revision);
    }
    Watcher half;
    Watcher to_come;
    store_.watch(half, "k", revisions[9]);
    store_.watch(to_come, "k", next(revisions.back()));
    expect_told(before_all, 2000);
    expect_told(half, 1000);
    EXPECT_EQ(half.told.front().revision, revisions[10]);
    EXPECT_TRUE(put("k", "not yet"));
    EXPECT_TRUE(put("k", "now"));
    expect_told(half, 1002);
    expect_told(to_come, 1);
    for (Watcher* one : {&before_all, &half, &to_come}) {
        store_.unwatch(*one);
    }
}

TEST_P(MetadataStoreConformance, AWatchFromWhatIsForgottenIsLost) {
    const Revision first = put("a", "1")->revision;
    const Revision second = put("a", "2")->revision;
    const Revision third = commit({}, {erase_of("a")})->revision;
    EXPECT_EQ(wait(store_.forget(next(third))).error().code, Errc::kOutOfRange);
    EXPECT_TRUE(wait(store_.forget(second)));
    EXPECT_TRUE(wait(store_.forget(second)));
    EXPECT_TRUE(wait(store_.forget(first)));
    Watcher early;
    Watcher just_so;
    store_.watch(early, "", first);
    store_.watch(just_so, "", second);
    EXPECT_TRUE(world_->run_until([&] { return early.is_lost; }));
    EXPECT_TRUE(early.told.empty());
    expect_told(just_so, 1);
    EXPECT_FALSE(just_so.told.at(0).now.has_value());
    // Also where what is forgotten ends with a deletion, and nothing of it is left.
    EXPECT_TRUE(wait(store_.forget(third)));
    Watcher of_deletion;
    store_.watch(of_deletion, "", second);
    EXPECT_TRUE(world_->run_until([&] { return of_deletion.is_lost; }));
    EXPECT_FALSE(just_so.is_lost);
    EXPECT_TRUE(put("b", "1"));
    expect_told(just_so, 2);
    store_.unwatch(just_so);
}

/// Does what a WatchUser may do from inside of its calls.
class BusyWatcher final : public Watcher {
  public:
    explicit BusyWatcher(MetadataStore& store) : store_(store) {}
    void changed(std::span<const WatchEvent> events) override {
        EXPECT_FALSE(is_calling);
        Watcher::changed(events);
        store_.unwatch(*this);
        if (told.size() < 3) {
            is_calling = true;
            store_.watch(*this, "", events.back().revision);
            is_calling = false;
        }
    }
    void lost() override {
        is_calling = true;
        store_.watch(*this, "", start);
        is_calling = false;
    }

    MetadataStore& store_;
    Revision start;
    bool is_calling = false;
};

TEST_P(MetadataStoreConformance, AWatchMayBeginAndEndFromInsideOfItsCalls) {
    const Revision old = put("a", "1")->revision;
    const Revision start = put("a", "2")->revision;
    EXPECT_TRUE(wait(store_.forget(start)));
    BusyWatcher watcher(store_);
    watcher.start = start;
    watcher.is_calling = true;
    store_.watch(watcher, "", old);
    watcher.is_calling = false;
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(put("a", std::to_string(i)));
        world_->run_until([&] { return watcher.told.size() > static_cast<size_t>(i); },
                          i < 3 ? 20 * kNsPerSecond : 20 * kNsPerMs);
    }
    EXPECT_EQ(watcher.told.size(), 3U);
}

TEST_P(MetadataStoreConformance, ALeaseEndsByTimeAndNotEarlier) {
    const uint64_t ttl_ns = GetParam().shortest_lease_ns;
    const LeaseId kept = wait(store_.grant(ttl_ns)).value();
    const LeaseId left = wait(world_->other().grant(ttl_ns)).value();
    EXPECT_NE(kept, left);
    EXPECT_TRUE(commit({}, {put_of("kept", "1", kept), put_of("b", "1", left)}));
    EXPECT_TRUE(commit({}, {put_of("a", "1", left), put_of("passed on", "1", left)}));
    const Revision start = put("passed on", "2")->revision;
    EXPECT_EQ(wait(store_.get("a"))->lease, left);
    EXPECT_EQ(wait(store_.get("passed on"))->lease, LeaseId());
    Watcher watcher;
    store_.watch(watcher, "", start);

    uint64_t kept_ns = world_->now_ns();
    EXPECT_TRUE(wait(store_.keep_alive(kept)));
    uint64_t left_ns = world_->now_ns();
    EXPECT_TRUE(wait(store_.keep_alive(left)));
    while (watcher.told.empty() && world_->now_ns() < left_ns + 10 * kNsPerSecond) {
        world_->run_for(ttl_ns / 4);
        kept_ns = world_->now_ns();
        EXPECT_TRUE(wait(store_.keep_alive(kept)));
    }
    EXPECT_GE(world_->now_ns(), left_ns + ttl_ns);
    expect_told(watcher, 2);
    ASSERT_EQ(watcher.told.size(), 2U);
    EXPECT_EQ(watcher.told[0].key, "a");  // All at once, in order.
    EXPECT_EQ(watcher.told[1].key, "b");
    EXPECT_EQ(watcher.told[0].revision, watcher.told[1].revision);
    EXPECT_FALSE(watcher.told[0].now.has_value());
    EXPECT_EQ(get("a"), "(none)");
    EXPECT_EQ(get("passed on"), "2");
    EXPECT_EQ(get("kept"), "1");
    EXPECT_EQ(wait(store_.keep_alive(left)).error().code, Errc::kNotFound);
    EXPECT_EQ(put("late", "1", left).error().code, Errc::kNotFound);
    EXPECT_FALSE(commit({{"a", start}}, {put_of("late", "1", left)})->is_applied);

    EXPECT_TRUE(world_->run_until([&] { return watcher.told.size() == 3; }));
    EXPECT_GE(world_->now_ns(), kept_ns + ttl_ns);
    EXPECT_EQ(get("kept"), "(none)");
    store_.unwatch(watcher);
}

TEST_P(MetadataStoreConformance, ARevokedLeaseTakesItsKeysAlong) {
    const LeaseId lease = wait(store_.grant(60 * kNsPerSecond)).value();
    EXPECT_TRUE(put("mine", "1", lease));
    const Revision before = put("other", "1")->revision;
    EXPECT_TRUE(wait(store_.keep_alive(lease)));
    EXPECT_TRUE(wait(store_.revoke(lease)));
    EXPECT_EQ(get("mine"), "(none)");
    EXPECT_EQ(now(), next(before));
    EXPECT_EQ(wait(store_.revoke(lease)).error().code, Errc::kNotFound);
    EXPECT_EQ(wait(store_.keep_alive(lease)).error().code, Errc::kNotFound);
    EXPECT_EQ(put("mine", "1", lease).error().code, Errc::kNotFound);
    const LeaseId empty = wait(store_.grant(60 * kNsPerSecond)).value();
    EXPECT_TRUE(wait(store_.revoke(empty)));
    EXPECT_EQ(now(), next(before));
}

}  // namespace
}  // namespace basalt::metadata
