#pragma once

#include <memory>
#include <ostream>
#include <string>

#include "test/control/metadata/store_under_test.h"

namespace basalt::metadata {

/// A kind of store, for which all that MetadataStore promises is tested. A value.
struct StoreKind {
    const char* name;
    std::unique_ptr<StoreUnderTest> (*make)();
    uint64_t shortest_lease_ns;  ///< That this kind does not make longer.
};
inline std::ostream& operator<<(std::ostream& out, const StoreKind& kind) {
    return out << kind.name;
}

class MetadataStoreConformance : public testing::TestWithParam<StoreKind> {
  protected:
    MetadataStoreConformance() : world_(GetParam().make()), store_(world_->store()) {}

    template <typename T>
    T wait(Task<T> task) {
        return world_->wait(std::move(task));
    }
    Result<Outcome> commit(std::vector<Condition> conditions, std::vector<Change> changes) {
        return wait(
            store_.commit({.conditions = std::move(conditions), .changes = std::move(changes)}));
    }
    Result<Outcome> put(std::string key, std::string value, LeaseId lease = {}) {
        return commit({}, {put_of(std::move(key), std::move(value), lease)});
    }
    std::string get(const std::string& key) {
        const Result<KeyValue> found = wait(store_.get(key));
        EXPECT_TRUE(found || found.error().code == Errc::kNotFound);
        return found ? found->value : std::string("(none)");
    }
    Result<Page> list(std::string prefix, std::string after, uint32_t limit, Revision at = {}) {
        return wait(store_.list(
            {.prefix = std::move(prefix), .after = std::move(after), .limit = limit, .at = at}));
    }
    Revision now() { return list("", "", 1)->revision; }
    /// Until the watch was told `count` events, and none besides for a while.
    void expect_told(const Watcher& watcher, size_t count) {
        EXPECT_TRUE(
            world_->run_until([&] { return watcher.told.size() >= count || watcher.is_lost; }));
        world_->run_for(20 * kNsPerMs);
        EXPECT_EQ(watcher.told.size(), count);
        EXPECT_FALSE(watcher.is_lost);
    }

    std::unique_ptr<StoreUnderTest> world_;
    MetadataStore& store_;
};

/// The name of a test of this kind.
inline std::string name_of_kind(const testing::TestParamInfo<StoreKind>& info) {
    return info.param.name;
}

}  // namespace basalt::metadata
