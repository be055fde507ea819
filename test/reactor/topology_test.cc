#include "reactor/topology.h"

#include <gtest/gtest.h>
#include <sched.h>

namespace basalt {
namespace {

std::vector<uint32_t> parse(std::string_view text) {
    std::string problem;
    auto parsed = parse_core_list(text, problem);
    EXPECT_TRUE(parsed) << problem;
    return parsed ? std::move(*parsed) : std::vector<uint32_t>();
}

std::string refusal(std::string_view text) {
    std::string problem;
    auto parsed = parse_core_list(text, problem);
    if (parsed) {
        return "accepted";
    }
    EXPECT_EQ(parsed.error().code, Errc::kInvalidArgument);
    return problem;
}

using Indices = std::vector<uint32_t>;

TEST(CoreList, ReadsListsAndRanges) {
    EXPECT_EQ(parse("0"), Indices({0}));
    EXPECT_EQ(parse("0,2-3"), Indices({0, 2, 3}));
    EXPECT_EQ(parse("7,1-2,0"), Indices({0, 1, 2, 7}));
    EXPECT_EQ(parse("[0,1]"), Indices({0, 1}));
    EXPECT_EQ(parse("1023"), Indices({1023}));
    EXPECT_EQ(parse("3-3"), Indices({3}));
}

TEST(CoreList, ReadsMasks) {
    EXPECT_EQ(parse("0x5"), Indices({0, 2}));
    EXPECT_EQ(parse("0xF0"), Indices({4, 5, 6, 7}));
    EXPECT_EQ(parse("0x8000000000000000000000000000000000"), Indices({135}));
    EXPECT_EQ(parse("0X1"), Indices({0}));
}

TEST(CoreList, RefusesWhatIsNoSetAndSaysWhy) {
    EXPECT_NE(refusal("").find("expected a processor number"), std::string::npos);
    EXPECT_NE(refusal("a").find("'a' is no set of processors"), std::string::npos);
    EXPECT_NE(refusal("0,").find("expected a processor number"), std::string::npos);
    EXPECT_NE(refusal("0;1").find("expected ','"), std::string::npos);
    EXPECT_NE(refusal("3-1").find("from the lower"), std::string::npos);
    EXPECT_NE(refusal("1-").find("after '-'"), std::string::npos);
    EXPECT_NE(refusal("0-2,1").find("named twice"), std::string::npos);
    EXPECT_NE(refusal("1024").find("0 to 1023"), std::string::npos);
    EXPECT_NE(refusal("-1").find("expected a processor number"), std::string::npos);
    EXPECT_NE(refusal("4294967296").find("0 to 1023"), std::string::npos);
    EXPECT_NE(refusal("0x").find("names no processor"), std::string::npos);
    EXPECT_NE(refusal("0x0").find("names no processor"), std::string::npos);
    EXPECT_NE(refusal("0xg").find("hexadecimal"), std::string::npos);
    EXPECT_NE(refusal("0x1" + std::string(300, '0')).find("1023"), std::string::npos);
}

TEST(Topology, FindsTheProcessorsThatThisProcessMayUse) {
    std::string problem;
    const auto topology = Topology::load(problem);
    ASSERT_TRUE(topology) << problem;
    cpu_set_t allowed;
    ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    EXPECT_EQ(topology->processors().size(), static_cast<size_t>(CPU_COUNT(&allowed)));
    for (const Processor& each : topology->processors()) {
        EXPECT_TRUE(CPU_ISSET(each.os_index, &allowed));
        EXPECT_GE(each.numa_node, 0);
    }
}

TEST(Topology, SelectsInTheOrderAskedForAndNamesWhatIsMissing) {
    const Topology topology({{.os_index = 0, .numa_node = 0}, {.os_index = 2, .numa_node = 1}});
    std::string problem;
    const auto selected = topology.select({2, 0}, problem);
    ASSERT_TRUE(selected);
    EXPECT_EQ((*selected)[0].os_index, 2U);
    EXPECT_EQ((*selected)[0].numa_node, 1);
    EXPECT_EQ((*selected)[1].os_index, 0U);

    const auto refused = topology.select({0, 1}, problem);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
    EXPECT_EQ(problem, "processor 1 is not there or not allowed for this process; allowed are 0 2");
}

TEST(Topology, PinsTheCallingThread) {
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    std::string problem;
    const auto topology = Topology::load(problem);
    ASSERT_TRUE(topology) << problem;
    const Processor last = topology->processors().back();
    ASSERT_TRUE(pin_this_thread(last));
    EXPECT_EQ(sched_getcpu(), static_cast<int>(last.os_index));
    EXPECT_FALSE(pin_this_thread({.os_index = 1023, .numa_node = 0}));
    sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
}  // namespace basalt
