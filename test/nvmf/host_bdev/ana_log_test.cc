#include "nvmf/host_bdev/ana_log.h"

#include <cstring>

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace basalt::nvmf
