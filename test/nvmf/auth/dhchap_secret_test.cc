#include "nvmf/auth/dhchap_secret.h"

#include <string>

#include <gtest/gtest.h>

#include "test/nvmf/auth/auth_testing.h"

namespace basalt::nvmf {
namespace {

// Made by `nvme gen-dhchap-key --hmac=0 --secret=ed3dc3c9...` of nvme-cli 2.4.
constexpr std::string_view kWritten = "DHHC-1:00:7T3DybjvCi4LwfXOL1sb1bK3s/G31axaK2o/CuNqLxG7QNt1:";
// And by `nvme gen-dhchap-key --hmac=1`, 2 and 3.
constexpr std::string_view kWrittenSha256 =
    "DHHC-1:01:jp+UPD/AKo9StXj43QFST9mJ+cqj6HKEKIFpC5NHpQj+eyRN:";
constexpr std::string_view kWrittenSha384 =
    "DHHC-1:02:WdEukEYvnr5Is0cq1RfNV3LZ7zBfJU4zaJlxkiT1hU3rVtJHf1VcJZiIfHtFaue6VPekpQ==:";
constexpr std::string_view kWrittenSha512 =
    "DHHC-1:03:6jMCPXwQ8m/qh2Vdn6hTUEtJfQwcTPeQyO8bFljj9VZ2vdCZbuk9wOY0rON23Nmy19VuNnIxakxxXMDP"
    "+zVzuRG5ytU=:";

TEST(DhchapSecret, ReadsWhatNvmeCliWrites) {
    const Result<DhchapSecret> secret = DhchapSecret::parse(kWritten);
    ASSERT_TRUE(secret);
    EXPECT_FALSE(secret->transformation());
    const Result<Secret> plain = secret->transform("nqn.2026-01.io.basalt:host");
    ASSERT_TRUE(plain);
    EXPECT_EQ(hex(plain->bytes()),
              "ed3dc3c9b8ef0a2e0bc1f5ce2f5b1bd5b2b7b3f1b7d5ac5a2b6a3f0ae36a2f11");
    EXPECT_EQ(DhchapSecret::parse(kWrittenSha256)->transformation(), AuthHash::kSha256);
    EXPECT_EQ(DhchapSecret::parse(kWrittenSha384)->transformation(), AuthHash::kSha384);
    EXPECT_EQ(DhchapSecret::parse(kWrittenSha512)->transformation(), AuthHash::kSha512);
}

TEST(DhchapSecret, WritesWhatItRead) {
    for (const std::string_view text : {kWritten, kWrittenSha256, kWrittenSha384, kWrittenSha512}) {
        const Result<DhchapSecret> secret = DhchapSecret::parse(text);
        ASSERT_TRUE(secret) << text;
        EXPECT_EQ(secret->format().text(), text);
    }
}

// Computed with Python's hmac module.
TEST(DhchapSecret, TransformsWithTheNameOfWhomItProves) {
    const DhchapSecret secret = secret_of(0, AuthHash::kSha256);
    const Result<Secret> transformed = secret.transform("nqn.2026-01.io.basalt:host");
    ASSERT_TRUE(transformed);
    EXPECT_EQ(hex(transformed->bytes()),
              "8e8e042a87be16601313aba6f1d7abf9ed6e01703fdeacfa8edb85c11cfd5e87");
    EXPECT_EQ(secret_of(0, AuthHash::kSha512).transform("x")->bytes().size(), 64U);
}

TEST(DhchapSecret, RefusesEveryTruncation) {
    for (const std::string_view text : {kWritten, kWrittenSha384, kWrittenSha512}) {
        for (size_t size = 0; size < text.size(); ++size) {
            EXPECT_FALSE(DhchapSecret::parse(text.substr(0, size))) << size;
        }
    }
}

TEST(DhchapSecret, RefusesEveryFlippedBit) {
    const std::string text(kWrittenSha256);
    for (size_t i = 0; i < text.size(); ++i) {
        for (uint32_t bit = 0; bit < 8; ++bit) {
            std::string flipped = text;
            flipped[i] = static_cast<char>(static_cast<uint8_t>(flipped[i]) ^ (1U << bit));
            const Result<DhchapSecret> secret = DhchapSecret::parse(flipped);
            if (i == 8 && flipped[i] >= '0' && flipped[i] <= '3') {
                EXPECT_TRUE(secret);  // The hash's number is not under the CRC.
                continue;
            }
            EXPECT_FALSE(secret) << "byte " << i << " bit " << bit;
        }
    }
}

TEST(DhchapSecret, RefusesOtherFormsAndLengths) {
    // 16 bytes with a right CRC, made as nvme-cli would.
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:00:AAECAwQFBgcICQoLDA0OD4jizs4=:"));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:04:" + std::string(kWritten.substr(10))));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:10:" + std::string(kWritten.substr(10))));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-2:00:" + std::string(kWritten.substr(10))));
    EXPECT_FALSE(DhchapSecret::parse("NVMeTLSkey-1:01:" + std::string(kWritten.substr(10))));
    EXPECT_FALSE(DhchapSecret::parse(std::string(kWritten) + ":"));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:00:" + std::string(400, 'A') + ":"));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:00:====:"));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:00::"));
    EXPECT_FALSE(DhchapSecret::parse("DHHC-1:00:"));
}

}  // namespace
}  // namespace basalt::nvmf
