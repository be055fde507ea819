#pragma once

#include <cstddef>
#include <span>

#include "nvmf/target/reservation/reservation.h"
#include "nvmf/wire/sqe.h"

// The reservation commands and Report's data on the wire: NVMe Base Specification 2.0, "Reservation
// Acquire", "Register", "Release" and "Report command". No state, no I/O.

namespace basalt::nvmf {

/// Whether `opcode`, of an I/O queue, is one of the four commands.
[[nodiscard]] bool is_reservation_command(uint8_t opcode);

/// Bytes of data of a reservation command. Report: what the host asks for, up to 16 GiB.
[[nodiscard]] uint64_t reservation_data_bytes(const Sqe& sqe);

/// Reads Register, Acquire or Release, whose data is `data` (reservation_data_bytes() long), into
/// `event`; the host is not touched. Status: kInvalidField.
[[nodiscard]] NvmeStatus decode_reservation(const Sqe& sqe,
                                            std::span<const std::byte> data,
                                            ReservationEvent& event);

/// Whether Report may be answered: it must ask for the extended structures, since hosts have ids of
/// 128 bits. Status: kHostIdInconsistentFormat.
[[nodiscard]] NvmeStatus check_report(const Sqe& sqe);

/// Writes Report's data, cut to the length of `out`, the rest zero. Every registrant is told as the
/// controller FFFFh: controllers are made dynamically.
void encode_report(const ReservationState& state, std::span<std::byte> out);

}  // namespace basalt::nvmf
