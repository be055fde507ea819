#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "nvmf/auth/host_exchange.h"
#include "nvmf/auth/target_exchange.h"
#include "test/nvmf/auth/auth_testing.h"

namespace basalt::nvmf {
namespace {

using HostState = HostExchange::State;
using TargetState = TargetExchange::State;

/// A host and a target that talk to each other, with somebody in between who may change messages.
class Talk {
  public:
    struct Setup {
        AuthAlgorithms host_algorithms{};
        AuthAlgorithms target_algorithms{};
        std::optional<AuthHash> transformation{};
        bool is_mutual = false;
        uint8_t host_secret_at_host = 1;
        uint8_t host_secret_at_target = 1;
        uint8_t controller_secret_at_host = 2;
        uint8_t controller_secret_at_target = 2;
        bool target_has_host_secret = true;
        bool target_has_controller_secret = true;
        SecureChannel channel = SecureChannel::kNone;
        SecureChannel channel_offered = SecureChannel::kNone;
    };
    using Meddle = std::function<void(uint32_t number, std::vector<std::byte>& message)>;

    explicit Talk(const Setup& setup)
        : host_secret_(secret_of(setup.host_secret_at_host, setup.transformation)),
          controller_secret_(secret_of(setup.controller_secret_at_host, setup.transformation)),
          host({.names = test_names(),
                .algorithms = setup.host_algorithms,
                .transaction = 7,
                .sequence = 99,
                .channel = setup.channel},
               host_secret_,
               setup.is_mutual ? &controller_secret_ : nullptr),
          target(test_names(), setup.channel_offered),
          target_algorithms_(setup.target_algorithms) {
        if (setup.target_has_host_secret) {
            secrets_.host.emplace(secret_of(setup.host_secret_at_target, setup.transformation));
        }
        if (setup.target_has_controller_secret) {
            secrets_.controller.emplace(
                secret_of(setup.controller_secret_at_target, setup.transformation));
        }
    }

    /// Until one of them is at an end. Messages are numbered from 0.
    void run(const Meddle& meddle = [](uint32_t, std::vector<std::byte>&) {}) {
        for (uint32_t number = 0; number < 8; ++number) {
            const bool target_is_over =
                target.state() == TargetState::kDone || target.state() == TargetState::kFailed;
            if (host.wants_to_send() && !target_is_over) {
                std::vector<std::byte> message(kAuthMessageBytesMax);
                message.resize(host.send(message));
                meddle(number, message);
                target.apply(message, {target_algorithms_, secrets_, 55, random_});
            } else if (host.wants_to_receive() && !target_is_over) {
                std::vector<std::byte> message(target.pending_bytes());
                target.receive(message);
                message.resize(kAuthTransferBytesMax);
                meddle(number, message);
                host.apply(message, random_);
            } else {
                return;
            }
        }
        FAIL() << "they never end";
    }

  private:
    DhchapSecret host_secret_;
    DhchapSecret controller_secret_;
    TargetSecrets secrets_;
    CountingRandom random_;

  public:
    HostExchange host;
    TargetExchange target;

  private:
    const AuthAlgorithms target_algorithms_;
};

TEST(AuthExchange, SucceedsWithEveryHashAndGroupOneWayAndMutual) {
    for (const AuthHash hash : kAuthHashes) {
        for (const DhGroup group : kDhGroups) {
            for (const bool is_mutual : {false, true}) {
                Talk talk(
                    {.host_algorithms = {AuthAlgorithms::bit(hash), AuthAlgorithms::bit(group)},
                     .transformation = hash,
                     .is_mutual = is_mutual});
                talk.run();
                EXPECT_EQ(talk.host.state(), HostState::kDone) << name_of(hash) << name_of(group);
                EXPECT_EQ(talk.target.state(), TargetState::kDone);
                EXPECT_EQ(talk.target.hash(), hash);
                EXPECT_EQ(talk.host.group(), group);
                EXPECT_EQ(talk.host.failure(), AuthFailure::kNone);
            }
        }
    }
}

TEST(AuthExchange, ChoosesTheStrongestThatBothHave) {
    Talk talk({.host_algorithms = {0b0110, 0b000111}, .target_algorithms = {0b1110, 0b111011}});
    talk.run();
    EXPECT_TRUE(talk.host.is_done());
    EXPECT_EQ(talk.target.hash(), AuthHash::kSha384);
    EXPECT_EQ(talk.target.group(), DhGroup::kFfdhe2048);
}

TEST(AuthExchange, FailsWithoutACommonHashOrGroup) {
    Talk hashes({.host_algorithms = {0b0010, 0b000001}, .target_algorithms = {0b1000, 0b111111}});
    hashes.run();
    EXPECT_TRUE(hashes.host.has_failed());
    EXPECT_EQ(hashes.host.failure(), AuthFailure::kHashUnusable);
    EXPECT_EQ(hashes.target.state(), TargetState::kFailed);
    Talk groups({.host_algorithms = {0b0010, 0b000001}, .target_algorithms = {0b1110, 0b111110}});
    groups.run();
    EXPECT_EQ(groups.host.failure(), AuthFailure::kGroupUnusable);
}

TEST(AuthExchange, FailsWithAWrongOrMissingSecretOfTheHost) {
    for (const uint8_t groups : {uint8_t{0b000001}, uint8_t{0b000010}}) {
        Talk wrong({.host_algorithms = {0b0010, groups}, .host_secret_at_host = 3});
        wrong.run();
        EXPECT_TRUE(wrong.host.has_failed());
        EXPECT_EQ(wrong.host.failure(), AuthFailure::kFailed);
        EXPECT_EQ(wrong.target.state(), TargetState::kFailed);
    }
    Talk missing({.host_algorithms = {0b0010, 1}, .target_has_host_secret = false});
    missing.run();
    EXPECT_EQ(missing.host.failure(), AuthFailure::kFailed);
    EXPECT_EQ(missing.target.state(), TargetState::kFailed);
}

TEST(AuthExchange, FailsAtTheHostIfTheControllerCanNotProveItself) {
    Talk wrong(
        {.host_algorithms = {0b0010, 1}, .is_mutual = true, .controller_secret_at_target = 9});
    wrong.run();
    EXPECT_TRUE(wrong.host.has_failed());
    EXPECT_EQ(wrong.host.failure(), AuthFailure::kFailed);
    EXPECT_EQ(wrong.target.state(), TargetState::kFailed);
    EXPECT_EQ(wrong.target.failure(), AuthFailure::kFailed);
    Talk missing(
        {.host_algorithms = {0b0010, 1}, .is_mutual = true, .target_has_controller_secret = false});
    missing.run();
    EXPECT_TRUE(missing.host.has_failed());
    EXPECT_EQ(missing.target.state(), TargetState::kFailed);
}

TEST(AuthExchange, AHostThatWantsAProofIsNotContentWithNone) {
    Talk talk({.host_algorithms = {0b0010, 1}, .is_mutual = true});
    talk.run([](uint32_t number, std::vector<std::byte>& message) {
        if (number == 3) {
            message[8] = std::byte{0};  // RVALID
        }
    });
    EXPECT_TRUE(talk.host.has_failed());
    EXPECT_EQ(talk.host.failure(), AuthFailure::kFailed);
}

// Somebody in between flips any one bit of any one message: never do both believe it went well
// with what they did not agree on.
TEST(AuthExchange, NoFlippedBitGoesUnnoticedWhereItMatters) {
    const Talk::Setup setup{.host_algorithms = {0b0010, 1}, .is_mutual = true};
    // Negotiate, Challenge, Reply, Success1, Success2: bytes that nobody checks are reserved ones,
    // the other algorithms of Negotiate, and the reason code of nothing.
    const std::vector<std::vector<size_t>> checked{{0, 1, 7, 8},
                                                   {0, 1, 4, 5, 6, 8, 9, 12, 13, 14, 15, 16, 47},
                                                   {0, 1, 4, 5, 6, 10, 12, 13, 14, 15, 16, 48, 79},
                                                   {0, 1, 4, 5, 6, 8, 16, 31, 47},
                                                   {0, 1, 4, 5}};
    for (uint32_t number = 0; number < checked.size(); ++number) {
        for (const size_t at : checked[number]) {
            for (uint32_t bit = 0; bit < 8; ++bit) {
                Talk talk(setup);
                talk.run([&](uint32_t each, std::vector<std::byte>& message) {
                    if (each == number) {
                        message[at] ^= static_cast<std::byte>(1U << bit);
                    }
                });
                EXPECT_FALSE(talk.host.is_done() && talk.target.state() == TargetState::kDone)
                    << "message " << number << " byte " << at << " bit " << bit;
                EXPECT_NE(talk.target.state() == TargetState::kDone && number < 4, true);
            }
        }
    }
}

TEST(AuthExchange, AHostRefusesAlgorithmsThatItDidNotOffer) {
    Talk talk({.host_algorithms = {0b1010, 1}});
    talk.run([](uint32_t number, std::vector<std::byte>& message) {
        if (number == 0) {
            message[11] = std::byte{1};  // Hashes: SHA-384, which the host has not.
            message[12] = std::byte{2};
            message[10] = std::byte{1};
            message[11] = std::byte{1};
        }
    });
    EXPECT_TRUE(talk.host.has_failed());
    EXPECT_EQ(talk.host.failure(), AuthFailure::kHashUnusable);
}

TEST(AuthExchange, ATargetRefusesSecureChannelConcatenation) {
    Talk talk({.host_algorithms = {0b0010, 1}});
    talk.run([](uint32_t number, std::vector<std::byte>& message) {
        if (number == 0) {
            message[6] = std::byte{2};
        }
    });
    EXPECT_EQ(talk.host.failure(), AuthFailure::kConcatenationMismatch);
}

TEST(AuthExchange, RefusesADiffieHellmanValueOfZero) {
    for (const uint32_t victim : {1U, 2U}) {
        Talk talk({.host_algorithms = {0b0010, 0b000010}});
        talk.run([&](uint32_t number, std::vector<std::byte>& message) {
            if (number == victim) {
                const size_t from = number == 1 ? 16 + 32 : 16 + 64;
                std::fill_n(message.begin() + static_cast<ptrdiff_t>(from), 256, std::byte{0});
            }
        });
        EXPECT_FALSE(talk.host.is_done());
        EXPECT_EQ(talk.target.state(), TargetState::kFailed);
    }
}

// --- Keys for TLS.
// --------------------------------------------------------------------------------

constexpr SecureChannel kNewPsk = SecureChannel::kNewPsk;

TEST(AuthExchange, MakesTheSameKeyForTlsAtBothEnds) {
    for (const uint8_t hashes : {uint8_t{0b0010}, uint8_t{0b0100}}) {
        for (const bool is_mutual : {false, true}) {
            for (const SecureChannel channel : {kNewPsk, SecureChannel::kReplacePsk}) {
                Talk talk({.host_algorithms = {hashes, 0b000010},
                           .is_mutual = is_mutual,
                           .target_has_controller_secret = is_mutual,
                           .channel = channel,
                           .channel_offered = channel});
                talk.run();
                ASSERT_TRUE(talk.host.is_done());
                ASSERT_EQ(talk.target.state(), TargetState::kDone);
                EXPECT_EQ(talk.host.generated_psk().bytes().size(), hash_bytes(talk.host.hash()));
                EXPECT_TRUE(talk.host.generated_psk().equals(talk.target.generated_psk()));
            }
        }
    }
}

TEST(AuthExchange, MakesNoKeyUnlessAsked) {
    Talk talk({.is_mutual = true, .channel_offered = kNewPsk});
    talk.run();
    ASSERT_TRUE(talk.host.is_done());
    EXPECT_TRUE(talk.host.generated_psk().empty());
    EXPECT_TRUE(talk.target.generated_psk().empty());
}

TEST(AuthExchange, TakesNeitherSha512NorTheMissingGroupForAKey) {
    Talk talk(
        {.host_algorithms = {0b1110, 0b000011}, .channel = kNewPsk, .channel_offered = kNewPsk});
    talk.run();
    ASSERT_TRUE(talk.host.is_done());
    EXPECT_EQ(talk.target.hash(), AuthHash::kSha384);
    EXPECT_EQ(talk.target.group(), DhGroup::kFfdhe2048);
    Talk groupless(
        {.target_algorithms = {0b1110, 0b000001}, .channel = kNewPsk, .channel_offered = kNewPsk});
    groupless.run();
    EXPECT_EQ(groupless.host.failure(), AuthFailure::kGroupUnusable);
}

TEST(AuthExchange, RefusesAKeyThatIsNotOffered) {
    for (const SecureChannel offered : {SecureChannel::kNone, SecureChannel::kReplacePsk}) {
        Talk talk({.channel = kNewPsk, .channel_offered = offered});
        talk.run();
        EXPECT_TRUE(talk.host.has_failed());
        EXPECT_EQ(talk.host.failure(), AuthFailure::kConcatenationMismatch);
        EXPECT_TRUE(talk.target.generated_psk().empty());
    }
}

TEST(AuthExchange, NoticesWhenTheWishForAKeyIsTakenOut) {
    Talk talk(
        {.host_algorithms = {0b0010, 0b000010}, .channel = kNewPsk, .channel_offered = kNewPsk});
    talk.run([](uint32_t number, std::vector<std::byte>& message) {
        if (number == 0) {
            message[6] = std::byte{0};
        }
    });
    EXPECT_TRUE(talk.host.has_failed());
    EXPECT_EQ(talk.target.state(), TargetState::kFailed);
}

TEST(AuthExchange, TakesNoChallengeOfNumber0WithoutAKey) {
    Talk talk({.host_algorithms = {0b0010, 0b000001}, .is_mutual = true});
    talk.run([](uint32_t number, std::vector<std::byte>& message) {
        if (number == 2) {
            std::fill_n(message.begin() + 12, 4, std::byte{0});
        }
    });
    EXPECT_EQ(talk.host.failure(), AuthFailure::kIncorrectPayload);
    EXPECT_EQ(talk.target.state(), TargetState::kFailed);
}

TEST(AuthExchange, WantsAChallengeForAKey) {
    Talk talk(
        {.host_algorithms = {0b0010, 0b000010}, .channel = kNewPsk, .channel_offered = kNewPsk});
    talk.run([](uint32_t number, std::vector<std::byte>& message) {
        if (number == 2) {
            message[8] = std::byte{0};  // CVALID.
        }
    });
    EXPECT_TRUE(talk.host.has_failed());
    EXPECT_TRUE(talk.target.generated_psk().empty());
}

// --- Hosts that break the order. -----------------------------------------------------------------

class LonelyTarget : public testing::Test {
  protected:
    std::vector<std::byte> negotiate() {
        std::vector<std::byte> message(kAuthMessageBytesMax);
        message.resize(encode_negotiate(7, {0b0010, 1}, message));
        return message;
    }
    void apply(const std::vector<std::byte>& message) {
        target_.apply(message, {AuthAlgorithms{}, secrets_, 55, random_});
    }
    std::vector<std::byte> receive() {
        std::vector<std::byte> message(target_.pending_bytes());
        target_.receive(message);
        return message;
    }
    void expect_failure1(AuthFailure failure) {
        EXPECT_EQ(target_.state(), TargetState::kFailure1);
        EXPECT_EQ(target_.failure(), failure);
        const std::vector<std::byte> message = receive();
        EXPECT_EQ(decode_header(message)->message, AuthMessage::kFailure1);
        EXPECT_EQ(decode_failure(message)->failure, failure);
        EXPECT_EQ(target_.state(), TargetState::kFailed);
    }

    TargetSecrets secrets_;
    CountingRandom random_;
    TargetExchange target_{test_names()};
};

TEST_F(LonelyTarget, WantsANegotiateFirst) {
    std::vector<std::byte> message(kAuthMessageBytesMax);
    message.resize(encode_success2(7, message));
    apply(message);
    expect_failure1(AuthFailure::kIncorrectMessage);
}

TEST_F(LonelyTarget, HasNothingToReceiveBeforeItWasAsked) {
    EXPECT_EQ(target_.pending_bytes(), 8U);
    expect_failure1(AuthFailure::kIncorrectMessage);
}

TEST_F(LonelyTarget, TakesNegotiateOnlyOnce) {
    apply(negotiate());
    EXPECT_EQ(target_.state(), TargetState::kChallenge);
    apply(negotiate());
    expect_failure1(AuthFailure::kIncorrectMessage);
}

TEST_F(LonelyTarget, TakesNoReplyBeforeItsChallengeWasReceived) {
    apply(negotiate());
    std::vector<std::byte> message(kAuthMessageBytesMax);
    const auto response = counting_bytes(32);
    message.resize(encode_reply({.transaction = 7, .response = response}, message));
    apply(message);
    expect_failure1(AuthFailure::kIncorrectMessage);
}

TEST_F(LonelyTarget, StaysFailedWhateverFollows) {
    apply(std::vector<std::byte>(3));
    EXPECT_EQ(target_.failure(), AuthFailure::kIncorrectPayload);
    apply(negotiate());
    expect_failure1(AuthFailure::kIncorrectPayload);
}

TEST_F(LonelyTarget, ListensToAHostThatDislikesTheChallenge) {
    apply(negotiate());
    static_cast<void>(receive());
    std::vector<std::byte> message(kAuthMessageBytesMax);
    message.resize(encode_failure(AuthMessage::kFailure2,
                                  {.transaction = 7, .failure = AuthFailure::kGroupUnusable},
                                  message));
    apply(message);
    EXPECT_EQ(target_.state(), TargetState::kFailed);
    EXPECT_EQ(target_.failure(), AuthFailure::kGroupUnusable);
}

TEST_F(LonelyTarget, ChallengesWithFreshBytesAndItsSequenceNumber) {
    apply(negotiate());
    const std::vector<std::byte> first = receive();
    EXPECT_EQ(decode_challenge(first)->sequence, 55U);
    EXPECT_EQ(hex(decode_challenge(first)->challenge), hex(counting_bytes(32, 1)));
}

}  // namespace
}  // namespace basalt::nvmf
