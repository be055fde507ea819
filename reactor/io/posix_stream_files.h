#pragma once

#include <string>

#include "reactor/io/stream_files.h"

namespace basalt {

/// Real files and named pipes. A FileHandle is the descriptor. The process ignores SIGPIPE.
/// Stateless. The control thread.
class PosixStreamFiles final : public StreamFiles {
  public:
    [[nodiscard]] Result<StreamInfo> open(const std::string& path, StreamUse use) override;
    [[nodiscard]] Result<size_t> read_now(FileHandle pipe, std::span<std::byte> out) override;
    [[nodiscard]] Result<size_t> write_now(FileHandle pipe,
                                           std::span<const std::byte> data) override;
    void close(FileHandle handle) override;
};

}  // namespace basalt
