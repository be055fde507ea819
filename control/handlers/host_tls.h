#pragma once

#include <string>

#include "keyring/keyring.h"
#include "nvmf/target/tls_access.h"
#include "rpc/error.h"

namespace basalt::control {

/// Reads the key that the ring calls `key_name`. On failure `problem` is what to answer, in words
/// for people. Blocks for a small file. Errors: those of reading a key; kInvalidArgument: it is no
/// TLS key; kDataCorrupt.
[[nodiscard]] Result<nvmf::ConfiguredPsk> read_psk(Keyring& keyring,
                                                   const std::string& key_name,
                                                   std::string& problem);

/// Reads the key that the ring calls `key_name` and makes the credentials of `pair` from it. On
/// failure `problem` is what to answer, in words for people. Blocks for a small file. Errors: those
/// of reading a key; kInvalidArgument: it is no TLS key, or the names are no NQNs; kDataCorrupt.
[[nodiscard]] Result<nvmf::HostTls> read_host_tls(Keyring& keyring,
                                                  const std::string& key_name,
                                                  const nvmf::TlsPair& pair,
                                                  std::string& problem);

}  // namespace basalt::control
