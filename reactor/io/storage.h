#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/uio.h>

#include "reactor/base/result.h"
#include "reactor/msg/event.h"

namespace basalt {

/// An open file or device of the process, valid on every core between open and close; or what
/// Storage::register_file() made of it for one core. A value.
struct FileHandle {
    int64_t id = -1;
    [[nodiscard]] bool is_valid() const { return id >= 0; }
    bool operator==(const FileHandle&) const = default;
};

/// What open() found out about a file, block device or NVMe character device.
struct FileInfo {
    FileHandle handle;
    uint64_t size_bytes = 0;  ///< 0 for an NVMe character device: ask Identify.
    uint32_t alignment_bytes =
        4096;  ///< Offsets, lengths and memory of direct I/O; a power of two.
    bool is_block_device = false;
    uint32_t allocation_bytes = 4096;  ///< What is given back is a multiple of this.
    bool can_punch = false;            ///< Ranges can be deallocated and then read as zeroes.
};

struct OpenOptions {
    bool read_only = false;
    bool direct = true;  ///< O_DIRECT; falls back to buffered I/O where the file system has none.
    uint64_t create_size_bytes = 0;  ///< If not 0, a missing file is created sparse with this size.
};

/// Opens and closes files. May block: control thread only. Implementations: PosixFileSystem and
/// sim::SimFileSystem.
class FileSystem {
  public:
    virtual ~FileSystem() = default;

    /// Errors: kNotFound, kPermissionDenied, kInvalidArgument (a directory, say), kNoSpace, kBusy
    /// (another process holds the lock), kIo.
    [[nodiscard]] virtual Result<FileInfo> open(const std::string& path,
                                                const OpenOptions& options) = 0;

    /// The size now, in bytes. Errors: kIo.
    [[nodiscard]] virtual Result<uint64_t> size_bytes(FileHandle handle) = 0;

    /// What of an open file has space behind it now; of a device all. From any core: looks at what
    /// is in memory. Errors: kIo.
    [[nodiscard]] virtual Result<uint64_t> allocated_bytes(FileHandle handle) = 0;

    /// Closes. On no core a request on the handle is under way, or the handle registered.
    virtual void close(FileHandle handle) = 0;
};

/// The event of a `Request` of storage: an Event that knows its request. Part of the request.
template <typename Request>
class DoneEvent : public Event {
  public:
    explicit DoneEvent(Request& request) : request_(request) {}

    /// The request of `event`, which is the `done` of a Request.
    [[nodiscard]] static Request& request_of(Event& event) {
        return static_cast<DoneEvent&>(event).request_;
    }

  private:
    Request& request_;
};

/// One request to a file. Pooled by its user; everything in it, and the memory that it points to,
/// lives until `done` runs. `done` (an Event: set its run function) runs once from the poll loop of
/// the core that submitted it.
struct FileRequest {
    enum class Op : uint8_t {
        kRead,
        kWrite,
        kWriteDurable,  ///< On the medium when done: RWF_DSYNC.
        kFlush,         ///< All earlier completed writes on the medium when done: fdatasync(2).
        kPunchHole,     ///< Deallocates; reads as zeroes afterwards.
        kZeroRange,     ///< Zeroes and keeps the space allocated where the file system can.
    };

    DoneEvent<FileRequest> done{*this};
    Op op = Op::kRead;
    FileHandle file;
    uint64_t offset_bytes = 0;
    uint64_t length_bytes = 0;      ///< Of all pieces together, or of the range to punch or zero.
    const iovec* pieces = nullptr;  ///< Read and write only.
    uint32_t piece_count = 0;
    Status status;  ///< Valid when done runs. A short transfer is kIo.

    uint64_t progress_bytes = 0;  ///< Of the implementation: what a short transfer did so far.
};

/// One NVMe command through the character device: the submission queue entry as the specification
/// lays it out, with PRP/SGL fields left zero. Lifetime as FileRequest.
struct PassthroughRequest {
    DoneEvent<PassthroughRequest> done{*this};
    FileHandle device;
    bool is_admin = false;
    std::array<uint32_t, 16>
        command{};  ///< CDW0 holds opcode and flags; the driver sets the command id.
    const iovec* pieces = nullptr;
    uint32_t piece_count = 0;
    uint32_t length_bytes = 0;
    bool is_write = false;
    Status status;  ///< A failure to submit (kNotSupported, kDeviceGone, kIo). kOk: see below.
    uint16_t nvme_status =
        0;  ///< Status code type and code as in the completion (bits 10:0), 0 = success.
    uint64_t result = 0;  ///< Command specific dwords 0 and 1.
};

/// File and device I/O of one core. Implementations: UringStorage and sim::SimStorage.
class Storage {
  public:
    virtual ~Storage() = default;

    /// Accepts the request; its `done` runs later, also when it fails.
    virtual void submit(FileRequest& request) = 0;
    virtual void submit(PassthroughRequest& request) = 0;

    /// Tells that [memory, memory + size) will be used for much I/O, so that it may be registered
    /// with the kernel. Best effort. The memory outlives the reactor.
    virtual void register_memory(std::span<std::byte> memory) = 0;

    /// A handle for much I/O on `file`, for FileRequests to this core's storage only, which spares
    /// the kernel a look-up each. Best effort: `file` itself where that is not to be had. Whoever
    /// asked gives it back before the file is closed. For the opening of a channel, not for each
    /// I/O.
    [[nodiscard]] virtual FileHandle register_file(FileHandle file) = 0;
    /// Gives back what register_file() returned, with no request on it under way. The file is not
    /// held any longer: once closed, its lock is free.
    virtual void unregister_file(FileHandle registered) = 0;
};

}  // namespace basalt
