#include "reactor/io/posix_stream_files.h"

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace basalt {
namespace {

class PosixStreamFilesTest : public testing::Test {
  protected:
    void SetUp() override {
        std::signal(SIGPIPE, SIG_IGN);
        char name[] = "/tmp/basalt_streams_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        path_ = directory_ + "/s";
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    Errc code_of(const std::string& path, StreamUse use) {
        const Result<StreamInfo> opened = files_.open(path, use);
        if (opened) {
            files_.close(opened->handle);
            return Errc::kOk;
        }
        return opened.error().code;
    }

    PosixStreamFiles files_;
    std::string directory_;
    std::string path_;
};

TEST_F(PosixStreamFilesTest, MakesAFileAndNeverWritesOverOne) {
    const Result<StreamInfo> made = files_.open(path_, StreamUse::kWrite);
    ASSERT_TRUE(made);
    EXPECT_FALSE(made->is_pipe);
    files_.close(made->handle);
    EXPECT_EQ(code_of(path_, StreamUse::kWrite), Errc::kExists);
    EXPECT_EQ(code_of(path_, StreamUse::kRead), Errc::kOk);
    EXPECT_EQ(code_of(path_ + "x", StreamUse::kRead), Errc::kNotFound);
    EXPECT_EQ(code_of(directory_ + "/none/s", StreamUse::kWrite), Errc::kNotFound);
}

TEST_F(PosixStreamFilesTest, RefusesWhatIsNeitherFileNorPipe) {
    EXPECT_EQ(code_of(directory_, StreamUse::kRead), Errc::kInvalidArgument);
    EXPECT_EQ(code_of("/dev/null", StreamUse::kWrite), Errc::kInvalidArgument);
}

TEST_F(PosixStreamFilesTest, APipeNeverBlocks) {
    ASSERT_EQ(mkfifo(path_.c_str(), S_IRUSR | S_IWUSR), 0);
    EXPECT_EQ(code_of(path_, StreamUse::kWrite), Errc::kTryAgain) << "nobody reads";
    const Result<StreamInfo> reader = files_.open(path_, StreamUse::kRead);
    ASSERT_TRUE(reader);
    EXPECT_TRUE(reader->is_pipe);
    std::vector<std::byte> memory(size_t{4} << 20U, std::byte{7});
    EXPECT_EQ(*files_.read_now(reader->handle, memory), 0U) << "nobody writes yet";
    const Result<StreamInfo> writer = files_.open(path_, StreamUse::kWrite);
    ASSERT_TRUE(writer);
    EXPECT_EQ(files_.read_now(reader->handle, memory).error().code, Errc::kTryAgain);
    const Result<size_t> put = files_.write_now(writer->handle, memory);
    ASSERT_TRUE(put);
    EXPECT_GT(*put, 0U);
    EXPECT_LT(*put, memory.size());
    EXPECT_EQ(files_.write_now(writer->handle, memory).error().code, Errc::kTryAgain) << "full";
    EXPECT_EQ(*files_.read_now(reader->handle, std::span(memory).first(100)), 100U);
    files_.close(writer->handle);
    size_t left = *put - 100;
    while (left > 0) {
        left -= *files_.read_now(reader->handle, memory);
    }
    EXPECT_EQ(*files_.read_now(reader->handle, memory), 0U) << "the end";
    const Result<StreamInfo> again = files_.open(path_, StreamUse::kWrite);
    ASSERT_TRUE(again);
    files_.close(reader->handle);
    EXPECT_EQ(files_.write_now(again->handle, memory).error().code, Errc::kConnectionClosed);
    files_.close(again->handle);
}

}  // namespace
}  // namespace basalt
