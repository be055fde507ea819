// The data protocol's decoders. Input: a byte that says which, then what they get.

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "bdev/store/checksum.h"
#include "reactor/base/assert.h"
#include "replication/wire/block_sums.h"
#include "replication/wire/frame.h"
#include "replication/wire/lists.h"
#include "test/fuzz/fuzz_target.h"

namespace basalt::replication::wire {
namespace {

constexpr uint8_t kFrame = 0;
constexpr uint8_t kWindow = 1;
constexpr uint8_t kDirty = 2;
constexpr uint8_t kSealedFrame = 3;  // Its CRC is made right first.

/// What was taken for sound is the same when it is written again.
template <typename Body>
void encode_again(const Header& header, const Body& body, std::span<const std::byte> in) {
    std::array<std::byte, kHeaderBytes + kBodyBytesMax> out{};
    const size_t size = encode(header, body, out);
    BASALT_ASSERT(size <= in.size());
    BASALT_ASSERT(std::equal(out.begin(), out.begin() + static_cast<ptrdiff_t>(size), in.begin()));
}

void decode_frame(std::span<const std::byte> in) {
    if (in.size() < kHeaderBytes) {
        return;
    }
    const auto header = decode_header(in);
    if (!header) {
        return;
    }
    if (const auto hello = decode_hello(in)) {
        encode_again(*header, *hello, in);
        static_cast<void>(negotiate(Hello{}, *hello));
    }
    if (const auto request = decode_request(in)) {
        encode_again(*header, *request, in);
    }
    if (const auto answer = decode_answer(in)) {
        encode_again(*header, *answer, in);
    }
}

void decode_sealed(std::span<const std::byte> in) {
    std::vector<std::byte> frame(in.begin(), in.end());
    constexpr size_t kCrcOffset = 4;
    if (frame.size() < kHeaderBytes) {
        return;
    }
    const auto header = decode_header(frame);
    if (!header || frame.size() < kHeaderBytes + header->body_bytes) {
        return;
    }
    std::fill_n(frame.begin() + kCrcOffset, 4, std::byte{0});
    const uint32_t crc =
        bdev::store::crc32c(std::span(frame).first(kHeaderBytes + header->body_bytes));
    std::memcpy(frame.data() + kCrcOffset, &crc, sizeof(crc));
    decode_frame(frame);
}

std::vector<uint8_t> seed_of(uint8_t kind, std::span<const std::byte> bytes) {
    std::vector<uint8_t> seed{kind};
    for (const std::byte byte : bytes) {
        seed.push_back(std::to_integer<uint8_t>(byte));
    }
    return seed;
}

}  // namespace
}  // namespace basalt::replication::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt::replication::wire;
    using basalt::bdev::store::crc32c;
    if (size < 1) {
        return 0;
    }
    const auto rest = std::as_bytes(std::span(data, size)).subspan(1);
    if (data[0] == kWindow) {
        basalt::replication::Window window(16);
        static_cast<void>(decode_window(rest, crc32c(rest), window));
    } else if (data[0] == kDirty) {
        basalt::replication::BlockBitmap bitmap(4096);
        static_cast<void>(decode_dirty(rest, crc32c(rest), bitmap));
    } else if (data[0] == kSealedFrame) {
        decode_sealed(rest);
    } else {
        decode_frame(rest);
        static_cast<void>(check_data(rest, data[0], 0));
    }
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using namespace basalt::replication::wire;
    using basalt::replication::Epoch;
    std::array<std::byte, kHeaderBytes + kBodyBytesMax> frame{};
    std::vector<std::vector<uint8_t>> seeds;
    const auto add = [&](size_t size) {
        seeds.push_back(seed_of(kFrame, std::span(frame).first(size)));
        seeds.push_back(seed_of(kSealedFrame, std::span(frame).first(size)));
    };
    add(encode({.opcode = Opcode::kHello, .credits = 4}, Hello{}, frame));
    for (uint8_t opcode = 2; opcode <= kOpcodeLast; ++opcode) {
        add(encode({.opcode = Opcode{opcode}, .id = opcode}, RequestFields{.volume = 1}, frame));
        add(encode({.opcode = Opcode{opcode}, .is_answer = true}, AnswerFields{}, frame));
    }
    const basalt::replication::WindowEntry entry{{Epoch(1), 2}, {3, 4}};
    std::array<std::byte, kWindowEntryBytes> page{};
    encode_window(std::span(&entry, 1), page);
    seeds.push_back(seed_of(kWindow, page));
    basalt::replication::BlockBitmap bitmap(4096);
    bitmap.set({7, 9});
    uint64_t from = 0;
    std::array<std::byte, kRunBytes> run{};
    encode_dirty(bitmap, from, run);
    seeds.push_back(seed_of(kDirty, run));
    return seeds;
}
