#pragma once

#include <cstddef>
#include <cstdint>

#include "nvmf/wire/ids.h"
#include "nvmf/wire/le.h"
#include "nvmf/wire/spec.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// An SGL descriptor as it lies in a command (NVMe Base Specification). format.md has the two kinds
/// that NVMe/TCP uses; sgl.h decodes them.
struct SglDescriptor {
    Le64 address;  ///< An offset for in-capsule data; unused for transport data.
    Le32 length_bytes;
    uint8_t reserved[3] = {};
    uint8_t identifier = 0;  ///< Type in the upper four bits, sub type in the lower.
};
static_assert(sizeof(SglDescriptor) == 16);
static_assert(offsetof(SglDescriptor, length_bytes) == 8);
static_assert(offsetof(SglDescriptor, identifier) == 15);

/// Data Block descriptor with sub type Offset: the data lies in the capsule.
inline constexpr uint8_t kSglInCapsule = 0x01;
/// Transport SGL Data Block with sub type Transport Specific: H2CData or C2HData PDUs carry it.
inline constexpr uint8_t kSglTransport = 0x5a;

/// Which way a command's data goes: the lower two bits of its opcode, or of its fabrics type.
enum class DataDirection : uint8_t {
    kNone = 0,
    kHostToController = 1,
    kControllerToHost = 2,
    kBidirectional = 3,
};

/// PRP or SGL for Data Transfer, the upper two bits of a command's flags. Fabrics know SGLs only.
enum class Psdt : uint8_t {
    kPrp = 0,
    kSglContiguousMetadata = 1,
    kSglSegmentMetadata = 2,
    kReserved = 3
};

/// Fused operation, the lower two bits of a command's flags.
enum class Fuse : uint8_t { kNone = 0, kFirst = 1, kSecond = 2, kReserved = 3 };

/// A submission queue entry: one command of 64 bytes, in the layout that all commands share (NVMe
/// Base Specification). A plain wire structure; command.h has views of it per command.
struct Sqe {
    uint8_t opcode = 0;
    uint8_t flags = 0;
    Le16 command_id;
    Le32 namespace_id;  ///< For fabrics commands its first byte is the fabrics type (FCTYPE).
    Le32 cdw2;
    Le32 cdw3;
    Le64 metadata;
    SglDescriptor sgl1;
    Le32 cdw10;
    Le32 cdw11;
    Le32 cdw12;
    Le32 cdw13;
    Le32 cdw14;
    Le32 cdw15;

    [[nodiscard]] constexpr CommandId cid() const { return CommandId(command_id.get()); }
    [[nodiscard]] constexpr Nsid nsid() const { return Nsid(namespace_id.get()); }
    [[nodiscard]] constexpr Fuse fuse() const { return static_cast<Fuse>(flags & 3U); }
    [[nodiscard]] constexpr Psdt psdt() const { return static_cast<Psdt>(flags >> 6U); }
    [[nodiscard]] constexpr bool is_fabrics() const { return opcode == nvme_admin_fabrics; }
    /// The fabrics type; only for fabrics commands (values: enum nvme_fctype).
    [[nodiscard]] constexpr uint8_t fctype() const {
        return static_cast<uint8_t>(namespace_id.get() & 0xffU);
    }
    [[nodiscard]] constexpr DataDirection data_direction() const {
        return static_cast<DataDirection>((is_fabrics() ? fctype() : opcode) & 3U);
    }
};
static_assert(sizeof(Sqe) == 64 && alignof(Sqe) == 1);
static_assert(offsetof(Sqe, flags) == 1);
static_assert(offsetof(Sqe, command_id) == 2);
static_assert(offsetof(Sqe, namespace_id) == 4);
static_assert(offsetof(Sqe, metadata) == 16);
static_assert(offsetof(Sqe, sgl1) == 24);
static_assert(offsetof(Sqe, cdw10) == 40);
static_assert(offsetof(Sqe, cdw15) == 60);

/// A completion queue entry of 16 bytes (NVMe Base Specification). On a fabric there is no phase
/// bit: its place in the status field is 0.
struct Cqe {
    Le32 dw0;
    Le32 dw1;
    Le16 sq_head;
    Le16 sq_id;
    Le16 command_id;
    Le16 status_field;

    [[nodiscard]] constexpr CommandId cid() const { return CommandId(command_id.get()); }
    [[nodiscard]] constexpr NvmeStatus status() const {
        return NvmeStatus::from_raw(static_cast<uint16_t>(status_field.get() >> 1U));
    }
    constexpr void set_status(NvmeStatus status) {
        status_field.set(static_cast<uint16_t>(status.raw() << 1U));
    }
    /// The 64-bit result of Property Get, in both dwords.
    [[nodiscard]] constexpr uint64_t result64() const {
        return dw0.get() | (uint64_t{dw1.get()} << 32U);
    }
    constexpr void set_result64(uint64_t value) {
        dw0.set(static_cast<uint32_t>(value));
        dw1.set(static_cast<uint32_t>(value >> 32U));
    }
};
static_assert(sizeof(Cqe) == 16 && alignof(Cqe) == 1);
static_assert(offsetof(Cqe, sq_head) == 8);
static_assert(offsetof(Cqe, sq_id) == 10);
static_assert(offsetof(Cqe, command_id) == 12);
static_assert(offsetof(Cqe, status_field) == 14);

}  // namespace basalt::nvmf
