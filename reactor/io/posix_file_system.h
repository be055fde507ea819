#pragma once

#include <cstdint>
#include <string>

#include "reactor/io/storage.h"

namespace basalt {

/// Opens real files, block devices and NVMe character devices. A FileHandle is the descriptor.
///
/// A file is locked while it is open (F_OFD_SETLK on all of it; shared for readers), and a block
/// device that may be written is claimed with O_EXCL, so that neither another process of ours nor a
/// mounted file system works on the same blocks. The lock goes with the descriptor.
///
/// Stateless. Any thread that may block: the control thread.
class PosixFileSystem final : public FileSystem {
  public:
    /// See FileSystem. alignment_bytes is 1 where direct I/O was not asked for or is not to be had.
    /// Errors beyond those there: kNotSupported (a file system without locks).
    [[nodiscard]] Result<FileInfo> open(const std::string& path,
                                        const OpenOptions& options) override;
    [[nodiscard]] Result<uint64_t> size_bytes(FileHandle handle) override;
    [[nodiscard]] Result<uint64_t> allocated_bytes(FileHandle handle) override;
    void close(FileHandle handle) override;
};

}  // namespace basalt
