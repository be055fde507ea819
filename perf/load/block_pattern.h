#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "reactor/base/strong_int.h"

namespace basalt::perf {

/// What makes one written block unlike every other: where it belongs, how often it was written, and
/// by which run.
struct BlockStamp {
    Lba lba;
    uint32_t generation = 0;
    uint64_t seed = 0;
    bool operator==(const BlockStamp&) const = default;
};

/// What a block that was read turned out to be.
enum class BlockVerdict : uint8_t {
    kRight,      ///< What was last acknowledged.
    kCorrupt,    ///< No pattern of ours, or its checksum does not match.
    kMisplaced,  ///< A sound block of this run that belongs elsewhere.
    kStale,      ///< An older generation of this block: an acknowledged write was lost.
    kTooNew,     ///< A generation that was never acknowledged.
    kForeign,    ///< A sound block of another run: this run's write never arrived.
};

/// The verdict in words for people. Static storage.
[[nodiscard]] std::string_view describe(BlockVerdict verdict);

/// Fills `block` (512 bytes or more) with its stamp, data that follows from it, and a CRC32C of all
/// the rest.
void write_pattern(std::span<std::byte> block, const BlockStamp& stamp);

/// Judges `block`. `found` gets the stamp that it has, if it has one.
[[nodiscard]] BlockVerdict check_pattern(std::span<const std::byte> block,
                                         const BlockStamp& expected,
                                         BlockStamp& found);

/// Makes `block` one that check_pattern() refuses, so that data which never arrives is noticed.
void spoil_pattern(std::span<std::byte> block);

}  // namespace basalt::perf
