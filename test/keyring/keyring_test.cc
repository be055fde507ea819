#include "keyring/keyring.h"

#include <cerrno>
#include <utility>

#include <gtest/gtest.h>

namespace basalt {
namespace {

class KeyringTest : public testing::Test {
  protected:
    KeyringTest() {
        files_.put("/a", "secret a");
        files_.put("/b", "secret b");
    }

    MemoryKeyFiles files_;
    Keyring ring_{files_};
};

TEST_F(KeyringTest, FindsAndReadsAKeyByItsName) {
    ASSERT_TRUE(ring_.add_file_key("key0", "/a"));
    for (const char* name : {"key0", ":key0"}) {
        const Result<KeyReference> key = ring_.find(name);
        ASSERT_TRUE(key);
        EXPECT_TRUE(*key);
        EXPECT_EQ(key->name(), "key0");
        EXPECT_EQ(key->read()->text(), "secret a");
    }
    EXPECT_EQ(ring_.find("key1").error(), Error(Errc::kNotFound, 0, ENOKEY));
}

TEST_F(KeyringTest, RefusesNamesThatMakeNoSenseAndFilesThatDoNotServe) {
    EXPECT_EQ(ring_.add_file_key("", "/a").error().code, Errc::kInvalidArgument);
    EXPECT_EQ(ring_.add_file_key(":", "/a").error().code, Errc::kInvalidArgument);
    EXPECT_EQ(ring_.add_file_key("ring:key0", "/a").error().code, Errc::kInvalidArgument);
    EXPECT_EQ(ring_.add_file_key("key0", "/none").error().code, Errc::kNotFound);
    EXPECT_TRUE(ring_.list().empty());
}

TEST_F(KeyringTest, RefusesANameThatIsTaken) {
    ASSERT_TRUE(ring_.add_file_key("key0", "/a"));
    EXPECT_EQ(ring_.add_file_key("key0", "/b").error().code, Errc::kExists);
    EXPECT_EQ(ring_.add_file_key(":key0", "/b").error().code, Errc::kExists);
}

TEST_F(KeyringTest, ReadsTheContentsThatTheFileHasNow) {
    ASSERT_TRUE(ring_.add_file_key("key0", "/a"));
    const Result<KeyReference> key = ring_.find("key0");
    files_.put("/a", "replaced");
    EXPECT_EQ(key->read()->text(), "replaced");
    files_.remove("/a");
    EXPECT_EQ(key->read().error().code, Errc::kNotFound);
}

TEST_F(KeyringTest, ARemovedKeyIsReadByNobodyEvenIfItsNameIsTakenAgain) {
    ASSERT_TRUE(ring_.add_file_key("key0", "/a"));
    Result<KeyReference> old_key = ring_.find("key0");
    ASSERT_TRUE(ring_.remove_key("key0"));
    EXPECT_EQ(ring_.remove_key("key0").error(), Error(Errc::kNotFound, 0, ENOKEY));
    EXPECT_EQ(old_key->read().error().code, Errc::kNotFound);
    ASSERT_TRUE(ring_.add_file_key("key0", "/b"));
    EXPECT_EQ(old_key->read().error().code, Errc::kNotFound);
    EXPECT_EQ(old_key->name(), "key0");
    EXPECT_EQ(ring_.find("key0")->read()->text(), "secret b");
}

TEST_F(KeyringTest, ListsKeysAndTheirUsersWithoutContents) {
    ASSERT_TRUE(ring_.add_file_key("b", "/b"));
    ASSERT_TRUE(ring_.add_file_key("a", "/a"));
    Result<KeyReference> first = ring_.find("b");
    KeyReference second = first->again();
    auto infos = ring_.list();
    ASSERT_EQ(infos.size(), 2U);
    EXPECT_EQ(infos[0].name, "a");
    EXPECT_EQ(infos[0].path, "/a");
    EXPECT_EQ(infos[0].reference_count, 1U);
    EXPECT_EQ(infos[1].reference_count, 3U);
    ASSERT_TRUE(ring_.remove_key("b"));
    infos = ring_.list();
    ASSERT_EQ(infos.size(), 2U);
    EXPECT_TRUE(infos[1].is_removed);
    EXPECT_EQ(infos[1].path, "");
    EXPECT_EQ(infos[1].reference_count, 2U);
    first->reset();
    second = KeyReference();
    EXPECT_EQ(ring_.list().size(), 1U);
}

TEST_F(KeyringTest, AReferenceToNothingReadsNothing) {
    const KeyReference none;
    EXPECT_FALSE(none);
    EXPECT_EQ(none.name(), "");
    EXPECT_EQ(none.read().error().code, Errc::kNotFound);
    EXPECT_FALSE(none.again());
}

}  // namespace
}  // namespace basalt
