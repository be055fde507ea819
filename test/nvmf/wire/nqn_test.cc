#include "nvmf/wire/nqn.h"

#include <array>
#include <string>

#include <gtest/gtest.h>

#include "nvmf/wire/limits.h"

namespace basalt::nvmf {
namespace {

TEST(Nqn, AcceptsWhatHostsAndTargetsUse) {
    EXPECT_TRUE(is_valid_nqn(kDiscoveryNqn));
    EXPECT_TRUE(
        is_valid_nqn("nqn.2014-08.org.nvmexpress:uuid:f81d4fae-7dec-11d0-a765-00A0C91e6bf6"));
    EXPECT_TRUE(is_valid_nqn("nqn.2016-06.io.spdk:cnode1"));
    EXPECT_TRUE(is_valid_nqn("nqn.2026-12.io.basalt:vol/db one"));
    EXPECT_TRUE(is_valid_nqn("nqn.2026-01.io.basalt:b\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"));
}

TEST(Nqn, RefusesAnotherForm) {
    for (const char* const nqn : {"",
                                  "nqn",
                                  "nqn.",
                                  "iqn.2016-06.io.spdk:disk1",
                                  "NQN.2016-06.io.spdk:cnode1",
                                  "nqn.2016-00.io.spdk",
                                  "nqn.2016-13.io.spdk",
                                  "nqn.216-06.io.spdk:a",
                                  "nqn.2016_06.io.spdk",
                                  "nqn.2016-06io.spdk",
                                  "nqn.2016-06.",
                                  "nqn.2016-06..spdk",
                                  "nqn.2016-06.:spdk"}) {
        EXPECT_FALSE(is_valid_nqn(nqn)) << nqn;
    }
}

TEST(Nqn, RefusesABrokenUuid) {
    for (const char* const uuid : {"",
                                   "f81d4fae-7dec-11d0-a765-00a0c91e6bf",
                                   "f81d4fae-7dec-11d0-a765-00a0c91e6bf6a",
                                   "g81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                                   "f81d4fae07dec-11d0-a765-00a0c91e6bf6"}) {
        EXPECT_FALSE(is_valid_nqn(std::string(kUuidNqnPrefix) + uuid)) << uuid;
    }
}

TEST(Nqn, RefusesMoreThan223Bytes) {
    std::string nqn = "nqn.2016-06.io.spdk:";
    nqn.resize(kNqnBytesMax, 'x');
    EXPECT_TRUE(is_valid_nqn(nqn));
    nqn += 'x';
    EXPECT_FALSE(is_valid_nqn(nqn));
}

TEST(Nqn, RefusesControlCharactersAndBrokenUtf8) {
    for (const char* const tail : {"\n",
                                   "\x7f",
                                   "\x80",
                                   "\xc3",
                                   "\xc0\xaf",
                                   "\xe0\x80\xaf",
                                   "\xed\xa0\x80",
                                   "\xf4\x90\x80\x80",
                                   "\xff",
                                   "\xc2\x85",
                                   "\xf0\x9f\x98"}) {
        EXPECT_FALSE(is_valid_nqn(std::string("nqn.2016-06.io.spdk:a") + tail));
    }
    EXPECT_FALSE(is_valid_nqn(std::string_view("nqn.2016-06.io.spdk\0a", 21)));
}

TEST(Nqn, TravelsThroughItsField) {
    std::array<char, kNqnFieldBytes> field{};
    field.fill('z');
    write_nqn_field(field, kDiscoveryNqn);
    EXPECT_EQ(field.back(), '\0');
    const auto nqn = read_nqn_field(field);
    ASSERT_TRUE(nqn);
    EXPECT_EQ(*nqn, kDiscoveryNqn);
}

TEST(Nqn, RefusesAFieldWithoutAnEnd) {
    std::array<char, kNqnFieldBytes> field{};
    write_nqn_field(field, kDiscoveryNqn);
    for (char& c : field) {
        c = c == '\0' ? 'x' : c;
    }
    EXPECT_FALSE(read_nqn_field(field));
    field.fill('\0');
    EXPECT_FALSE(read_nqn_field(field));
}

}  // namespace
}  // namespace basalt::nvmf
