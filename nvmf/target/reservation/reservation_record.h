#pragma once

#include <cstddef>
#include <span>

#include "bdev/core/uuid.h"
#include "nvmf/target/reservation/reservation_state.h"
#include "reactor/base/result.h"

// A reservation as a file keeps it. format.md has the layout.

namespace basalt::nvmf {

inline constexpr size_t kReservationSlotBytes = 8192;
inline constexpr size_t kReservationFileBytes = 2 * kReservationSlotBytes;

/// One record of the file. A value.
struct ReservationRecord {
    uint64_t number = 0;  ///< From 1; the higher one counts.
    bdev::Uuid uuid;
    ReservationState state;
};

/// Writes the record, and zeroes behind it. At most kRegistrantsMax registrants.
void encode_record(const ReservationRecord& record,
                   std::span<std::byte, kReservationSlotBytes> out);

/// Errors: kNotFound: never written; kDataCorrupt: torn, or not a record.
[[nodiscard]] Result<ReservationRecord> decode_record(
    std::span<const std::byte, kReservationSlotBytes> slot);

}  // namespace basalt::nvmf
