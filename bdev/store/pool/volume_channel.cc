#include "bdev/store/pool/volume_channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/core/deferred.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

bool is_zeroing(IoOp op) {
    return op == IoOp::kUnmap || op == IoOp::kWriteZeroes;
}

bool is_change(IoOp op) {
    return op == IoOp::kWrite || is_zeroing(op);
}

}  // namespace

/// A request under way.
struct VolumeChannel::Operation {
    Operation();

    /// Says on which side the operation is going on next.
    struct Hop : Event {
        Operation* operation = nullptr;
    };

    VolumeChannel* channel = nullptr;
    IoRequest* request = nullptr;
    Operation* next_free = nullptr;

    // In bytes of the volume.
    uint64_t begin = 0;
    uint64_t end = 0;
    BufferWaiter waiter;
    Buffer buffer{};  // Of the blocks that the range touches, or of one edge of a zeroed range.

    // The step: blocks [first, first + count) of one partition.
    uint64_t first = 0;
    uint64_t count = 0;
    uint32_t partition = 0;
    Reactor* there = nullptr;
    Hop hop;
    GateEntry gate;
    bool is_unmap = false;    // Else it is read or written.
    bool has_edges = false;   // It writes parts of blocks.
    bool reads_head = false;  // Its first block is to be read before it is written.
    bool reads_tail = false;
    bool is_gated = false;
    iovec piece{};
    PartitionIo io;

    [[nodiscard]] uint64_t first_block() const { return begin / kBlockBytes; }
    [[nodiscard]] uint64_t end_block() const { return (end + kBlockBytes - 1) / kBlockBytes; }
    [[nodiscard]] std::byte* memory_of(uint64_t block) const {
        const uint64_t base = is_zeroing(request->op) ? first : first_block();
        return buffer.data + (block - base) * kBlockBytes;
    }
};

VolumeChannel::Operation::Operation()
    : waiter(
          [](void* context, Buffer granted) {
              auto& self = *static_cast<Operation*>(context);
              self.buffer = granted;
              self.channel->with_buffer(self);
          },
          this) {
    hop.operation = this;
    gate.context = this;
    gate.granted = [](void* context) {
        auto& self = *static_cast<Operation*>(context);
        self.channel->work(self);
    };
    io.context = this;
    io.complete = [](PartitionIo&, void* context) {
        auto& self = *static_cast<Operation*>(context);
        self.channel->worked(self);
    };
}

VolumeChannel::VolumeChannel(Reactor& here,
                             Volume& volume,
                             uint32_t sector_bytes,
                             std::unique_ptr<BounceMemory> bounce)
    : here_(here),
      volume_(volume),
      sector_bytes_(sector_bytes),
      bounce_(std::move(bounce)),
      operations_(std::make_unique<Operation[]>(kVolumeOperations)) {
    for (uint32_t i = kVolumeOperations; i-- > 0;) {
        operations_[i].channel = this;
        operations_[i].next_free = std::exchange(free_, &operations_[i]);
    }
}

VolumeChannel::~VolumeChannel() {
    // Only a loss of power leaves requests here; their buffers go home all the same.
    BASALT_ASSERT(line_.empty() || here_.is_abandoned());
    line_.clear();
    for (uint32_t i = 0; i < kVolumeOperations; ++i) {
        BufferPool::cancel(operations_[i].waiter);
        RangeGate::forget(operations_[i].gate);
        if (operations_[i].io.hold_link.is_linked()) {
            PartitionIoList::remove(operations_[i].io);
        }
    }
    for (uint32_t i = 0; i < kVolumeOperations; ++i) {
        Operation& operation = operations_[i];
        BASALT_ASSERT(operation.request == nullptr || here_.is_abandoned());
        if (operation.buffer.is_valid()) {
            bounce_->pool().release(std::exchange(operation.buffer, {}));
        }
    }
}

// ---- on the channel's core

void VolumeChannel::submit(IoRequest& request) {
    if (request.op == IoOp::kFlush) {
        complete_later(here_, request, kOk);  // What was answered is durable.
    } else if (free_ == nullptr) {
        line_.push_back(request);
    } else {
        Operation& operation = *free_;
        free_ = operation.next_free;
        start(operation, request);
    }
}

bool VolumeChannel::needs_buffer(const Operation& operation) const {
    const IoRequest& request = *operation.request;
    const bool is_whole = operation.begin % kBlockBytes == 0 && operation.end % kBlockBytes == 0;
    if (is_zeroing(request.op)) {
        return !is_whole;
    }
    const bool is_of_one_partition =
        operation.end_block() <= Volume::chunk_end(operation.first_block());
    if (request.op == IoOp::kCompare || !is_whole || !is_of_one_partition) {
        return true;
    }
    return std::any_of(
        request.pieces, request.pieces + request.piece_count, [](const iovec& piece) {
            return piece.iov_len % kBlockBytes != 0 ||
                   reinterpret_cast<uintptr_t>(piece.iov_base) % kBlockBytes != 0;
        });
}

void VolumeChannel::start(Operation& operation, IoRequest& request) {
    operation.request = &request;
    operation.begin = request.first.raw() * sector_bytes_;
    operation.end = operation.begin + request.count.raw() * sector_bytes_;
    operation.first = operation.first_block();
    operation.count = 0;
    operation.io.status = kOk;
    if (!needs_buffer(operation)) {
        step(operation);
        return;
    }
    // What is zeroed needs memory for the block at one of its edges only.
    const uint64_t blocks =
        is_zeroing(request.op) ? 1 : operation.end_block() - operation.first_block();
    const auto bytes = static_cast<uint32_t>(blocks * kBlockBytes);
    operation.buffer = bounce_->pool().try_acquire(bytes);
    if (operation.buffer.is_valid()) {
        with_buffer(operation);
    } else {
        bounce_->pool().wait(operation.waiter, bytes);
    }
}

void VolumeChannel::with_buffer(Operation& operation) {
    if (operation.request->op == IoOp::kWrite) {
        gather(operation.buffer.data + operation.begin % kBlockBytes, *operation.request);
    }
    step(operation);
}

void VolumeChannel::step(Operation& operation) {
    const IoOp op = operation.request->op;
    operation.first += operation.count;
    const uint64_t end_block = operation.end_block();
    BASALT_ASSERT(operation.first < end_block);
    uint64_t end = std::min(end_block, Volume::chunk_end(operation.first));
    const auto is_cut = [&](uint64_t block) {  // Whether the range has only a part of it.
        return block * kBlockBytes < operation.begin || (block + 1) * kBlockBytes > operation.end;
    };
    if (is_zeroing(op) && is_cut(operation.first)) {
        end = operation.first + 1;  // An edge is written, the rest is unmapped.
    } else if (is_zeroing(op) && is_cut(end - 1)) {
        --end;
    }
    operation.count = end - operation.first;
    operation.reads_head = is_change(op) && is_cut(operation.first);
    operation.reads_tail = is_change(op) && operation.count > 1 && is_cut(end - 1);
    operation.has_edges = operation.reads_head || operation.reads_tail;
    operation.is_unmap = is_zeroing(op) && !operation.has_edges;
    operation.partition = volume_.partition_of(operation.first);

    const CoreId core = volume_.pool_seat(operation.partition).core;
    if (core == here_.core()) {
        arrive(operation, here_);
        return;
    }
    operation.hop.set_run([](Event& event, Reactor& there) {
        Operation& self = *static_cast<Operation::Hop&>(event).operation;
        self.channel->arrive(self, there);
    });
    here_.post(core, operation.hop);
}

void VolumeChannel::step_done(Operation& operation) {
    if (!operation.io.status || operation.first + operation.count == operation.end_block()) {
        finish(operation, outcome_of(operation));
        return;
    }
    step(operation);
}

Status VolumeChannel::outcome_of(const Operation& operation) const {
    const IoRequest& request = *operation.request;
    if (!operation.io.status || !operation.buffer.is_valid()) {
        return operation.io.status;
    }
    const std::byte* data = operation.buffer.data + operation.begin % kBlockBytes;
    if (request.op == IoOp::kCompare) {
        return equals(request, data) ? kOk : Status(Errc::kCompareMismatch);
    }
    if (request.op == IoOp::kRead) {
        scatter(request, data);
    }
    return kOk;
}

void VolumeChannel::finish(Operation& operation, Status outcome) {
    IoRequest& request = *std::exchange(operation.request, nullptr);
    if (operation.buffer.is_valid()) {
        // May start the first operation that waits for one.
        bounce_->pool().release(std::exchange(operation.buffer, {}));
    }
    if (IoRequest* next = line_.pop_front()) {
        start(operation, *next);
    } else {
        operation.next_free = std::exchange(free_, &operation);
    }
    request.complete(outcome);
}

// ---- on the partition's core

void VolumeChannel::arrive(Operation& operation, Reactor& there) {
    operation.there = &there;
    operation.is_gated = sector_bytes_ < kBlockBytes && is_change(operation.request->op);
    if (operation.is_gated) {
        operation.gate.first = operation.first;
        operation.gate.count = operation.count;
        if (!volume_.seat(operation.partition).gate.enter(operation.gate)) {
            return;  // work() when it is our turn.
        }
    }
    work(operation);
}

/// Only here it is sure: the host may have asked before the volume became smaller or read-only.
Status VolumeChannel::judge(const Operation& operation) const {
    const Volume::Seat& seat = volume_.seat(operation.partition);
    if (operation.first + operation.count > seat.end) {
        return Errc::kOutOfRange;
    }
    if (seat.is_read_only && is_change(operation.request->op)) {
        return Errc::kReadOnly;
    }
    return kOk;
}

void VolumeChannel::work(Operation& operation) {
    const IoRequest& request = *operation.request;
    PartitionIo& io = operation.io;
    io.status = judge(operation);
    if (!io.status) {
        operation.hop.set_run([](Event& event, Reactor&) {
            Operation& self = *static_cast<Operation::Hop&>(event).operation;
            self.channel->leave(self);
        });
        operation.there->defer(operation.hop);
        return;
    }
    io.node = volume_.seat(operation.partition).node;
    io.first = operation.first;
    io.count = operation.count;
    if (operation.reads_head || operation.reads_tail) {
        io.op = PartitionOp::kRead;
        io.first += operation.reads_head ? 0 : operation.count - 1;
        io.count = 1;
    } else if (operation.is_unmap) {
        io.op = PartitionOp::kUnmap;
    } else {
        io.op = is_change(request.op) ? PartitionOp::kWrite : PartitionOp::kRead;
        if (operation.has_edges) {
            put_together(operation);
        }
    }
    if (operation.buffer.is_valid()) {
        operation.piece = {operation.memory_of(io.first), io.count * kBlockBytes};
        io.pieces = &operation.piece;
        io.piece_count = 1;
    } else {
        io.pieces = request.pieces;
        io.piece_count = request.piece_count;
    }
    volume_.pool_seat(operation.partition).partition->submit(io);
}

void VolumeChannel::worked(Operation& operation) {
    if (operation.io.status && operation.reads_head) {
        operation.reads_head = false;
        work(operation);
    } else if (operation.io.status && operation.reads_tail) {
        operation.reads_tail = false;
        work(operation);
    } else {
        leave(operation);
    }
}

void VolumeChannel::put_together(Operation& operation) {
    const IoRequest& request = *operation.request;
    if (request.op == IoOp::kWrite) {
        gather(operation.buffer.data + operation.begin % kBlockBytes, request);
        return;
    }
    const uint64_t block_begin = operation.first * kBlockBytes;
    const uint64_t begin = std::max(operation.begin, block_begin);
    const uint64_t end = std::min(operation.end, block_begin + kBlockBytes);
    std::memset(operation.buffer.data + (begin - block_begin), 0, end - begin);
}

void VolumeChannel::leave(Operation& operation) {
    if (is_change(operation.request->op)) {
        volume_.publish_usage(operation.partition);
    }
    if (std::exchange(operation.is_gated, false)) {
        volume_.seat(operation.partition).gate.leave(operation.gate);
    }
    if (operation.there == &here_) {
        step_done(operation);
        return;
    }
    operation.hop.set_run([](Event& event, Reactor&) {
        Operation& self = *static_cast<Operation::Hop&>(event).operation;
        self.channel->step_done(self);
    });
    operation.there->post(here_.core(), operation.hop);
}

}  // namespace basalt::bdev::store
