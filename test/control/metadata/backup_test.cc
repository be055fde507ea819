#include "control/metadata/backup.h"

#include <bit>
#include <cstring>

#include <gtest/gtest.h>

#include "control/metadata/limits.h"
#include "control/metadata/sim/simulated_store.h"
#include "reactor/sim/world.h"
#include "test/control/metadata/store_under_test.h"

namespace basalt::metadata {
namespace {

/// Two clusters' metadata in one world.
class BackupTest : public testing::Test {
  protected:
    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(world_.run_until([&task] { return task.is_done(); }, 1000 * kNsPerSecond));
        return task.result();
    }
    void put(const std::string& key, const std::string& value, LeaseId lease = {}) {
        EXPECT_TRUE(wait(old_.commit({.conditions = {}, .changes = {put_of(key, value, lease)}})));
    }
    /// As many keys as several pages and transactions have, and what is special.
    void fill() {
        for (uint32_t i = 0; i < 20; ++i) {
            std::vector<Change> changes;
            for (uint32_t k = 0; k < kTransactionItemsMax; ++k) {
                changes.push_back(put_of("key" + std::to_string(i * 1000 + k), "v"));
            }
            EXPECT_TRUE(wait(old_.commit({.conditions = {}, .changes = changes})));
        }
        put("large", std::string(kTransactionBytesMax - 5, 'x'));
        put("large too", std::string(kTransactionBytesMax - 9, 'y'));
        put(std::string("\0\xff", 2), "");
    }
    std::string exported(MetadataStore& store) { return wait(export_metadata(store)).value(); }
    void expect_moved() {
        EXPECT_EQ(exported(new_), exported(old_));
        EXPECT_FALSE(metadata_.state().get(kImportKey));
    }

    sim::World world_{1, sim::calm()};
    Reactor& here_{world_.add_reactor(world_.add_node())};
    SimulatedMetadata old_metadata_{here_.clock(), 1};
    SimulatedMetadata metadata_{here_.clock(), 2};
    SimulatedStore old_{here_, old_metadata_};
    SimulatedStore new_{here_, metadata_};
};

TEST_F(BackupTest, MovesAllThatHasNoLease) {
    fill();
    const LeaseId lease = wait(old_.grant(1000 * kNsPerSecond)).value();
    put("somebody's", "1", lease);
    EXPECT_TRUE(wait(move_metadata(old_, new_)));
    expect_moved();
    EXPECT_EQ(metadata_.state().get("large")->value.size(), kTransactionBytesMax - 5);
    EXPECT_FALSE(metadata_.state().get("somebody's"));
    EXPECT_EQ(read_backup(exported(new_))->size(), 20 * kTransactionItemsMax + 3);
}

TEST_F(BackupTest, MovesNothingIntoAStoreThatIsInUse) {
    put("a", "1");
    EXPECT_TRUE(wait(new_.commit({.conditions = {}, .changes = {put_of("theirs", "1")}})));
    EXPECT_EQ(wait(move_metadata(old_, new_)).error().code, Errc::kExists);
    EXPECT_FALSE(metadata_.state().get("a"));
}

TEST_F(BackupTest, AnImportThatWasBrokenOffGoesOnAndNobodyTakesItForAll) {
    fill();
    const std::string backup = exported(old_);
    metadata_.faults = {
        .timeout_ns = kNsPerMs, .request_lost_ppm = 30'000, .answer_lost_ppm = 30'000};
    Status imported = wait(import_metadata(new_, backup));
    EXPECT_FALSE(imported);
    put("another", "1");
    const std::string other = exported(old_);
    int times = 1;
    for (; !imported && times < 1000; ++times) {
        if (metadata_.state().get(kImportKey)) {
            const Errc refusal = wait(import_metadata(new_, other)).error().code;
            EXPECT_TRUE(refusal == Errc::kBusy || refusal == Errc::kTimedOut ||
                        refusal == Errc::kUnreachable);
            EXPECT_FALSE(wait(export_metadata(new_)));
        }
        imported = wait(import_metadata(new_, backup));
        if (!imported && !metadata_.state().get(kImportKey) && metadata_.state().revision().raw()) {
            // All done, but for the last answer.
            EXPECT_EQ(imported.error().code, Errc::kTimedOut);
            break;
        }
    }
    EXPECT_GE(times, 3);
    metadata_.faults = {};
    EXPECT_EQ(exported(new_), backup);
}

TEST_F(BackupTest, OfTwoWhoImportOneGetsThrough) {
    fill();
    const std::string backup = exported(old_);
    SimulatedStore second(here_, metadata_);
    Task<Status> one = import_metadata(new_, backup);
    Task<Status> two = import_metadata(second, backup);
    const Status first_done = wait(std::move(one));
    const Status second_done = wait(std::move(two));
    EXPECT_NE(first_done.has_value(), second_done.has_value());
    expect_moved();
}

TEST_F(BackupTest, IsOfOneRevisionWhateverHappensMeanwhile) {
    fill();
    Task<Result<std::string>> task = export_metadata(old_);
    for (int i = 0; i < 2; ++i) {
        // Both or none are in a backup.
        EXPECT_TRUE(wait(old_.commit(
            {.conditions = {},
             .changes = {put_of("a", std::to_string(i)), put_of("z", std::to_string(i))}})));
    }
    const std::string backup = wait(std::move(task)).value();
    const std::vector<BackupEntry> entries = read_backup(backup).value();
    std::string_view a;
    std::string_view z;
    for (const BackupEntry& one : entries) {
        a = one.key == "a" ? one.value : a;
        z = one.key == "z" ? one.value : z;
    }
    EXPECT_EQ(a, z);
}

TEST_F(BackupTest, RefusesWhatIsNotABackupOrADamagedOne) {
    put("a", "1");
    put("b", "22");
    const std::string good = exported(old_);
    EXPECT_EQ(read_backup(good)->size(), 2U);
    for (size_t bytes = 0; bytes < good.size(); ++bytes) {
        EXPECT_FALSE(read_backup(good.substr(0, bytes)));
    }
    EXPECT_FALSE(read_backup(good + "x"));
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
        std::string bad = good;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
        EXPECT_FALSE(read_backup(bad));
        EXPECT_FALSE(wait(import_metadata(new_, bad)));
    }
    std::string newer = good;
    newer[16] = 2;
    EXPECT_EQ(read_backup(newer).error().code, Errc::kNotSupported);
    EXPECT_EQ(metadata_.state().revision(), Revision());
}

}  // namespace
}  // namespace basalt::metadata
