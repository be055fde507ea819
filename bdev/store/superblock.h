#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "bdev/core/uuid.h"
#include "bdev/store/format.h"
#include "bdev/store/layout.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

/// What the superblock says: which pool this is, and where its parts are. A value.
struct PoolIdentity {
    Uuid pool_uuid;
    Uuid device_uuid;  ///< Of the device on which it was made.
    std::string name;  ///< 1 to kPoolNameBytesMax bytes.
    uint64_t created_ns = 0;
    uint64_t sequence = 1;
    PoolState state = PoolState::kInUse;
    PoolLayout layout;
};

/// What was found where a superblock should be.
enum class SuperblockFinding : uint8_t {
    kPool,            ///< A pool of ours, whole.
    kNothing,         ///< No pool.
    kHalfFormatted,   ///< Formatting was interrupted: nothing in it counts.
    kNewer,           ///< Of a version or with features that this program does not know.
    kDamaged,         ///< Ours by its magic, but not as it was written, or with impossible numbers.
    kDeviceTooSmall,  ///< The device has fewer blocks than the pool uses.
};

/// In words for people.
[[nodiscard]] const char* describe(SuperblockFinding finding);

/// The block that says `identity`.
[[nodiscard]] Superblock encode(const PoolIdentity& identity);

/// Judges one of the two places of a device of `device_blocks` blocks; `identity` is valid for
/// kPool, kHalfFormatted and kDeviceTooSmall.
[[nodiscard]] SuperblockFinding decode(std::span<const std::byte> block,
                                       uint64_t device_blocks,
                                       PoolIdentity& identity);

/// Judges both places together: the whole one with the higher sequence counts. `newest` says which
/// it was, so that the other one is written next.
[[nodiscard]] SuperblockFinding decode_both(std::span<const std::byte> a,
                                            std::span<const std::byte> b,
                                            uint64_t device_blocks,
                                            PoolIdentity& identity,
                                            Place& newest);

}  // namespace basalt::bdev::store
