#include "nvmf/auth/messages.h"

#include <algorithm>
#include <array>
#include <string>

#include <gtest/gtest.h>

#include "test/nvmf/auth/auth_testing.h"

namespace basalt::nvmf {
namespace {

using Buffer = std::array<std::byte, kAuthMessageBytesMax>;

std::string repeated(std::string_view text, size_t count) {
    std::string all;
    for (size_t i = 0; i < count; ++i) {
        all += text;
    }
    return all;
}

// The same four messages in all tests. Everything is written over 0xEE, to find what is left out.
Buffer dirty() {
    Buffer buffer;
    buffer.fill(std::byte{0xee});
    return buffer;
}

std::vector<std::byte> negotiate() {
    Buffer out = dirty();
    const size_t size = encode_negotiate(0x1234, AuthAlgorithms{}, out);
    return {out.begin(), out.begin() + static_cast<ptrdiff_t>(size)};
}

std::vector<std::byte> challenge(DhGroup group = DhGroup::kNull) {
    Buffer out = dirty();
    const auto value = counting_bytes(32, 0x40);
    const auto dh_value = counting_bytes(dh_bytes(group), 1);
    const size_t size = encode_challenge({.transaction = 0x1234,
                                          .hash = AuthHash::kSha256,
                                          .group = group,
                                          .sequence = 0xa1b2c3d4,
                                          .challenge = value,
                                          .dh_value = dh_value},
                                         out);
    return {out.begin(), out.begin() + static_cast<ptrdiff_t>(size)};
}

std::vector<std::byte> reply(bool has_challenge, DhGroup group = DhGroup::kNull) {
    Buffer out = dirty();
    const auto response = counting_bytes(32, 0x40);
    const auto own = counting_bytes(32, 0x80);
    const auto dh_value = counting_bytes(dh_bytes(group), 1);
    const size_t size = encode_reply({.transaction = 0x1234,
                                      .has_challenge = has_challenge,
                                      .sequence = has_challenge ? 0xa1b2c3d4 : 0,
                                      .response = response,
                                      .challenge = own,
                                      .dh_value = dh_value},
                                     out);
    return {out.begin(), out.begin() + static_cast<ptrdiff_t>(size)};
}

std::vector<std::byte> success1(bool has_response) {
    Buffer out = dirty();
    const auto response = counting_bytes(32, 0x40);
    const size_t size =
        encode_success1({.transaction = 0x1234, .has_response = has_response, .response = response},
                        AuthHash::kSha256,
                        out);
    return {out.begin(), out.begin() + static_cast<ptrdiff_t>(size)};
}

TEST(AuthMessages, NegotiateHasTheBytesOfTheSpecification) {
    EXPECT_EQ(hex(negotiate()),
              "0000000034120001"
              "01000306"
              "030201" +
                  repeated("00", 27) + "050403020100" + repeated("00", 24));
    const Result<NegotiateFields> fields = decode_negotiate(negotiate());
    ASSERT_TRUE(fields);
    EXPECT_EQ(fields->transaction, 0x1234);
    EXPECT_EQ(fields->secure_channel, 0);
    EXPECT_TRUE(fields->has_dhchap);
    EXPECT_EQ(fields->algorithms, AuthAlgorithms{});
}

TEST(AuthMessages, ChallengeHasTheBytesOfTheSpecification) {
    EXPECT_EQ(hex(challenge()), "010100003412200001000000d4c3b2a1" + hex(counting_bytes(32, 0x40)));
    const auto with_group = challenge(DhGroup::kFfdhe2048);
    const Result<ChallengeFields> fields = decode_challenge(with_group);
    ASSERT_TRUE(fields);
    EXPECT_EQ(fields->transaction, 0x1234);
    EXPECT_EQ(fields->hash, AuthHash::kSha256);
    EXPECT_EQ(fields->group, DhGroup::kFfdhe2048);
    EXPECT_EQ(fields->sequence, 0xa1b2c3d4);
    EXPECT_EQ(hex(fields->challenge), hex(counting_bytes(32, 0x40)));
    EXPECT_EQ(hex(fields->dh_value), hex(counting_bytes(256, 1)));
}

TEST(AuthMessages, ReplyHasTheBytesOfTheSpecification) {
    EXPECT_EQ(hex(reply(true)),
              "010200003412200001000000d4c3b2a1" + hex(counting_bytes(32, 0x40)) +
                  hex(counting_bytes(32, 0x80)));
    EXPECT_EQ(
        hex(reply(false)),
        "01020000341220000000000000000000" + hex(counting_bytes(32, 0x40)) + repeated("00", 32));
    const auto message = reply(true, DhGroup::kFfdhe2048);
    const Result<ReplyFields> fields =
        decode_reply(message, AuthHash::kSha256, DhGroup::kFfdhe2048);
    ASSERT_TRUE(fields);
    EXPECT_TRUE(fields->has_challenge);
    EXPECT_EQ(fields->sequence, 0xa1b2c3d4);
    EXPECT_EQ(hex(fields->response), hex(counting_bytes(32, 0x40)));
    EXPECT_EQ(hex(fields->challenge), hex(counting_bytes(32, 0x80)));
    EXPECT_EQ(hex(fields->dh_value), hex(counting_bytes(256, 1)));
}

TEST(AuthMessages, SuccessAndFailureHaveTheBytesOfTheSpecification) {
    EXPECT_EQ(hex(success1(true)),
              "01030000341220000100000000000000" + hex(counting_bytes(32, 0x40)));
    EXPECT_EQ(hex(success1(false)), "01030000341220000000000000000000" + repeated("00", 32));
    Buffer out = dirty();
    EXPECT_EQ(hex(ByteView(out).first(encode_success2(0x1234, out))),
              "01040000341200000000000000000000");
    const FailureFields failure{.transaction = 0x1234, .failure = AuthFailure::kHashUnusable};
    EXPECT_EQ(hex(ByteView(out).first(encode_failure(AuthMessage::kFailure1, failure, out))),
              "00f1000034120104");
    EXPECT_EQ(hex(ByteView(out).first(encode_failure(AuthMessage::kFailure2, failure, out))),
              "00f0000034120104");
    const Result<FailureFields> read = decode_failure(ByteView(out).first(8));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->failure, AuthFailure::kHashUnusable);
    EXPECT_EQ(read->transaction, 0x1234);
}

TEST(AuthMessages, HeadersTellTheKindsApart) {
    EXPECT_EQ(decode_header(negotiate())->message, AuthMessage::kNegotiate);
    EXPECT_EQ(decode_header(challenge())->message, AuthMessage::kChallenge);
    EXPECT_EQ(decode_header(reply(true))->message, AuthMessage::kReply);
    EXPECT_EQ(decode_header(success1(true))->message, AuthMessage::kSuccess1);
    EXPECT_EQ(decode_header(reply(true))->transaction, 0x1234);
    const std::array<std::byte, 6> stranger{std::byte{2}, std::byte{1}};
    EXPECT_FALSE(decode_header(stranger));
    EXPECT_FALSE(decode_header(ByteView(stranger).first(5)));
}

TEST(AuthMessages, RefuseEveryTruncation) {
    const auto refuse = [](const std::vector<std::byte>& message, auto decode) {
        for (size_t size = 0; size < message.size(); ++size) {
            // A copy of just that size, so that reading on is seen by the sanitizer.
            const std::vector<std::byte> cut(message.begin(),
                                             message.begin() + static_cast<ptrdiff_t>(size));
            EXPECT_FALSE(decode(ByteView(cut))) << size;
        }
        EXPECT_TRUE(decode(ByteView(message)));
    };
    refuse(negotiate(), [](ByteView m) { return decode_negotiate(m).has_value(); });
    refuse(challenge(DhGroup::kFfdhe2048),
           [](ByteView m) { return decode_challenge(m).has_value(); });
    refuse(reply(true, DhGroup::kFfdhe2048), [](ByteView m) {
        return decode_reply(m, AuthHash::kSha256, DhGroup::kFfdhe2048).has_value();
    });
    refuse(success1(true),
           [](ByteView m) { return decode_success1(m, AuthHash::kSha256).has_value(); });
    refuse(std::vector<std::byte>(16), [](ByteView m) { return check_success2(m).has_value(); });
    refuse(std::vector<std::byte>(8), [](ByteView m) { return decode_failure(m).has_value(); });
}

TEST(AuthMessages, OfAHostHaveNothingBehindThem) {
    auto message = negotiate();
    message.push_back(std::byte{0});
    EXPECT_FALSE(decode_negotiate(message));
    message = reply(true);
    message.push_back(std::byte{0});
    EXPECT_FALSE(decode_reply(message, AuthHash::kSha256, DhGroup::kNull));
    EXPECT_FALSE(check_success2(std::vector<std::byte>(17)));
}

TEST(AuthMessages, OfAControllerMayBeFollowedByTheRestOfTheBuffer) {
    auto message = challenge();
    message.resize(4096);
    EXPECT_TRUE(decode_challenge(message));
    message = success1(true);
    message.resize(4096);
    EXPECT_EQ(decode_success1(message, AuthHash::kSha256)->response.size(), 32U);
}

// No flipped bit makes a decoder read outside, and none in a length or number is taken for granted.
TEST(AuthMessages, SurviveEveryFlippedBit) {
    const std::vector<std::vector<std::byte>> messages{negotiate(),
                                                       challenge(DhGroup::kFfdhe2048),
                                                       reply(true, DhGroup::kFfdhe2048),
                                                       success1(true)};
    for (const auto& message : messages) {
        for (size_t i = 0; i < std::min<size_t>(message.size(), 80); ++i) {
            for (uint32_t bit = 0; bit < 8; ++bit) {
                auto flipped = message;
                flipped[i] ^= static_cast<std::byte>(1U << bit);
                if (const auto fields = decode_negotiate(flipped)) {
                    EXPECT_EQ(fields->algorithms.hashes & 0xf1U, 0U);
                    EXPECT_EQ(fields->algorithms.groups & 0xc0U, 0U);
                }
                if (const auto fields = decode_challenge(flipped)) {
                    EXPECT_EQ(fields->challenge.size(), hash_bytes(fields->hash));
                    EXPECT_EQ(fields->dh_value.size(), dh_bytes(fields->group));
                }
                if (const auto fields =
                        decode_reply(flipped, AuthHash::kSha256, DhGroup::kFfdhe2048)) {
                    EXPECT_EQ(fields->response.size(), 32U);
                }
                static_cast<void>(decode_success1(flipped, AuthHash::kSha256));
                static_cast<void>(decode_failure(flipped));
            }
        }
    }
}

TEST(AuthMessages, RefuseLengthsThatDoNotFit) {
    auto message = challenge(DhGroup::kFfdhe2048);
    message[6] = std::byte{48};  // Not SHA-256's.
    EXPECT_EQ(decode_challenge(message).error(),
              Error(Errc::kNotSupported, static_cast<uint16_t>(AuthFailure::kHashUnusable)));
    message = challenge(DhGroup::kFfdhe2048);
    message[8] = std::byte{9};
    EXPECT_EQ(decode_challenge(message).error().detail,
              static_cast<uint16_t>(AuthFailure::kHashUnusable));
    message = challenge(DhGroup::kFfdhe2048);
    message[9] = std::byte{9};
    EXPECT_EQ(decode_challenge(message).error().detail,
              static_cast<uint16_t>(AuthFailure::kGroupUnusable));
    message = challenge(DhGroup::kFfdhe2048);
    message[9] = std::byte{0};  // A value, and no group.
    EXPECT_EQ(decode_challenge(message).error().code, Errc::kProtocol);
    auto of_host = negotiate();
    of_host[7] = std::byte{2};  // Protocols that are not there.
    EXPECT_FALSE(decode_negotiate(of_host));
    of_host = negotiate();
    of_host[10] = std::byte{31};  // More hashes than the list has places.
    EXPECT_FALSE(decode_negotiate(of_host));
    of_host = negotiate();
    of_host[8] = std::byte{7};  // Some other protocol.
    ASSERT_TRUE(decode_negotiate(of_host));
    EXPECT_FALSE(decode_negotiate(of_host)->has_dhchap);
}

}  // namespace
}  // namespace basalt::nvmf
