#include "reactor/io/posix_file_system.h"

#include <bit>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace basalt {
namespace {

constexpr uint64_t kFileBytes = 1 << 20;

class PosixFileSystemTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/basalt_files_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        path_ = directory_ + "/drive";
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    Errc code_of(const std::string& path, const OpenOptions& options) {
        const auto file = files_.open(path, options);
        if (file) {
            files_.close(file->handle);
            return Errc::kOk;
        }
        return file.error().code;
    }

    PosixFileSystem files_;
    std::string directory_;
    std::string path_;
};

TEST_F(PosixFileSystemTest, CreatesAMissingFileSparse) {
    const auto file = files_.open(path_, {.create_size_bytes = kFileBytes});
    ASSERT_TRUE(file);
    EXPECT_EQ(file->size_bytes, kFileBytes);
    EXPECT_EQ(*files_.size_bytes(file->handle), kFileBytes);
    EXPECT_TRUE(std::has_single_bit(file->alignment_bytes));
    EXPECT_GE(file->alignment_bytes, 512U);
    EXPECT_LE(file->alignment_bytes, 4096U);
    EXPECT_TRUE(file->can_punch);
    EXPECT_FALSE(file->is_block_device);
    struct stat status {};
    ASSERT_EQ(stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_blocks, 0);
    files_.close(file->handle);
}

TEST_F(PosixFileSystemTest, KeepsTheSizeOfAFileThatIsThere) {
    std::ofstream(path_) << std::string(12345, 'x');
    const auto file = files_.open(path_, {.create_size_bytes = kFileBytes});
    ASSERT_TRUE(file);
    EXPECT_EQ(file->size_bytes, 12345U);
    files_.close(file->handle);
}

TEST_F(PosixFileSystemTest, DoesNotCreateUnlessAsked) {
    EXPECT_EQ(code_of(path_, {}), Errc::kNotFound);
    EXPECT_EQ(code_of(path_, {.read_only = true, .create_size_bytes = kFileBytes}),
              Errc::kNotFound);
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(PosixFileSystemTest, LeavesNoFileBehindWhenCreatingFails) {
    EXPECT_NE(code_of(path_, {.create_size_bytes = uint64_t{1} << 62}), Errc::kOk);
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(PosixFileSystemTest, ASecondOpenOfAFileInUseIsBusy) {
    const auto file = files_.open(path_, {.create_size_bytes = kFileBytes});
    ASSERT_TRUE(file);
    EXPECT_EQ(code_of(path_, {}), Errc::kBusy);
    EXPECT_EQ(code_of(path_, {.read_only = true}), Errc::kBusy);
    // Another process, too.
    const pid_t child = fork();
    if (child == 0) {
        _exit(code_of(path_, {}) == Errc::kBusy ? 0 : 1);
    }
    int status = 1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    files_.close(file->handle);
    EXPECT_EQ(code_of(path_, {}), Errc::kOk);
}

TEST_F(PosixFileSystemTest, ReadersShareAFile) {
    std::ofstream(path_) << "x";
    const auto first = files_.open(path_, {.read_only = true});
    ASSERT_TRUE(first);
    EXPECT_FALSE(first->can_punch);
    EXPECT_EQ(code_of(path_, {.read_only = true}), Errc::kOk);
    EXPECT_EQ(code_of(path_, {}), Errc::kBusy);
    files_.close(first->handle);
}

TEST_F(PosixFileSystemTest, RefusesWhatIsNoFileOrDevice) {
    EXPECT_EQ(code_of(directory_, {}), Errc::kInvalidArgument);
    const std::string pipe = directory_ + "/pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_EQ(code_of(pipe, {}), Errc::kInvalidArgument);
    EXPECT_EQ(code_of(directory_ + "/no/such", {}), Errc::kNotFound);
    std::ofstream(path_) << "x";
    EXPECT_EQ(code_of(path_ + "/below", {}), Errc::kNotFound);
}

TEST_F(PosixFileSystemTest, TellsWhatASparseFileTakes) {
    constexpr uint64_t kBytes = 65536;
    const auto file = files_.open(path_, {.direct = false, .create_size_bytes = 1024 * kBytes});
    ASSERT_TRUE(file);
    EXPECT_EQ(*files_.allocated_bytes(file->handle), 0U);
    EXPECT_GE(file->allocation_bytes, 512U);
    std::fstream(path_, std::ios::in | std::ios::out) << std::string(kBytes, 'x') << std::flush;
    const Result<uint64_t> allocated = files_.allocated_bytes(file->handle);
    ASSERT_TRUE(allocated);
    EXPECT_GE(*allocated, kBytes);
    EXPECT_LT(*allocated, 64 * kBytes);
    files_.close(file->handle);
}

TEST_F(PosixFileSystemTest, OpensACharacterDevice) {
    const auto device = files_.open("/dev/zero", {.read_only = true});
    ASSERT_TRUE(device);
    EXPECT_EQ(device->size_bytes, 0U);
    EXPECT_FALSE(device->is_block_device);
    EXPECT_FALSE(device->can_punch);
    files_.close(device->handle);
}

TEST_F(PosixFileSystemTest, BufferedIoHasNoAlignment) {
    const auto file = files_.open(path_, {.direct = false, .create_size_bytes = kFileBytes});
    ASSERT_TRUE(file);
    EXPECT_EQ(file->alignment_bytes, 1U);
    files_.close(file->handle);
}

}  // namespace
}  // namespace basalt
