#include "bdev/leaf/nvme_channel.h"

#include <algorithm>
#include <utility>

#include <endian.h>
#include <nvme/types.h>

#include "bdev/core/deferred.h"
#include "bdev/leaf/nvme_status.h"
#include "bdev/limits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

// NVM Command Set Specification 1.0, section 3.2: bits of command dwords 12 (read, write, write
// zeroes) and 11 (Dataset Management).
constexpr uint32_t kForceUnitAccess = 1U << 30;
constexpr uint32_t kDeallocateZeroes = 1U << 25;
constexpr uint32_t kAttributeDeallocate = 1U << 2;

}  // namespace

NvmeChannel::Operation::Operation() {
    done.set_run([](Event& event, Reactor&) {
        auto& self = static_cast<Operation&>(DoneEvent<PassthroughRequest>::request_of(event));
        self.channel->step_done(self);
    });
}

NvmeChannel::NvmeChannel(Reactor& here, const NvmeShared& shared)
    : here_(here), shared_(shared), operations_(std::make_unique<Operation[]>(kFileOperations)) {
    for (uint32_t i = kFileOperations; i-- > 0;) {
        operations_[i].channel = this;
        operations_[i].device = shared.device;
        operations_[i].next_free = std::exchange(free_, &operations_[i]);
    }
}

NvmeChannel::~NvmeChannel() {
    // Only a loss of power leaves requests here.
    BASALT_ASSERT(line_.empty() || here_.is_abandoned());
    line_.clear();
    for (uint32_t i = 0; i < kFileOperations; ++i) {
        BASALT_ASSERT(operations_[i].request == nullptr || here_.is_abandoned());
    }
}

void NvmeChannel::submit(IoRequest& request) {
    const bool wants_durability = request.op == IoOp::kFlush || request.fua == Fua::kYes;
    if (wants_durability && shared_.has_lost_writes->load(std::memory_order_relaxed)) [[unlikely]] {
        complete_later(here_, request, Errc::kIo);
        return;
    }
    if (request.op == IoOp::kFlush && !shared_.has_volatile_cache) {
        complete_later(here_, request, kOk);  // Every completed write is durable already.
        return;
    }
    if (free_ == nullptr) {
        line_.push_back(request);
        return;
    }
    Operation& operation = *free_;
    free_ = operation.next_free;
    start(operation, request);
}

void NvmeChannel::start(Operation& operation, IoRequest& request) {
    operation.request = &request;
    operation.done_blocks = 0;
    switch (request.op) {
        case IoOp::kRead: transfer(operation, nvme_cmd_read); return;
        case IoOp::kWrite: transfer(operation, nvme_cmd_write); return;
        case IoOp::kCompare: transfer(operation, nvme_cmd_compare); return;
        case IoOp::kWriteZeroes: zero_step(operation); return;
        case IoOp::kUnmap: deallocate_step(operation); return;
        case IoOp::kFlush: flush(operation); return;
    }
}

void NvmeChannel::set_command(Operation& operation, uint32_t opcode) {
    operation.command = {};
    operation.command[0] = opcode;
    operation.command[1] = shared_.nsid;
    operation.pieces = nullptr;
    operation.piece_count = 0;
    operation.length_bytes = 0;
    operation.is_write = false;
}

void NvmeChannel::set_range(Operation& operation, uint64_t first, uint64_t blocks) {
    BASALT_ASSERT(blocks >= 1 && blocks <= kNvmeBlocksMax);
    operation.command[10] = static_cast<uint32_t>(first);
    operation.command[11] = static_cast<uint32_t>(first >> 32);
    operation.command[12] = static_cast<uint32_t>(blocks - 1);  // 0's based.
}

void NvmeChannel::transfer(Operation& operation, uint32_t opcode) {
    const IoRequest& request = *operation.request;
    set_command(operation, opcode);
    set_range(operation, request.first.raw(), request.count.raw());
    if (request.fua == Fua::kYes) {
        operation.command[12] |= kForceUnitAccess;
    }
    operation.pieces = request.pieces;
    operation.piece_count = request.piece_count;
    operation.length_bytes = static_cast<uint32_t>(request.count.raw() * shared_.block_bytes);
    operation.is_write = request.op != IoOp::kRead;  // A compare sends its data to the device.
    here_.storage().submit(operation);
}

void NvmeChannel::zero_step(Operation& operation) {
    const IoRequest& request = *operation.request;
    set_command(operation, nvme_cmd_write_zeroes);
    operation.step_blocks =
        std::min(request.count.raw() - operation.done_blocks, shared_.zeroes_blocks_max);
    set_range(operation, request.first.raw() + operation.done_blocks, operation.step_blocks);
    if (request.fua == Fua::kYes) {
        operation.command[12] |= kForceUnitAccess;
    }
    if (request.may_deallocate && shared_.zeroes_may_deallocate) {
        operation.command[12] |= kDeallocateZeroes;
    }
    here_.storage().submit(operation);
}

void NvmeChannel::deallocate_step(Operation& operation) {
    const IoRequest& request = *operation.request;
    set_command(operation, nvme_cmd_dsm);
    operation.step_blocks =
        std::min(request.count.raw() - operation.done_blocks, kNvmeDeallocateBlocks);
    operation.range.blocks = htole32(static_cast<uint32_t>(operation.step_blocks));
    operation.range.first = htole64(request.first.raw() + operation.done_blocks);
    operation.command[10] = 0;  // One range, 0's based.
    operation.command[11] = kAttributeDeallocate;
    operation.piece = iovec{&operation.range, sizeof(operation.range)};
    operation.pieces = &operation.piece;
    operation.piece_count = 1;
    operation.length_bytes = sizeof(operation.range);
    operation.is_write = true;
    here_.storage().submit(operation);
}

void NvmeChannel::flush(Operation& operation) {
    set_command(operation, nvme_cmd_flush);
    here_.storage().submit(operation);
}

void NvmeChannel::step_done(Operation& operation) {
    const IoRequest& request = *operation.request;
    const Status outcome =
        operation.status ? status_from_nvme(operation.nvme_status) : operation.status;
    if (!outcome) {
        if (request.op == IoOp::kFlush) {
            shared_.has_lost_writes->store(true, std::memory_order_relaxed);
        }
        finish(operation, outcome);
        return;
    }
    if (request.op == IoOp::kWriteZeroes || request.op == IoOp::kUnmap) {
        operation.done_blocks += operation.step_blocks;
        if (operation.done_blocks < request.count.raw()) {
            if (request.op == IoOp::kUnmap) {
                deallocate_step(operation);
            } else {
                zero_step(operation);
            }
            return;
        }
    }
    finish(operation, outcome);
}

void NvmeChannel::finish(Operation& operation, Status outcome) {
    IoRequest& request = *std::exchange(operation.request, nullptr);
    if (IoRequest* next = line_.pop_front()) {
        start(operation, *next);
    } else {
        operation.next_free = std::exchange(free_, &operation);
    }
    request.complete(outcome);
}

}  // namespace basalt::bdev
