#include "rpc/codec/framer.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace basalt::rpc {
namespace {

using Status = Framer::Status;

// All values of `stream`, fed in pieces of `step` bytes; stops at an error and stores it.
std::vector<std::string> cut(const std::string& stream, size_t step, Status& end) {
    Framer framer;
    std::vector<std::string> values;
    for (size_t at = 0; at < stream.size(); at += step) {
        framer.append(std::string_view(stream).substr(at, step));
        while ((end = framer.scan()) == Status::kValue) {
            values.push_back(framer.take());
        }
        if (end != Status::kNeedMore) {
            return values;
        }
    }
    return values;
}

TEST(Framer, CutsTheSameValuesHoweverTheStreamIsSplit) {
    const std::vector<std::string> values = {
        R"({"a":"}{][\"\\"})",
        R"([1,{"b":[]}])",
        "{}",
        R"({"c":"\\\\"})",
        "[]",
        "{\n  \"d\": \"\xc3\xa9\"\n}",
    };
    std::string stream = " \n";
    for (size_t i = 0; i < values.size(); ++i) {
        stream += values[i] + (i % 2 == 0 ? "" : "\r\n\t ");
    }
    for (size_t step = 1; step <= stream.size(); ++step) {
        Status end = Status::kNeedMore;
        EXPECT_EQ(cut(stream, step, end), values) << step;
        EXPECT_EQ(end, Status::kNeedMore);
    }
}

TEST(Framer, WaitsForTheRestOfAValueAtEveryLength) {
    const std::string value = R"({"method":"a\"}","params":{"b":[1,2,{"c":"]"}]}})";
    for (size_t length = 0; length < value.size(); ++length) {
        Framer framer;
        framer.append(value.substr(0, length));
        EXPECT_EQ(framer.scan(), Status::kNeedMore) << length;
        framer.append(value.substr(length));
        ASSERT_EQ(framer.scan(), Status::kValue) << length;
        EXPECT_EQ(framer.take(), value);
    }
}

TEST(Framer, ReportsGarbageOutsideValues) {
    for (const char* garbage :
         {"x", "GET / HTTP/1.1\r\n", "\"a\"", "1", "}", "]", ",", "\xff", "null"}) {
        Status end = Status::kNeedMore;
        EXPECT_EQ(cut(std::string("{}") + garbage, 1, end).size(), 1U) << garbage;
        EXPECT_EQ(end, Status::kGarbage) << garbage;
    }
}

TEST(Framer, ReportsAValueThatNestsDeeperThanTheLimit) {
    const std::string deepest = std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']');
    Status end = Status::kNeedMore;
    EXPECT_EQ(cut(deepest, 7, end).size(), 1U);
    EXPECT_EQ(cut("[" + deepest + "]", 7, end).size(), 0U);
    EXPECT_EQ(end, Status::kTooDeep);
    EXPECT_EQ(cut(std::string(1 << 20, '{'), 4096, end).size(), 0U);
    EXPECT_EQ(end, Status::kTooDeep);
}

TEST(Framer, AcceptsAValueOfTheLargestSizeAndReportsOneByteMore) {
    constexpr size_t kMax = 100;
    const std::string largest = "[\"" + std::string(kMax - 4, 'x') + "\"]";
    Framer framer(kMax);
    framer.append(largest + largest);
    ASSERT_EQ(framer.scan(), Status::kValue);
    EXPECT_EQ(framer.take(), largest);
    ASSERT_EQ(framer.scan(), Status::kValue);
    EXPECT_EQ(framer.take(), largest);
    framer.append("[\"" + std::string(kMax - 3, 'x') + "\"]");
    EXPECT_EQ(framer.scan(), Status::kTooLarge);
    EXPECT_EQ(framer.scan(), Status::kTooLarge);
}

TEST(Framer, GivesMemoryBackWhenEverythingIsTaken) {
    Framer framer;
    framer.append("{} {} {");
    ASSERT_EQ(framer.scan(), Status::kValue);
    EXPECT_EQ(framer.take(), "{}");
    EXPECT_EQ(framer.buffered_bytes(), 5U);
    ASSERT_EQ(framer.scan(), Status::kValue);
    EXPECT_EQ(framer.take(), "{}");
    EXPECT_EQ(framer.scan(), Status::kNeedMore);
    EXPECT_EQ(framer.buffered_bytes(), 1U);
}

}  // namespace
}  // namespace basalt::rpc
