#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"
#include "replication/core/types.h"

namespace basalt::replication {

/// What a static authority keeps of a volume (format.md). A value.
struct MapRecord {
    bdev::Uuid volume{};
    Epoch epoch{};
    ReplicaSet set{};
    uint64_t change = 0;    ///< Counts the records that were written: the newest has the highest.
    bdev::Uuid holder{};    ///< The authority that granted `epoch`: each is another one.
    uint64_t lease_us = 0;  ///< Of its leases.
    std::array<bdev::Uuid, kReplicasMax> drives{};  ///< That have the replicas; nil: not known.

    bool operator==(const MapRecord&) const = default;
};

/// Two slots make the file; record n, as `change` counts, is written into slot n mod 2 first, then
/// into the other.
inline constexpr size_t kMapSlotBytes = 4096;
inline constexpr size_t kMapFileBytes = 2 * kMapSlotBytes;

void encode_map_record(const MapRecord& record, std::span<std::byte, kMapSlotBytes> slot);

/// Errors: kNotFound: the slot was never written; kDataCorrupt: it was torn, or is not one of ours.
[[nodiscard]] Result<MapRecord> decode_map_record(std::span<const std::byte, kMapSlotBytes> slot);

}  // namespace basalt::replication
