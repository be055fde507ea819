#include "nvmf/target/io/dataset_management.h"

#include <cstring>

#include "nvmf/target/io/passage.h"
#include "nvmf/target/io_commands.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

using bdev::IoOp;

nvme_dsm_range range_at(const Request& request, uint32_t index) {
    nvme_dsm_range range{};
    std::memcpy(&range, request.payload().data() + size_t{index} * sizeof(range), sizeof(range));
    return range;
}

void finish_unmap(Request& request, Status outcome) {
    request.target_namespace->release();
    finish_io_command(request, outcome);
}

/// Unmaps the next range that is not empty, or ends the command.
void unmap_next(Request& request);

void unmap_done(bdev::IoRequest& io, void* context) {
    Request& request = *static_cast<Request*>(context);
    leave_gate(request);
    ++request.scratch;
    if (io.status) {
        unmap_next(request);
    } else {
        finish_unmap(request, io.status);
    }
}

void unmap_next(Request& request) {
    const uint32_t count = DsmView(request.sqe).range_count();
    while (request.scratch < count && range_at(request, request.scratch).nlb == 0) {
        ++request.scratch;
    }
    if (request.scratch == count) {
        finish_unmap(request, kOk);
        return;
    }
    if (has_to_stop(request)) {
        finish_unmap(request, Errc::kCancelled);
        return;
    }
    if (request.target_namespace->is_write_protected()) [[unlikely]] {
        finish_unmap(request, Errc::kReadOnly);
        return;
    }
    const nvme_dsm_range range = range_at(request, request.scratch);
    if (!enter_gate(request, {range.slba, range.nlb}, &unmap_next)) {
        return;
    }
    bdev::IoRequest& io = request.io;
    io.op = IoOp::kUnmap;
    io.first = Lba(range.slba);
    io.count = BlockCount(range.nlb);
    io.may_deallocate = true;
    io.pieces = nullptr;
    io.piece_count = 0;
    io.push_completion(&unmap_done, &request);
    request.target_namespace->channel().submit(io);
}

}  // namespace

NvmeStatus check_dataset_management(Request& request) {
    const DsmView command(request.sqe);
    if (request.data_bytes < command.data_bytes()) {
        return status::kDataSglLengthInvalid.with_dnr();
    }
    if (request.data_bytes > kDsmRangesMax * kDsmRangeBytes) {
        return status::kInvalidField.with_dnr();
    }
    return status::kSuccess;
}

void execute_dataset_management(Request& request) {
    const bdev::BdevInfo& info = request.target_namespace->info();
    const DsmView command(request.sqe);
    // All ranges are judged before the first is touched.
    for (uint32_t i = 0; i < command.range_count(); ++i) {
        const nvme_dsm_range range = range_at(request, i);
        const uint64_t total = info.block_count.raw();
        if (range.slba > total || range.nlb > total - range.slba) {
            request.target_namespace = nullptr;
            request.connection().complete(request, status::kLbaOutOfRange.with_dnr());
            return;
        }
    }
    request.target_namespace->acquire();
    // The other attributes are hints about future access, which no device here uses.
    if (command.deallocate() && info.can(IoOp::kUnmap)) {
        unmap_next(request);
    } else {
        finish_unmap(request, kOk);
    }
}

}  // namespace basalt::nvmf
