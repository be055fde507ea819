#include <algorithm>
#include <bit>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/identify.h"
#include "nvmf/target/io/copy_check.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "nvmf/wire/nqn.h"

// What Identify tells about a controller: NVMe Base Specification, "Identify Controller data
// structure", and NVM Command Set Specification for the part that is its own.

namespace basalt::nvmf {

namespace {

constexpr uint32_t kSglsSupported = 0x1;              // SGLS 1:0: supported, no alignment wanted.
constexpr uint32_t kSglsOffsetInCapsule = 1U << 20U;  // SGLS: address as an offset.
constexpr uint32_t kSglsTransportData = 1U << 21U;    // SGLS: transport SGL data blocks.
constexpr uint32_t kPageBytes = 4096;                 // CAP.MPSMIN: what MDTS counts in.
constexpr uint8_t kControllerTypeIo = 1;
constexpr uint8_t kArbitrationBurstLog2 = 6;  // RAB: what Linux's target says; no wish.
constexpr uint8_t kControllerTypeDiscovery = 2;

/// Text in a fixed field, padded with blanks as the specification wants it.
void put_text(std::span<char> field, std::string_view text) {
    std::fill(field.begin(), field.end(), ' ');
    std::copy_n(text.begin(), std::min(text.size(), field.size()), field.begin());
}

void describe_ana(nvme_id_ctrl& data, const SubsystemConfig& config) {
    data.cmic = static_cast<uint8_t>(data.cmic | NVME_CTRL_CMIC_MULTI_ANA_REPORTING);
    data.oaes |= 1U << 11U;  // ANA change notices.
    data.anatt = kAnaTransitionSeconds;
    // Without bit 6: a namespace may change its group while hosts use it.
    data.anacap = NVME_CTRL_ANACAP_OPT | NVME_CTRL_ANACAP_NON_OPT | NVME_CTRL_ANACAP_INACCESSIBLE |
                  NVME_CTRL_ANACAP_PERSISTENT_LOSS | NVME_CTRL_ANACAP_CHANGE;
    data.anagrpmax = config.namespaces_max;
    data.nanagrpid = config.namespaces_max;
}

/// The longest that the ANA log may become: as hosts work it out.
uint64_t ana_log_bytes_max(const SubsystemConfig& config) {
    const uint64_t each = sizeof(nvme_ana_group_desc) + sizeof(uint32_t);
    return config.ana_reporting ? sizeof(nvme_ana_log) + config.namespaces_max * each : 0;
}

/// MDTS: the longest transfer that every device takes at once; what is longer is split. 0 would
/// mean no limit, so two pages are the least that it can say, and a host that could not read the
/// ANA log at once (Linux) would do without ANA.
uint8_t transfer_size_log2(const Subsystem& subsystem, const TransportOptions& options) {
    uint64_t bytes = options.io_bytes_max;
    for (const auto& each : subsystem.namespaces()) {
        if (each != nullptr && each->info().transfer_max.raw() != 0) {
            const bdev::BdevInfo& info = each->info();
            bytes = std::min(bytes, info.transfer_max.raw() * info.block_size_bytes);
        }
    }
    const uint64_t log_pages =
        std::bit_ceil((ana_log_bytes_max(subsystem.config()) + kPageBytes - 1) / kPageBytes);
    const uint64_t log_fits = std::min<uint64_t>(log_pages, options.io_bytes_max / kPageBytes);
    const uint64_t pages = std::max<uint64_t>({bytes / kPageBytes, log_fits, 2});
    return static_cast<uint8_t>(std::bit_width(pages) - 1);
}

void describe_io_controller(nvme_id_ctrl& data, const Subsystem& subsystem, PollGroup& group) {
    const TransportOptions& options = group.options();
    data.cntrltype = kControllerTypeIo;
    data.lpa = NVME_CTRL_LPA_SMART_PER_NS | NVME_CTRL_LPA_CMD_EFFECTS | NVME_CTRL_LPA_EXTENDED |
               NVME_CTRL_LPA_LI0_LI5_LI12_LI13;
    data.elpe = kErrorLogEntries - 1;
    data.oacs = 0;
    data.acl = kAbortsMax - 1;
    data.crdt1 = kRetryDelayShort;
    data.crdt2 = kRetryDelayLong;
    data.frmw = (1U << 1U) | 1U;  // One firmware slot, read only.
    data.npss = 0;
    data.wctemp = kWarningTemperatureKelvin;
    data.cctemp = kCriticalTemperatureKelvin;
    data.sqes = 0x66;
    data.cqes = 0x44;
    data.nn = subsystem.config().namespaces_max;
    data.mnan = subsystem.config().namespaces_max;
    // Hosts read this once, and namespaces of any kind may come later: so nothing in it follows
    // from those that there are now. A host that has heard of no cache would never flush.
    data.oncs = NVME_CTRL_ONCS_RESERVATIONS |
                NVME_CTRL_ONCS_SAVE_FEATURES |  // Select of Get Features; nothing can be saved.
                NVME_CTRL_ONCS_COMPARE | NVME_CTRL_ONCS_WRITE_ZEROES | NVME_CTRL_ONCS_VERIFY |
                NVME_CTRL_ONCS_COPY | NVME_CTRL_ONCS_DSM;
    data.ocfs = kCopyFormats;
    data.nwpc = NVME_CTRL_NWPC_WRITE_PROTECT | NVME_CTRL_NWPC_WRITE_PROTECT_POWER_CYCLE;
    data.fuses = 1;  // Compare and Write.
    data.acwu = static_cast<uint16_t>(
        std::min(kFusedBytesMax, options.io_bytes_max) / bdev::kBlockBytesMax - 1);
    data.vwc = 0x7;   // There may be a cache; bits 2:1, Flush of all namespaces works.
    data.cmic = 0x3;  // More than one port and controller may belong to the subsystem.
    data.ioccsz = (uint32_t{sizeof(Sqe)} + options.capsule_data_bytes) / 16;
    data.iorcsz = uint32_t{sizeof(Cqe)} / 16;
    data.oaes = 1U << 8U;  // Namespace attribute notices.
    if (subsystem.config().ana_reporting) {
        describe_ana(data, subsystem.config());
    }
}

}  // namespace

NvmeStatus identify_controller(Request& request) {
    Connection& connection = request.connection();
    const Subsystem& subsystem = *connection.link.subsystem;
    const Controller& controller = *connection.link.controller;
    PollGroup& group = connection.group();
    nvme_id_ctrl data{};
    put_text(data.sn, subsystem.config().serial_number);
    put_text(data.mn, subsystem.config().model_number);
    put_text(data.fr, "0.1.0");
    data.mdts = transfer_size_log2(subsystem, group.options());
    data.cntlid = controller.id().raw();
    data.ver = kNvmeVersion;
    data.ctratt = 1U;  // 128-bit host identifier.
    data.rab = kArbitrationBurstLog2;
    data.ofcs = 1U;  // Disconnect.
    data.aerl = kAsyncEventRequestsMax - 1;
    data.kas = kKeepAliveGranularity;
    data.maxcmd = static_cast<uint16_t>(group.options().queue_entries_max);
    data.sgls = kSglsSupported | kSglsOffsetInCapsule | kSglsTransportData;
    data.msdbd = 1;
    write_nqn_field(data.subnqn, subsystem.config().nqn);
    if (subsystem.is_discovery()) {
        data.cntrltype = kControllerTypeDiscovery;
        data.lpa = NVME_CTRL_LPA_EXTENDED;
        data.oaes = 1U << 31U;  // Discovery log change notices.
    } else {
        describe_io_controller(data, subsystem, group);
    }
    put_identify_data(request, data);
    return status::kSuccess;
}

NvmeStatus identify_nvm_controller(Request& request) {
    // 0 means no limit, in all of its fields: Verify, Write Zeroes and Dataset Management take what
    // a command can say. DMRL in particular has no number for all 256 ranges.
    const nvme_id_ctrl_nvm data{};
    put_identify_data(request, data);
    return status::kSuccess;
}

NvmeStatus identify_controllers(Request& request) {
    const Nsid nsid = request.sqe.nsid();
    if (IdentifyView(request.sqe).cns() == NVME_IDENTIFY_CNS_NS_CTRL_LIST) {
        if (nsid == kNsidAll) {
            return status::kInvalidField.with_dnr();
        }
        if (nsid.raw() == 0 ||
            nsid.raw() > request.connection().link.subsystem->config().namespaces_max) {
            return status::kInvalidNamespace.with_dnr();
        }
    }
    request.completes_later = true;
    request.connection().group().gather_controllers(request);
    return status::kSuccess;
}

void finish_controller_list(Request& request, std::vector<uint16_t> found) {
    if (request.connection().link.controller == nullptr) {
        request.connection().complete(request, status::kAbortedSqDeletion);  // Its queue is gone.
        return;
    }
    nvme_ctrl_list data{};
    std::sort(found.begin(), found.end());
    const uint16_t first = IdentifyView(request.sqe).cntid().raw();
    for (const uint16_t cntlid : found) {
        if (cntlid >= first && data.num < std::size(data.identifier)) {
            data.identifier[data.num++] = cntlid;
        }
    }
    put_identify_data(request, data);
    request.connection().complete(request, status::kSuccess);
}

NvmeStatus identify_command_sets(Request& request) {
    const uint64_t nvm_alone = 1;
    put_identify_data(request, nvm_alone);
    return status::kSuccess;
}

}  // namespace basalt::nvmf
