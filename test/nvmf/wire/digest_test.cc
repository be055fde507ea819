#include "nvmf/wire/digest.h"

#include <gtest/gtest.h>

#include "test/nvmf/wire/wire_testing.h"

namespace basalt::nvmf {
namespace {

// The examples of RFC 3720, appendix B.4.
TEST(Digest, GivesTheKnownValues) {
    testing::ByteVector bytes(32, std::byte{0});
    EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
    bytes.assign(32, std::byte{0xff});
    EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(i);
    }
    EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
}

TEST(Digest, IsTheSameHoweverTheBytesAreCut) {
    const auto bytes = testing::pattern(1000);
    const uint32_t whole = crc32c(bytes);
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
        Crc32c crc;
        crc.update(std::span(bytes).first(cut));
        crc.update(std::span(bytes).subspan(cut));
        ASSERT_EQ(crc.value(), whole) << "cut at " << cut;
    }
}

TEST(Digest, OfNothingIsZero) {
    EXPECT_EQ(crc32c({}), 0U);
}

}  // namespace
}  // namespace basalt::nvmf
