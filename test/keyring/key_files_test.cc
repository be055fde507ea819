#include "keyring/key_files.h"

#include <cerrno>
#include <cstdlib>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace basalt {
namespace {

class PosixKeyFilesTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "keysXXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override {
        unlink(path().c_str());
        rmdir(folder_.c_str());
    }

    [[nodiscard]] std::string path() const { return folder_ + "/key"; }
    void write(const std::string& contents, mode_t mode) const {
        const int fd = open(path().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::write(fd, contents.data(), contents.size()),
                  static_cast<ssize_t>(contents.size()));
        ASSERT_EQ(fchmod(fd, mode), 0);
        close(fd);
    }

    std::string folder_;
    PosixKeyFiles files_;
};

TEST_F(PosixKeyFilesTest, ReadsAFileThatOnlyItsOwnerMayRead) {
    write("DHHC-1:00:abc:\n", 0600);
    EXPECT_TRUE(files_.check(path()));
    const Result<Secret> secret = files_.read(path());
    ASSERT_TRUE(secret);
    EXPECT_EQ(secret->text(), "DHHC-1:00:abc:");
    write("x", 0400);
    EXPECT_TRUE(files_.check(path()));
}

TEST_F(PosixKeyFilesTest, RefusesAnyRightOfOthers) {
    for (const mode_t mode : {0640U, 0604U, 0610U, 0601U, 0620U, 0602U, 0777U}) {
        write("x", mode);
        const Status status = files_.check(path());
        ASSERT_FALSE(status) << std::oct << mode;
        EXPECT_EQ(status.error(), Error(Errc::kPermissionDenied, 0, EPERM));
        const Result<Secret> secret = files_.read(path());
        ASSERT_FALSE(secret) << std::oct << mode;
        EXPECT_EQ(secret.error().code, Errc::kPermissionDenied);
    }
}

TEST_F(PosixKeyFilesTest, RefusesAFileOfAnotherUser) {
    if (geteuid() != 0) {
        GTEST_SKIP() << "only root can give files away";
    }
    write("x", 0600);
    ASSERT_EQ(chown(path().c_str(), 12345, 12345), 0);
    EXPECT_EQ(files_.check(path()).error().code, Errc::kPermissionDenied);
}

TEST_F(PosixKeyFilesTest, RefusesRelativePathsFoldersFifosAndWhatIsTooLong) {
    EXPECT_EQ(files_.check("key").error(), Error(Errc::kPermissionDenied, 0, EPERM));
    EXPECT_EQ(files_.read("key").error().code, Errc::kPermissionDenied);
    EXPECT_EQ(files_.check("").error().code, Errc::kPermissionDenied);
    EXPECT_EQ(files_.check(path()).error(), Error(Errc::kNotFound, 0, ENOENT));
    ASSERT_EQ(mkdir(path().c_str(), 0700), 0);
    EXPECT_EQ(files_.check(path()).error().code, Errc::kPermissionDenied);
    rmdir(path().c_str());
    ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
    EXPECT_EQ(files_.check(path()).error().code, Errc::kPermissionDenied);
    unlink(path().c_str());
    write(std::string(kKeyFileBytesMax, 'x'), 0600);
    EXPECT_TRUE(files_.check(path()));
    write(std::string(kKeyFileBytesMax + 1, 'x'), 0600);
    EXPECT_EQ(files_.check(path()).error().code, Errc::kOutOfRange);
    EXPECT_EQ(files_.read(path()).error().code, Errc::kOutOfRange);
}

TEST(MemoryKeyFiles, ReadsWhatWasPut) {
    MemoryKeyFiles files;
    EXPECT_EQ(files.check("/a").error().code, Errc::kNotFound);
    files.put("/a", "one");
    files.put("/a", "two");
    EXPECT_TRUE(files.check("/a"));
    EXPECT_EQ(files.read("/a")->text(), "two");
    files.remove("/a");
    EXPECT_EQ(files.read("/a").error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace basalt
