#include "nvmf/target/io/step_job.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "nvmf/target/io/copy_check.h"
#include "nvmf/target/io/passage.h"
#include "nvmf/target/io_commands.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

constexpr BufferPool::Counts kJobBuffers{0, 0, kStepJobs};
constexpr uint32_t kJobBufferBytes = BufferPool::kClassBytes[2];

uint32_t now_ms(PollGroup& group) {
    return static_cast<uint32_t>(group.reactor().now_ns() / kNsPerMs);
}

}  // namespace

StepJob::StepJob(PollGroup& group, StepJobs& owner, Buffer buffer)
    : group_(group), owner_(owner), buffer_(buffer) {}

void StepJob::run(Request& request) {
    BASALT_ASSERT(request_ == nullptr);
    request_ = &request;
    request.job = this;
    source_index_ = 0;
    done_blocks_ = 0;
    const NvmeStatus verdict = begin();
    if (verdict.ok()) {
        next();
    } else {
        end(verdict);
    }
}

NvmeStatus StepJob::begin() {
    // It may have waited for its turn, and the namespaces have changed.
    if (const NvmeStatus verdict = check_io_command(*request_); !verdict.ok()) {
        return verdict;
    }
    const bool is_copy = request_->sqe.opcode == nvme_cmd_copy;
    if (is_copy) {
        if (const NvmeStatus ranges = check_copy_ranges(*request_, source_index_); !ranges.ok()) {
            return ranges;
        }
    }
    source_index_ = 0;
    source_count_ = is_copy ? CopyView(request_->sqe).range_count() : 1;
    destination_ = request_->connection().link.subsystem->find_namespace(request_->sqe.nsid());
    BASALT_ASSERT(destination_ != nullptr);  // Judged before.
    destination_->acquire();
    write_first_ =
        is_copy ? CopyView(request_->sqe).destination().raw() : RwView(request_->sqe).slba().raw();
    return begin_source();
}

NvmeStatus StepJob::begin_source() {
    if (request_->sqe.opcode != nvme_cmd_copy) {
        const RwView command(request_->sqe);
        first_ = command.slba().raw();
        left_blocks_ = command.nlb().raw();
        source_ = destination_;
        source_->acquire();
        return status::kSuccess;
    }
    const CopySource range = copy_source(*request_, source_index_);
    source_ = request_->connection().link.subsystem->find_namespace(range.nsid);
    if (source_ == nullptr) {
        return status::kInvalidNamespace.with_dnr();  // It has gone while others were copied.
    }
    source_->acquire();
    first_ = range.first;
    left_blocks_ = range.count;
    return status::kSuccess;
}

bool StepJob::has_to_stop() const {
    return nvmf::has_to_stop(*request_);
}

void StepJob::next() {
    if (now_ms(group_) - request_->scratch > kStepPatienceMs) {
        end(status::kCommandInterrupted);
        return;
    }
    if (left_blocks_ == 0) {
        if (++source_index_ == source_count_) {
            end(status::kSuccess);
            return;
        }
        std::exchange(source_, nullptr)->release();
        if (const NvmeStatus begun = begin_source(); !begun.ok()) {
            end(begun);
            return;
        }
    }
    const uint32_t bytes = std::min(buffer_.size_bytes, group_.options().io_bytes_max);
    step_blocks_ = std::min<uint64_t>(left_blocks_, bytes / destination_->info().block_size_bytes);
    for (const Namespace* space : {source_, destination_}) {
        const uint64_t most = space->info().transfer_max.raw();
        step_blocks_ = most == 0 ? step_blocks_ : std::min(step_blocks_, most);
    }
    piece_ = iovec{buffer_.data, step_blocks_ * destination_->info().block_size_bytes};
    if (request_->sqe.opcode == nvme_cmd_write_zeroes) {
        std::memset(piece_.iov_base, 0, piece_.iov_len);
        write();
    } else {
        read();
    }
}

void StepJob::submit(bdev::IoOp op, uint64_t first) {
    bdev::IoRequest& io = request_->io;
    io.op = op;
    io.first = Lba(first);
    io.count = BlockCount(step_blocks_);
    const bool is_copy = request_->sqe.opcode == nvme_cmd_copy;
    const bool wants_fua = request_->connection().link.settings.is_write_through ||
                           (is_copy ? CopyView(request_->sqe).fua() : RwView(request_->sqe).fua());
    io.fua = op == bdev::IoOp::kWrite && wants_fua ? bdev::Fua::kYes : bdev::Fua::kNo;
    io.wants_device_memory = false;
    if (is_copy && request_->connection().link.lane != nullptr) {
        request_->connection().link.lane->charge(
            {.bytes = static_cast<uint32_t>(piece_.iov_len), .is_write = op == bdev::IoOp::kWrite});
    }
    io.pieces = &piece_;
    io.piece_count = 1;
    io.push_completion(
        [](bdev::IoRequest& done, void* self) {
            StepJob& job = *static_cast<StepJob*>(self);
            leave_gate(*job.request_);
            if (done.op == bdev::IoOp::kRead) {
                job.read_done(done.status);
            } else {
                job.write_done(done.status);
            }
        },
        this);
    request_->target_namespace->channel().submit(io);
}

void StepJob::read() {
    if (has_to_stop()) {
        end(status::kAbortRequested);
        return;
    }
    request_->target_namespace = source_;
    if (enter_gate(*request_, {first_, step_blocks_}, [](Request& r) { r.job->read(); })) {
        submit(bdev::IoOp::kRead, first_);
    }
}

void StepJob::read_done(Status outcome) {
    if (!outcome) {
        end(to_nvme_status(outcome.error(), MediaAccess::kRead));
        return;
    }
    switch (request_->sqe.opcode) {
        case nvme_cmd_copy: write(); return;
        case nvme_cmd_compare:
            if (!is_equal()) {
                end(status::kCompareFailure.with_dnr());
                return;
            }
            break;
        default: BASALT_ASSERT(request_->sqe.opcode == nvme_cmd_verify); break;
    }
    step_over();
}

bool StepJob::is_equal() const {
    const uint64_t offset = done_blocks_ * destination_->info().block_size_bytes;
    return std::memcmp(piece_.iov_base, request_->payload().data() + offset, piece_.iov_len) == 0;
}

void StepJob::write() {
    if (has_to_stop()) {
        end(status::kAbortRequested);
        return;
    }
    // The namespace may have become read-only since the last step.
    if (const NvmeStatus access = check_write_access(*request_, *destination_); !access.ok()) {
        end(access);
        return;
    }
    request_->target_namespace = destination_;
    if (enter_gate(*request_, {write_first_, step_blocks_}, [](Request& r) { r.job->write(); })) {
        submit(bdev::IoOp::kWrite, write_first_);
    }
}

void StepJob::write_done(Status outcome) {
    if (outcome) {
        step_over();
    } else {
        end(to_nvme_status(outcome.error(), MediaAccess::kWrite));
    }
}

void StepJob::step_over() {
    first_ += step_blocks_;
    write_first_ += step_blocks_;
    done_blocks_ += step_blocks_;
    left_blocks_ -= step_blocks_;
    next();
}

void StepJob::end(NvmeStatus outcome) {
    Request& request = *std::exchange(request_, nullptr);
    BufferAccount& account = request.connection().link.host->steps;
    if (request.sqe.opcode == nvme_cmd_copy && !outcome.ok()) {
        request.cqe.dw0.set(source_index_);  // The first range that is not copied whole.
    }
    if (destination_ != nullptr) {
        const Status device = outcome.ok() ? kOk : Status(to_error(outcome));
        count_outcome(request, *destination_, device, outcome);
    }
    for (Namespace** space : {&source_, &destination_}) {
        if (*space != nullptr) {
            std::exchange(*space, nullptr)->release();
        }
    }
    request.target_namespace = nullptr;
    request.job = nullptr;
    if (request.is_abort_wanted && outcome.is(status::kAbortRequested)) {
        end_aborted(request);
    } else {
        request.connection().complete(request, outcome);
    }
    owner_.pool().release(buffer_, account);  // Last: the next command may begin in here.
}

// --- StepJobs ----------------------------------------------------------------------------------

size_t StepJobs::region_bytes() {
    return BufferPool::region_bytes(kJobBuffers);
}

StepJobs::StepJobs(PollGroup& group, std::span<std::byte> region)
    : region_(region.data()), pool_(region, kJobBuffers) {
    for (uint32_t i = 0; i < kStepJobs; ++i) {
        const Buffer buffer{region_ + size_t{i} * kJobBufferBytes, kJobBufferBytes, 2};
        jobs_.push_back(std::make_unique<StepJob>(group, *this, buffer));
    }
}

void StepJobs::start(Request& request) {
    request.scratch = now_ms(request.connection().group());  // Its time in line counts.
    BufferAccount& account = request.connection().link.host->steps;
    const Buffer buffer = pool_.try_acquire(kJobBufferBytes, account);
    if (buffer.is_valid()) {
        granted(request, buffer);
    } else {
        pool_.wait(request.waiter, kJobBufferBytes, account);
    }
}

void StepJobs::granted(Request& request, Buffer buffer) {
    const auto index = static_cast<size_t>(buffer.data - region_) / kJobBufferBytes;
    jobs_[index]->run(request);
}

}  // namespace basalt::nvmf
