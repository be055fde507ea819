#include "nvmf/target/io/copy_check.h"

#include <algorithm>
#include <cstring>

#include "nvmf/target/connection.h"
#include "nvmf/target/io/range_fence.h"
#include "nvmf/target/reservation/reservation_commands.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

// Format 2h has Source Options in bytes 23:22 of a range, of which bit 15 is Fast Copy Only (NVM
// Command Set Specification 1.1, Copy command, Source Range Entries).
constexpr size_t kOptionsHighByte = 23 - offsetof(nvme_copy_range, rsvd18);
constexpr uint8_t kFastCopyOnly = 0x80;

}  // namespace

CopyLimits copy_limits(const bdev::BdevInfo& info) {
    const uint64_t blocks = kCopyBytesMax / info.block_size_bytes;
    return {.range_blocks = static_cast<uint16_t>(std::min<uint64_t>(blocks, 0xffff)),
            .blocks = static_cast<uint32_t>(blocks),
            .ranges_0based = kCopyRangesMax - 1};
}

CopySource copy_source(const Request& request, uint32_t index) {
    nvme_copy_range range{};
    const std::byte* from = request.payload().data() + size_t{index} * sizeof(range);
    std::memcpy(&range, from, sizeof(range));
    CopySource source{request.sqe.nsid(), range.slba, uint64_t{range.nlb} + 1};
    if (CopyView(request.sqe).descriptor_format() == 2) {
        uint32_t nsid = 0;  // The format's one addition, in the first dword.
        std::memcpy(&nsid, from, sizeof(nsid));
        source.nsid = Nsid(nsid);
        source.is_fast_only = (range.rsvd18[kOptionsHighByte] & kFastCopyOnly) != 0;
    }
    return source;
}

uint64_t copy_blocks(const Request& request) {
    uint64_t blocks = 0;
    for (uint32_t index = 0; index < CopyView(request.sqe).range_count(); ++index) {
        blocks += copy_source(request, index).count;
    }
    return blocks;
}

NvmeStatus check_copy(const Request& request, const bdev::BdevInfo& info) {
    const CopyView command(request.sqe);
    const uint8_t format = command.descriptor_format();
    const bool is_enabled = format == 0 || request.connection().link.settings.knows_copy_format_2;
    if (((kCopyFormats >> format) & 1U) == 0 || !is_enabled || command.has_protection()) {
        return status::kInvalidField.with_dnr();
    }
    if (command.range_count() > kCopyRangesMax) {
        return status::kCommandSizeLimitExceeded.with_dnr();
    }
    const uint32_t wanted_bytes =
        command.range_count() * static_cast<uint32_t>(sizeof(nvme_copy_range));
    if (request.data_bytes < wanted_bytes) {
        return status::kDataSglLengthInvalid.with_dnr();
    }
    if (request.data_bytes > kCopyRangesMax * sizeof(nvme_copy_range)) {
        return status::kInvalidField.with_dnr();
    }
    return command.destination().raw() < info.block_count.raw() ? status::kSuccess
                                                                : status::kLbaOutOfRange.with_dnr();
}

namespace {

NvmeStatus check_source(Request& request, const CopySource& source, const bdev::BdevInfo& to) {
    if (source.is_fast_only) {
        return status::kFastCopyNotPossible.with_dnr();  // Every copy reads and writes.
    }
    Subsystem& subsystem = *request.connection().link.subsystem;
    if (const NvmeStatus access = request.connection().link.access.check(source.nsid);
        !access.ok()) {
        return access;
    }
    const Namespace* space = subsystem.find_namespace(source.nsid);
    if (space == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    if (!reservation_allows(request, *space, IoAccess::kRead)) {
        return status::kReservationConflict.with_dnr();
    }
    const bdev::BdevInfo& from = space->info();
    if (from.block_size_bytes != to.block_size_bytes) {
        return status::kIncompatibleNamespace.with_dnr();
    }
    if (source.count > copy_limits(to).range_blocks) {
        return status::kCommandSizeLimitExceeded.with_dnr();
    }
    const uint64_t total = from.block_count.raw();
    return source.first < total && source.count <= total - source.first
               ? status::kSuccess
               : status::kLbaOutOfRange.with_dnr();
}

}  // namespace

NvmeStatus check_copy_ranges(Request& request, uint32_t& bad_index) {
    const CopyView command(request.sqe);
    const Namespace* space =
        request.connection().link.subsystem->find_namespace(request.sqe.nsid());
    BASALT_ASSERT(space != nullptr);
    const bdev::BdevInfo& to = space->info();
    BlockRange destination{command.destination().raw(), 0};
    for (bad_index = 0; bad_index < command.range_count(); ++bad_index) {
        const CopySource source = copy_source(request, bad_index);
        if (const NvmeStatus verdict = check_source(request, source, to); !verdict.ok()) {
            return verdict;
        }
        destination.count += source.count;
    }
    bad_index = 0;
    if (destination.count > copy_limits(to).blocks) {
        return status::kCommandSizeLimitExceeded.with_dnr();
    }
    const uint64_t total = to.block_count.raw();
    if (destination.first >= total || destination.count > total - destination.first) {
        return status::kLbaOutOfRange.with_dnr();
    }
    for (; bad_index < command.range_count(); ++bad_index) {
        const CopySource source = copy_source(request, bad_index);
        if (source.nsid == request.sqe.nsid() &&
            destination.overlaps({source.first, source.count})) {
            return status::kOverlappingRange.with_dnr();
        }
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
