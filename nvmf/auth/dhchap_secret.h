#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "keyring/secret.h"
#include "nvmf/auth/algorithms.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// A DH-HMAC-CHAP secret as people handle it, "DHHC-1:xx:base64:" (NVMe Base Specification 2.0,
/// section 8.13.5.8, "DH-HMAC-CHAP Security Requirements: Secret representation"; `nvme
/// gen-dhchap-key` makes them): 32, 48 or 64 bytes with a CRC-32 behind, and the hash with which
/// they are tied to the NQN of whom they prove. Can be moved. Wiped when it goes.
class DhchapSecret {
  public:
    /// Errors: kInvalidArgument: not of that form, of another length, or the CRC does not match.
    [[nodiscard]] static Result<DhchapSecret> parse(std::string_view text);

    /// Takes 32, 48 or 64 bytes.
    DhchapSecret(Secret bytes, std::optional<AuthHash> transformation);

    /// The written form: a secret itself.
    [[nodiscard]] Secret format() const;

    /// The key of the HMACs: HMAC(secret, NQN || "NVMe-over-Fabrics") with the secret's hash, or
    /// the secret itself if it names none. Errors: kIo.
    [[nodiscard]] Result<Secret> transform(std::string_view nqn) const;

    [[nodiscard]] std::optional<AuthHash> transformation() const { return transformation_; }
    /// Whether both are the same bytes: a host and a controller must not share one.
    [[nodiscard]] bool equals(const DhchapSecret& other) const {
        return bytes_.equals(other.bytes_);
    }

  private:
    Secret bytes_;
    std::optional<AuthHash> transformation_;
};

}  // namespace basalt::nvmf
