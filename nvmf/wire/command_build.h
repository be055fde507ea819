#pragma once

#include <cstdint>

#include "nvmf/wire/limits.h"
#include "nvmf/wire/sqe.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

/// Forced unit access: the command completes when its data is durable.
enum class Fua : bool { kNo = false, kYes = true };

/// A command without data, all else zero. Hosts mark every fabrics command as using SGLs, and an
/// empty transport descriptor says that there is none.
[[nodiscard]] constexpr Sqe make_command(uint8_t opcode, CommandId cid, Nsid nsid) {
    Sqe sqe;
    sqe.opcode = opcode;
    sqe.flags = static_cast<uint8_t>(static_cast<uint8_t>(Psdt::kSglContiguousMetadata) << 6U);
    sqe.command_id.set(cid.raw());
    sqe.namespace_id.set(nsid.raw());
    sqe.sgl1.identifier = kSglTransport;
    return sqe;
}

/// The command's data goes in H2CData or C2HData PDUs.
constexpr void set_transport_data(Sqe& sqe, uint32_t length_bytes) {
    sqe.sgl1 = SglDescriptor{};
    sqe.sgl1.length_bytes.set(length_bytes);
    sqe.sgl1.identifier = kSglTransport;
}

/// The command's data follows it in the capsule, from its first byte (ICDOFF is 0).
constexpr void set_in_capsule_data(Sqe& sqe, uint32_t length_bytes) {
    sqe.sgl1 = SglDescriptor{};
    sqe.sgl1.length_bytes.set(length_bytes);
    sqe.sgl1.identifier = kSglInCapsule;
}

/// The range of Read, Write, Compare, Write Zeroes or Verify. `count` is 1 to 65536.
constexpr void set_range(Sqe& sqe, Lba first, BlockCount count, Fua fua = Fua::kNo) {
    BASALT_ASSERT(count.raw() >= 1);
    BASALT_ASSERT(count.raw() <= 65536);
    sqe.cdw10.set(static_cast<uint32_t>(first.raw()));
    sqe.cdw11.set(static_cast<uint32_t>(first.raw() >> 32U));
    sqe.cdw12.set(static_cast<uint32_t>(count.raw() - 1) | (fua == Fua::kYes ? 1U << 30U : 0U));
}

/// Dataset Management, deallocate. The caller sets where the ranges are.
[[nodiscard]] constexpr Sqe make_deallocate(CommandId cid, Nsid nsid, uint32_t range_count) {
    BASALT_ASSERT(range_count >= 1);
    BASALT_ASSERT(range_count <= kDsmRangesMax);
    Sqe sqe = make_command(nvme_cmd_dsm, cid, nsid);
    sqe.cdw10.set(range_count - 1);
    sqe.cdw11.set(1U << 2U);
    return sqe;
}

/// A fabrics command: the fabrics type lies where others have their namespace.
[[nodiscard]] constexpr Sqe make_fabrics(uint8_t fctype, CommandId cid) {
    return make_command(nvme_admin_fabrics, cid, Nsid(fctype));
}

struct ConnectFields {
    QueueId qid;
    uint32_t queue_entries = 2;  ///< 2 to 65536.
    bool disable_sq_flow_control = false;
    uint32_t keep_alive_ms = 0;  ///< Admin queue only.
};

/// Connect with its 1024 bytes of data in the capsule.
[[nodiscard]] constexpr Sqe make_connect(CommandId cid, const ConnectFields& fields) {
    BASALT_ASSERT(fields.queue_entries >= 2);
    BASALT_ASSERT(fields.queue_entries <= 65536);
    Sqe sqe = make_fabrics(nvme_fabrics_type_connect, cid);
    sqe.cdw10.set(uint32_t{fields.qid.raw()} << 16U);
    sqe.cdw11.set((fields.queue_entries - 1) | (fields.disable_sq_flow_control ? 1U << 18U : 0U));
    sqe.cdw12.set(fields.keep_alive_ms);
    set_in_capsule_data(sqe, kConnectDataBytes);
    return sqe;
}

/// Authentication Send of a message in the capsule, or Receive into `length_bytes` of memory.
[[nodiscard]] constexpr Sqe make_auth(bool is_send, CommandId cid, uint32_t length_bytes) {
    constexpr uint32_t kSecpNvme = 0xe9;
    Sqe sqe =
        make_fabrics(is_send ? nvme_fabrics_type_auth_send : nvme_fabrics_type_auth_receive, cid);
    sqe.cdw10.set((kSecpNvme << 24U) | (1U << 16U) | (1U << 8U));
    sqe.cdw11.set(length_bytes);
    if (is_send) {
        set_in_capsule_data(sqe, length_bytes);
    } else {
        set_transport_data(sqe, length_bytes);
    }
    return sqe;
}

[[nodiscard]] constexpr Sqe make_property_get(CommandId cid, uint32_t offset, bool is_8_bytes) {
    Sqe sqe = make_fabrics(nvme_fabrics_type_property_get, cid);
    sqe.cdw10.set(is_8_bytes ? 1 : 0);
    sqe.cdw11.set(offset);
    return sqe;
}

/// Sets a property of 4 bytes: all that a host may write (CC, NSSR) are.
[[nodiscard]] constexpr Sqe make_property_set(CommandId cid, uint32_t offset, uint32_t value) {
    Sqe sqe = make_fabrics(nvme_fabrics_type_property_set, cid);
    sqe.cdw11.set(offset);
    sqe.cdw12.set(value);
    return sqe;
}

/// Identify, 4096 bytes in C2HData PDUs.
[[nodiscard]] constexpr Sqe make_identify(CommandId cid, uint8_t cns, Nsid nsid) {
    Sqe sqe = make_command(nvme_admin_identify, cid, nsid);
    sqe.cdw10.set(cns);
    set_transport_data(sqe, kIdentifyBytes);
    return sqe;
}

/// Get Log Page, from `offset`, a multiple of 4. `length_bytes` is a multiple of 4 and not 0.
[[nodiscard]] constexpr Sqe make_get_log_page(CommandId cid,
                                              uint8_t lid,
                                              uint64_t offset,
                                              uint32_t length_bytes) {
    BASALT_ASSERT(length_bytes != 0);
    BASALT_ASSERT(length_bytes % 4 == 0);
    Sqe sqe = make_command(nvme_admin_get_log_page, cid, Nsid(0));
    const uint32_t dwords_0based = length_bytes / 4 - 1;
    sqe.cdw10.set(lid | (dwords_0based << 16U));
    sqe.cdw11.set(dwords_0based >> 16U);
    sqe.cdw12.set(static_cast<uint32_t>(offset));
    sqe.cdw13.set(static_cast<uint32_t>(offset >> 32U));
    set_transport_data(sqe, length_bytes);
    return sqe;
}

[[nodiscard]] constexpr Sqe make_set_features(CommandId cid, uint8_t fid, uint32_t value) {
    Sqe sqe = make_command(nvme_admin_set_features, cid, Nsid(0));
    sqe.cdw10.set(fid);
    sqe.cdw11.set(value);
    return sqe;
}

}  // namespace basalt::nvmf
