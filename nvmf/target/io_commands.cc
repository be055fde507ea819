#include "nvmf/target/io_commands.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "nvmf/target/connection.h"
#include "nvmf/target/io/command_table.h"
#include "nvmf/target/io/copy_check.h"
#include "nvmf/target/io/dataset_management.h"
#include "nvmf/target/io/passage.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/reservation/reservation_commands.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

using bdev::IoOp;

/// Read, Write, Compare and Write Zeroes: the range lies within the namespace.
inline NvmeStatus check_range(const RwView& command, const bdev::BdevInfo& info) {
    const uint64_t first = command.slba().raw();
    const uint64_t count = command.nlb().raw();
    const uint64_t total = info.block_count.raw();
    return first < total && count <= total - first ? status::kSuccess
                                                   : status::kLbaOutOfRange.with_dnr();
}

/// Read, Write and Compare: as much data as the range needs, and not more than MDTS.
NvmeStatus check_transfer(Request& request, const RwView& command, const bdev::BdevInfo& info) {
    if (command.prinfo() != 0) {
        return status::kInvalidField.with_dnr();
    }
    const uint64_t bytes = command.nlb().raw() * info.block_size_bytes;
    if (bytes > request.connection().group().options().io_bytes_max) {
        return status::kInvalidField.with_dnr();
    }
    // What is longer than the device takes is split, except where it must stay one operation.
    if (request.sqe.fuse() != Fuse::kNone && info.transfer_max.raw() != 0 &&
        command.nlb() > info.transfer_max) {
        return status::kInvalidField.with_dnr();
    }
    if (request.data_bytes != bytes) {
        return status::kDataSglLengthInvalid.with_dnr();
    }
    // The host chooses where in the capsule its data lies; the device has a say in that.
    if (request.is_data_in_capsule &&
        reinterpret_cast<uintptr_t>(request.piece.iov_base) % info.memory_alignment_bytes != 0) {
        return status::kSglOffsetInvalid.with_dnr();
    }
    return check_range(command, info);
}

/// Write Zeroes and Verify, which have no data and no limit of length.
NvmeStatus check_without_data(Request& request, const bdev::BdevInfo& info) {
    request.data_bytes = 0;
    const RwView command(request.sqe);
    if (command.prinfo() != 0) {
        return status::kInvalidField.with_dnr();
    }
    return check_range(command, info);
}

void fill_pieces(Request& request) {
    request.io.pieces = request.io.wants_device_memory ? nullptr : &request.piece;
    request.io.piece_count = request.io.wants_device_memory ? 0 : 1;
}

/// A command that has waited at a fence begins again, unless its host has gone meanwhile.
void resume_command(Request& request) {
    if (has_to_stop(request)) {
        end_aborted(request);
    } else {
        execute_io_command(request);
    }
}

/// The host asked for it, or has switched the write cache off.
bool wants_fua(const Request& request) {
    const bool is_write =
        request.sqe.opcode == nvme_cmd_write || request.sqe.opcode == nvme_cmd_write_zeroes;
    return RwView(request.sqe).fua() ||
           (is_write && request.connection().link.settings.is_write_through);
}

/// What the device takes at once, as far as the pieces of a buffer keep its alignment.
BlockCount aligned_transfer_max(const bdev::BdevInfo& info) {
    const uint64_t step =
        std::max<uint64_t>(info.memory_alignment_bytes / info.block_size_bytes, 1);
    const uint64_t most = info.transfer_max.raw();
    return BlockCount(most > step ? most - most % step : most);
}

void submit_part(Request& request);

void transfer_done(bdev::IoRequest& io, void* context) {
    Request& request = *static_cast<Request*>(context);
    if (io.wants_device_memory && io.status) {
        BASALT_ASSERT(io.piece_count == 1);
        BASALT_ASSERT(io.pieces->iov_len >= request.data_bytes);
        request.piece = *io.pieces;
    }
    request.scratch += static_cast<uint32_t>(io.count.raw());
    const bool is_whole = request.scratch >= RwView(request.sqe).nlb().raw();
    if (io.status && !is_whole && !has_to_stop(request)) {
        submit_part(request);
        return;
    }
    leave_gate(request);
    finish_io_command(request, io.status && !is_whole ? Status(Errc::kCancelled) : io.status);
}

/// Submits the range from block `scratch` on, or as much of it as the device takes at once. A
/// namespace may come to a host that has read its MDTS already.
void submit_part(Request& request) {
    const bdev::BdevInfo& info = request.target_namespace->info();
    const RwView command(request.sqe);
    bdev::IoRequest& io = request.io;
    io.first = Lba(command.slba().raw() + request.scratch);
    io.count = BlockCount(command.nlb().raw() - request.scratch);
    const bool moves_data = request.data_bytes > 0 && !io.wants_device_memory;
    if (moves_data && info.transfer_max.raw() != 0 && command.nlb() > info.transfer_max) {
        io.count = std::min(io.count, aligned_transfer_max(info));
        auto* const memory = static_cast<std::byte*>(request.piece.iov_base);
        request.destination = {memory + size_t{request.scratch} * info.block_size_bytes,
                               io.count.raw() * info.block_size_bytes};
        io.pieces = &request.destination;
    }
    io.push_completion(&transfer_done, &request);
    request.target_namespace->channel().submit(io);
}

void submit_range(Request& request, IoOp op) {
    const RwView command(request.sqe);
    if (!enter_gate(request, {command.slba().raw(), command.nlb().raw()}, &resume_command)) {
        request.target_namespace = nullptr;  // It looks again what there is then.
        return;
    }
    bdev::IoRequest& io = request.io;
    io.op = op;
    io.fua = wants_fua(request) ? bdev::Fua::kYes : bdev::Fua::kNo;
    io.may_deallocate = op == IoOp::kWriteZeroes && command.deac();
    fill_pieces(request);
    request.scratch = 0;
    submit_part(request);
}

void start_steps(Request& request) {
    request.target_namespace = nullptr;
    request.connection().group().steps().start(request);
}

/// What the device may be unable to do by itself.
void submit_or_step(Request& request, IoOp op) {
    if (request.target_namespace->info().can(op)) {
        submit_range(request, op);
    } else {
        start_steps(request);
    }
}

// --- Flush -----------------------------------------------------------------------------------

void submit_flush(Request& request);

/// Flush of all namespaces goes through them one after the other; `scratch` is the next one's
/// index.
Namespace* next_to_flush(Request& request) {
    const NamespaceAccess& access = request.connection().link.access;
    auto& namespaces = request.connection().link.subsystem->namespaces();
    while (request.scratch < namespaces.size()) {
        Namespace* found = namespaces[request.scratch++].get();
        if (found != nullptr && found->info().can(IoOp::kFlush) &&
            access.is_visible(found->config().nsid)) {
            return found;
        }
    }
    return nullptr;
}

/// A flush of all namespaces can't promise for those that this path doesn't reach, or that this
/// host may not flush.
NvmeStatus check_flush_all(const Request& request) {
    const ControllerLink& link = request.connection().link;
    for (const NamespaceConfig& space : link.subsystem->config().namespaces) {
        const NvmeStatus access = link.access.check(space.nsid);
        if (!link.access.is_visible(space.nsid)) {
            continue;
        }
        if (!access.ok()) {
            return access;
        }
        const Namespace* found = link.subsystem->find_namespace(space.nsid);
        if (found != nullptr && !reservation_allows(request, *found, IoAccess::kWrite)) {
            return status::kReservationConflict.with_dnr();
        }
    }
    return status::kSuccess;
}

void flush_done(bdev::IoRequest& io, void* context) {
    Request& request = *static_cast<Request*>(context);
    request.target_namespace->release();
    if (!io.status || request.sqe.nsid() != kNsidAll) {
        finish_io_command(request, io.status);
        return;
    }
    request.target_namespace = next_to_flush(request);
    if (request.target_namespace == nullptr) {
        request.connection().complete(request, status::kSuccess);
        return;
    }
    request.target_namespace->acquire();
    submit_flush(request);
}

void submit_flush(Request& request) {
    request.io.op = IoOp::kFlush;
    request.io.pieces = nullptr;
    request.io.piece_count = 0;
    request.io.push_completion(&flush_done, &request);
    request.target_namespace->channel().submit(request.io);
}

void execute_flush(Request& request) {
    if (request.sqe.nsid() == kNsidAll) {
        request.target_namespace = next_to_flush(request);
        if (request.target_namespace == nullptr) {
            request.connection().complete(request, status::kSuccess);
            return;
        }
        request.target_namespace->acquire();
    }
    if (!request.target_namespace->info().can(IoOp::kFlush)) {
        request.target_namespace->release();
        finish_io_command(request, kOk);  // Nothing is ever volatile there.
        return;
    }
    submit_flush(request);
}

}  // namespace

bool has_to_stop(const Request& request) {
    return request.connection().is_closing() || request.is_abort_wanted;
}

void end_aborted(Request& request) {
    if (request.early_status.ok()) {
        request.connection().finish_abort(request);
    } else {
        request.connection().complete(request, request.early_status);
    }
}

void finish_io_command(Request& request, Status outcome) {
    const MediaAccess access = request.io.op == IoOp::kRead || request.io.op == IoOp::kCompare
                                   ? MediaAccess::kRead
                                   : MediaAccess::kWrite;
    const NvmeStatus answer = outcome ? status::kSuccess : to_nvme_status(outcome.error(), access);
    count_outcome(request, *std::exchange(request.target_namespace, nullptr), outcome, answer);
    if (request.is_abort_wanted && answer.is(status::kAbortRequested)) {
        end_aborted(request);
    } else {
        request.connection().complete(request, answer);
    }
}

NvmeStatus check_write_access(const Request& request, const Namespace& space) {
    const IoCommandKind* kind = find_io_command(request.sqe.opcode);
    if (kind == nullptr || !kind->changes_blocks || !space.is_write_protected()) {
        return status::kSuccess;
    }
    const bool is_hint = kind->opcode == nvme_cmd_dsm && !DsmView(request.sqe).deallocate();
    return is_hint ? status::kSuccess : status::kNamespaceWriteProtected.with_dnr();
}

bool may_write_in_place(Subsystem& subsystem, const Sqe& command) {
    if (command.opcode != nvme_cmd_write) {
        return false;
    }
    // Others hand memory to the kernel, which wants it aligned, and would pin these pages for each
    // write. The capsule buffers are registered, and a copy of 4 KiB costs less than that.
    const Namespace* found = subsystem.find_namespace(command.nsid());
    return found != nullptr && found->info().is_memory && found->info().memory_alignment_bytes == 1;
}

NvmeStatus check_io_command(Request& request) {
    Subsystem& subsystem = *request.connection().link.subsystem;
    const uint8_t opcode = request.sqe.opcode;
    const Nsid nsid = request.sqe.nsid();
    request.checked_version = subsystem.namespaces_version;
    if (opcode == nvme_cmd_flush && nsid == kNsidAll) {
        request.data_bytes = 0;
        return check_flush_all(request);
    }
    if (const NvmeStatus access = request.connection().link.access.check(nsid); !access.ok()) {
        return access;
    }
    Namespace* found = subsystem.find_namespace(nsid);
    if (found == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    const IoCommandKind* kind = find_io_command(opcode);
    if (kind == nullptr) {
        return status::kInvalidOpcode.with_dnr();
    }
    if (!reservation_allows(request, *found, kind->access)) {
        return status::kReservationConflict.with_dnr();
    }
    const bdev::BdevInfo& info = found->info();
    if (kind->changes_blocks && found->is_write_protected()) [[unlikely]] {
        if (const NvmeStatus access = check_write_access(request, *found); !access.ok()) {
            return access;
        }
    }
    const RwView range(request.sqe);
    switch (opcode) {
        case nvme_cmd_read:
            request.io.wants_device_memory = info.supplies_read_memory;
            [[fallthrough]];
        case nvme_cmd_write:
        case nvme_cmd_compare: return check_transfer(request, range, info);
        case nvme_cmd_write_zeroes:
        case nvme_cmd_verify: return check_without_data(request, info);
        case nvme_cmd_dsm: return check_dataset_management(request);
        case nvme_cmd_copy: return check_copy(request, info);
        case nvme_cmd_resv_register:
        case nvme_cmd_resv_report:
        case nvme_cmd_resv_acquire:
        case nvme_cmd_resv_release: return check_reservation_command(request);
        default:
            BASALT_ASSERT(opcode == nvme_cmd_flush);
            request.data_bytes = 0;
            return status::kSuccess;
    }
}

void execute_io_command(Request& request) {
    const uint8_t opcode = request.sqe.opcode;
    Subsystem& subsystem = *request.connection().link.subsystem;
    if (request.checked_version != subsystem.namespaces_version) {
        // The namespaces changed while the data was on its way: nothing judged then holds now.
        const uint32_t data_bytes = request.data_bytes;
        const bool had_device_memory = request.io.wants_device_memory;
        NvmeStatus verdict = check_io_command(request);
        if (verdict.ok() && (request.data_bytes != data_bytes ||
                             request.io.wants_device_memory != had_device_memory)) {
            verdict = status::kNamespaceNotReady;
        }
        if (!verdict.ok()) {
            request.connection().complete(request, verdict);
            return;
        }
    }
    if (opcode == nvme_cmd_flush && request.sqe.nsid() == kNsidAll) {
        execute_flush(request);
        return;
    }
    Namespace* found = subsystem.find_namespace(request.sqe.nsid());
    BASALT_ASSERT(found != nullptr);
    if (opcode != nvme_cmd_read && found->is_write_protected()) [[unlikely]] {
        // Perhaps since it was judged.
        if (const NvmeStatus access = check_write_access(request, *found); !access.ok()) {
            request.connection().complete(request, access);
            return;
        }
    }
    request.target_namespace = found;
    switch (opcode) {
        case nvme_cmd_read: submit_range(request, IoOp::kRead); break;
        case nvme_cmd_write: submit_range(request, IoOp::kWrite); break;
        case nvme_cmd_compare: submit_or_step(request, IoOp::kCompare); break;
        case nvme_cmd_write_zeroes: submit_or_step(request, IoOp::kWriteZeroes); break;
        case nvme_cmd_verify:
        case nvme_cmd_copy: start_steps(request); break;
        case nvme_cmd_dsm: execute_dataset_management(request); break;
        case nvme_cmd_resv_register:
        case nvme_cmd_resv_report:
        case nvme_cmd_resv_acquire:
        case nvme_cmd_resv_release: execute_reservation_command(request); break;
        default:
            BASALT_ASSERT(opcode == nvme_cmd_flush);
            found->acquire();
            execute_flush(request);
            break;
    }
}

namespace {

/// The device has one part of the command, and does not know the next.
bool has_parts_left(const Request& request) {
    switch (request.sqe.opcode) {
        case nvme_cmd_dsm: return request.scratch + 1 < DsmView(request.sqe).range_count();
        case nvme_cmd_read:
        case nvme_cmd_write:
        case nvme_cmd_compare:
        case nvme_cmd_write_zeroes:
            return request.fused == nullptr &&
                   request.scratch + request.io.count.raw() < RwView(request.sqe).nlb().raw();
        default: return false;
    }
}

}  // namespace

bool stop_io_command(Request& request, NvmeStatus why) {
    if (request.waiter.is_waiting()) {
        BufferPool::cancel(request.waiter);  // It waits for a step job.
        request.connection().complete(request, why);
        return true;
    }
    if (request.io.lane != nullptr && request.fused == nullptr) {
        // It waits for its device's rate.
        request.io.lane->forget(request.io);
        request.io.complete(to_error(why));
        return true;
    }
    if (request.resume == nullptr && request.job == nullptr && !has_parts_left(request)) {
        return false;  // A device has it; the others look before each step.
    }
    if (!why.is(status::kAbortRequested)) {
        request.early_status = why;
    }
    if (request.resume != nullptr) {
        // It waits at a fence.
        RequestList::remove(request);
        request.is_abort_wanted = true;
        std::exchange(request.resume, nullptr)(request);
    }
    return true;
}

}  // namespace basalt::nvmf
