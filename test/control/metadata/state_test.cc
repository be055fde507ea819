#include "control/metadata/state.h"

#include <gtest/gtest.h>

namespace basalt::metadata {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

Transaction put(std::string key, std::string value, LeaseId lease = {}) {
    return {.conditions = {},
            .changes = {{.key = std::move(key), .value = std::move(value), .lease = lease}}};
}
Transaction erase(std::string key) {
    return {.conditions = {}, .changes = {{.key = std::move(key), .value = {}, .lease = {}}}};
}

TEST(MetadataState, AKeyHasTheRevisionsOfItsBirthAndOfItsLastChange) {
    MetadataState state;
    EXPECT_EQ(state.apply(put("a", "1"))->revision, Revision(1));
    EXPECT_EQ(state.apply(put("b", "1"))->revision, Revision(2));
    EXPECT_EQ(state.apply(put("a", "2"))->revision, Revision(3));
    const KeyValue a = state.get("a").value();
    EXPECT_EQ(a.value, "2");
    EXPECT_EQ(a.created, Revision(1));
    EXPECT_EQ(a.modified, Revision(3));
    EXPECT_EQ(state.apply(erase("a"))->revision, Revision(4));
    EXPECT_EQ(state.get("a").error().code, Errc::kNotFound);
    EXPECT_TRUE(state.apply(put("a", "3")));
    EXPECT_EQ(state.get("a")->created, Revision(5));
}

TEST(MetadataState, DeletingWhatIsNotThereChangesNothing) {
    MetadataState state;
    EXPECT_TRUE(state.apply(erase("a"))->is_applied);
    EXPECT_EQ(state.revision(), Revision(0));
}

TEST(MetadataState, ATransactionIsDoneWhollyOrNotAtAll) {
    MetadataState state;
    EXPECT_TRUE(state.apply(put("a", "1")));
    Transaction both{.conditions = {{"a", Revision(1)}, {"b", Revision(0)}},
                     .changes = {{"a", "2", {}}, {"b", "1", {}}}};
    EXPECT_TRUE(state.apply(both)->is_applied);
    EXPECT_EQ(state.revision(), Revision(2));
    EXPECT_FALSE(state.apply(both)->is_applied);
    both.conditions = {{"a", Revision(2)}, {"b", Revision(1)}};
    EXPECT_FALSE(state.apply(both)->is_applied);
    EXPECT_EQ(state.revision(), Revision(2));
    EXPECT_EQ(state.get("a")->value, "2");
}

TEST(MetadataState, RefusesWhatIsTooMuchOrMeansNothing) {
    const auto is_sound = [](const Transaction& one) {
        return MetadataState::check(one).has_value();
    };
    EXPECT_TRUE(is_sound({}));
    EXPECT_FALSE(is_sound(put("", "1")));
    EXPECT_TRUE(is_sound(put(std::string(kKeyBytesMax, 'k'), "1")));
    EXPECT_FALSE(is_sound(put(std::string(kKeyBytesMax + 1, 'k'), "1")));
    EXPECT_TRUE(is_sound(put("a", std::string(kTransactionBytesMax - 1, 'v'))));
    EXPECT_FALSE(is_sound(put("a", std::string(kTransactionBytesMax, 'v'))));
    EXPECT_FALSE(is_sound({.conditions = {}, .changes = {{"a", "1", {}}, {"a", "2", {}}}}));
    EXPECT_FALSE(is_sound({.conditions = {}, .changes = {{"a", {}, LeaseId(1)}}}));
    EXPECT_FALSE(is_sound({.conditions = {{"", Revision(0)}}, .changes = {}}));
    Transaction many;
    for (uint32_t i = 0; i <= kTransactionItemsMax; ++i) {
        EXPECT_TRUE(is_sound(many));
        many.changes.push_back({std::to_string(i), "1", {}});
    }
    EXPECT_FALSE(is_sound(many));
}

TEST(MetadataState, ListsAPrefixInPages) {
    MetadataState state;
    for (const char* key : {"a", "b/1", "b/2", "b/3", "c"}) {
        EXPECT_TRUE(state.apply(put(key, key)));
    }
    const Page first = state.list({.prefix = "b/", .after = "", .limit = 2, .at = {}}).value();
    ASSERT_EQ(first.keys.size(), 2U);
    EXPECT_EQ(first.keys[1].key, "b/2");
    EXPECT_TRUE(first.has_more);
    const Page rest =
        state.list({.prefix = "b/", .after = "b/2", .limit = 2, .at = first.revision}).value();
    ASSERT_EQ(rest.keys.size(), 1U);
    EXPECT_FALSE(rest.has_more);
    EXPECT_EQ(rest.revision, Revision(5));
    ListRequest request{.prefix = "", .after = "", .limit = 100, .at = {}};
    EXPECT_EQ(state.list(request)->keys.size(), 5U);
    request = {.prefix = "b/", .after = "b/3", .limit = 2, .at = {}};
    EXPECT_TRUE(state.list(request)->keys.empty());
    request = {.prefix = "d", .after = "", .limit = 2, .at = {}};
    EXPECT_TRUE(state.list(request)->keys.empty());
    request.at = Revision(4);
    EXPECT_EQ(state.list(request).error().code, Errc::kOutOfRange);
}

TEST(MetadataState, TellsChangesOfAPrefixInOrder) {
    MetadataState state;
    EXPECT_TRUE(state.apply(put("a/1", "1")));
    EXPECT_TRUE(state.apply(put("b/1", "1")));
    EXPECT_TRUE(state.apply({.conditions = {}, .changes = {{"a/1", {}, {}}, {"a/2", "2", {}}}}));
    Revision after(1);
    const std::vector<WatchEvent> events = state.changes("a/", after).value();
    EXPECT_EQ(after, Revision(3));
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].key, "a/1");
    EXPECT_FALSE(events[0].now.has_value());
    EXPECT_EQ(events[1].now->value, "2");
    EXPECT_TRUE(state.changes("a/", after)->empty());
}

TEST(MetadataState, SaysThatItHasForgotten) {
    MetadataState state(4);
    for (int i = 0; i < 6; ++i) {
        EXPECT_TRUE(state.apply(put("a", std::to_string(i))));
    }
    Revision lost(1);
    EXPECT_EQ(state.changes("", lost).error().code, Errc::kOutOfRange);
    Revision known(2);
    EXPECT_EQ(state.changes("", known)->size(), 4U);
    EXPECT_TRUE(state.forget(Revision(5)));
    EXPECT_EQ(state.forget(Revision(7)).error().code, Errc::kOutOfRange);
    EXPECT_TRUE(state.forget(Revision(3)));
    known = Revision(4);
    EXPECT_EQ(state.changes("", known).error().code, Errc::kOutOfRange);
    known = Revision(5);
    EXPECT_EQ(state.changes("", known)->size(), 1U);
}

TEST(MetadataState, KeysGoWithTheirLease) {
    MetadataState state;
    const LeaseId lease = state.grant(kSecond, 0);
    EXPECT_TRUE(state.apply(put("mine", "1", lease)));
    EXPECT_TRUE(state.apply(put("passed on", "1", lease)));
    EXPECT_TRUE(state.apply(put("passed on", "2")));  // Without it from now on.
    EXPECT_EQ(state.next_end_ns(), kSecond);
    EXPECT_TRUE(state.keep_alive(lease, kSecond / 2));
    EXPECT_EQ(state.overdue(kSecond), LeaseId());
    EXPECT_EQ(state.overdue(kSecond + kSecond / 2), lease);
    const Revision before = state.revision();
    EXPECT_TRUE(state.end_lease(lease));
    EXPECT_EQ(state.revision().raw(), before.raw() + 1);
    EXPECT_FALSE(state.get("mine"));
    EXPECT_TRUE(state.get("passed on"));
    EXPECT_EQ(state.keep_alive(lease, 0).error().code, Errc::kNotFound);
    EXPECT_EQ(state.end_lease(lease).error().code, Errc::kNotFound);
    EXPECT_EQ(state.apply(put("late", "1", lease)).error().code, Errc::kNotFound);
    EXPECT_NE(state.grant(kSecond, 0), lease);
}

}  // namespace
}  // namespace basalt::metadata
