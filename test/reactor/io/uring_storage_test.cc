#include "reactor/io/uring_storage.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/allocation_counter.h"
#include "reactor/io/posix_file_system.h"
#include "reactor/reactor.h"
#include "test/reactor/io/uring_test_support.h"

namespace basalt {
namespace {

constexpr uint64_t kFileBytes = 4 << 20;
constexpr size_t kBlockBytes = 4096;
constexpr size_t kArenaBytes = 1 << 20;

/// Nobody else is there.
class NoMailbox : public Mailbox {
  public:
    bool send(CoreId /*to*/, Event& /*event*/) override { return false; }
    uint32_t receive(std::span<Event*> /*out*/) override { return 0; }
    bool prepare_sleep() override { return true; }
    void awake() override {}
};

/// A request that notes its end.
struct TestRequest : FileRequest {
    TestRequest() {
        done.set_run([](Event& event, Reactor& here) {
            auto& self = *reinterpret_cast<TestRequest*>(&event);
            EXPECT_FALSE(self.is_done) << "done twice";
            self.is_done = true;
            self.ran_on = &here;
        });
    }
    bool is_done = false;
    Reactor* ran_on = nullptr;
};

std::byte* arena() {
    static auto* memory = static_cast<std::byte*>(
        mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return memory;
}

class UringStorageTest : public testing::TestWithParam<test::Kernel> {
  protected:
    void SetUp() override {
        driver_ = test::make_driver({.allowed = GetParam().allowed, .ring = {}, .buffers = {}});
        ASSERT_TRUE(driver_);
        reactor_ =
            std::make_unique<Reactor>(ReactorOptions(), test::test_clock(), *driver_, mailbox_);
        char name[] = "/tmp/basalt_storage_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        path_ = directory_ + "/drive";
        std::memset(arena(), 0, kArenaBytes);
    }

    void TearDown() override {
        if (file_.handle.is_valid()) {
            files_.close(file_.handle);
        }
        std::filesystem::remove_all(directory_);
        EXPECT_EQ(driver_->in_flight(), 0U);
    }

    void open(const OpenOptions& options = {.create_size_bytes = kFileBytes}) {
        auto file = files_.open(path_, options);
        ASSERT_TRUE(file) << describe(file.error().code);
        file_ = *file;
    }

    template <typename IsDone>
    bool poll(IsDone is_done) {
        const uint64_t end_ns = test::test_clock().now_ns() + 20 * kNsPerSecond;
        while (!is_done() && test::test_clock().now_ns() < end_ns) {
            reactor_->poll_once();
        }
        return is_done();
    }

    /// Runs one request to its end.
    Status run(TestRequest& request) {
        const uint32_t others = driver_->in_flight();
        request.file = file_.handle;
        request.is_done = false;
        reactor_->storage().submit(request);
        EXPECT_FALSE(request.is_done) << "done inside submit";
        EXPECT_EQ(driver_->in_flight(), others + 1);
        EXPECT_TRUE(poll([&] { return request.is_done; }));
        EXPECT_EQ(request.ran_on, reactor_.get());
        return request.status;
    }

    Status transfer(FileRequest::Op op, uint64_t offset, std::vector<iovec> pieces) {
        TestRequest request;
        request.op = op;
        request.offset_bytes = offset;
        request.pieces = pieces.data();
        request.piece_count = static_cast<uint32_t>(pieces.size());
        for (const iovec& piece : pieces) {
            request.length_bytes += piece.iov_len;
        }
        return run(request);
    }

    Status change(FileRequest::Op op, uint64_t offset, uint64_t length) {
        TestRequest request;
        request.op = op;
        request.offset_bytes = offset;
        request.length_bytes = length;
        return run(request);
    }

    /// Fills the arena from `at` on with the stream.
    static void fill(size_t at, size_t count) {
        for (size_t i = 0; i < count; ++i) {
            arena()[at + i] = test::stream_byte(i);
        }
    }

    /// Whether the file holds the stream at `offset`, by a way that is not ours.
    [[nodiscard]] bool file_holds_stream(uint64_t offset, size_t count) const {
        std::vector<std::byte> content(count);
        const int fd = ::open(path_.c_str(), O_RDONLY);
        const ssize_t read = pread(fd, content.data(), count, static_cast<off_t>(offset));
        ::close(fd);
        return read == static_cast<ssize_t>(count) && content == test::stream_bytes(0, count);
    }

    [[nodiscard]] uint64_t allocated_bytes() const {
        struct stat status {};
        EXPECT_EQ(stat(path_.c_str(), &status), 0);
        return static_cast<uint64_t>(status.st_blocks) * 512;
    }

    UringStorage& storage() { return static_cast<UringStorage&>(driver_->storage()); }

    std::unique_ptr<UringDriver> driver_;
    NoMailbox mailbox_;
    std::unique_ptr<Reactor> reactor_;
    PosixFileSystem files_;
    std::string directory_;
    std::string path_;
    FileInfo file_;
};

INSTANTIATE_TEST_SUITE_P(Kernels,
                         UringStorageTest,
                         testing::ValuesIn(test::kernels()),
                         test::kernel_name);

TEST_P(UringStorageTest, WritesAndReadsBackOnePiece) {
    open();
    fill(0, 65536);
    ASSERT_TRUE(transfer(FileRequest::Op::kWrite, 8192, {{arena(), 65536}}));
    EXPECT_TRUE(file_holds_stream(8192, 65536));
    std::byte* back = arena() + 131072;
    ASSERT_TRUE(transfer(FileRequest::Op::kRead, 8192, {{back, 65536}}));
    EXPECT_EQ(std::memcmp(arena(), back, 65536), 0);
}

TEST_P(UringStorageTest, WritesAndReadsBackManyPieces) {
    open();
    fill(0, 5 * kBlockBytes);
    ASSERT_TRUE(transfer(FileRequest::Op::kWrite,
                         kBlockBytes,
                         {{arena(), kBlockBytes},
                          {arena() + kBlockBytes, 3 * kBlockBytes},
                          {arena() + 4 * kBlockBytes, kBlockBytes}}));
    EXPECT_TRUE(file_holds_stream(kBlockBytes, 5 * kBlockBytes));
    std::byte* back = arena() + 131072;
    ASSERT_TRUE(transfer(FileRequest::Op::kRead,
                         kBlockBytes,
                         {{back, 2 * kBlockBytes}, {back + 2 * kBlockBytes, 3 * kBlockBytes}}));
    EXPECT_EQ(std::memcmp(arena(), back, 5 * kBlockBytes), 0);
}

TEST_P(UringStorageTest, WritesDurably) {
    open();
    fill(0, kBlockBytes);
    ASSERT_TRUE(transfer(FileRequest::Op::kWriteDurable, 0, {{arena(), kBlockBytes}}));
    EXPECT_TRUE(file_holds_stream(0, kBlockBytes));
    EXPECT_TRUE(change(FileRequest::Op::kFlush, 0, 0));
}

TEST_P(UringStorageTest, UsesRegisteredMemoryWhereItMay) {
    open();
    reactor_->storage().register_memory({arena(), kArenaBytes});
    fill(0, kBlockBytes);
    ASSERT_TRUE(transfer(FileRequest::Op::kWrite, 0, {{arena(), kBlockBytes}}));
    std::byte* last = arena() + kArenaBytes - kBlockBytes;
    ASSERT_TRUE(transfer(FileRequest::Op::kRead, 0, {{last, kBlockBytes}}));
    EXPECT_EQ(std::memcmp(arena(), last, kBlockBytes), 0);
    const bool may_use = GetParam().allowed.registered_memory;
    EXPECT_EQ(storage().fixed_transfers(), may_use ? 2U : 0U);

    // Memory beside it still works.
    auto* other = static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
    ASSERT_TRUE(transfer(FileRequest::Op::kRead, 0, {{other, kBlockBytes}}));
    EXPECT_EQ(std::memcmp(arena(), other, kBlockBytes), 0);
    std::free(other);
    EXPECT_EQ(storage().fixed_transfers(), may_use ? 2U : 0U);
}

TEST_P(UringStorageTest, FindsARegisteredFileInTheTableWhereItMay) {
    open();
    const bool may_use = test::kernel_has(GetParam()).registered_files;
    const FileHandle plain = file_.handle;
    const FileHandle registered = reactor_->storage().register_file(plain);
    EXPECT_EQ(registered != plain, may_use);
    file_.handle = registered;
    fill(0, 3 * kBlockBytes);
    EXPECT_TRUE(transfer(FileRequest::Op::kWriteDurable, 0, {{arena(), kBlockBytes}}));
    EXPECT_TRUE(
        transfer(FileRequest::Op::kWrite,
                 kBlockBytes,
                 {{arena() + kBlockBytes, kBlockBytes}, {arena() + 2 * kBlockBytes, kBlockBytes}}));
    EXPECT_TRUE(change(FileRequest::Op::kFlush, 0, 0));
    EXPECT_TRUE(change(FileRequest::Op::kPunchHole, 65536, 4096));
    EXPECT_TRUE(file_holds_stream(0, 3 * kBlockBytes));
    EXPECT_EQ(storage().fixed_file_requests(), may_use ? 4U : 0U);

    // Really by the table: it finds the file also when there is no such descriptor any more.
    files_.close(plain);
    const Status status = transfer(FileRequest::Op::kRead, 0, {{arena(), kBlockBytes}});
    EXPECT_EQ(status.has_value(), may_use);
    reactor_->storage().unregister_file(registered);
    file_.handle = {};
    // And is not held by it any longer than wanted: nobody has the lock.
    auto again = files_.open(path_, {});
    ASSERT_TRUE(again) << describe(again.error().code);
    files_.close(again->handle);
}

TEST_P(UringStorageTest, AFileTakenOutIsLetGoWhileAnotherOneIsAtWork) {
    open();
    const FileHandle registered = reactor_->storage().register_file(file_.handle);
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const FileHandle waiting = reactor_->storage().register_file(FileHandle{pipe[0]});
    const iovec piece{arena(), 1};
    TestRequest request;
    request.file = waiting;
    request.length_bytes = 1;
    request.pieces = &piece;
    request.piece_count = 1;
    reactor_->storage().submit(request);
    reactor_->poll_once();
    ASSERT_FALSE(request.is_done);
    file_.handle = registered;
    EXPECT_TRUE(transfer(FileRequest::Op::kRead, 0, {{arena(), kBlockBytes}}));
    reactor_->storage().unregister_file(registered);
    files_.close(FileHandle{registered.id & INT32_MAX});
    file_.handle = {};
    auto again = files_.open(path_, {});
    ASSERT_TRUE(again) << describe(again.error().code);
    files_.close(again->handle);
    ASSERT_EQ(write(pipe[1], "x", 1), 1);
    ASSERT_TRUE(poll([&] { return request.is_done; }));
    EXPECT_TRUE(request.status);
    reactor_->storage().unregister_file(waiting);
    ::close(pipe[0]);
    ::close(pipe[1]);
}

TEST_P(UringStorageTest, AFileThatFindsTheTableFullIsUsedAllTheSame) {
    open();
    const FileHandle plain = file_.handle;
    std::vector<FileHandle> handles;
    for (uint32_t i = 0; i <= UringStorage::kFilesMax; ++i) {
        handles.push_back(reactor_->storage().register_file(plain));
    }
    EXPECT_EQ(handles.back(), plain);
    fill(0, kBlockBytes);
    file_.handle = handles.back();
    EXPECT_TRUE(transfer(FileRequest::Op::kWrite, 0, {{arena(), kBlockBytes}}));
    EXPECT_EQ(storage().fixed_file_requests(), 0U);
    file_.handle = handles[UringStorage::kFilesMax - 1];
    EXPECT_TRUE(transfer(FileRequest::Op::kRead, 0, {{arena(), kBlockBytes}}));

    // A place that was given back is used again.
    reactor_->storage().unregister_file(handles[7]);
    const FileHandle again = reactor_->storage().register_file(plain);
    EXPECT_EQ(again, handles[7]);
    EXPECT_EQ(reactor_->storage().register_file(plain), plain);
    for (const FileHandle handle : handles) {
        reactor_->storage().unregister_file(handle);
    }
    file_.handle = plain;
}

TEST_P(UringStorageTest, APunchedHoleReadsAsZeroesAndGivesTheSpaceBack) {
    open();
    ASSERT_TRUE(file_.can_punch);
    std::memset(arena(), 0xFF, 65536);
    ASSERT_TRUE(transfer(FileRequest::Op::kWriteDurable, 0, {{arena(), 65536}}));
    const uint64_t before = allocated_bytes();
    ASSERT_TRUE(change(FileRequest::Op::kPunchHole, 4096, 32768));
    EXPECT_EQ(before - allocated_bytes(), 32768U);
    ASSERT_TRUE(transfer(FileRequest::Op::kRead, 0, {{arena(), 65536}}));
    const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
    EXPECT_TRUE(std::none_of(arena(), arena() + 4096, is_zero));
    EXPECT_TRUE(std::all_of(arena() + 4096, arena() + 36864, is_zero));
    EXPECT_TRUE(std::none_of(arena() + 36864, arena() + 65536, is_zero));
    EXPECT_EQ(*files_.size_bytes(file_.handle), kFileBytes);
}

TEST_P(UringStorageTest, AZeroedRangeReadsAsZeroesAndKeepsTheSpace) {
    open();
    std::memset(arena(), 0xFF, 65536);
    ASSERT_TRUE(transfer(FileRequest::Op::kWriteDurable, 0, {{arena(), 65536}}));
    const uint64_t before = allocated_bytes();
    ASSERT_TRUE(change(FileRequest::Op::kZeroRange, 4096, 32768));
    EXPECT_EQ(before, allocated_bytes());
    ASSERT_TRUE(transfer(FileRequest::Op::kRead, 0, {{arena(), 65536}}));
    const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
    EXPECT_TRUE(std::none_of(arena(), arena() + 4096, is_zero));
    EXPECT_TRUE(std::all_of(arena() + 4096, arena() + 36864, is_zero));
}

TEST_P(UringStorageTest, ZeroesByPunchingWhereTheFileSystemCanNotZero) {
    path_ = "/dev/shm/basalt_storage_" + std::to_string(getpid());  // tmpfs has no ZERO_RANGE.
    open();
    std::memset(arena(), 0xFF, 65536);
    ASSERT_TRUE(transfer(FileRequest::Op::kWrite, 0, {{arena(), 65536}}));
    const Status status = change(FileRequest::Op::kZeroRange, 0, 65536);
    EXPECT_TRUE(status);
    EXPECT_TRUE(transfer(FileRequest::Op::kRead, 0, {{arena(), 65536}}));
    EXPECT_TRUE(
        std::all_of(arena(), arena() + 65536, [](std::byte byte) { return byte == std::byte{0}; }));
    std::filesystem::remove(path_);
}

TEST_P(UringStorageTest, AReadPastTheEndFails) {
    open();
    EXPECT_EQ(transfer(FileRequest::Op::kRead, kFileBytes, {{arena(), kBlockBytes}}).error().code,
              Errc::kIo);
}

TEST_P(UringStorageTest, AReadAcrossTheEndFails) {
    open();
    EXPECT_EQ(transfer(FileRequest::Op::kRead,
                       kFileBytes - kBlockBytes,
                       {{arena(), kBlockBytes}, {arena() + kBlockBytes, kBlockBytes}})
                  .error()
                  .code,
              Errc::kIo);
    EXPECT_EQ(
        transfer(FileRequest::Op::kRead, kFileBytes - kBlockBytes, {{arena(), 3 * kBlockBytes}})
            .error()
            .code,
        Errc::kIo);
}

TEST_P(UringStorageTest, AnUnalignedTransferOfDirectIoFails) {
    open();
    ASSERT_GE(file_.alignment_bytes, 512U);
    EXPECT_EQ(transfer(FileRequest::Op::kWrite, 1, {{arena(), kBlockBytes}}).error().code,
              Errc::kInvalidArgument);
}

TEST_P(UringStorageTest, AWriteToAFileOpenForReadingFails) {
    open();
    files_.close(file_.handle);
    open({.read_only = true});
    EXPECT_FALSE(transfer(FileRequest::Op::kWrite, 0, {{arena(), kBlockBytes}}));
    EXPECT_TRUE(transfer(FileRequest::Op::kRead, 0, {{arena(), kBlockBytes}}));
}

TEST_P(UringStorageTest, ARequestForNoFileFails) {
    EXPECT_FALSE(transfer(FileRequest::Op::kRead, 0, {{arena(), kBlockBytes}}));
}

TEST_P(UringStorageTest, ContinuesAfterAShortTransfer) {
    open();
    // A write beyond the file size limit is cut at the limit; what is left then fails.
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlimit low{.rlim_cur = kFileBytes + kBlockBytes, .rlim_max = limit.rlim_max};
    struct sigaction ignore {};
    struct sigaction before {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &ignore, &before);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
    fill(0, 4 * kBlockBytes);
    const Status status =
        transfer(FileRequest::Op::kWrite,
                 kFileBytes - kBlockBytes,
                 {{arena(), kBlockBytes}, {arena() + kBlockBytes, 3 * kBlockBytes}});
    setrlimit(RLIMIT_FSIZE, &limit);
    sigaction(SIGXFSZ, &before, nullptr);
    EXPECT_FALSE(status);
    EXPECT_EQ(status.error().error_number, EFBIG);
    EXPECT_TRUE(file_holds_stream(kFileBytes - kBlockBytes, 2 * kBlockBytes));
}

TEST_P(UringStorageTest, ManyRequestsAtOnceAllEnd) {
    open();
    fill(0, kArenaBytes);
    constexpr size_t kCount = 3000;  // More than the submission queue holds.
    std::vector<TestRequest> requests(kCount);
    std::vector<iovec> pieces(kCount);
    for (size_t i = 0; i < kCount; ++i) {
        const size_t block = i % 256;
        pieces[i] = {arena() + block * kBlockBytes, kBlockBytes};
        requests[i].op = FileRequest::Op::kWrite;
        requests[i].file = file_.handle;
        requests[i].offset_bytes = block * kBlockBytes;
        requests[i].length_bytes = kBlockBytes;
        requests[i].pieces = &pieces[i];
        requests[i].piece_count = 1;
        reactor_->storage().submit(requests[i]);
    }
    EXPECT_EQ(driver_->in_flight(), kCount);
    ASSERT_TRUE(poll([&] { return driver_->in_flight() == 0; }));
    for (const TestRequest& request : requests) {
        EXPECT_TRUE(request.is_done);
        EXPECT_TRUE(request.status);
    }
    EXPECT_TRUE(file_holds_stream(0, kArenaBytes));
}

TEST_P(UringStorageTest, TransfersWithoutAllocating) {
    open();
    const iovec piece{arena(), kBlockBytes};
    TestRequest request;
    request.op = FileRequest::Op::kRead;
    request.length_bytes = kBlockBytes;
    request.pieces = &piece;
    request.piece_count = 1;
    const uint64_t before = thread_allocations();
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(run(request));
    }
    EXPECT_EQ(thread_allocations(), before);
}

TEST_P(UringStorageTest, AnIoEndsTheSleep) {
    open();
    TestRequest request;
    request.file = file_.handle;
    request.op = FileRequest::Op::kFlush;
    reactor_->storage().submit(request);
    const uint64_t start_ns = test::test_clock().now_ns();
    while (!request.is_done) {
        driver_->wait(start_ns + 10 * kNsPerSecond);
        driver_->poll();
    }
    EXPECT_LT(test::test_clock().now_ns() - start_ns, 5 * kNsPerSecond);
}

struct TestCommand : PassthroughRequest {
    TestCommand() {
        done.set_run([](Event& event, Reactor& /*here*/) {
            reinterpret_cast<TestCommand*>(&event)->is_done = true;
        });
    }
    bool is_done = false;
};

TEST_P(UringStorageTest, AnNvmeCommandToSomethingElseFailsAndEndsTheSleep) {
    open();
    TestCommand command;
    command.device = file_.handle;
    reactor_->storage().submit(command);
    EXPECT_EQ(driver_->in_flight(), 1U);
    while (!command.is_done) {
        driver_->wait(test::test_clock().now_ns() + 10 * kNsPerSecond);
        driver_->poll();
    }
    EXPECT_EQ(command.status.error().code, Errc::kNotSupported);
    EXPECT_EQ(driver_->in_flight(), 0U);
}

}  // namespace
}  // namespace basalt
