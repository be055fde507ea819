#include "nvmf/auth/response.h"

#include <gtest/gtest.h>

#include "test/nvmf/auth/auth_testing.h"

// The expected values were computed with Python's hmac and hashlib from the specification's text.
namespace basalt::nvmf {
namespace {

TEST(AuthResponse, OfAHostWithAPlainSecret) {
    const auto value = counting_bytes(32, 0x40);
    const Result<Secret> response = auth_response(
        AuthRole::kHost,
        secret_of(0),
        test_names(),
        {.hash = AuthHash::kSha256, .sequence = 0x01020304, .transaction = 0x0506, .value = value});
    ASSERT_TRUE(response);
    EXPECT_EQ(hex(response->bytes()),
              "c5fac4bbc0e6fae0bef07d5e56456620c099366c159626a53fff4f75b65c94d6");
}

TEST(AuthResponse, OfAHostWithATransformedSecret) {
    const auto value = counting_bytes(32, 0x40);
    const Result<Secret> response = auth_response(
        AuthRole::kHost,
        secret_of(0, AuthHash::kSha256),
        test_names(),
        {.hash = AuthHash::kSha256, .sequence = 0x01020304, .transaction = 0x0506, .value = value});
    ASSERT_TRUE(response);
    EXPECT_EQ(hex(response->bytes()),
              "5c4f9dd256c6970354eadf7029c0f3ec7af830241600e932433532ec02f18e81");
}

TEST(AuthResponse, OfAHostWithDiffieHellman) {
    const auto value = counting_bytes(64, 0x40);
    const Secret shared(ByteView(std::vector<std::byte>(256, std::byte{7})));
    const Result<Secret> response = auth_response(AuthRole::kHost,
                                                  secret_of(0, AuthHash::kSha512),
                                                  test_names(),
                                                  {.hash = AuthHash::kSha512,
                                                   .sequence = 0x01020304,
                                                   .transaction = 0x0506,
                                                   .value = value,
                                                   .shared = &shared});
    ASSERT_TRUE(response);
    EXPECT_EQ(hex(response->bytes()),
              "5bb4a892c3432d773df00524d8fb40ffe9c5828c12978a417bc505184f34666f"
              "12232df5ab967d6f980fd9a6162c1625ea5af2262aba975c666225241b3ac20b");
}

TEST(AuthResponse, OfAController) {
    const auto value = counting_bytes(48, 0x40);
    const Result<Secret> response =
        auth_response(AuthRole::kController,
                      secret_of(0, AuthHash::kSha384),
                      test_names(),
                      {.hash = AuthHash::kSha384, .sequence = 9, .transaction = 1, .value = value});
    ASSERT_TRUE(response);
    EXPECT_EQ(hex(response->bytes()),
              "3e7ded24dc6f32b64fb7c3579bc29b936927f7de62ecd6bcaef9761d435be9f0"
              "bba67e03003501d67499cc3adf146312");
}

TEST(AuthResponse, DependsOnEveryInput) {
    const auto value = counting_bytes(32, 0x40);
    const auto other_value = counting_bytes(32, 0x41);
    const AuthChallenge challenge{
        .hash = AuthHash::kSha256, .sequence = 5, .transaction = 6, .value = value};
    const auto response = [](const AuthNames& names, AuthChallenge of, AuthRole role) {
        return hex(auth_response(role, secret_of(0), names, of)->bytes());
    };
    const std::string original = response(test_names(), challenge, AuthRole::kHost);
    AuthChallenge changed = challenge;
    changed.sequence = 4;
    EXPECT_NE(response(test_names(), changed, AuthRole::kHost), original);
    changed = challenge;
    changed.transaction = 7;
    EXPECT_NE(response(test_names(), changed, AuthRole::kHost), original);
    changed = challenge;
    changed.value = other_value;
    EXPECT_NE(response(test_names(), changed, AuthRole::kHost), original);
    EXPECT_NE(response(test_names(), challenge, AuthRole::kController), original);
    AuthNames names = test_names();
    names.host_nqn += "x";
    EXPECT_NE(response(names, challenge, AuthRole::kHost), original);
    names = test_names();
    names.subsystem_nqn += "x";
    EXPECT_NE(response(names, challenge, AuthRole::kHost), original);
}

TEST(AuthResponse, TheKeyForTls) {
    const Secret shared(ByteView(std::vector<std::byte>(256, std::byte{7})));
    const Result<Secret> psk =
        generate_psk(AuthHash::kSha384, shared, counting_bytes(48, 0x40), counting_bytes(48, 0x80));
    ASSERT_TRUE(psk);
    EXPECT_EQ(hex(psk->bytes()),
              "245b56d978f1f5d47c40c063ebad733860a2b2d5bc9e23b3ec9b933ceacd53d7"
              "4134a19320ec76ada99222bf4ccec410");
}

TEST(AuthResponse, NamesWhatTheHostHasAskedFor) {
    const auto value = counting_bytes(32, 0x40);
    const Result<Secret> response = auth_response(AuthRole::kHost,
                                                  secret_of(0),
                                                  test_names(),
                                                  {.hash = AuthHash::kSha256,
                                                   .sequence = 0x01020304,
                                                   .transaction = 0x0506,
                                                   .value = value,
                                                   .channel = SecureChannel::kNewPsk});
    ASSERT_TRUE(response);
    EXPECT_EQ(hex(response->bytes()),
              "f1dbcb2f2048a78be052a0a703de2e9f89c8d777b6cddb69e1db8ceff0752b2c");
}

}  // namespace
}  // namespace basalt::nvmf
