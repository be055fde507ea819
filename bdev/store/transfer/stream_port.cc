#include "bdev/store/transfer/stream_port.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/file_call.h"

namespace basalt::bdev::store {

namespace {

/// Until a pipe that stood still is asked again; twice as long each time, up to the last. With a
/// pipe of 1 MiB, 1 ms is enough for 1 GB/s.
constexpr uint64_t kPauseNs = kNsPerMs;
constexpr uint64_t kPauseMaxNs = 32 * kNsPerMs;

}  // namespace

/// How long to wait, longer and longer.
class StreamPort::Pause {
  public:
    [[nodiscard]] uint64_t next_ns() {
        return std::exchange(delay_ns_, std::min(2 * delay_ns_, kPauseMaxNs));
    }
    void reset() { delay_ns_ = kPauseNs; }

  private:
    uint64_t delay_ns_ = kPauseNs;
};

Task<Status> StreamPort::open(std::string path, StreamUse use) {
    BASALT_ASSERT(!file_.handle.is_valid());
    Pause pause;
    while (!is_stopped_) {
        const Result<StreamInfo> opened = files_.open(path, use);
        if (opened) {
            file_ = *opened;
            co_return kOk;
        }
        if (opened.error().code != Errc::kTryAgain) {
            co_return opened.error();
        }
        sleep_for delay(control_, pause.next_ns());
        co_await delay;
    }
    co_return Errc::kCancelled;
}

Task<Result<size_t>> StreamPort::read(std::span<std::byte> out) {
    size_t done = 0;
    Pause pause;
    while (!is_stopped_ && done < out.size()) {
        if (!file_.is_pipe) {
            const uint64_t before = bytes_moved_;
            Task<Status> reading = transfer(FileRequest::Op::kRead, out.data(), out.size());
            const Status status = co_await reading;
            done = bytes_moved_ - before;
            if (!status && status.error() != Error(Errc::kIo)) {  // Which is the file's end.
                co_return status.error();
            }
            co_return done;
        }
        const Result<size_t> count = files_.read_now(file_.handle, out.subspan(done));
        if (!count && count.error().code != Errc::kTryAgain) {
            co_return count.error();
        }
        if (count && *count > 0) {
            done += *count;
            bytes_moved_ += *count;
            pause.reset();
            continue;
        }
        if (count && bytes_moved_ > 0) {
            co_return done;  // The end.
        }
        sleep_for delay(control_, pause.next_ns());
        co_await delay;
    }
    if (is_stopped_) {
        co_return Errc::kCancelled;
    }
    co_return done;
}

Task<Status> StreamPort::write(std::span<const std::byte> data) {
    Pause pause;
    while (!is_stopped_ && !data.empty()) {
        if (!file_.is_pipe) {
            auto* memory = const_cast<std::byte*>(data.data());  // An iovec knows no const.
            Task<Status> writing = transfer(FileRequest::Op::kWrite, memory, data.size());
            co_return co_await writing;
        }
        const Result<size_t> count = files_.write_now(file_.handle, data);
        if (count) {
            data = data.subspan(*count);
            bytes_moved_ += *count;
            pause.reset();
            continue;
        }
        if (count.error().code != Errc::kTryAgain) {
            co_return count.error();
        }
        sleep_for delay(control_, pause.next_ns());
        co_await delay;
    }
    co_return is_stopped_ ? Status(Errc::kCancelled) : Status(kOk);
}

Task<Status> StreamPort::transfer(FileRequest::Op op, std::byte* memory, size_t bytes) {
    FileCall call(control_.storage(), op, file_.handle);
    call.set_memory(bytes_moved_, std::span(memory, bytes));
    const Status status = co_await call;
    bytes_moved_ += status ? bytes : call.request().progress_bytes;
    co_return status;
}

Task<Status> StreamPort::flush() {
    if (file_.is_pipe) {
        co_return kOk;
    }
    FileCall call(control_.storage(), FileRequest::Op::kFlush, file_.handle);
    const Status status = co_await call;
    co_return status;
}

void StreamPort::close() {
    if (file_.handle.is_valid() && !control_.is_abandoned()) {
        files_.close(file_.handle);
    }
    file_ = {};
}

}  // namespace basalt::bdev::store
