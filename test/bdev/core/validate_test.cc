#include "bdev/core/validate.h"

#include <array>

#include <gtest/gtest.h>

#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

BdevInfo make_info() {
    BdevInfo info;
    info.name = "d";
    info.block_size_bytes = 512;
    info.block_count = BlockCount(100);
    info.memory_alignment_bytes = 4;
    info.transfer_max = BlockCount(8);
    info.supports.fill(true);
    return info;
}

Errc verdict(const IoRequest& request, const BdevInfo& info) {
    const Status status = validate(request, info);
    return status ? Errc::kOk : status.error().code;
}

TEST(Validate, AcceptsWhatFits) {
    const BdevInfo info = make_info();
    for (uint32_t op = 0; op < kIoOpCount; ++op) {
        TestIo io;
        io.prepare(static_cast<IoOp>(op), 92, 8, 512, 3);
        EXPECT_EQ(verdict(io.request, info), Errc::kOk) << op;
    }
}

TEST(Validate, RefusesRangesBeyondTheEndEvenWhenTheSumOverflows) {
    const BdevInfo info = make_info();
    TestIo io;
    io.prepare(IoOp::kUnmap, 93, 8, 512);
    EXPECT_EQ(verdict(io.request, info), Errc::kOutOfRange);
    io.request.first = Lba(100);
    io.request.count = BlockCount(1);
    EXPECT_EQ(verdict(io.request, info), Errc::kOutOfRange);
    io.request.first = Lba(UINT64_MAX);
    io.request.count = BlockCount(2);
    EXPECT_EQ(verdict(io.request, info), Errc::kOutOfRange);
    io.request.first = Lba(1);
    io.request.count = BlockCount(UINT64_MAX);
    EXPECT_EQ(verdict(io.request, info), Errc::kOutOfRange);
}

TEST(Validate, RefusesNoBlocksExceptForFlush) {
    const BdevInfo info = make_info();
    TestIo io;
    for (uint32_t op = 0; op < kIoOpCount; ++op) {
        io.prepare(static_cast<IoOp>(op), 0, 0, 512);
        const bool is_flush = static_cast<IoOp>(op) == IoOp::kFlush;
        EXPECT_EQ(verdict(io.request, info), is_flush ? Errc::kOk : Errc::kInvalidArgument);
    }
}

TEST(Validate, LimitsTransfersButNotRanges) {
    const BdevInfo info = make_info();
    TestIo io;
    io.prepare(IoOp::kWrite, 0, 9, 512);
    EXPECT_EQ(verdict(io.request, info), Errc::kInvalidArgument);
    io.prepare(IoOp::kWriteZeroes, 0, 100, 512);
    EXPECT_EQ(verdict(io.request, info), Errc::kOk);
}

TEST(Validate, RefusesUnsupportedOperationsAndWritesToReadOnlyDevices) {
    BdevInfo info = make_info();
    info.supports[static_cast<uint32_t>(IoOp::kCompare)] = false;
    info.is_read_only = true;
    TestIo io;
    io.prepare(IoOp::kCompare, 0, 1, 512);
    EXPECT_EQ(verdict(io.request, info), Errc::kNotSupported);
    for (const IoOp op : {IoOp::kWrite, IoOp::kWriteZeroes, IoOp::kUnmap}) {
        io.prepare(op, 0, 1, 512);
        EXPECT_EQ(verdict(io.request, info), Errc::kReadOnly);
    }
    io.prepare(IoOp::kRead, 0, 1, 512);
    EXPECT_EQ(verdict(io.request, info), Errc::kOk);
}

TEST(Validate, RefusesMemoryThatDoesNotFit) {
    const BdevInfo info = make_info();
    TestIo io;
    io.prepare(IoOp::kRead, 0, 4, 512, 1, 2);
    EXPECT_EQ(verdict(io.request, info), Errc::kInvalidArgument) << "alignment";
    io.prepare(IoOp::kRead, 0, 4, 512);
    io.request.count = BlockCount(3);
    EXPECT_EQ(verdict(io.request, info), Errc::kInvalidArgument) << "too long";
    io.request.count = BlockCount(5);
    EXPECT_EQ(verdict(io.request, info), Errc::kInvalidArgument) << "too short";
    io.prepare(IoOp::kRead, 0, 1, 512);
    io.request.piece_count = 0;
    EXPECT_EQ(verdict(io.request, info), Errc::kInvalidArgument) << "none";
    std::array<iovec, 2> pieces{iovec{io.data, 500}, iovec{io.data + 500, 12}};
    io.request.pieces = pieces.data();
    io.request.piece_count = 2;
    EXPECT_EQ(verdict(io.request, info), Errc::kInvalidArgument) << "parts of a block";
}

TEST(Validate, DeviceMemoryIsForReadsOfDevicesThatHaveSome) {
    BdevInfo info = make_info();
    WholeIoRequest request;
    request.count = BlockCount(1);
    request.wants_device_memory = true;
    EXPECT_EQ(verdict(request, info), Errc::kInvalidArgument);
    info.supplies_read_memory = true;
    EXPECT_EQ(verdict(request, info), Errc::kOk);
    request.op = IoOp::kWrite;
    EXPECT_EQ(verdict(request, info), Errc::kInvalidArgument);
}

}  // namespace
}  // namespace basalt::bdev
