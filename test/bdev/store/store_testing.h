#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>

#include "bdev/core/uuid.h"
#include "bdev/store/format.h"

namespace basalt::bdev::store::test {

using Block = std::array<std::byte, kBlockBytes>;

/// A structure of the format as the device has it.
template <typename Raw>
Block to_block(const Raw& raw) {
    static_assert(sizeof(Raw) == kBlockBytes);
    Block block;
    std::memcpy(block.data(), &raw, sizeof(raw));
    return block;
}

template <typename Integer>
Integer integer_at(std::span<const std::byte> block, size_t offset) {
    Integer value{};
    std::memcpy(&value, block.data() + offset, sizeof(value));
    return value;
}

inline void flip_bit(std::span<std::byte> block, size_t bit) {
    block[bit / 8] ^= std::byte{1} << (bit % 8);
}

inline Uuid uuid_of(uint8_t number) {
    Uuid uuid;
    uuid.bytes.fill(number);
    return uuid;
}

}  // namespace basalt::bdev::store::test
