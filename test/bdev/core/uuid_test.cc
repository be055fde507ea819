#include "bdev/core/uuid.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace basalt::bdev {
namespace {

constexpr const char* kText = "01234567-89ab-cdef-0123-456789abcdef";

TEST(Uuid, TextFormKeepsTheOrderOfTheBytes) {
    const Uuid uuid = *Uuid::parse(kText);
    EXPECT_EQ(uuid.bytes[0], 0x01);
    EXPECT_EQ(uuid.bytes[7], 0xef);
    EXPECT_EQ(uuid.bytes[15], 0xef);
    EXPECT_EQ(uuid.to_string(), kText);
    EXPECT_EQ(*Uuid::parse("01234567-89AB-CDEF-0123-456789ABCDEF"), uuid);
}

TEST(Uuid, ParseRefusesEveryOtherForm) {
    const std::string good = kText;
    EXPECT_FALSE(Uuid::parse(""));
    EXPECT_FALSE(Uuid::parse(good.substr(1)));
    EXPECT_FALSE(Uuid::parse(good + "0"));
    EXPECT_FALSE(Uuid::parse("{" + good.substr(0, 34) + "}"));
    for (size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = bad[i] == '-' ? '0' : '-';
        EXPECT_FALSE(Uuid::parse(bad)) << bad;
        bad[i] = 'g';
        EXPECT_FALSE(Uuid::parse(bad)) << bad;
    }
}

TEST(Uuid, RandomOnesAreVersion4AndDiffer) {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const std::string text = Uuid::make_random().to_string();
        EXPECT_EQ(text[14], '4');
        EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos);
        seen.insert(text);
    }
    EXPECT_EQ(seen.size(), 100U);
    EXPECT_TRUE(Uuid{}.is_nil());
    EXPECT_FALSE(Uuid::make_random().is_nil());
}

TEST(Uuid, OnesOfANameAreVersion8AndAlwaysTheSame) {
    const Uuid uuid = Uuid::from_name("node", "/srv/disk.img");
    EXPECT_EQ(uuid.to_string(), "cc9e3b3e-89d9-80f9-8674-e11b468aeaa8")
        << "hosts know namespaces by it: never changes";
    EXPECT_EQ(Uuid::from_name("node", "/srv/disk.img"), uuid);
    EXPECT_NE(Uuid::from_name("node", "/srv/disk2.img"), uuid);
    EXPECT_NE(Uuid::from_name("other", "/srv/disk.img"), uuid);
    EXPECT_NE(Uuid::from_name("node/", "srv/disk.img"), uuid);
}

}  // namespace
}  // namespace basalt::bdev
