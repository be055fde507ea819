// A snapshot's stream from anybody. What must hold: no fault, and whatever the reader takes the
// writer would have written.
//
// The input: one byte of options, then the stream. Its heads get their place and their checksum
// made right if the options say so, or hardly anything would get past them.

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "bdev/store/checksum.h"
#include "bdev/store/stream/stream_reader.h"
#include "reactor/base/assert.h"
#include "test/fuzz/fuzz_target.h"

namespace {

using namespace basalt::bdev::store;

using Input = std::vector<uint8_t>;
using Block = std::array<std::byte, kBlockBytes>;

constexpr uint8_t kOptionMend = 1U << 0U;

void mend(Block& block, uint64_t sequence, uint32_t previous) {
    StreamHead head{};
    std::memcpy(&head, block.data(), sizeof(head));
    head.magic = kStreamMagic;
    head.sequence = sequence;
    head.previous = previous;
    std::memcpy(block.data(), &head, sizeof(head));
    head.crc = stream_crc(block);
    std::memcpy(block.data(), &head, sizeof(head));
}

/// The record that `reader` has taken, written again.
Block written(const StreamReader& reader, StreamWriter& writer) {
    Block block;
    switch (reader.kind()) {
        case StreamKind::kBegin: writer.put_begin(reader.begin(), block); break;
        case StreamKind::kChanges:
            writer.put_changes(reader.ranges(), reader.crcs(), reader.next(), block);
            break;
        case StreamKind::kEnd: writer.put_end(block); break;
    }
    return block;
}

void append(Input& input, std::span<const std::byte> bytes) {
    const size_t before = input.size();
    input.resize(before + bytes.size());
    std::memcpy(input.data() + before, bytes.data(), bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const bool is_mended = (data[0] & kOptionMend) != 0;
    auto stream = std::as_bytes(std::span(data, size)).subspan(1);
    StreamReader reader;
    StreamWriter writer;
    uint64_t sequence = 0;
    uint32_t previous = 0;
    while (!stream.empty()) {
        Block block{};
        const size_t taken = std::min(stream.size(), block.size());
        std::memcpy(block.data(), stream.data(), taken);
        stream = stream.subspan(taken);
        if (is_mended) {
            mend(block, sequence++, previous);
        }
        std::memcpy(&previous, block.data() + offsetof(StreamHead, crc), sizeof(previous));
        if (!reader.take_head(block)) {
            BASALT_ASSERT(!reader.problem().empty());
            BASALT_ASSERT(!reader.take_head(block));
            return 0;
        }
        BASALT_ASSERT(written(reader, writer) == block);
        for (const ChangedRange& range : reader.ranges()) {
            BASALT_ASSERT(range.count > 0 && range.end() <= reader.begin().size_blocks);
        }
        const size_t bytes = size_t{reader.block_count()} * kBlockBytes;
        if (stream.size() < bytes || !reader.take_data(stream.first(bytes))) {
            return 0;
        }
        stream = stream.subspan(bytes);
    }
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    std::vector<Input> seeds;
    for (const uint8_t options : {uint8_t{0}, kOptionMend}) {
        StreamBegin begin;
        begin.volume_uuid.bytes[0] = 1;
        begin.snapshot_uuid.bytes[0] = 2;
        begin.base_uuid.bytes[0] = 3;
        begin.volume_name = "v";
        begin.snapshot_name = "s";
        begin.size_blocks = 256;
        Input input{options};
        StreamWriter writer;
        Block block;
        writer.put_begin(begin, block);
        append(input, block);
        Block content{};
        const std::array<ChangedRange, 2> ranges{{{1, 2, false}, {5, 7, true}}};
        const std::array<uint32_t, 2> crcs{crc32c(content), crc32c(content)};
        writer.put_changes(ranges, crcs, 12, block);
        append(input, block);
        append(input, content);
        append(input, content);
        writer.put_end(block);
        append(input, block);
        seeds.push_back(input);
    }
    return seeds;
}
