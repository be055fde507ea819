#include "nvmf/wire/digest.h"

#include <algorithm>

#include <isa-l/crc.h>

namespace basalt::nvmf {

namespace {

// ISA-L takes a length as an int.
constexpr size_t kPieceBytesMax = size_t{1} << 30U;

}  // namespace

void Crc32c::update(std::span<const std::byte> bytes) {
    // ISA-L only reads; its parameter lacks the const.
    while (!bytes.empty()) {
        const size_t piece_bytes = std::min(bytes.size(), kPieceBytesMax);
        auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
        state_ = crc32_iscsi(data, static_cast<int>(piece_bytes), state_);
        bytes = bytes.subspan(piece_bytes);
    }
}

uint32_t crc32c(std::span<const std::byte> bytes) {
    Crc32c crc;
    crc.update(bytes);
    return crc.value();
}

}  // namespace basalt::nvmf
