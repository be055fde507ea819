#include "control/metadata/embedded_store.h"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "reactor/sim/world.h"
#include "test/control/metadata/conformance.h"

namespace basalt::metadata {
namespace {

namespace fs = std::filesystem;

/// A folder of its own, removed at the end.
class Folder {
  public:
    Folder() {
        std::string name = (fs::temp_directory_path() / "metadata.XXXXXX").string();
        path_ = mkdtemp(name.data());
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { fs::remove_all(path_); }

    [[nodiscard]] fs::path operator/(const char* name) const { return path_ / name; }

  private:
    fs::path path_;
};

class EmbeddedUnderTest final : public StoreUnderTest {
  public:
    EmbeddedUnderTest() : store_(EmbeddedStore::open(reactor_, folder_ / "db").value()) {}
    ~EmbeddedUnderTest() override { store_.reset(); }

    [[nodiscard]] MetadataStore& store() override { return *store_; }
    [[nodiscard]] MetadataStore& other() override { return *store_; }
    void step() override { world_.run_for(kNsPerMs); }
    [[nodiscard]] uint64_t now_ns() override { return world_.now_ns(); }

  private:
    Folder folder_;
    sim::World world_{1, sim::calm()};
    Reactor& reactor_{world_.add_reactor(world_.add_node())};
    std::unique_ptr<EmbeddedStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Embedded,
                         MetadataStoreConformance,
                         testing::Values(StoreKind{.name = "Embedded",
                                                   .make = []() -> std::unique_ptr<StoreUnderTest> {
                                                       return std::make_unique<EmbeddedUnderTest>();
                                                   },
                                                   .shortest_lease_ns = kLeaseMinNs}),
                         name_of_kind);

class EmbeddedStoreTest : public testing::Test {
  protected:
    EmbeddedStoreTest() : reactor_(world_.add_reactor(world_.add_node())) { open(); }

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
    Folder folder_;
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
