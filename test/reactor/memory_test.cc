#include "reactor/memory.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include "test/reactor/process_memory.h"

namespace basalt {
namespace {

constexpr size_t kMib = size_t{1} << 20;

size_t resident_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        if (word == "VmRSS:") {
            size_t kib = 0;
            status >> kib;
            return kib;
        }
    }
    return 0;
}

// Before process_memory() is first called anywhere: the first test of this program.
TEST(HugeMemory, LeavesAffinityAndSignalHandlersOfItsCallerAlone) {
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    struct sigaction ours {};
    ours.sa_handler = [](int) {};
    ASSERT_EQ(sigaction(SIGBUS, &ours, nullptr), 0);

    static_cast<void>(process_memory());

    cpu_set_t after;
    ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
    struct sigaction now {};
    ASSERT_EQ(sigaction(SIGBUS, nullptr, &now), 0);
    EXPECT_EQ(now.sa_handler, ours.sa_handler);
    signal(SIGBUS, SIG_DFL);
}

TEST(HugeMemory, GivesAlignedZeroedMemory) {
    for (const size_t alignment : {size_t{64}, size_t{4096}, 2 * kMib}) {
        const auto memory = process_memory().allocate(10000, alignment, 0);
        ASSERT_TRUE(memory);
        EXPECT_EQ(memory->size(), 10000U);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % alignment, 0U);
        for (const std::byte byte : *memory) {
            ASSERT_EQ(byte, std::byte{0});
        }
        std::memset(memory->data(), 0xff, memory->size());
    }
}

TEST(HugeMemory, LeavesUntouchedMemoryUnbacked) {
    HugeMemory& heap = process_memory();  // Its start touches 12 MiB of book: not counted here.
    const size_t before = resident_kib();
    const auto memory = heap.allocate(256 * kMib, 4096, kAnyNumaNode);
    ASSERT_TRUE(memory);
    EXPECT_LT(resident_kib(), before + 1024);
    std::memset(memory->data(), 1, 32 * kMib);
    EXPECT_GT(resident_kib(), before + 24 * 1024);
}

TEST(HugeMemory, SaysWhenThereIsNoMore) {
    const auto memory = process_memory().allocate(size_t{1} << 40, 4096, 0);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, Errc::kNoMemory);
}

TEST(HugeMemory, StartsOnceAProcess) {
    static_cast<void>(process_memory());
    std::string problem;
    const auto again = HugeMemory::init({}, problem);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::kExists);
    EXPECT_FALSE(problem.empty());
}

TEST(HugeMemory, SaysHowManyHugePagesAreMissingAndHowToGetThem) {
    EXPECT_EQ(describe_huge_page_shortage(512, {.total = 130, .free = 100}),
              "hugepages = 512 asks for 512 huge pages of 2 MiB, but only 100 are free: 412 are "
              "missing. Get them with 'sysctl -w vm.nr_hugepages=542', or do without with "
              "hugepages = 0");
}

TEST(HugeMemory, RefusesMoreHugePagesThanThereAre) {
    std::string problem;
    const auto refused = HugeMemory::init({.hugepages = 4'000'000'000}, problem);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kNoMemory);
    EXPECT_NE(problem.find("are missing"), std::string::npos) << problem;
}

}  // namespace
}  // namespace basalt
