#include <algorithm>
#include <bit>

#include "nvmf/target/connection.h"
#include "nvmf/target/identify.h"
#include "nvmf/target/io/copy_check.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"

// What Identify tells about namespaces: NVMe Base Specification, "Identify command", and NVM
// Command Set Specification for the structures of namespaces.

namespace basalt::nvmf {

namespace {

// NSFEAT.
constexpr uint8_t kThinProvisioned = 1U << 0U;
constexpr uint8_t kOwnAtomicity = 1U << 1U;        // NSABP: NAWUN and its kin count.
constexpr uint8_t kOptimalPerformance = 1U << 4U;  // OPTPERF: NPWG and its kin count.
// NSFEAT of the structure that is the same for all command sets.
constexpr uint8_t kNoVolatileCache = 1U << 5U;  // VWCNP: whatever VWC says of the controller.

/// A number of blocks in a 0's based field; 0 blocks, which nobody has said, are one.
uint16_t zero_based(uint64_t blocks) {
    return static_cast<uint16_t>(std::clamp<uint64_t>(blocks, 1, 0x10000) - 1);
}

/// DLFEAT: what deallocated blocks read as (001b: zeroes, 000b: not told), and bit 3, that Write
/// Zeroes may deallocate. Linux uses deallocation for zeroing only with both.
uint8_t deallocation_features(const bdev::BdevInfo& info) {
    return static_cast<uint8_t>((info.reads_zeroes_after_unmap ? 1U : 0U) |
                                (info.zeroes_may_deallocate ? 1U << 3U : 0U));
}

void describe_atomicity(nvme_id_ns& data,
                        const bdev::BdevInfo& info,
                        const TransportOptions& options) {
    data.nsfeat = static_cast<uint8_t>(data.nsfeat | kOwnAtomicity);
    data.nacwu = zero_based(std::min(kFusedBytesMax, options.io_bytes_max) / info.block_size_bytes);
    data.nawun = data.nawupf = zero_based(info.atomic_write_max.raw());
    data.nabsn = data.nabspf = zero_based(info.atomic_boundary.raw());
}

void describe_hints(nvme_id_ns& data, const bdev::BdevInfo& info) {
    const bdev::IoHints& hints = info.hints;
    // A boundary that the field can't tell would be a wrong one: 0, none, is all that is left.
    const bool fits = hints.io_boundary.raw() <= 0xffff;
    data.noiob = fits ? static_cast<uint16_t>(hints.io_boundary.raw()) : uint16_t{0};
    const uint64_t physical = info.physical_block_size_bytes / info.block_size_bytes;
    data.npwg = zero_based(std::max(physical, hints.write_granularity.raw()));
    data.npwa = zero_based(std::max(physical, hints.write_alignment.raw()));
    data.npdg = zero_based(std::max(physical, hints.unmap_granularity.raw()));
    data.npda = zero_based(std::max(physical, hints.unmap_alignment.raw()));
    data.nows = zero_based(hints.optimal_write.raw());
    if ((data.npwg | data.npwa | data.npdg | data.npda | data.nows) != 0) {
        data.nsfeat = static_cast<uint8_t>(data.nsfeat | kOptimalPerformance);
    }
}

/// ANAGRPID: 0 where ANA is not reported.
uint32_t ana_group_of(const Namespace& found, const Request& request) {
    const bool is_reported = request.connection().link.subsystem->config().ana_reporting;
    return is_reported ? found.config().ana_group : 0;
}

/// RESCAP: every type, Ignore Existing Key as since revision 1.3, and persistence where there is
/// something to persist in.
uint8_t reservation_capabilities(const NamespaceConfig& config) {
    constexpr uint8_t kAllTypes = NVME_NS_RESCAP_WE | NVME_NS_RESCAP_EA | NVME_NS_RESCAP_WERO |
                                  NVME_NS_RESCAP_EARO | NVME_NS_RESCAP_WEAR | NVME_NS_RESCAP_EAAR;
    return static_cast<uint8_t>(kAllTypes | NVME_NS_RESCAP_IEK_13 |
                                (config.reservations->can_persist() ? NVME_NS_RESCAP_PTPL : 0));
}

/// The NSID may be that of a namespace. If none is active there, or this host does not see it, the
/// structures that describe one are all zero (NVMe Base Specification, "Identify command").
bool is_valid_nsid(const Request& request) {
    const uint32_t nsid = request.sqe.nsid().raw();
    return nsid != 0 && nsid <= request.connection().link.subsystem->config().namespaces_max;
}

}  // namespace

NvmeStatus identify_namespace(Request& request) {
    nvme_id_ns data{};
    if (!is_valid_nsid(request)) {
        return status::kInvalidNamespace.with_dnr();
    }
    const Namespace* found = find_visible_namespace(request.connection().link, request.sqe.nsid());
    if (found == nullptr) {
        return status::kSuccess;
    }
    const bdev::BdevInfo& info = found->info();
    const NamespaceConfig& config = found->config();
    data.nsze = info.block_count.raw();
    data.ncap = info.block_count.raw();
    data.nuse = config.bdev->allocated_blocks().raw();
    data.lbaf[0].ds = static_cast<uint8_t>(std::countr_zero(info.block_size_bytes));
    data.nmic = 1;  // More than one controller may have it attached.
    data.rescap = reservation_capabilities(config);
    data.dlfeat = deallocation_features(info);
    data.nsfeat = info.is_thin ? kThinProvisioned : 0;
    describe_atomicity(data, info, request.connection().group().options());
    describe_hints(data, info);
    data.anagrpid = ana_group_of(*found, request);
    const CopyLimits copy = copy_limits(info);
    data.mssrl = copy.range_blocks;
    data.mcl = copy.blocks;
    data.msrc = copy.ranges_0based;
    data.nsattr = found->is_write_protected() ? 1 : 0;
    std::copy(config.nguid.begin(), config.nguid.end(), data.nguid);
    std::copy(config.eui64.begin(), config.eui64.end(), data.eui64);
    put_identify_data(request, data);
    return status::kSuccess;
}

NvmeStatus identify_active_namespaces(Request& request) {
    const Nsid after = request.sqe.nsid();
    if (after.raw() >= 0xfffffffe) {
        return status::kInvalidNamespace.with_dnr();
    }
    const NamespaceAccess& access = request.connection().link.access;
    std::byte* out = request.payload().data();
    uint32_t count = 0;
    for (const auto& each : request.connection().link.subsystem->namespaces()) {
        if (each == nullptr || each->config().nsid <= after ||
            !access.is_visible(each->config().nsid) || count == kIdentifyBytes / sizeof(uint32_t)) {
            continue;
        }
        const uint32_t nsid = each->config().nsid.raw();
        std::memcpy(out + size_t{count++} * sizeof(nsid), &nsid, sizeof(nsid));
    }
    return status::kSuccess;
}

NvmeStatus identify_descriptors(Request& request) {
    const Namespace* found = find_visible_namespace(request.connection().link, request.sqe.nsid());
    if (found == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    std::byte* out = request.payload().data();
    const auto add = [&out](uint8_t type, std::span<const uint8_t> id) {
        if (std::all_of(id.begin(), id.end(), [](uint8_t byte) { return byte == 0; })) {
            return;
        }
        const nvme_ns_id_desc head{type, static_cast<uint8_t>(id.size()), 0};
        std::memcpy(out, &head, sizeof(head));
        std::memcpy(out + sizeof(head), id.data(), id.size());
        out += sizeof(head) + id.size();
    };
    const NamespaceConfig& config = found->config();
    add(NVME_NIDT_EUI64, config.eui64);
    add(NVME_NIDT_NGUID, config.nguid);
    add(NVME_NIDT_UUID, config.uuid.bytes);
    // The command set identifier, 0 = NVM, is the one id whose zero means something.
    const std::array<uint8_t, 5> csi{NVME_NIDT_CSI, 1, 0, 0, 0};
    std::memcpy(out, csi.data(), csi.size());
    return status::kSuccess;
}

NvmeStatus identify_nvm_namespace(Request& request) {
    // Protection information is all that there is in it, and of that there is none.
    return is_valid_nsid(request) ? status::kSuccess : status::kInvalidNamespace.with_dnr();
}

NvmeStatus identify_independent_namespace(Request& request) {
    if (!is_valid_nsid(request)) {
        return status::kInvalidNamespace.with_dnr();
    }
    const Namespace* found = find_visible_namespace(request.connection().link, request.sqe.nsid());
    if (found == nullptr) {
        return status::kSuccess;
    }
    nvme_id_independent_id_ns data{};
    data.nsfeat = found->info().has_volatile_cache ? 0 : kNoVolatileCache;
    data.nmic = 1;
    data.anagrpid = ana_group_of(*found, request);
    data.rescap = reservation_capabilities(found->config());
    data.nsattr = found->is_write_protected() ? 1 : 0;
    data.nstat = 1;  // Ready.
    put_identify_data(request, data);
    return status::kSuccess;
}

}  // namespace basalt::nvmf
