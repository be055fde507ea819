#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "nvmf/wire/spec.h"

namespace basalt::nvmf {

/// How a command touches a namespace, in the eyes of reservations (NVMe Base Specification,
/// "Reservations", the figure "Command Behavior in the Presence of a Reservation").
enum class IoAccess : uint8_t {
    kNone,   ///< Never in conflict with a reservation.
    kRead,   ///< Of the group Read.
    kWrite,  ///< Of the group Write; so is Flush, which changes nothing.
};

/// One command of I/O queues, for all who want to know its kind: what checks it, the effects log,
/// reservations. A constant.
struct IoCommandKind {
    uint8_t opcode = 0;
    IoAccess access = IoAccess::kNone;
    bool changes_blocks = false;        ///< LBCC of the effects log; refused where read-only.
    bool takes_all_namespaces = false;  ///< NSID FFFFFFFFh means each of them.
};

/// The commands that I/O queues know. What is not here is an invalid opcode.
inline constexpr std::array kIoCommands{
    IoCommandKind{nvme_cmd_flush, IoAccess::kWrite, false, true},
    IoCommandKind{nvme_cmd_write, IoAccess::kWrite, true, false},
    IoCommandKind{nvme_cmd_read, IoAccess::kRead, false, false},
    IoCommandKind{nvme_cmd_compare, IoAccess::kRead, false, false},
    IoCommandKind{nvme_cmd_write_zeroes, IoAccess::kWrite, true, false},
    // Without Deallocate it changes nothing, and is let pass on a read-only namespace.
    IoCommandKind{nvme_cmd_dsm, IoAccess::kWrite, true, false},
    IoCommandKind{nvme_cmd_verify, IoAccess::kRead, false, false},
    // Of its destination; each source range is a read of its namespace.
    IoCommandKind{nvme_cmd_copy, IoAccess::kWrite, true, false},
    // Whether these are in conflict is for the reservation itself to say.
    IoCommandKind{nvme_cmd_resv_register, IoAccess::kNone, false, false},
    IoCommandKind{nvme_cmd_resv_report, IoAccess::kNone, false, false},
    IoCommandKind{nvme_cmd_resv_acquire, IoAccess::kNone, false, false},
    IoCommandKind{nvme_cmd_resv_release, IoAccess::kNone, false, false},
};

namespace detail {

/// By opcode, the place in kIoCommands counted from 1; 0: no such command.
inline constexpr std::array<uint8_t, 256> kIoCommandPlaces = [] {
    std::array<uint8_t, 256> places{};
    for (size_t i = 0; i < kIoCommands.size(); ++i) {
        places[kIoCommands[i].opcode] = static_cast<uint8_t>(i + 1);
    }
    return places;
}();

}  // namespace detail

/// The command with that opcode, or null.
[[nodiscard]] constexpr const IoCommandKind* find_io_command(uint8_t opcode) {
    const uint8_t place = detail::kIoCommandPlaces[opcode];
    return place == 0 ? nullptr : &kIoCommands[place - 1U];
}

static_assert(find_io_command(nvme_cmd_read)->access == IoAccess::kRead);
static_assert(find_io_command(nvme_cmd_write)->changes_blocks);
static_assert(find_io_command(0x7f) == nullptr);

}  // namespace basalt::nvmf
