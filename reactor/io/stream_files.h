#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "reactor/base/result.h"
#include "reactor/io/storage.h"

namespace basalt {

/// What is open: a regular file, or a pipe.
struct StreamInfo {
    FileHandle handle;
    bool is_pipe = false;
};

enum class StreamUse : uint8_t { kRead, kWrite };

/// Opens files and named pipes that are read, or written, from one end to the other. A regular
/// file is then read and written by FileRequests (Storage), at offsets that its user counts; it
/// grows with what is written. A pipe, which may stand still for hours, is asked what goes now, so
/// that no request waits in the kernel for somebody else.
///
/// Core: the control thread. Implementations: PosixStreamFiles and sim::SimStreamFiles.
class StreamFiles {
  public:
    virtual ~StreamFiles() = default;

    /// kRead: a regular file, or a pipe, at which nobody may be writing yet. kWrite: a new regular
    /// file, or a pipe. Errors: kNotFound, kPermissionDenied, kInvalidArgument (neither file nor
    /// pipe), kNoSpace, kIo; kExists: kWrite, and there is a file, which is left as it is;
    /// kTryAgain: kWrite, and nobody reads the pipe yet.
    [[nodiscard]] virtual Result<StreamInfo> open(const std::string& path, StreamUse use) = 0;

    /// Takes from a pipe what is there, at most out.size() bytes; 0: nobody writes, not any more or
    /// not yet. Errors: kTryAgain: nothing is there now; kIo.
    [[nodiscard]] virtual Result<size_t> read_now(FileHandle pipe, std::span<std::byte> out) = 0;

    /// Puts into a pipe what it has room for, and gives how much that was. Errors: kTryAgain: it is
    /// full now; kConnectionClosed: nobody reads any more; kIo.
    [[nodiscard]] virtual Result<size_t> write_now(FileHandle pipe,
                                                   std::span<const std::byte> data) = 0;

    /// With no request on it under way.
    virtual void close(FileHandle handle) = 0;
};

}  // namespace basalt
