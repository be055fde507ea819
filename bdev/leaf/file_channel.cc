#include "bdev/leaf/file_channel.h"

#include <algorithm>
#include <utility>

#include "bdev/core/deferred.h"
#include "bdev/limits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

// Written where a file system can't zero a range by itself. Never changed.
alignas(kPageBytes) std::array<std::byte, kCopiedTransferBytesMax> zero_memory{};

// Durable writes to a file that flush the drive each by itself, at once. A third one shares flushes
// with what comes after it: it costs the lone writer a change of threads, which two flushes don't.
constexpr uint32_t kWritesThroughMax = 2;

bool is_change(IoOp op) {
    return op == IoOp::kWrite || op == IoOp::kWriteZeroes || op == IoOp::kUnmap;
}

}  // namespace

// ---- life

FileChannel::Operation::Operation()
    : waiter(
          [](void* context, Buffer granted) {
              auto& self = *static_cast<Operation*>(context);
              self.buffer = granted;
              self.channel->bounced(self);
          },
          this) {
    done.set_run([](Event& event, Reactor&) {
        auto& self = static_cast<Operation&>(DoneEvent<FileRequest>::request_of(event));
        self.channel->step_done(self);
    });
}

FileChannel::FileChannel(Reactor& here,
                         const FileShared& shared,
                         std::unique_ptr<BounceMemory> bounce)
    : here_(here),
      shared_(shared),
      file_(here.storage().register_file(shared.handle)),
      bounce_(std::move(bounce)),
      operations_(std::make_unique<Operation[]>(kFileOperations)) {
    for (uint32_t i = kFileOperations; i-- > 0;) {
        operations_[i].channel = this;
        operations_[i].file = file_;
        operations_[i].next = std::exchange(free_, &operations_[i]);
    }
    flush_.channel = this;
    flush_.file = file_;
    flush_.op = FileRequest::Op::kFlush;
    flush_.done.set_run([](Event& event, Reactor&) {
        static_cast<Flush&>(DoneEvent<FileRequest>::request_of(event)).channel->flushed();
    });
}

FileChannel::~FileChannel() {
    // Only a loss of power leaves requests here; their buffers go home all the same.
    BASALT_ASSERT(line_.empty() || here_.is_abandoned());
    line_.clear();
    for (uint32_t i = 0; i < kFileOperations; ++i) {
        BufferPool::cancel(operations_[i].waiter);
    }
    for (uint32_t i = 0; i < kFileOperations; ++i) {
        Operation& operation = operations_[i];
        BASALT_ASSERT(operation.request == nullptr || here_.is_abandoned());
        if (operation.buffer.is_valid()) {
            bounce_->pool().release(std::exchange(operation.buffer, {}));
        }
    }
    here_.storage().unregister_file(file_);
}

// ---- the way of a request

void FileChannel::submit(IoRequest& request) {
    const bool wants_durability = request.op == IoOp::kFlush || request.fua == Fua::kYes;
    if (wants_durability && shared_.has_lost_writes->load(std::memory_order_relaxed)) [[unlikely]] {
        complete_later(here_, request, Errc::kIo);
        return;
    }
    if (free_ == nullptr) {
        line_.push_back(request);
        return;
    }
    Operation& operation = *free_;
    free_ = operation.next;
    start(operation, request);
}

void FileChannel::start(Operation& operation, IoRequest& request) {
    operation.request = &request;
    operation.done_bytes = 0;
    operation.offset_bytes = request.first.raw() * shared_.block_bytes;
    operation.length_bytes = request.count.raw() * shared_.block_bytes;
    operation.is_durable = request.fua == Fua::kYes && is_change(request.op);
    operation.is_unsaved =
        operation.is_durable && (request.op != IoOp::kWrite || durable_ >= kWritesThroughMax);
    durable_ += operation.is_durable ? 1 : 0;
    if (operation.is_unsaved) {
        operation.round = open_round_;
        ++unsaved_[open_round_];
    }
    switch (request.op) {
        case IoOp::kRead:
        case IoOp::kWrite:
        case IoOp::kCompare: transfer(operation); return;
        case IoOp::kFlush: make_durable(operation); return;
        case IoOp::kUnmap:
        case IoOp::kWriteZeroes: zero_step(operation); return;
    }
}

bool FileChannel::needs_bounce(const IoRequest& request) const {
    if (request.op == IoOp::kCompare) {
        return true;
    }
    // Lengths and offsets are whole blocks, and a block is a multiple of the alignment.
    return std::any_of(
        request.pieces, request.pieces + request.piece_count, [this](const iovec& p) {
            return reinterpret_cast<uintptr_t>(p.iov_base) % shared_.alignment_bytes != 0;
        });
}

void FileChannel::transfer(Operation& operation) {
    IoRequest& request = *operation.request;
    if (needs_bounce(request)) {
        const auto size_bytes = static_cast<uint32_t>(operation.length_bytes);
        operation.buffer = bounce_->pool().try_acquire(size_bytes);
        if (operation.buffer.is_valid()) {
            bounced(operation);
        } else {
            bounce_->pool().wait(operation.waiter, size_bytes);
        }
        return;
    }
    operation.pieces = request.pieces;
    operation.piece_count = request.piece_count;
    issue(operation, request.op == IoOp::kRead ? FileRequest::Op::kRead : write_op(operation));
}

FileRequest::Op FileChannel::write_op(const Operation& operation) {
    return operation.is_durable && !operation.is_unsaved ? FileRequest::Op::kWriteDurable
                                                         : FileRequest::Op::kWrite;
}

void FileChannel::bounced(Operation& operation) {
    IoRequest& request = *operation.request;
    operation.piece = iovec{operation.buffer.data, operation.length_bytes};
    operation.pieces = &operation.piece;
    operation.piece_count = 1;
    if (request.op != IoOp::kWrite) {
        issue(operation, FileRequest::Op::kRead);
        return;
    }
    gather(operation.buffer.data, request);
    issue(operation, write_op(operation));
}

void FileChannel::zero_step(Operation& operation) {
    const IoRequest& request = *operation.request;
    const uint64_t rest = request.count.raw() * shared_.block_bytes - operation.done_bytes;
    operation.offset_bytes = request.first.raw() * shared_.block_bytes + operation.done_bytes;
    operation.pieces = nullptr;
    operation.piece_count = 0;
    const bool may_punch = shared_.can_punch && request.may_deallocate;
    if (request.op == IoOp::kUnmap || may_punch) {
        operation.length_bytes = std::min(rest, kFilePunchBytes);
        issue(operation, FileRequest::Op::kPunchHole);
    } else if (!writes_zeroes_) {
        operation.length_bytes = std::min(rest, kFileZeroBytes);
        issue(operation, FileRequest::Op::kZeroRange);
    } else {
        operation.length_bytes = std::min<uint64_t>(rest, zero_memory.size());
        operation.piece = iovec{zero_memory.data(), operation.length_bytes};
        operation.pieces = &operation.piece;
        operation.piece_count = 1;
        issue(operation, FileRequest::Op::kWrite);
    }
}

void FileChannel::issue(Operation& operation, FileRequest::Op op) {
    operation.op = op;
    here_.storage().submit(operation);
}

void FileChannel::step_done(Operation& operation) {
    const IoRequest& request = *operation.request;
    const bool is_range = request.op == IoOp::kUnmap || request.op == IoOp::kWriteZeroes;
    if (!operation.status) {
        const bool cannot = operation.status.error().code == Errc::kNotSupported;
        if (cannot && operation.op == FileRequest::Op::kZeroRange) {
            writes_zeroes_ = true;
            zero_step(operation);
            return;
        }
        if (operation.op == FileRequest::Op::kWriteDurable) {
            shared_.has_lost_writes->store(true, std::memory_order_relaxed);
        }
        leave_round(operation);
        start_flush();
        finish(operation, operation.status);
        return;
    }
    if (is_range) {
        operation.done_bytes += operation.length_bytes;
        if (operation.done_bytes < request.count.raw() * shared_.block_bytes) {
            zero_step(operation);
            return;
        }
    }
    if (operation.is_unsaved) {
        make_durable(operation);
        return;
    }
    finish(operation, take_out(operation));
}

// ---- durability

void FileChannel::make_durable(Operation& operation) {
    if (operation.buffer.is_valid()) {
        // The flush may have to wait for an operation that waits for this.
        bounce_->pool().release(std::exchange(operation.buffer, {}));
    }
    leave_round(operation);
    operation.next = std::exchange(unflushed_, &operation);
    start_flush();
}

void FileChannel::leave_round(Operation& operation) {
    if (std::exchange(operation.is_unsaved, false)) {
        --unsaved_[operation.round];
    }
}

void FileChannel::start_flush() {
    if (flush_.is_under_way || unflushed_ == nullptr) {
        return;
    }
    if (!is_round_closed_) {
        is_round_closed_ = true;
        open_round_ ^= 1U;
    }
    if (unsaved_[open_round_ ^ 1U] == 0) {
        is_round_closed_ = false;
        flush_.is_under_way = true;
        flush_.served = std::exchange(unflushed_, nullptr);
        here_.storage().submit(flush_);
    }
}

void FileChannel::flushed() {
    flush_.is_under_way = false;
    if (!flush_.status) {
        shared_.has_lost_writes->store(true, std::memory_order_relaxed);
    }
    // Another core's flush may have failed meanwhile, for what this one was to save.
    const bool is_lost = shared_.has_lost_writes->load(std::memory_order_relaxed);
    const Status outcome = is_lost ? Status(Errc::kIo) : kOk;
    Operation* served = std::exchange(flush_.served, nullptr);
    start_flush();
    while (served != nullptr) {
        Operation& operation = *served;
        served = operation.next;
        finish(operation, outcome);
    }
}

Status FileChannel::take_out(const Operation& operation) const {
    const IoRequest& request = *operation.request;
    if (request.op == IoOp::kCompare) {
        return equals(request, operation.buffer.data) ? kOk : Status(Errc::kCompareMismatch);
    }
    if (request.op == IoOp::kRead && operation.buffer.is_valid()) {
        scatter(request, operation.buffer.data);
    }
    return kOk;
}

void FileChannel::finish(Operation& operation, Status outcome) {
    IoRequest& request = *std::exchange(operation.request, nullptr);
    durable_ -= operation.is_durable ? 1 : 0;
    if (operation.buffer.is_valid()) {
        // May start the first operation that waits for one.
        bounce_->pool().release(std::exchange(operation.buffer, {}));
    }
    if (IoRequest* next = line_.pop_front()) {
        start(operation, *next);
    } else {
        operation.next = std::exchange(free_, &operation);
    }
    request.complete(outcome);
}

}  // namespace basalt::bdev
