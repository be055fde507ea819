#include "control/metadata/embedded_store.h"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "reactor/sim/world.h"

namespace basalt::metadata {
namespace {

namespace fs = std::filesystem;

/// What a watch was told.
struct Watcher : WatchUser {
    void changed(std::span<const WatchEvent> events) override {
        told.insert(told.end(), events.begin(), events.end());
    }
    void lost() override { is_lost = true; }

    std::vector<WatchEvent> told;
    bool is_lost = false;
};

class EmbeddedStoreTest : public testing::Test {
  protected:
    EmbeddedStoreTest() : reactor_(world_.add_reactor(world_.add_node())) {
        std::string name = (fs::temp_directory_path() / "metadata.XXXXXX").string();
        folder_ = mkdtemp(name.data());
        open();
    }
    ~EmbeddedStoreTest() override {
        store_.reset();
        fs::remove_all(folder_);
    }

    void open() {
        store_.reset();
        auto opened = EmbeddedStore::open(reactor_, path());
        ASSERT_TRUE(opened);
        store_ = std::move(opened).value();
    }
    [[nodiscard]] std::string path() const { return folder_ / "metadata.db"; }
    [[nodiscard]] Errc open_error(const std::string& path) {
        return EmbeddedStore::open(reactor_, path).error().code;
    }

    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(world_.run_until([&task] { return task.is_done(); }, 10 * kNsPerSecond));
        return task.result();
    }
    Result<Outcome> put(std::string key, std::string value, LeaseId lease = {}) {
        return wait(store_->commit(
            {.conditions = {},
             .changes = {{.key = std::move(key), .value = std::move(value), .lease = lease}}}));
    }
    std::string get(const std::string& key) {
        const Result<KeyValue> found = wait(store_->get(key));
        return found ? found->value : std::string("(none)");
    }

    sim::World world_{1, sim::calm()};
    Reactor& reactor_;
    fs::path folder_;
    std::unique_ptr<EmbeddedStore> store_;
};

TEST_F(EmbeddedStoreTest, WhatWasCommittedIsThereAgain) {
    EXPECT_TRUE(put("a", "1"));
    EXPECT_TRUE(put("b", std::string("\0binary\xff", 8)));
    EXPECT_TRUE(put("c", ""));
    EXPECT_TRUE(wait(store_->commit({.conditions = {}, .changes = {{"a", {}, {}}}})));
    const KeyValue before = wait(store_->get("b")).value();
    open();
    EXPECT_EQ(get("a"), "(none)");
    EXPECT_EQ(wait(store_->get("b")).value(), before);
    EXPECT_EQ(get("c"), "");
    EXPECT_EQ(put("d", "1")->revision, Revision(5));
}

TEST_F(EmbeddedStoreTest, WhatWasAnsweredIsInTheFilesOfThatMoment) {
    for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(put("key", std::to_string(i)));
        // As after the process was killed: the files as they are, whoever has them open.
        const fs::path copy = folder_ / "copy";
        fs::create_directory(copy);
        for (const char* name : {"metadata.db", "metadata.db-wal"}) {
            fs::copy_file(folder_ / name, copy / name);
        }
        auto found = EmbeddedStore::open(reactor_, copy / "metadata.db");
        ASSERT_TRUE(found);
        EXPECT_EQ(wait((*found)->get("key"))->value, std::to_string(i));
        found->reset();
        fs::remove_all(copy);
    }
}

TEST_F(EmbeddedStoreTest, OfManyAtOnceOneOfEachRevisionWins) {
    EXPECT_TRUE(put("counter", "0"));
    std::vector<Task<Result<Outcome>>> tasks;
    for (int i = 0; i < 50; ++i) {
        Transaction one{.conditions = {{"counter", Revision(1)}},
                        .changes = {{"counter", std::to_string(i), {}}}};
        tasks.push_back(store_->commit(std::move(one)));
    }
    int applied = 0;
    for (auto& task : tasks) {
        applied += wait(std::move(task))->is_applied ? 1 : 0;
    }
    EXPECT_EQ(applied, 1);
    EXPECT_EQ(get("counter"), "0");  // The first one's.
    EXPECT_EQ(wait(store_->get("counter"))->modified, Revision(2));
}

TEST_F(EmbeddedStoreTest, ListsAndRefusesLikeTheState) {
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(put("k" + std::to_string(i), "v"));
    }
    EXPECT_EQ(wait(store_->list("k", "k1", 2))->keys.size(), 2U);
    EXPECT_EQ(wait(store_->list("k", "", 0)).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(wait(store_->list("k", "", kPageKeysMax + 1)).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(put("", "1").error().code, Errc::kInvalidArgument);
    EXPECT_EQ(put("a", "1", LeaseId(9)).error().code, Errc::kNotFound);
    EXPECT_EQ(wait(store_->grant(1)).error().code, Errc::kInvalidArgument);
}

TEST_F(EmbeddedStoreTest, ALeaseEndsByTimeAndNotEarlier) {
    const LeaseId lease = wait(store_->grant(kNsPerSecond)).value();
    EXPECT_TRUE(put("mine", "1", lease));
    for (int i = 0; i < 5; ++i) {
        world_.run_for(900 * kNsPerMs);
        EXPECT_TRUE(wait(store_->keep_alive(lease)));
    }
    world_.run_for(990 * kNsPerMs);
    EXPECT_EQ(get("mine"), "1");
    world_.run_for(20 * kNsPerMs);
    EXPECT_EQ(get("mine"), "(none)");
    EXPECT_EQ(wait(store_->keep_alive(lease)).error().code, Errc::kNotFound);
    open();
    EXPECT_EQ(get("mine"), "(none)");
    EXPECT_EQ(wait(store_->keep_alive(lease)).error().code, Errc::kNotFound);
}

TEST_F(EmbeddedStoreTest, ALeaseIsAsLongAsEverAfterARestart) {
    const LeaseId lease = wait(store_->grant(kNsPerSecond)).value();
    EXPECT_TRUE(put("mine", "1", lease));
    world_.run_for(900 * kNsPerMs);
    open();
    world_.run_for(900 * kNsPerMs);
    EXPECT_EQ(get("mine"), "1");
    world_.run_for(200 * kNsPerMs);
    EXPECT_EQ(get("mine"), "(none)");
    EXPECT_NE(wait(store_->grant(kNsPerSecond)).value(), lease);
}

TEST_F(EmbeddedStoreTest, ARevokedLeaseTakesItsKeysAlong) {
    const LeaseId lease = wait(store_->grant(kNsPerSecond)).value();
    EXPECT_TRUE(put("mine", "1", lease));
    EXPECT_TRUE(wait(store_->revoke(lease)));
    EXPECT_EQ(get("mine"), "(none)");
    EXPECT_EQ(wait(store_->revoke(lease)).error().code, Errc::kNotFound);
    open();
    EXPECT_EQ(get("mine"), "(none)");
    EXPECT_EQ(wait(store_->keep_alive(lease)).error().code, Errc::kNotFound);
}

TEST_F(EmbeddedStoreTest, AWatchIsToldAllChangesOfItsPrefix) {
    EXPECT_TRUE(put("a/1", "1"));
    EXPECT_TRUE(put("a/2", "1"));
    Watcher all;
    Watcher late;
    store_->watch(all, "a/", Revision(1));
    EXPECT_TRUE(put("b/1", "1"));
    EXPECT_TRUE(put("a/1", "2"));
    store_->watch(late, "a/", Revision(4));
    const LeaseId lease = wait(store_->grant(kNsPerSecond)).value();
    EXPECT_TRUE(put("a/3", "1", lease));
    world_.run_for(2 * kNsPerSecond);
    std::vector<uint64_t> revisions;
    for (const WatchEvent& one : all.told) {
        revisions.push_back(one.revision.raw());
    }
    EXPECT_EQ(revisions, (std::vector<uint64_t>{2, 4, 5, 6}));
    EXPECT_FALSE(all.told.back().now.has_value());
    EXPECT_EQ(late.told.size(), 2U);
    store_->unwatch(all);
    store_->unwatch(late);
    EXPECT_TRUE(put("a/4", "1"));
    EXPECT_EQ(all.told.size(), 4U);
}

TEST_F(EmbeddedStoreTest, AWatchFromBeforeARestartIsLost) {
    EXPECT_TRUE(put("a", "1"));
    EXPECT_TRUE(put("a", "2"));
    open();
    Watcher watcher;
    store_->watch(watcher, "", Revision(1));
    world_.run_for(kNsPerMs);
    EXPECT_TRUE(watcher.is_lost);
}

TEST_F(EmbeddedStoreTest, AFailedWriteEndsItAndWhatWasAnsweredStays) {
    EXPECT_TRUE(put("a", "1"));
    Watcher watcher;
    store_->watch(watcher, "", Revision(1));
    signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit tight{.rlim_cur = 65536, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    const Result<Outcome> failed = put("a", std::string(200'000, 'x'));
    setrlimit(RLIMIT_FSIZE, &before);
    ASSERT_FALSE(failed);
    EXPECT_EQ(put("b", "1").error(), failed.error());
    EXPECT_EQ(wait(store_->get("a")).error(), failed.error());
    EXPECT_TRUE(watcher.is_lost);
    open();
    EXPECT_EQ(get("a"), "1");
    EXPECT_TRUE(put("a", "2"));
}

TEST_F(EmbeddedStoreTest, RefusesWhatIsNotItsOwn) {
    EXPECT_EQ(open_error(path()), Errc::kBusy);  // It is open.
    EXPECT_EQ(open_error(folder_ / "no folder" / "file"), Errc::kNotFound);
    const std::string other = folder_ / "other";
    std::ofstream(other) << std::string(8192, 'x');
    EXPECT_EQ(open_error(other), Errc::kDataCorrupt);
    const std::string foreign = folder_ / "foreign";
    EXPECT_TRUE((*SqliteFile::open(foreign))->run("CREATE TABLE theirs (x)"));
    EXPECT_EQ(open_error(foreign), Errc::kInvalidArgument);
    store_.reset();
    EXPECT_TRUE((*SqliteFile::open(path()))->run("PRAGMA user_version = 2"));
    EXPECT_EQ(open_error(path()), Errc::kNotSupported);
}

TEST_F(EmbeddedStoreTest, RefusesWhatDoesNotFitTogether) {
    EXPECT_TRUE(put("a", "1"));
    store_.reset();
    for (const char* damage : {"UPDATE entry SET lease = 7",
                               "UPDATE entry SET lease = 0, modified = 100",
                               "UPDATE entry SET modified = 1, created = 2",
                               "UPDATE entry SET created = 1, key = x''",
                               "DELETE FROM entry; INSERT INTO lease VALUES (5, 1000000000)"}) {
        EXPECT_TRUE((*SqliteFile::open(path()))->run(damage));
        EXPECT_EQ(open_error(path()), Errc::kDataCorrupt) << damage;
    }
}

}  // namespace
}  // namespace basalt::metadata
