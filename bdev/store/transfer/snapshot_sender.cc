// Writes a snapshot as a stream.
#include <algorithm>
#include <utility>

#include "bdev/store/transfer/transfer.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

SnapshotSender::SnapshotSender(Pool& pool, StreamFiles& files, const SendOptions& options)
    : Transfer(pool, files, options.path, options.bytes_a_second) {
    report_.is_send = true;
    report_.snapshot = options.snapshot;
}

Status SnapshotSender::choose(const SendOptions& options) {
    BASALT_CHECK(pool_.choose(options.snapshot, options.base, begin_));
    if (options.resume) {
        const ResumeToken& token = *options.resume;
        if (token.snapshot != begin_.snapshot_uuid || token.base != begin_.base_uuid ||
            token.block > begin_.size_blocks) {
            return Errc::kInvalidArgument;
        }
        begin_.first = token.block;
    }
    report_.size_blocks = begin_.size_blocks;
    report_.passed_blocks = begin_.first;
    return kOk;
}

Task<Status> SnapshotSender::run() {
    const std::string path = report_.path;
    Task<Status> opening = port_.open(path, StreamUse::kWrite);
    Status status = explain(co_await opening, "the stream can't be opened");
    if (status) {
        Buffer& buffer = buffers_[0];
        buffer.block_count = 0;
        writer_.put_begin(begin_, buffer.head());
        Task<Status> writing = port_.write(buffer.record());
        status = explain(co_await writing, "the stream can't be written");
    }
    if (status) {
        Task<Status> sending = send_changes();
        status = co_await sending;
    }
    // Whatever happened: the memory is being written.
    Task<Status> ending = written();
    const Status last = co_await ending;
    status = status ? last : status;
    if (status) {
        Buffer& buffer = buffers_[filling_];
        buffer.block_count = 0;
        writer_.put_end(buffer.head());
        Task<Status> writing = port_.write(buffer.record());
        status = explain(co_await writing, "the stream can't be written");
    }
    if (status) {
        Task<Status> flushing = port_.flush();
        status = explain(co_await flushing, "the stream can't be made durable");
    }
    if (status) {
        report_.passed_blocks = begin_.size_blocks;
    }
    port_.close();
    co_return status;
}

Task<Status> SnapshotSender::send_changes() {
    uint64_t from = begin_.first;
    buffers_[filling_].ranges.clear();
    buffers_[filling_].block_count = 0;
    while (from < begin_.size_blocks) {
        if (port_.is_stopped()) {
            co_return Errc::kCancelled;
        }
        Task<Result<ChangedStep>> comparing = pool_.changed(from, kStreamRangesMax);
        const Result<ChangedStep> step = co_await comparing;
        if (!step) {
            co_return explain(step.error(), "the snapshot's mapping can't be read");
        }
        for (const ChangedRange& range : step->ranges) {
            Task<Status> adding = add(range);
            const Status added = co_await adding;
            if (!added) {
                co_return added;
            }
        }
        from = step->next;
        report_.passed_blocks = from;
    }
    if (!buffers_[filling_].ranges.empty()) {
        Task<Status> sending = send_record(begin_.size_blocks);
        co_return co_await sending;
    }
    co_return kOk;
}

Task<Status> SnapshotSender::add(ChangedRange range) {
    while (range.count > 0) {
        Buffer& buffer = buffers_[filling_];
        const uint64_t room = range.is_hole ? range.count : kStreamBlocksMax - buffer.block_count;
        if (room == 0 || buffer.ranges.size() == kStreamRangesMax) {
            Task<Status> sending = send_record(buffer.ranges.back().end());
            const Status sent = co_await sending;
            if (!sent) {
                co_return sent;
            }
            continue;
        }
        const uint64_t count = std::min(range.count, room);
        buffer.ranges.push_back({range.first, count, range.is_hole});
        buffer.block_count += range.is_hole ? 0 : static_cast<uint32_t>(count);
        range.first += count;
        range.count -= count;
    }
    co_return kOk;
}

Task<Status> SnapshotSender::send_record(uint64_t next) {
    Buffer& buffer = buffers_[filling_];
    // While the record before is being written.
    Task<Status> reading = pool_.read(buffer.batch());
    const Status read = explain(co_await reading, "the snapshot can't be read");
    if (!read) {
        co_return read;
    }
    Task<Status> waiting = written();
    const Status before = co_await waiting;
    if (!before) {
        co_return before;
    }
    writer_.put_changes(
        buffer.ranges, std::span(buffer.crcs).first(buffer.block_count), next, buffer.head());
    writing_.emplace(port_.write(buffer.record()));
    report_.data_blocks += buffer.block_count;
    const size_t bytes = buffer.record().size();
    filling_ = 1 - filling_;
    buffers_[filling_].ranges.clear();
    buffers_[filling_].block_count = 0;
    co_await keep_pace(bytes);
    co_return kOk;
}

Task<Status> SnapshotSender::written() {
    if (!writing_) {
        co_return kOk;
    }
    Task<Status> writing = std::move(*writing_);
    writing_.reset();
    const Status status = co_await writing;
    co_return explain(status, "the stream can't be written");
}

}  // namespace basalt::bdev::store
