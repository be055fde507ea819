#include <algorithm>
#include <bit>
#include <cstring>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "nvmf/wire/nqn.h"

// Identify, NVMe Base Specification, "Identify command", and NVM Command Set Specification for the
// structures of namespaces.

namespace basalt::nvmf {

namespace {

using bdev::IoOp;

constexpr uint32_t kVersion = 0x00010400;
constexpr uint32_t kSglsSupported = 0x1;              // SGLS 1:0: supported, no alignment wanted.
constexpr uint32_t kSglsOffsetInCapsule = 1U << 20U;  // SGLS: address as an offset.
constexpr uint32_t kPageBytes = 4096;                 // CAP.MPSMIN: what MDTS counts in.
constexpr uint8_t kControllerTypeIo = 1;
constexpr uint8_t kControllerTypeDiscovery = 2;

/// Text in a fixed field, padded with blanks as the specification wants it.
void put_text(std::span<char> field, std::string_view text) {
    std::fill(field.begin(), field.end(), ' ');
    std::copy_n(text.begin(), std::min(text.size(), field.size()), field.begin());
}

/// Copies a structure to the front of the payload; the rest is zero already.
template <typename T>
void put(Request& request, const T& data) {
    static_assert(sizeof(T) <= kIdentifyBytes);
    std::memcpy(request.payload().data(), &data, sizeof(data));
}

bool any_namespace(const Subsystem& subsystem, bool (*has)(const bdev::BdevInfo&)) {
    return std::any_of(subsystem.namespaces().begin(),
                       subsystem.namespaces().end(),
                       [has](const auto& each) { return each != nullptr && has(each->info()); });
}

void describe_io_controller(nvme_id_ctrl& data, const Subsystem& subsystem, PollGroup& group) {
    const TransportOptions& options = group.options();
    data.cntrltype = kControllerTypeIo;
    data.oacs = 0;
    data.acl = kAbortsMax - 1;
    data.frmw = (1U << 1U) | 1U;  // One firmware slot, read only.
    data.npss = 0;
    data.wctemp = 0x0157;
    data.cctemp = 0x0175;
    data.sqes = 0x66;
    data.cqes = 0x44;
    data.nn = subsystem.config().namespaces_max;
    data.mnan = subsystem.config().namespaces_max;
    const auto can_unmap = [](const bdev::BdevInfo& info) { return info.can(IoOp::kUnmap); };
    const auto can_compare = [](const bdev::BdevInfo& info) { return info.can(IoOp::kCompare); };
    const auto can_zero = [](const bdev::BdevInfo& info) { return info.can(IoOp::kWriteZeroes); };
    const auto is_volatile = [](const bdev::BdevInfo& info) { return info.has_volatile_cache; };
    data.oncs = static_cast<uint16_t>(
        (any_namespace(subsystem, can_compare) ? NVME_CTRL_ONCS_COMPARE : 0) |
        (any_namespace(subsystem, can_unmap) ? NVME_CTRL_ONCS_DSM : 0) |
        (any_namespace(subsystem, can_zero) ? NVME_CTRL_ONCS_WRITE_ZEROES : 0));
    // Bits 2:1 = 11b: Flush of all namespaces (NSID FFFFFFFFh) works.
    data.vwc = static_cast<uint8_t>(0x6U | (any_namespace(subsystem, is_volatile) ? 1U : 0U));
    data.cmic = 0x3;  // More than one port and controller may belong to the subsystem.
    data.ioccsz = (uint32_t{sizeof(Sqe)} + options.capsule_data_bytes) / 16;
    data.iorcsz = uint32_t{sizeof(Cqe)} / 16;
    data.oaes = 1U << 8U;  // Namespace attribute notices.
}

NvmeStatus identify_controller(Request& request) {
    Connection& connection = request.connection;
    const Subsystem& subsystem = *connection.link.subsystem;
    const Controller& controller = *connection.link.controller;
    PollGroup& group = connection.group();
    nvme_id_ctrl data{};
    put_text(data.sn, subsystem.config().serial_number);
    put_text(data.mn, subsystem.config().model_number);
    put_text(data.fr, "0.1.0");
    data.mdts = static_cast<uint8_t>(std::countr_zero(group.options().io_bytes_max / kPageBytes));
    data.cntlid = controller.id().raw();
    data.ver = kVersion;
    data.ctratt = 1U;  // 128-bit host identifier.
    data.aerl = kAsyncEventRequestsMax - 1;
    data.lpa = 1U << 2U;  // Log pages by offset and extended length.
    data.elpe = kErrorLogEntries - 1;
    data.kas = kKeepAliveGranularity;
    data.maxcmd = static_cast<uint16_t>(group.options().queue_entries_max);
    data.sgls = kSglsSupported | kSglsOffsetInCapsule;
    data.msdbd = 1;
    write_nqn_field(data.subnqn, subsystem.config().nqn);
    if (subsystem.is_discovery()) {
        data.cntrltype = kControllerTypeDiscovery;
        data.oaes = 1U << 31U;  // Discovery log change notices.
    } else {
        describe_io_controller(data, subsystem, group);
    }
    put(request, data);
    return status::kSuccess;
}

NvmeStatus identify_namespace(Request& request) {
    const Nsid nsid = request.sqe.nsid();
    Subsystem& subsystem = *request.connection.link.subsystem;
    nvme_id_ns data{};
    if (nsid.raw() == 0 || (nsid != kNsidAll && nsid.raw() > subsystem.config().namespaces_max)) {
        return status::kInvalidNamespace.with_dnr();
    }
    const Namespace* found = nsid == kNsidAll ? nullptr : subsystem.find_namespace(nsid);
    if (found == nullptr) {
        return nsid == kNsidAll ? status::kInvalidNamespace.with_dnr() : status::kSuccess;
    }
    const bdev::BdevInfo& info = found->info();
    const NamespaceConfig& config = found->config();
    data.nsze = info.block_count.raw();
    data.ncap = info.block_count.raw();
    data.nuse = info.block_count.raw();
    data.nsfeat = info.is_thin ? 1U : 0U;
    data.lbaf[0].ds = static_cast<uint8_t>(std::countr_zero(info.block_size_bytes));
    data.nmic = 1;  // More than one controller may have it attached.
    // Bit 3: Write Zeroes may deallocate; 001b: deallocated blocks read as zeroes. Linux uses
    // deallocation for zeroing only with both.
    data.dlfeat = info.reads_zeroes_after_unmap ? 0x9 : 0;
    data.noiob = static_cast<uint16_t>(std::min<uint64_t>(info.optimal_io_boundary.raw(), 0xffff));
    const auto atomic_0based =
        static_cast<uint16_t>(std::clamp<uint64_t>(info.atomic_write_max.raw(), 1, 0x10000) - 1);
    if (atomic_0based > 0) {
        data.nsfeat = static_cast<uint8_t>(data.nsfeat | (1U << 1U));  // NSABP
        data.nawun = atomic_0based;
        data.nawupf = atomic_0based;
    }
    const uint32_t physical_blocks = info.physical_block_size_bytes / info.block_size_bytes;
    if (physical_blocks > 1) {
        data.nsfeat = static_cast<uint8_t>(data.nsfeat | (1U << 4U));  // OPTPERF: NPWG and its kin.
        data.npwg = data.npwa = data.npdg = data.npda = static_cast<uint16_t>(physical_blocks - 1);
    }
    data.nsattr = info.is_read_only ? 1 : 0;
    std::copy(config.nguid.begin(), config.nguid.end(), data.nguid);
    std::copy(config.eui64.begin(), config.eui64.end(), data.eui64);
    put(request, data);
    return status::kSuccess;
}

/// CNS 02h and 07h: the active namespaces above the one given, in order.
NvmeStatus identify_active_namespaces(Request& request) {
    const Nsid after = request.sqe.nsid();
    if (after.raw() >= 0xfffffffe) {
        return status::kInvalidNamespace.with_dnr();
    }
    std::byte* out = request.payload().data();
    uint32_t count = 0;
    for (const auto& each : request.connection.link.subsystem->namespaces()) {
        if (each == nullptr || each->config().nsid <= after ||
            count == kIdentifyBytes / sizeof(uint32_t)) {
            continue;
        }
        const uint32_t nsid = each->config().nsid.raw();
        std::memcpy(out + size_t{count++} * sizeof(nsid), &nsid, sizeof(nsid));
    }
    return status::kSuccess;
}

/// CNS 03h. Ids that are all zero are left out: a host would take them for an identity.
NvmeStatus identify_descriptors(Request& request) {
    const Namespace* found = request.connection.link.subsystem->find_namespace(request.sqe.nsid());
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

/// CNS 06h, NVM command set: limits that MDTS does not cover.
NvmeStatus identify_nvm_controller(Request& request) {
    nvme_id_ctrl_nvm data{};
    if (any_namespace(*request.connection.link.subsystem,
                      [](const bdev::BdevInfo& info) { return info.can(IoOp::kUnmap); })) {
        data.dmrl = kDsmRangesMax - 1;  // A byte: 255 is the most it can say.
        data.dmrsl = UINT32_MAX;
    }
    put(request, data);
    return status::kSuccess;
}

/// CNS 08h: what does not depend on the command set.
NvmeStatus identify_independent_namespace(Request& request) {
    const Namespace* found = request.connection.link.subsystem->find_namespace(request.sqe.nsid());
    if (found == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    nvme_id_independent_id_ns data{};
    data.nmic = 1;
    data.nsattr = found->info().is_read_only ? 1 : 0;
    data.nstat = 1;  // Ready.
    put(request, data);
    return status::kSuccess;
}

/// CNS 1Ch: the combinations of command sets, of which there is one.
NvmeStatus identify_command_sets(Request& request) {
    const uint64_t nvm_alone = 1;
    put(request, nvm_alone);
    return status::kSuccess;
}

/// The structures of a command set other than NVM are not ours to give.
bool is_nvm_command_set(const IdentifyView& command) {
    return command.csi() == 0;
}

}  // namespace

NvmeStatus identify(Request& request) {
    const IdentifyView command(request.sqe);
    std::memset(request.payload().data(), 0, request.payload().size());
    if (request.connection.link.subsystem->is_discovery()) {
        return command.cns() == NVME_IDENTIFY_CNS_CTRL ? identify_controller(request)
                                                       : status::kInvalidField.with_dnr();
    }
    switch (command.cns()) {
        case NVME_IDENTIFY_CNS_NS: return identify_namespace(request);
        case NVME_IDENTIFY_CNS_CTRL: return identify_controller(request);
        case NVME_IDENTIFY_CNS_NS_ACTIVE_LIST: return identify_active_namespaces(request);
        case NVME_IDENTIFY_CNS_NS_DESC_LIST: return identify_descriptors(request);
        case NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS:
            return identify_independent_namespace(request);
        case NVME_IDENTIFY_CNS_COMMAND_SET_STRUCTURE: return identify_command_sets(request);
        default: break;
    }
    if (!is_nvm_command_set(command)) {
        return status::kInvalidField.with_dnr();
    }
    switch (command.cns()) {
        case NVME_IDENTIFY_CNS_CSI_NS:
            // NVM's own part holds nothing but protection information, which there is none of.
            return request.connection.link.subsystem->find_namespace(request.sqe.nsid()) != nullptr
                       ? status::kSuccess
                       : status::kInvalidNamespace.with_dnr();
        case NVME_IDENTIFY_CNS_CSI_CTRL: return identify_nvm_controller(request);
        case NVME_IDENTIFY_CNS_CSI_NS_ACTIVE_LIST: return identify_active_namespaces(request);
        default: return status::kInvalidField.with_dnr();
    }
}

}  // namespace basalt::nvmf
