#pragma once

#include <string>

#include "keyring/key_files.h"
#include "nvmf/initiator/host_authenticator.h"

namespace basalt::perf {

/// The DH-HMAC-CHAP secrets of the command line, read from their files for each authentication.
/// Owner: Session. Core: the control reactor's.
class HostKeyFiles final : public nvmf::AuthSecretSource {
  public:
    /// Paths of files; "" is none.
    HostKeyFiles(std::string host_path, std::string controller_path);

    /// Errors: those of KeyFiles::read(); kInvalidArgument (no secret).
    [[nodiscard]] Result<nvmf::AuthSecrets> read_secrets() override;

  private:
    PosixKeyFiles files_;
    const std::string host_path_;
    const std::string controller_path_;
};

}  // namespace basalt::perf
