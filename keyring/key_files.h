#pragma once

#include <map>
#include <string>
#include <string_view>

#include "keyring/secret.h"
#include "reactor/base/result.h"

namespace basalt {

/// Longest key file: a TLS PSK or a DH-HMAC-CHAP secret in its written form is below 200 bytes;
/// room for line ends and what else a tool writes, and no reading of /dev/zero by mistake.
inline constexpr size_t kKeyFileBytesMax = 4096;

/// Where the contents of keys come from. Implementations: PosixKeyFiles, and MemoryKeyFiles for
/// simulations. Owner: whoever makes the ring.
class KeyFiles {
  public:
    virtual ~KeyFiles() = default;

    /// Whether the file may serve as a key: an absolute path, a regular file, ours, with no right
    /// for anybody else (as SPDK demands it). Errors: kPermissionDenied, kNotFound, kOutOfRange
    /// (longer than kKeyFileBytesMax), kIo.
    [[nodiscard]] virtual Status check(const std::string& path) = 0;

    /// The file's contents; what check() demands is checked of the file that is opened. Errors: as
    /// check().
    [[nodiscard]] virtual Result<Secret> read(const std::string& path) = 0;
};

/// Files of the operating system. Blocks; for the control thread.
class PosixKeyFiles final : public KeyFiles {
  public:
    [[nodiscard]] Status check(const std::string& path) override;
    [[nodiscard]] Result<Secret> read(const std::string& path) override;
};

/// Files that exist in memory alone, for simulations and tests; every path is taken.
class MemoryKeyFiles final : public KeyFiles {
  public:
    void put(const std::string& path, std::string_view contents);
    void remove(const std::string& path);
    [[nodiscard]] Status check(const std::string& path) override;
    [[nodiscard]] Result<Secret> read(const std::string& path) override;

  private:
    std::map<std::string, Secret> files_;
};

}  // namespace basalt
