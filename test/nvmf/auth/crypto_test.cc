#include "nvmf/auth/crypto.h"

#include <algorithm>
#include <array>

#include <gtest/gtest.h>

#include "test/nvmf/auth/auth_testing.h"

namespace basalt::nvmf {
namespace {

ByteView text_bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

// RFC 4231, test case 2.
TEST(AuthCrypto, HmacIsThatOfTheStandard) {
    const std::array<ByteView, 2> pieces{text_bytes("what do ya want "),
                                         text_bytes("for nothing?")};
    std::array<std::byte, 32> out{};
    ASSERT_TRUE(hmac(AuthHash::kSha256, text_bytes("Jefe"), pieces, out));
    EXPECT_EQ(hex(out), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    std::array<std::byte, 64> longer{};
    ASSERT_TRUE(hmac(AuthHash::kSha512, text_bytes("Jefe"), pieces, longer));
    EXPECT_EQ(hex(longer).substr(0, 32), "164b7a7bfcf819e2e395fbe73b56e0a3");
}

TEST(AuthCrypto, DigestIsThatOfTheStandard) {
    std::array<std::byte, 48> out{};
    ASSERT_TRUE(digest(AuthHash::kSha384, text_bytes("abc"), out));
    EXPECT_EQ(hex(out).substr(0, 32), "cb00753f45a35e8bb5a03d699ac65007");
}

TEST(AuthCrypto, BothSidesOfEveryGroupDeriveTheSameSecret) {
    for (const DhGroup group : kDhGroups) {
        if (group == DhGroup::kNull) {
            continue;
        }
        const Result<DhKey> one = DhKey::generate(group);
        const Result<DhKey> other = DhKey::generate(group);
        ASSERT_TRUE(one && other) << name_of(group);
        std::vector<std::byte> one_public(dh_bytes(group));
        std::vector<std::byte> other_public(dh_bytes(group));
        ASSERT_TRUE(one->write_public(one_public));
        ASSERT_TRUE(other->write_public(other_public));
        EXPECT_NE(one_public, other_public);
        const Result<Secret> a = one->derive(other_public);
        const Result<Secret> b = other->derive(one_public);
        ASSERT_TRUE(a && b) << name_of(group);
        EXPECT_EQ(a->bytes().size(), dh_bytes(group));
        EXPECT_TRUE(a->equals(*b)) << name_of(group);
    }
}

TEST(AuthCrypto, RefusesValuesThatWouldGiveTheSecretAway) {
    const Result<DhKey> key = DhKey::generate(DhGroup::kFfdhe2048);
    ASSERT_TRUE(key);
    std::vector<std::byte> value(256);
    EXPECT_EQ(key->derive(value).error().code, Errc::kInvalidArgument);  // 0
    value.back() = std::byte{1};
    EXPECT_EQ(key->derive(value).error().code, Errc::kInvalidArgument);  // 1
    // p of ffdhe2048 ends in ...FFFFFFFF: p - 1 and above are refused, too.
    std::fill(value.begin(), value.end(), std::byte{0xff});
    EXPECT_EQ(key->derive(value).error().code, Errc::kInvalidArgument);
    value.resize(255);
    EXPECT_EQ(key->derive(value).error().code, Errc::kInvalidArgument);
    value.resize(257);
    EXPECT_EQ(key->derive(value).error().code, Errc::kInvalidArgument);
}

TEST(AuthCrypto, RandomBytesDiffer) {
    SystemAuthRandom random;
    std::array<std::byte, 32> a{};
    std::array<std::byte, 32> b{};
    random.fill(a);
    random.fill(b);
    EXPECT_NE(a, b);
    EXPECT_FALSE(is_equal(a, b));
    EXPECT_TRUE(is_equal(a, a));
    EXPECT_FALSE(is_equal(a, ByteView(a).first(31)));
}

TEST(AuthAlgorithms, NumbersAndNamesLeadToTheSame) {
    for (const AuthHash hash : kAuthHashes) {
        EXPECT_EQ(hash_named(name_of(hash)), hash);
        EXPECT_EQ(hash_of(static_cast<uint8_t>(hash)), hash);
    }
    for (const DhGroup group : kDhGroups) {
        EXPECT_EQ(group_named(name_of(group)), group);
        EXPECT_EQ(group_of(static_cast<uint8_t>(group)), group);
    }
    EXPECT_FALSE(hash_of(0) || hash_of(4) || group_of(6) || group_of(255));
    EXPECT_FALSE(hash_named("SHA256") || hash_named("") || group_named("ffdhe"));
}

}  // namespace
}  // namespace basalt::nvmf
