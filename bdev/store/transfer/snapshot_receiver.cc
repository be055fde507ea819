// Reads a stream into a snapshot.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "bdev/store/transfer/transfer.h"

namespace basalt::bdev::store {

SnapshotReceiver::SnapshotReceiver(Pool& pool, StreamFiles& files, const ReceiveOptions& options)
    : Transfer(pool, files, options.path, options.bytes_a_second), options_(options) {}

Status SnapshotReceiver::refuse() {
    report_.problem = reader_.problem();
    return Errc::kDataCorrupt;
}

Task<Status> SnapshotReceiver::run() {
    const std::string path = report_.path;
    Task<Status> opening = port_.open(path, StreamUse::kRead);
    Status status = explain(co_await opening, "the stream can't be opened");
    if (status) {
        Task<Status> beginning = receive_begin();
        status = co_await beginning;
    }
    if (!status) {
        port_.close();
        co_return status;
    }
    Task<Status> receiving = receive_records();
    status = co_await receiving;
    // Whatever happened: what is written is there, and need not be sent again.
    Task<Status> ending = written();
    const Status last = co_await ending;
    status = status ? last : status;
    port_.close();
    if (status) {
        Task<Status> finishing = pool_.finish();
        status = explain(co_await finishing, "all is here, and can't be made a snapshot");
        if (status) {
            co_return kOk;
        }
    }
    Task<Status> keeping = pool_.keep(next_);
    static_cast<void>(co_await keeping);  // Then the next transfer begins where it was before.
    co_return status;
}

Task<Status> SnapshotReceiver::read(std::span<std::byte> out) {
    Task<Result<size_t>> reading = port_.read(out);
    const Result<size_t> count = co_await reading;
    if (!count) {
        co_return explain(count.error(), "the stream can't be read");
    }
    if (*count < out.size()) {
        report_.problem = "the stream is cut off";
        co_return Errc::kConnectionClosed;
    }
    co_return kOk;
}

Task<Status> SnapshotReceiver::receive_begin() {
    Task<Status> reading = read(buffers_[0].head());
    const Status status = co_await reading;
    if (!status) {
        co_return status;
    }
    if (!reader_.take_head(buffers_[0].head())) {
        co_return refuse();
    }
    const StreamBegin& begin = reader_.begin();
    const std::string name = options_.name;
    report_.snapshot = name.empty() ? begin.snapshot_name : name;
    report_.size_blocks = begin.size_blocks;
    next_ = report_.passed_blocks = begin.first;
    Task<Status> beginning = pool_.begin(begin, name, report_.problem);
    co_return co_await beginning;
}

Task<Status> SnapshotReceiver::receive_records() {
    for (uint32_t reading = 0; true; reading = 1 - reading) {
        Buffer& buffer = buffers_[reading];
        // While the record before is being written.
        Task<Status> record = read_record(buffer);
        const Status read = co_await record;
        if (!read || reader_.kind() == StreamKind::kEnd) {
            co_return read;
        }
        Task<Status> waiting = written();
        const Status before = co_await waiting;
        if (!before) {
            co_return before;
        }
        if (report_.data_blocks - kept_data_ >= options_.keep_blocks) {
            Task<Status> keeping = pool_.keep(next_);
            const Status kept = explain(co_await keeping, "the pool took no change");
            if (!kept) {
                co_return kept;
            }
            kept_data_ = report_.data_blocks;
        }
        writing_.emplace(put(buffer));
        const size_t bytes = buffer.record().size();
        co_await keep_pace(bytes);
    }
}

Task<Status> SnapshotReceiver::read_record(Buffer& buffer) {
    Task<Status> heading = read(buffer.head());
    const Status head = co_await heading;
    if (!head) {
        co_return head;
    }
    if (!reader_.take_head(buffer.head())) {
        co_return refuse();
    }
    buffer.ranges.assign(reader_.ranges().begin(), reader_.ranges().end());
    std::copy(reader_.crcs().begin(), reader_.crcs().end(), buffer.crcs.begin());
    buffer.block_count = reader_.block_count();
    buffer.next = reader_.next();
    if (buffer.block_count > 0) {
        Task<Status> filling = read(buffer.data());
        const Status filled = co_await filling;
        if (!filled) {
            co_return filled;
        }
    }
    co_return reader_.take_data(buffer.data()) ? Status(kOk) : refuse();
}

Task<Status> SnapshotReceiver::put(Buffer& buffer) {
    Task<Status> writing = pool_.write(buffer.batch());
    const Status status = explain(co_await writing, "the pool can't be written");
    if (status) {
        next_ = report_.passed_blocks = buffer.next;
        report_.data_blocks += buffer.block_count;
    }
    co_return status;
}

Task<Status> SnapshotReceiver::written() {
    if (!writing_) {
        co_return kOk;
    }
    Task<Status> writing = std::move(*writing_);
    writing_.reset();
    const Status status = co_await writing;
    co_return status;
}

}  // namespace basalt::bdev::store
