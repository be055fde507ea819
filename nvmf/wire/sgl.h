#pragma once

#include <cstdint>

#include "nvmf/wire/sqe.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// Where a command's data is.
struct DataPointer {
    enum class Place : uint8_t {
        kNone,       ///< The command has no data.
        kInCapsule,  ///< In the capsule, `offset` bytes into its data.
        kTransport,  ///< In H2CData PDUs that we ask for, or in C2HData PDUs that we send.
    };

    Place place = Place::kNone;
    uint32_t offset = 0;  ///< Only for kInCapsule.
    uint32_t length_bytes = 0;
};

/// Reads the one SGL descriptor of a command that came with `capsule_data_bytes` of in-capsule
/// data. The result lies within the capsule where it says so; how much data the command *needs* is
/// for its own checks. Errors carry an NVMe status (see to_nvme_status()), all with DNR: Invalid
/// Field (PRPs; in-capsule data for a command that moves none to the controller, or beside a
/// transport descriptor), SGL Descriptor Type Invalid, SGL Offset Invalid, Data SGL Length Invalid.
[[nodiscard]] Result<DataPointer> decode_data_pointer(const Sqe& sqe, uint32_t capsule_data_bytes);

}  // namespace basalt::nvmf
