#pragma once

#include <string>
#include <utility>

#include "keyring/keyring.h"
#include "nvmf/initiator/host_authenticator.h"

namespace basalt::nvmf {

/// The keys in the keyring with which a host and the controller of a path prove themselves. Can be
/// moved. Owner: the ControllerSession. Core: the control thread.
class SessionKeys final : public AuthSecretSource {
  public:
    /// No keys.
    SessionKeys() = default;
    /// `controller` may be none, and needs `host`.
    SessionKeys(KeyReference host, KeyReference controller)
        : host_(std::move(host)), controller_(std::move(controller)) {}

    [[nodiscard]] SessionKeys again() const { return {host_.again(), controller_.again()}; }
    [[nodiscard]] bool empty() const { return !host_; }
    /// "" without.
    [[nodiscard]] const std::string& host_name() const { return host_.name(); }
    [[nodiscard]] const std::string& controller_name() const { return controller_.name(); }

    /// Reads the files as they are now.
    [[nodiscard]] Result<AuthSecrets> read_secrets() override;

  private:
    KeyReference host_;
    KeyReference controller_;
};

}  // namespace basalt::nvmf
