#include "replication/replica/pool_replica_store.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "bdev/store/checksum.h"

namespace basalt::replication {

namespace {

bool is_line(const Message& message) {
    return message.kind == MessageKind::kWrite && message.write == WriteKind::kBarrier;
}

bool brings_data(const Message& message) {
    return message.kind == MessageKind::kCopy || message.write == WriteKind::kData;
}

}  // namespace

PoolReplicaStore::OverEvent::OverEvent(PoolReplicaStore& owner)
    : Event([](Event& event, Reactor&) {
          PoolReplicaStore& self = static_cast<OverEvent&>(event).store;
          while (StoreJob* job = self.over_.pop_front()) {
              job->done(*job, job->status, job->context);
          }
      }),
      store(owner) {}

PoolReplicaStore::PoolReplicaStore(Reactor& here,
                                   BlockBuffers& buffers,
                                   ReplicaVolumes& volumes,
                                   PoolReplicaParts parts)
    : here_(here),
      buffers_(buffers),
      volumes_(volumes),
      parts_(std::move(parts)),
      turn_(here),
      operations_(std::make_unique<Operation[]>(kOperations)) {
    for (uint32_t i = kOperations; i > 0; --i) {
        operations_[i - 1].store = this;
        operations_[i - 1].next = std::exchange(free_, &operations_[i - 1]);
    }
}

PoolReplicaStore::~PoolReplicaStore() {
    if (here_.is_abandoned()) {
        loads_.clear();
        stores_.clear();
        over_.clear();
    }
    // Before the requests, should they be under way for ever.
    parts_.data.reset();
    parts_.metadata.reset();
}

void PoolReplicaStore::start(const ReplicaState& state) {
    BASALT_ASSERT(sequence_ > 0);
    live_ = &state;
}

// ---- jobs in line

void PoolReplicaStore::store(StoreJob& job) {
    if (has_failed_) {
        end_later(job, Errc::kIo);
    } else if (job.message->kind == MessageKind::kDropLine) {
        drop(job).detach();
    } else if (job.change != nullptr || is_line(*job.message)) {
        change(job).detach();
    } else {
        stores_.push_back(job);
        run_lines();
        consider_checkpoint();  // Should the last one have failed, and this wait for the next.
    }
}

/// Beside all else: the pool makes one change at a time.
Task<void> PoolReplicaStore::drop(StoreJob& job) {
    const Status dropped = co_await volumes_.drop_line(parts_.volume, job.message->number);
    job.done(job, dropped ? Errc::kOk : dropped.error().code, job.context);
}

void PoolReplicaStore::load(StoreJob& job) {
    loads_.push_back(job);
    run_lines();
}

void PoolReplicaStore::end_later(StoreJob& job, Errc status) {
    job.status = status;
    over_.push_back(job);
    if (!over_event_.link.is_linked()) {
        here_.defer(over_event_);
    }
}

PoolReplicaStore::Operation& PoolReplicaStore::take_operation(StoreJob& job) {
    BASALT_ASSERT(free_ != nullptr);
    Operation& operation = *free_;
    free_ = operation.next;
    operation.job = &job;
    operation.memory = nullptr;
    operation.sums = nullptr;
    operation.sequence = 0;
    operation.has_retried = false;
    return operation;
}

/// Loads first: a store may have to wait until notes are forgotten.
void PoolReplicaStore::run_lines() {
    for (StoreJob* job = loads_.front(); job != nullptr && free_ != nullptr; job = loads_.front()) {
        Jobs::remove(*job);
        Operation& operation = take_operation(*job);
        operation.first = job->message->range.first;
        operation.count = job->message->range.count;
        operation.memory = job->data.bytes().data();
        transfer(operation, Operation::Step::kLoad);
    }
    if (has_failed_) {
        fail_stores(Errc::kIo);
    }
    for (StoreJob* job = stores_.front(); job != nullptr && free_ != nullptr && !notes_.is_full();
         job = stores_.front()) {
        Jobs::remove(*job);
        begin_store(take_operation(*job));
    }
}

/// Nothing that waits in line can be done.
void PoolReplicaStore::fail_stores(Errc status) {
    while (StoreJob* job = stores_.pop_front()) {
        end_later(*job, status);
    }
}

// ---- stores

void PoolReplicaStore::begin_store(Operation& operation) {
    const StoreJob& job = *operation.job;
    const Message& message = *job.message;
    BASALT_ASSERT(brings_data(message) == job.data.is_valid());
    const bool has_note = message.kind == MessageKind::kWrite || message.is_exact;
    if (has_note) {
        operation.sequence = notes_.begin(
            message.number, live_->watermark, message.is_exact || message.is_replica_away);
        operation.note = encode_note({operation.sequence, live_->watermark, message});
    }
    const auto skipped = static_cast<uint32_t>(std::countr_zero(job.blocks));
    if (job.blocks == 0) {
        operation.first = message.range.first;
        operation.count = 0;
    } else {
        operation.first = message.range.first + skipped;
        operation.count = static_cast<uint32_t>(std::bit_width(job.blocks)) - skipped;
    }
    if (static_cast<uint32_t>(std::popcount(job.blocks)) == operation.count) {
        if (job.data.is_valid() && operation.count > 0) {
            operation.memory = job.data.bytes().data() + size_t{skipped} * kBlockBytes;
            operation.sums = job.data.sums().data() + skipped;
        }
        write(operation);
        return;
    }
    find_room(operation);
}

/// A later write has been in the middle. One transaction has one range, so what is there is read
/// and written again; whoever overlaps waits. Waiting for a buffer could last for ever: those who
/// have them may be these.
void PoolReplicaStore::find_room(Operation& operation) {
    operation.whole = buffers_.try_take(operation.count);
    if (operation.whole.is_valid()) {
        operation.memory = operation.whole.bytes().data();
        transfer(operation, Operation::Step::kPutTogether);
    } else if (spare_user_ == nullptr) {
        use_spare(operation);
    } else {
        operation.next = nullptr;
        *spare_last_ = &operation;
        spare_last_ = &operation.next;
    }
}

void PoolReplicaStore::use_spare(Operation& operation) {
    spare_user_ = &operation;
    operation.memory = spare_.all().data();
    transfer(operation, Operation::Step::kPutTogether);
}

void PoolReplicaStore::end_spare(const Operation& operation) {
    if (spare_user_ != &operation) {
        return;
    }
    spare_user_ = nullptr;
    if (Operation* next = spare_first_) {
        spare_first_ = next->next;
        if (spare_first_ == nullptr) {
            spare_last_ = &spare_first_;
        }
        use_spare(*next);
    }
}

void PoolReplicaStore::put_together(Operation& operation) {
    const StoreJob& job = *operation.job;
    const uint64_t skipped = operation.first - job.message->range.first;
    for (uint32_t i = 0; i < operation.count; ++i) {
        if (((job.blocks >> (skipped + i)) & 1U) == 0) {
            continue;
        }
        std::byte* to = operation.memory + size_t{i} * kBlockBytes;
        if (job.data.is_valid()) {
            std::memcpy(to, job.data.bytes().data() + (skipped + i) * kBlockBytes, kBlockBytes);
        } else {
            std::memset(to, 0, kBlockBytes);
        }
    }
    write(operation);
}

void PoolReplicaStore::write(Operation& operation) {
    using bdev::store::NoteKind;
    if (operation.sequence == 0) {
        // A copy of what needs no entry: it may be cut off anywhere, and is made again.
        if (operation.count == 0) {
            end(operation, Errc::kOk);
            return;
        }
        transfer(operation, Operation::Step::kPlainWrite);
        return;
    }
    bdev::store::NotedRequest& request = operation.noted;
    request.kind = operation.count == 0          ? NoteKind::kAlone
                   : operation.memory == nullptr ? NoteKind::kUnmap
                                                 : NoteKind::kWrite;
    request.first = operation.first;
    request.count = operation.count;
    operation.piece = {operation.memory, size_t{operation.count} * kBlockBytes};
    request.pieces = request.kind == NoteKind::kWrite ? &operation.piece : nullptr;
    request.piece_count = request.kind == NoteKind::kWrite ? 1 : 0;
    request.crcs = operation.sums;
    request.note = operation.note;
    request.key = operation.sequence;
    request.forget = notes_.forgettable();
    request.context = &operation;
    request.complete = [](bdev::store::NotedRequest&, void* context) {
        auto& done = *static_cast<Operation*>(context);
        done.store->noted(done);
    };
    parts_.data->submit(request);
}

void PoolReplicaStore::noted(Operation& operation) {
    const Status status = operation.noted.status;
    if (status) {
        end(operation, Errc::kOk);
    } else if (status.error().code == Errc::kNoMemory && !operation.has_retried && !has_failed_) {
        // A checkpoint lets go of all of ours.
        operation.has_retried = true;
        operation.next = std::exchange(retries_, &operation);
        consider_checkpoint();
    } else {
        end(operation, status.error().code);
    }
}

// ---- blocks without a note, in steps as large as the device takes

void PoolReplicaStore::transfer(Operation& operation, Operation::Step step) {
    operation.step = step;
    operation.done = 0;
    bdev::IoRequest& io = operation.io;
    io.op = step == Operation::Step::kPlainWrite ? bdev::IoOp::kWrite : bdev::IoOp::kRead;
    io.fua = bdev::Fua::kNo;
    io.status = kOk;
    transferred(operation);
}

/// Makes the next step, if there is one.
void PoolReplicaStore::transferred(Operation& operation) {
    bdev::IoRequest& io = operation.io;
    if (!io.status) {
        end(operation, io.status.error().code);
        return;
    }
    bdev::DeviceChannel& device = parts_.data->device();
    if (operation.done < operation.count) {
        const auto step = static_cast<uint32_t>(
            std::min<uint64_t>(operation.count - operation.done, device.info().transfer_max.raw()));
        std::byte* memory = operation.memory + size_t{operation.done} * kBlockBytes;
        operation.piece = {memory, size_t{step} * kBlockBytes};
        io.first = Lba(operation.first + operation.done);
        io.count = BlockCount(step);
        io.pieces = &operation.piece;
        io.piece_count = 1;
        operation.done += step;
        io.push_completion(
            [](bdev::IoRequest&, void* context) {
                auto& done = *static_cast<Operation*>(context);
                done.store->transferred(done);
            },
            &operation);
        device.submit(io);
        return;
    }
    switch (operation.step) {
        case Operation::Step::kLoad: {
            const BlockRef& data = operation.job->data;
            for (uint32_t i = 0; i < data.blocks(); ++i) {
                data.sums()[i] =
                    bdev::store::crc32c(data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes));
            }
            end(operation, Errc::kOk);
            return;
        }
        case Operation::Step::kPutTogether: put_together(operation); return;
        case Operation::Step::kPlainWrite: end(operation, Errc::kOk); return;
    }
}

/// A job that never got to the device is told later.
void PoolReplicaStore::end(Operation& operation, Errc status) {
    StoreJob& job = *operation.job;
    const bool is_load = operation.step == Operation::Step::kLoad && operation.sequence == 0;
    if (operation.sequence != 0) {
        if (status == Errc::kOk && job.message->is_replica_away) {
            mark_pages(job.message->range);
        }
        notes_.end(operation.sequence, status == Errc::kOk);
    }
    if (status == Errc::kIo && !is_load) {
        has_failed_ = true;
    }
    const bool is_early = operation.sequence == 0 && operation.count == 0;
    operation.whole.reset();
    end_spare(operation);
    operation.job = nullptr;
    operation.next = std::exchange(free_, &operation);
    if (is_early) {
        end_later(job, status);
    } else {
        job.done(job, status, job.context);
    }
    run_lines();
    consider_checkpoint();
}

}  // namespace basalt::replication
