#include "reactor/sim/nvme_device.h"

#include <bit>
#include <cstring>
#include <vector>

#include <nvme/types.h>

#include "reactor/base/assert.h"
#include "reactor/sim/piece_cursor.h"

namespace basalt::sim {

namespace {

// Where a command keeps its values: NVM Express Base Specification 2.0, figure 87 (common command
// format), and NVM Command Set Specification 1.0, section 3.2.
constexpr uint32_t kNsidDword = 1;
constexpr uint32_t kForceUnitAccess = 1U << 30U;     // Read, write, write zeroes: dword 12.
constexpr uint32_t kDeallocateZeroes = 1U << 25U;    // Write zeroes: dword 12.
constexpr uint32_t kAttributeDeallocate = 1U << 2U;  // Dataset Management: dword 11.
constexpr uint32_t kPageBytes = 4096;

uint16_t status_of(const Status& status, uint16_t otherwise) {
    if (status) {
        return NVME_SC_SUCCESS;
    }
    return status.error().code == Errc::kNoSpace ? uint16_t{NVME_SC_CAP_EXCEEDED} : otherwise;
}

constexpr uint16_t kMedium = NVME_SCT_MEDIA << NVME_SCT_SHIFT;

Drive::Durable durability(const PassthroughRequest& request) {
    return (request.command[12] & kForceUnitAccess) != 0 ? Drive::Durable::kYes
                                                         : Drive::Durable::kNo;
}

}  // namespace

bool NvmeDevice::range_of(const PassthroughRequest& request, Range& range) const {
    const uint64_t first = request.command[10] | (uint64_t{request.command[11]} << 32U);
    const uint64_t count = (request.command[12] & 0xFFFFU) + 1;
    range.offset_bytes = first * options_.block_size_bytes;
    range.length_bytes = count * options_.block_size_bytes;
    return first < block_count() && count <= block_count() - first;
}

bool NvmeDevice::is_flush(const PassthroughRequest& request) {
    return !request.is_admin && (request.command[0] & 0xFFU) == nvme_cmd_flush;
}

void NvmeDevice::execute(PassthroughRequest& request) {
    request.status = kOk;
    request.result = 0;
    request.nvme_status = request.is_admin ? execute_admin(request) : execute_io(request);
}

uint16_t NvmeDevice::execute_admin(PassthroughRequest& request) {
    switch (request.command[0] & 0xFFU) {
        case nvme_admin_identify: return identify(request);
        case nvme_admin_get_features:
            if ((request.command[10] & 0xFFU) != NVME_FEAT_FID_VOLATILE_WC) {
                return NVME_SC_INVALID_FIELD;
            }
            request.result = options_.drive.has_volatile_cache ? 1 : 0;
            return NVME_SC_SUCCESS;
        default: return NVME_SC_INVALID_OPCODE;
    }
}

uint16_t NvmeDevice::identify(const PassthroughRequest& request) {
    if (request.length_bytes != kPageBytes) {
        return NVME_SC_INVALID_FIELD;
    }
    alignas(8) std::array<std::byte, kPageBytes> page{};
    const uint32_t nsid = request.command[kNsidDword];
    switch (request.command[10] & 0xFFU) {
        case NVME_IDENTIFY_CNS_NS:
            if (nsid != options_.nsid) {
                return NVME_SC_INVALID_NS;
            }
            fill_namespace(page.data());
            break;
        case NVME_IDENTIFY_CNS_CTRL: fill_controller(page.data()); break;
        case NVME_IDENTIFY_CNS_NS_ACTIVE_LIST:
            if (nsid < options_.nsid) {
                std::memcpy(page.data(), &options_.nsid, sizeof(options_.nsid));
            }
            break;
        case NVME_IDENTIFY_CNS_NS_DESC_LIST:
            if (nsid != options_.nsid) {
                return NVME_SC_INVALID_NS;
            }
            fill_descriptors(page.data());
            break;
        default: return NVME_SC_INVALID_FIELD;
    }
    PieceCursor(request.pieces).copy_in(page.data(), page.size());
    return NVME_SC_SUCCESS;
}

void NvmeDevice::fill_controller(std::byte* page) const {
    nvme_id_ctrl controller{};
    std::memset(controller.sn, ' ', sizeof(controller.sn));
    std::memcpy(controller.sn,
                options_.serial_number.data(),
                std::min(options_.serial_number.size(), sizeof(controller.sn)));
    std::memset(controller.mn, ' ', sizeof(controller.mn));
    std::memcpy(controller.mn, "Basalt simulated", 16);
    std::memset(controller.fr, ' ', sizeof(controller.fr));
    controller.mdts = options_.transfer_max_log2;
    controller.ver = 0x0001'0400;
    controller.nn = options_.nsid;
    controller.oncs = NVME_CTRL_ONCS_COMPARE | NVME_CTRL_ONCS_DSM | NVME_CTRL_ONCS_WRITE_ZEROES;
    controller.vwc = options_.drive.has_volatile_cache ? 1 : 0;
    static_assert(sizeof(controller) == kPageBytes);
    std::memcpy(page, &controller, sizeof(controller));
}

void NvmeDevice::fill_namespace(std::byte* page) const {
    nvme_id_ns ns{};
    ns.nsze = ns.ncap = block_count();
    ns.nuse = drive_.allocated_bytes() / options_.block_size_bytes;
    ns.nsfeat = options_.drive.allocated_bytes_max != UINT64_MAX ? NVME_NS_FEAT_THIN : 0;
    ns.dlfeat = 1 | (1U << 3U);  // Deallocated blocks read as zeroes; write zeroes may deallocate.
    ns.lbaf[0].ds = static_cast<uint8_t>(std::countr_zero(options_.block_size_bytes));
    std::memcpy(ns.nguid, options_.nguid.data(), sizeof(ns.nguid));
    std::memcpy(ns.eui64, options_.eui64.data(), sizeof(ns.eui64));
    static_assert(sizeof(ns) == kPageBytes);
    std::memcpy(page, &ns, sizeof(ns));
}

void NvmeDevice::fill_descriptors(std::byte* page) const {
    const auto add = [&page](uint8_t type, const auto& id) {
        if (id == std::remove_cvref_t<decltype(id)>{}) {
            return;
        }
        page[0] = std::byte{type};
        page[1] = std::byte{static_cast<uint8_t>(id.size())};
        std::memcpy(page + 4, id.data(), id.size());
        page += 4 + id.size();
    };
    add(NVME_NIDT_EUI64, options_.eui64);
    add(NVME_NIDT_NGUID, options_.nguid);
    add(NVME_NIDT_UUID, options_.uuid);
}

uint16_t NvmeDevice::execute_io(PassthroughRequest& request) {
    const uint32_t opcode = request.command[0] & 0xFFU;
    if (request.command[kNsidDword] != options_.nsid &&
        !(opcode == nvme_cmd_flush && request.command[kNsidDword] == NVME_NSID_ALL)) {
        return NVME_SC_INVALID_NS;
    }
    if (opcode == nvme_cmd_flush) {
        return status_of(drive_.flush(), NVME_SC_INTERNAL);
    }
    if (opcode == nvme_cmd_dsm) {
        return deallocate(request);
    }
    Range range{};
    if (!range_of(request, range)) {
        return NVME_SC_LBA_RANGE;
    }
    if (opcode == nvme_cmd_write_zeroes) {
        const bool gives_back = (request.command[12] & kDeallocateZeroes) != 0;
        return status_of(
            drive_.zero(range.offset_bytes, range.length_bytes, gives_back, durability(request)),
            kMedium | NVME_SC_WRITE_FAULT);
    }
    if (opcode != nvme_cmd_read && opcode != nvme_cmd_write && opcode != nvme_cmd_compare) {
        return NVME_SC_INVALID_OPCODE;
    }
    const uint64_t most = uint64_t{kPageBytes} << options_.transfer_max_log2;
    if (request.length_bytes != range.length_bytes ||
        (options_.transfer_max_log2 != 0 && range.length_bytes > most)) {
        return NVME_SC_INVALID_FIELD;
    }
    if (opcode == nvme_cmd_read) {
        return status_of(drive_.read(range.offset_bytes, request.pieces, range.length_bytes),
                         kMedium | NVME_SC_READ_ERROR);
    }
    if (opcode == nvme_cmd_compare) {
        return compare(request, range);
    }
    return status_of(
        drive_.write(range.offset_bytes, request.pieces, range.length_bytes, durability(request)),
        kMedium | NVME_SC_WRITE_FAULT);
}

uint16_t NvmeDevice::compare(const PassthroughRequest& request, Range range) {
    std::vector<std::byte> stored(range.length_bytes);
    std::vector<std::byte> given(range.length_bytes);
    const iovec piece{stored.data(), stored.size()};
    if (!drive_.read(range.offset_bytes, &piece, range.length_bytes)) {
        return kMedium | NVME_SC_READ_ERROR;
    }
    PieceCursor(request.pieces).copy_out(given.data(), given.size());
    return stored == given ? uint16_t{NVME_SC_SUCCESS}
                           : static_cast<uint16_t>(kMedium | NVME_SC_COMPARE_FAILED);
}

uint16_t NvmeDevice::deallocate(const PassthroughRequest& request) {
    const size_t count = (request.command[10] & 0xFFU) + 1;
    if (request.length_bytes < count * sizeof(nvme_dsm_range)) {
        return NVME_SC_INVALID_FIELD;
    }
    if ((request.command[11] & kAttributeDeallocate) == 0) {
        return NVME_SC_SUCCESS;  // The other attributes are hints.
    }
    std::vector<nvme_dsm_range> ranges(count);
    PieceCursor(request.pieces)
        .copy_out(reinterpret_cast<std::byte*>(ranges.data()), count * sizeof(nvme_dsm_range));
    for (const nvme_dsm_range& range : ranges) {
        if (range.slba > block_count() || range.nlb > block_count() - range.slba) {
            return NVME_SC_LBA_RANGE;
        }
    }
    for (const nvme_dsm_range& range : ranges) {
        if (range.nlb == 0) {
            continue;
        }
        const Status status = drive_.zero(range.slba * options_.block_size_bytes,
                                          uint64_t{range.nlb} * options_.block_size_bytes,
                                          true,
                                          Drive::Durable::kNo);
        if (!status) {
            return kMedium | NVME_SC_WRITE_FAULT;
        }
    }
    return NVME_SC_SUCCESS;
}

void NvmeDevice::tear(const PassthroughRequest& request) {
    Range range{};
    if (!request.is_admin && (request.command[0] & 0xFFU) == nvme_cmd_write &&
        range_of(request, range) && request.length_bytes == range.length_bytes) {
        drive_.tear(range.offset_bytes, request.pieces, range.length_bytes);
    }
}

}  // namespace basalt::sim
