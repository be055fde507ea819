#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "reactor/io/stream_files.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::bdev::store {

/// The bytes of one transfer, to or from a file or pipe, in their order. Waits for a slow pipe with
/// pauses of some milliseconds, and can be stopped in each of them.
///
/// Life: open(); read() or write(), one at a time; close(). Owner: a sender or receiver. Core: the
/// control thread. Memory that is read into or written lives until the task has ended.
class StreamPort {
  public:
    StreamPort(Reactor& control, StreamFiles& files) : control_(control), files_(files) {}
    StreamPort(const StreamPort&) = delete;
    StreamPort& operator=(const StreamPort&) = delete;
    ~StreamPort() { close(); }  ///< Nothing is under way.

    /// Waits until a pipe that is to be written has a reader. Errors: those of StreamFiles::open();
    /// kCancelled.
    [[nodiscard]] Task<Status> open(std::string path, StreamUse use);

    /// Fills `out`; fewer bytes only at the end. The first call waits until somebody writes to the
    /// pipe. Errors: kCancelled; kIo and those of the file.
    [[nodiscard]] Task<Result<size_t>> read(std::span<std::byte> out);

    /// Writes all. Errors: kCancelled; kConnectionClosed: nobody reads any more; kNoSpace, kIo and
    /// those of the file.
    [[nodiscard]] Task<Status> write(std::span<const std::byte> data);

    /// Makes durable what was written. Errors: kIo.
    [[nodiscard]] Task<Status> flush();

    void close();

    /// All that waits, and all that is called later, ends with kCancelled.
    void stop() { is_stopped_ = true; }
    [[nodiscard]] bool is_stopped() const { return is_stopped_; }

    [[nodiscard]] uint64_t bytes_moved() const { return bytes_moved_; }

  private:
    class Pause;

    [[nodiscard]] Task<Status> transfer(FileRequest::Op op, std::byte* memory, size_t bytes);

    Reactor& control_;
    StreamFiles& files_;
    StreamInfo file_;
    uint64_t bytes_moved_ = 0;
    bool is_stopped_ = false;
};

}  // namespace basalt::bdev::store
