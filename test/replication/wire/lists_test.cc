#include "replication/wire/lists.h"

#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"
#include "replication/wire/block_sums.h"

namespace basalt::replication::wire {
namespace {

using Bytes = std::vector<std::byte>;
using bdev::store::crc32c;

Bytes payload_of(const Bytes& data) {
    const size_t sums = data.size() / kBlockBytes * 4;
    Bytes out(sums + data.size());
    put_block_sums(data, std::span(out).first(sums));
    std::copy(data.begin(), data.end(), out.begin() + static_cast<ptrdiff_t>(sums));
    return out;
}

TEST(WireLists, AWindowComesBackPageByPage) {
    std::vector<WindowEntry> entries;
    for (uint64_t i = 1; i <= 5; ++i) {
        entries.push_back({{Epoch(i), i * 2}, {i * 10, static_cast<uint32_t>(i)}});
    }
    Window window(8);
    for (size_t at = 0; at < entries.size();) {
        Bytes page(2 * kWindowEntryBytes + 5);
        page.resize(encode_window(std::span(entries).subspan(at), page));
        ASSERT_TRUE(decode_window(page, crc32c(page), window));
        at += page.size() / kWindowEntryBytes;
    }
    EXPECT_TRUE(std::equal(entries.begin(), entries.end(), window.entries().begin()));
}

TEST(WireLists, RefusesWindowsThatCanNotBe) {
    const std::vector<WindowEntry> bad{{{}, {0, 1}},
                                       {{Epoch(1), 1}, {0, kRangeBlocksMax + 1}},
                                       {{Epoch(1), 1}, {~uint64_t{0}, 2}}};
    for (const WindowEntry& entry : bad) {
        Window window(2);
        Bytes page(kWindowEntryBytes);
        encode_window(std::span(&entry, 1), page);
        EXPECT_EQ(decode_window(page, crc32c(page), window).error().code, Errc::kProtocol);
    }
    const WindowEntry good{{Epoch(1), 1}, {0, 1}};
    Bytes page(kWindowEntryBytes);
    encode_window(std::span(&good, 1), page);
    Window window(1);
    EXPECT_EQ(decode_window(page, crc32c(page) + 1, window).error().code, Errc::kDataCorrupt);
    EXPECT_EQ(decode_window(std::span(page).first(31), 0, window).error().code, Errc::kProtocol);
    EXPECT_TRUE(decode_window(page, crc32c(page), window));
    EXPECT_EQ(decode_window(page, crc32c(page), window).error().code, Errc::kNoMemory);
}

TEST(WireLists, ADirtyBitmapComesBackPageByPage) {
    BlockBitmap bitmap(1000);
    constexpr std::array<uint64_t, 8> kBlocks{0, 1, 2, 63, 64, 500, 998, 999};
    for (const uint64_t block : kBlocks) {
        bitmap.set(block);
    }
    BlockBitmap copy(1000);
    uint64_t from = 0;
    uint32_t pages = 0;
    while (from < bitmap.blocks()) {
        Bytes page(kRunBytes + 3);
        page.resize(encode_dirty(bitmap, from, page));
        ASSERT_TRUE(decode_dirty(page, crc32c(page), copy));
        ++pages;
    }
    EXPECT_EQ(pages, 4U);
    for (uint64_t block = 0; block < 1000; ++block) {
        EXPECT_EQ(bitmap.has(block), copy.has(block)) << block;
    }
}

TEST(WireLists, RefusesRunsThatCanNotBe) {
    using Run = std::array<uint64_t, 2>;
    const std::vector<std::vector<Run>> bad{{{5, 0}},
                                            {{100, 1}},
                                            {{99, 2}},
                                            {{~uint64_t{0}, 2}},
                                            {{5, ~uint64_t{0}}},
                                            {{5, 3}, {7, 1}}};
    for (const auto& runs : bad) {
        BlockBitmap bitmap(100);
        const auto page = std::as_bytes(std::span(runs));
        EXPECT_EQ(decode_dirty(page, crc32c(page), bitmap).error().code, Errc::kProtocol);
    }
}

TEST(WireSums, FindTheSingleBitThatIsWrong) {
    Bytes data(2 * kBlockBytes);
    for (size_t i = 0; i < data.size(); ++i) {
        data[i] = std::byte(i * 7 % 251);
    }
    const Bytes payload = payload_of(data);
    const uint32_t table = crc32c(std::span(payload).first(8));
    ASSERT_TRUE(check_data(payload, 2, table));
    EXPECT_TRUE(std::equal(data.begin(), data.end(), check_data(payload, 2, table)->data.begin()));
    for (size_t bit = 0; bit < payload.size() * 8; bit += bit < 64 ? 1 : 97) {
        Bytes damaged = payload;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_EQ(check_data(damaged, 2, table).error().code, Errc::kDataCorrupt) << bit;
    }
    EXPECT_EQ(check_data(payload, 1, table).error().code, Errc::kProtocol);
    EXPECT_EQ(check_data(payload, 3, table).error().code, Errc::kProtocol);
}

}  // namespace
}  // namespace basalt::replication::wire
