#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"
#include "bdev/store/stream/stream_reader.h"
#include "bdev/store/stream/stream_writer.h"
#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store {
namespace {

using test::Block;
using test::integer_at;

using Stream = std::vector<Block>;

StreamBegin sample_begin() {
    return {.pool_uuid = test::uuid_of(1),
            .volume_uuid = test::uuid_of(2),
            .volume_name = "vol1",
            .snapshot_uuid = test::uuid_of(3),
            .snapshot_name = "monday",
            .base_uuid = test::uuid_of(4),
            .size_blocks = 1000,
            .block_bytes = 512,
            .created_ns = 0x1122334455667788,
            .first = 10};
}

Block data_block(uint8_t value) {
    Block block;
    block.fill(std::byte{value});
    return block;
}

/// Begin, changes with two blocks of data and a hole, changes with a hole only, end.
Stream sample_stream(const StreamBegin& begin = sample_begin()) {
    StreamWriter writer;
    Stream stream(4);
    writer.put_begin(begin, stream[0]);
    const std::vector<ChangedRange> first{{10, 1, false}, {11, 5, true}, {100, 1, false}};
    const std::vector<Block> data{data_block(0xa1), data_block(0xa2)};
    const std::vector<uint32_t> crcs{crc32c(data[0]), crc32c(data[1])};
    writer.put_changes(first, crcs, 200, stream[1]);
    const std::vector<ChangedRange> second{{900, 100, true}};
    writer.put_changes(second, {}, 1000, stream[2]);
    writer.put_end(stream[3]);
    stream.insert(stream.begin() + 2, data.begin(), data.end());
    return stream;
}

enum class Outcome { kWhole, kCutOff, kRefused };

struct Read {
    Outcome outcome = Outcome::kCutOff;
    StreamReader reader;
};

Read read(const Stream& stream) {
    Read all;
    for (size_t at = 0; at < stream.size();) {
        if (!all.reader.take_head(stream[at])) {
            all.outcome = Outcome::kRefused;
            return all;
        }
        if (all.reader.kind() == StreamKind::kEnd) {
            all.outcome = Outcome::kWhole;
        }
        const size_t count = all.reader.block_count();
        ++at;
        if (count > stream.size() - at) {
            return all;
        }
        const auto data = std::as_bytes(std::span(stream).subspan(at, count));
        if (!all.reader.take_data(data)) {
            all.outcome = Outcome::kRefused;
            return all;
        }
        at += count;
    }
    return all;
}

TEST(SnapshotStream, HasTheBytesThatTheFormatSays) {
    const Stream stream = sample_stream();
    const Block& begin = stream[0];
    EXPECT_EQ(std::memcmp(begin.data(), "SNST", 4), 0);
    EXPECT_EQ(integer_at<uint32_t>(begin, 4), 0x72878fc7U);
    EXPECT_EQ(integer_at<uint64_t>(begin, 8), 0U);
    EXPECT_EQ(integer_at<uint32_t>(begin, 16), 1U);
    EXPECT_EQ(integer_at<uint32_t>(begin, 20), 0U);
    EXPECT_EQ(integer_at<uint64_t>(begin, 24), 10U);
    EXPECT_EQ(integer_at<uint32_t>(begin, 32), 1U);
    EXPECT_EQ(begin[40], std::byte{1});
    EXPECT_EQ(begin[56], std::byte{2});
    EXPECT_EQ(begin[72], std::byte{3});
    EXPECT_EQ(begin[88], std::byte{4});
    EXPECT_EQ(integer_at<uint64_t>(begin, 104), 1000U);
    EXPECT_EQ(integer_at<uint64_t>(begin, 112), 0x1122334455667788U);
    EXPECT_EQ(integer_at<uint32_t>(begin, 120), 512U);
    EXPECT_EQ(integer_at<uint16_t>(begin, 124), 4U);
    EXPECT_EQ(integer_at<uint16_t>(begin, 126), 6U);
    EXPECT_EQ(std::memcmp(begin.data() + 128, "vol1\0", 5), 0);
    EXPECT_EQ(std::memcmp(begin.data() + 384, "monday\0", 7), 0);
    const Block& changes = stream[1];
    EXPECT_EQ(integer_at<uint64_t>(changes, 8), 1U);
    EXPECT_EQ(integer_at<uint32_t>(changes, 16), 2U);
    EXPECT_EQ(integer_at<uint32_t>(changes, 20), integer_at<uint32_t>(begin, 4));
    EXPECT_EQ(integer_at<uint64_t>(changes, 24), 200U);
    EXPECT_EQ(integer_at<uint32_t>(changes, 32), 3U);
    EXPECT_EQ(integer_at<uint32_t>(changes, 36), 2U);
    EXPECT_EQ(integer_at<uint64_t>(changes, 40), 10U);
    EXPECT_EQ(integer_at<uint64_t>(changes, 48), 1U);
    EXPECT_EQ(integer_at<uint64_t>(changes, 56), 11U);
    EXPECT_EQ(integer_at<uint64_t>(changes, 64), 0x8000000000000005U);
    EXPECT_EQ(integer_at<uint32_t>(changes, 2088), crc32c(data_block(0xa1)));
    EXPECT_EQ(integer_at<uint32_t>(changes, 2092), crc32c(data_block(0xa2)));
    const Block& end = stream.back();
    EXPECT_EQ(integer_at<uint32_t>(end, 16), 3U);
    EXPECT_EQ(integer_at<uint64_t>(end, 24), 1000U);
    EXPECT_EQ(integer_at<uint64_t>(end, 32), 2U);
    EXPECT_EQ(integer_at<uint64_t>(end, 40), 105U);
}

TEST(SnapshotStream, IsReadAsItWasWritten) {
    const Stream stream = sample_stream();
    StreamReader reader;
    ASSERT_TRUE(reader.take_head(stream[0])) << reader.problem();
    EXPECT_EQ(reader.begin(), sample_begin());
    EXPECT_EQ(reader.next(), 10U);
    ASSERT_TRUE(reader.take_head(stream[1])) << reader.problem();
    ASSERT_EQ(reader.ranges().size(), 3U);
    EXPECT_EQ(reader.ranges()[1], (ChangedRange{11, 5, true}));
    EXPECT_EQ(reader.block_count(), 2U);
    EXPECT_EQ(reader.next(), 200U);
    EXPECT_EQ(read(stream).outcome, Outcome::kWhole);
    EXPECT_EQ(read(stream).reader.data_blocks(), 2U);
}

TEST(SnapshotStream, EveryTruncationIsFound) {
    const Stream stream = sample_stream();
    for (size_t blocks = 0; blocks < stream.size(); ++blocks) {
        const Stream cut(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(blocks));
        EXPECT_EQ(read(cut).outcome, Outcome::kCutOff) << blocks;
    }
}

TEST(SnapshotStream, EveryFlippedBitIsFound) {
    Stream stream = sample_stream();
    for (size_t block = 0; block < stream.size(); ++block) {
        for (size_t bit = 0; bit < size_t{kBlockBytes} * 8; bit += block % 2 == 0 ? 1U : 7U) {
            test::flip_bit(stream[block], bit);
            const Read found = read(stream);
            EXPECT_EQ(found.outcome, Outcome::kRefused) << block << " " << bit;
            EXPECT_FALSE(found.reader.problem().empty());
            test::flip_bit(stream[block], bit);
        }
    }
}

TEST(SnapshotStream, RecordsLeftOutDoubledOrOfAnotherStreamAreFound) {
    const Stream stream = sample_stream();
    Stream without = stream;
    without.erase(without.begin() + 4);
    EXPECT_EQ(read(without).outcome, Outcome::kRefused);
    Stream twice = stream;
    twice.insert(twice.begin() + 4, stream[4]);
    EXPECT_EQ(read(twice).outcome, Outcome::kRefused);
    StreamBegin begin = sample_begin();
    begin.created_ns = 1;
    Stream mixed = sample_stream(begin);
    mixed[4] = stream[4];
    EXPECT_EQ(read(mixed).outcome, Outcome::kRefused);
    Stream more = stream;
    more.push_back(stream.back());
    EXPECT_EQ(read(more).outcome, Outcome::kRefused) << "nothing follows the end";
}

/// Changes a field of a head block and makes its checksum right again.
template <typename Value>
Read read_with(size_t block, size_t offset, Value value) {
    Stream stream = sample_stream();
    std::memcpy(stream[block].data() + offset, &value, sizeof(value));
    const uint32_t crc = stream_crc(stream[block]);
    std::memcpy(stream[block].data() + 4, &crc, sizeof(crc));
    return read(stream);
}

TEST(SnapshotStream, WhatNoWriterWritesIsRefused) {
    struct Case {
        size_t block;
        size_t offset;
        uint64_t value;
        const char* what;
    };
    const uint64_t hole = kStreamHole;
    for (const Case& one : std::vector<Case>{
             {0, 24, 1001, "begins behind the end"},
             {0, 104, 0, "no size"},
             {0, 104, uint64_t{1} << 48U, "too large"},
             {0, 640, 1, "reserved"},
             {0, 136, 1, "behind the name"},
             {1, 24, 100, "next before what it tells"},
             {1, 24, 1001, "next behind the end"},
             {1, 32, 0, "no ranges"},
             {1, 32, 129, "too many ranges"},
             {1, 40, 9, "before the begin"},
             {1, 48, 0, "an empty range"},
             {1, 48, 2, "overlaps the next one"},
             {1, 56, 995, "beyond the end"},
             {1, 64, hole | UINT64_MAX, "overflows"},
             {1, 88, 1, "a range too many"},
             {1, 2096, 1, "a checksum too many"},
             {1, 3112, 1, "reserved"},
             {4, 40, 1000, "beyond the end"},
             {4, 40, 199, "told before"},
             {4, 48, 1, "data without blocks"},
             {5, 32, 3, "another count"},
             {5, 40, 104, "another count"},
             {5, 24, 999, "ends before the end"},
             {5, 48, 1, "reserved"},
         }) {
        const Read found = read_with(one.block, one.offset, one.value);
        EXPECT_EQ(found.outcome, Outcome::kRefused) << one.what;
    }
    EXPECT_EQ(read_with(0, 32, uint32_t{2}).reader.problem(), "record 0: made by a newer version");
    EXPECT_EQ(read_with(0, 36, uint32_t{1}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(0, 120, uint32_t{1024}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(0, 126, uint16_t{0}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(0, 126, uint16_t{256}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(0, 16, uint32_t{2}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(1, 16, uint32_t{1}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(1, 16, uint32_t{4}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(1, 36, uint32_t{257}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(0, 72, Uuid{}).outcome, Outcome::kRefused);
    EXPECT_EQ(read_with(0, 88, test::uuid_of(3)).outcome, Outcome::kRefused);
    StreamBegin full = sample_begin();
    full.base_uuid = Uuid{};
    EXPECT_EQ(read(sample_stream(full)).outcome, Outcome::kRefused) << "holes in nothing";
}

}  // namespace
}  // namespace basalt::bdev::store
