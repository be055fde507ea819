#include "keyring/secret.h"

#include <algorithm>
#include <array>
#include <utility>

#include <gtest/gtest.h>

namespace basalt {
namespace {

TEST(Secret, HoldsACopyOfTheBytes) {
    const Secret secret(std::string_view("abc"));
    EXPECT_EQ(secret.bytes().size(), 3U);
    EXPECT_EQ(secret.text(), "abc");
    EXPECT_FALSE(secret.empty());
}

TEST(Secret, TextLeavesOutWhatAnEditorLeftBehind) {
    EXPECT_EQ(Secret(std::string_view("  a b \r\n\n")).text(), "a b");
    EXPECT_EQ(Secret(std::string_view("\n \n")).text(), "");
    EXPECT_EQ(Secret().text(), "");
}

TEST(Secret, MovingLeavesNothingBehind) {
    Secret from(std::string_view("abc"));
    Secret to(std::move(from));
    EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): that is what is tested.
    EXPECT_EQ(to.text(), "abc");
    Secret other(std::string_view("old"));
    other = std::move(to);
    EXPECT_TRUE(to.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(other.text(), "abc");
}

TEST(Secret, ComparesWholeContents) {
    EXPECT_TRUE(Secret(std::string_view("abc")).equals(Secret(std::string_view("abc"))));
    EXPECT_FALSE(Secret(std::string_view("abc")).equals(Secret(std::string_view("abd"))));
    EXPECT_FALSE(Secret(std::string_view("abc")).equals(Secret(std::string_view("ab"))));
    EXPECT_TRUE(Secret().equals(Secret()));
}

TEST(Secret, WipeBytesLeavesZeroes) {
    std::array<std::byte, 8> bytes{};
    bytes.fill(std::byte{0x5a});
    wipe_bytes(bytes);
    EXPECT_TRUE(std::all_of(
        bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; }));
}

}  // namespace
}  // namespace basalt
