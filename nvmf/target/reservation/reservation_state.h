#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace basalt::nvmf {

/// A host as reservations know it: the 128-bit Host Identifier of its Connect. Two controllers with
/// the same one are the same host (NVMe Base Specification, "Reservations").
using HostId = std::array<uint8_t, 16>;

/// What a reservation keeps others from. The values are the wire's (RTYPE).
enum class ReservationType : uint8_t {
    kNone = 0,                            ///< There is no reservation.
    kWriteExclusive = 1,                  ///< Only the holder writes.
    kExclusiveAccess = 2,                 ///< Only the holder reads and writes.
    kWriteExclusiveRegistrantsOnly = 3,   ///< Only registrants write.
    kExclusiveAccessRegistrantsOnly = 4,  ///< Only registrants read and write.
    kWriteExclusiveAllRegistrants = 5,    ///< As 3, and every registrant is a holder.
    kExclusiveAccessAllRegistrants = 6,   ///< As 4, and every registrant is a holder.
};
inline constexpr uint8_t kReservationTypeMax = 6;

/// Whether `type` exists and is one of a reservation.
[[nodiscard]] constexpr bool is_reservation(ReservationType type) {
    return type != ReservationType::kNone && static_cast<uint8_t>(type) <= kReservationTypeMax;
}
[[nodiscard]] constexpr bool is_all_registrants(ReservationType type) {
    return type == ReservationType::kWriteExclusiveAllRegistrants ||
           type == ReservationType::kExclusiveAccessAllRegistrants;
}
/// Only the holder has the right, registered or not.
[[nodiscard]] constexpr bool is_holder_only(ReservationType type) {
    return type == ReservationType::kWriteExclusive || type == ReservationType::kExclusiveAccess;
}
/// Others may not even read.
[[nodiscard]] constexpr bool excludes_reads(ReservationType type) {
    return type == ReservationType::kExclusiveAccess ||
           type == ReservationType::kExclusiveAccessRegistrantsOnly ||
           type == ReservationType::kExclusiveAccessAllRegistrants;
}

/// A host that has registered its key with a namespace.
struct Registrant {
    HostId host{};
    uint64_t key = 0;

    bool operator==(const Registrant&) const = default;
};

/// All that is known about the reservation of one namespace. A value. Invariants: no host registers
/// twice; there is a reservation only with a registrant, and its holder is one.
struct ReservationState {
    uint32_t generation = 0;  ///< Of registrations, for Report (GEN).
    ReservationType type = ReservationType::kNone;
    HostId holder{};                      ///< Of a type with one holder; all zero otherwise.
    bool persists = false;                ///< Persist Through Power Loss (PTPL).
    uint8_t notices_masked = 0;           ///< Bit n: no notices of NoticeType n. Not persistent.
    std::vector<Registrant> registrants;  ///< In the order of their registration.

    bool operator==(const ReservationState&) const = default;

    [[nodiscard]] const Registrant* find(const HostId& host) const {
        const auto found = std::find_if(registrants.begin(),
                                        registrants.end(),
                                        [&](const Registrant& each) { return each.host == host; });
        return found == registrants.end() ? nullptr : &*found;
    }
    [[nodiscard]] bool is_registered(const HostId& host) const { return find(host) != nullptr; }
    /// With a type for all registrants, each of them holds the reservation.
    [[nodiscard]] bool is_holder(const HostId& host) const {
        return is_all_registrants(type) ? is_registered(host)
                                        : type != ReservationType::kNone && holder == host;
    }
};

}  // namespace basalt::nvmf
