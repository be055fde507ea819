#include "nvmf/host_bdev/ana_log.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/wire/spec.h"

namespace basalt::nvmf {
namespace {

/// A log as the specification lays it out.
class LogBytes {
  public:
    explicit LogBytes(uint16_t groups) {
        put<uint64_t>(1);
        put<uint16_t>(groups);
        put<uint16_t>(0);
        put<uint32_t>(0);
    }
    void add_group(uint32_t group, uint8_t state, const std::vector<uint32_t>& namespaces) {
        put(group);
        put(static_cast<uint32_t>(namespaces.size()));
        put<uint64_t>(1);
        put(state);
        bytes.resize(bytes.size() + 15);
        for (const uint32_t nsid : namespaces) {
            put(nsid);
        }
    }

    std::vector<std::byte> bytes;

  private:
    template <typename T>
    void put(T value) {
        const size_t at = bytes.size();
        bytes.resize(at + sizeof(T));
        std::memcpy(&bytes[at], &value, sizeof(T));
    }
};

TEST(AnaLog, GroupsAreReadWithTheirNamespaces) {
    LogBytes log(2);
    log.add_group(7, 0x1, {1, 2});
    log.add_group(9, 0x3, {});
    log.bytes.resize(log.bytes.size() + 100);  // A buffer longer than the log.
    const auto groups = parse_ana_log(log.bytes);
    ASSERT_TRUE(groups);
    ASSERT_EQ(groups->size(), 2U);
    EXPECT_EQ((*groups)[0].group, 7U);
    EXPECT_EQ((*groups)[0].access, PathAccess::kOptimized);
    EXPECT_EQ((*groups)[0].namespaces, (std::vector<uint32_t>{1, 2}));
    EXPECT_EQ((*groups)[1].access, PathAccess::kInaccessible);
}

TEST(AnaLog, AllStatesAreKnownAndOthersRefused) {
    const std::pair<uint8_t, PathAccess> states[] = {{0x1, PathAccess::kOptimized},
                                                     {0x2, PathAccess::kNonOptimized},
                                                     {0x3, PathAccess::kInaccessible},
                                                     {0x4, PathAccess::kPersistentLoss},
                                                     {0xf, PathAccess::kChange}};
    for (const auto& [state, access] : states) {
        LogBytes log(1);
        log.add_group(1, state, {1});
        const auto groups = parse_ana_log(log.bytes);
        ASSERT_TRUE(groups);
        EXPECT_EQ((*groups)[0].access, access);
    }
    LogBytes log(1);
    log.add_group(1, 0x5, {1});
    EXPECT_EQ(parse_ana_log(log.bytes).error().code, Errc::kProtocol);
}

TEST(AnaLog, EveryLogThatEndsTooEarlyIsRefused) {
    LogBytes log(2);
    log.add_group(1, 0x1, {1, 2, 3});
    log.add_group(2, 0x2, {4});
    const std::span<const std::byte> whole(log.bytes);
    for (size_t size = 0; size < whole.size(); ++size) {
        EXPECT_FALSE(parse_ana_log(whole.first(size))) << size << " bytes";
    }
    EXPECT_TRUE(parse_ana_log(whole));
}

/// A log that may change while it is read.
class ScriptedLog final : public AnaLogSource {
  public:
    Task<Status> read(uint64_t offset, std::span<std::byte> piece) override {
        ++reads;
        if (reads == failing_read) {
            co_return Errc::kIo;
        }
        if (offset > bytes.size()) {
            co_return Errc::kInvalidArgument;  // As a controller does.
        }
        std::fill(piece.begin(), piece.end(), std::byte{0});
        const size_t there = std::min(piece.size(), bytes.size() - offset);
        std::memcpy(piece.data(), &bytes[offset], there);
        if (changes_left > 0) {
            --changes_left;
            bytes[0] = static_cast<std::byte>(std::to_integer<uint8_t>(bytes[0]) + 1);
        }
        co_return kOk;
    }

    std::vector<std::byte> bytes;
    uint32_t reads = 0;
    uint32_t failing_read = 0;
    uint32_t changes_left = 0;  // One after each read.
};

/// Two groups with three namespaces each: 16 + 2 * (32 + 12) bytes.
ScriptedLog two_groups() {
    LogBytes made(2);
    made.add_group(1, NVME_ANA_STATE_OPTIMIZED, {1, 2, 3});
    made.add_group(2, NVME_ANA_STATE_CHANGE, {4, 5, 6});
    ScriptedLog log;
    log.bytes = made.bytes;
    return log;
}

TEST(AnaLog, IsReadInPiecesUpToItsEnd) {
    for (const uint64_t piece : {4U, 16U, 52U, 100U, 104U, 200U}) {
        ScriptedLog log = two_groups();
        auto reading = read_ana_log(log, 4096, piece);
        ASSERT_TRUE(reading.is_done());
        const auto groups = reading.result();
        ASSERT_TRUE(groups.has_value()) << piece;
        EXPECT_EQ((*groups)[1].namespaces, (std::vector<uint32_t>{4, 5, 6}));
        const uint64_t pieces = (104 + piece - 1) / piece;
        EXPECT_EQ(log.reads, pieces + (pieces > 1 ? 1 : 0)) << "its head again, if in pieces";
    }
}

TEST(AnaLog, IsReadAgainWhenItHasChangedFromPieceToPiece) {
    ScriptedLog log = two_groups();
    log.changes_left = 4;
    auto reading = read_ana_log(log, 4096, 52);
    EXPECT_TRUE(reading.result().has_value());
    EXPECT_EQ(log.reads, 3U * 3U) << "twice in vain";
    log.changes_left = UINT32_MAX;
    auto changing = read_ana_log(log, 4096, 52);
    EXPECT_EQ(changing.result().error().code, Errc::kTryAgain);
    auto at_once = read_ana_log(log, 4096, 4096);
    EXPECT_TRUE(at_once.result().has_value()) << "one piece is of one moment";
}

TEST(AnaLog, IsAnErrorIfItFailsOrDoesNotEnd) {
    ScriptedLog log = two_groups();
    log.failing_read = 2;
    auto failing = read_ana_log(log, 4096, 52);
    EXPECT_EQ(failing.result().error().code, Errc::kIo);
    auto endless = read_ana_log(log, 100, 52);
    EXPECT_EQ(endless.result().error().code, Errc::kProtocol);
}

}  // namespace
}  // namespace basalt::nvmf
