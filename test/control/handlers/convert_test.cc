#include "control/handlers/convert.h"

#include <array>

#include <gtest/gtest.h>

namespace basalt::control {
namespace {

std::string base64(std::string_view text) {
    return to_base64({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// RFC 4648, section 10.
TEST(Convert, WritesBase64AsTheStandardHasIt) {
    EXPECT_EQ(base64(""), "");
    EXPECT_EQ(base64("f"), "Zg==");
    EXPECT_EQ(base64("fo"), "Zm8=");
    EXPECT_EQ(base64("foo"), "Zm9v");
    EXPECT_EQ(base64("foob"), "Zm9vYg==");
    EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
    EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
    EXPECT_EQ(base64("\xff\xef\xbe"), "/+++");
}

TEST(Convert, ReadsAndWritesHexadecimal) {
    std::array<uint8_t, 2> bytes{};
    ASSERT_TRUE(from_hex("0aFf", bytes));
    EXPECT_EQ(to_hex(bytes), "0AFF");
    EXPECT_FALSE(from_hex("0aF", bytes));
    EXPECT_FALSE(from_hex("0aFf0", bytes));
    EXPECT_FALSE(from_hex("0aFg", bytes));
    EXPECT_FALSE(from_hex("", bytes));
}

}  // namespace
}  // namespace basalt::control
