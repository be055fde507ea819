#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nvmf/tls/credential.h"
#include "nvmf/wire/ids.h"

namespace basalt::nvmf {

struct SubsystemConfig;
struct ListenerConfig;

/// The key by which a host reaches a subsystem through TLS, and only so. Part of a SubsystemConfig:
/// constant, read by all cores.
struct HostTls {
    std::string host_nqn;
    std::string key_name;                    ///< In the keyring, for the configuration's sake.
    std::vector<TlsCredential> credentials;  ///< One for each version of identity; not empty.
};

/// What a new connection on a listening address has to begin with.
enum class ListenerTls : uint8_t {
    kNone,      ///< Nobody there uses TLS: the bytes are NVMe/TCP's.
    kPossible,  ///< The first byte tells.
    kRequired,  ///< Each subsystem there wants TLS.
};

/// Whether Connect may go on.
enum class TlsVerdict : uint8_t {
    kAllowed,
    kNeedsTls,       ///< The connection is in clear where host or address require TLS.
    kWrongIdentity,  ///< The key that was proved belongs to another host or subsystem.
};

/// Makes a host's credentials for a subsystem. Errors: kInvalidArgument: a name is no NQN;
/// kNoMemory.
[[nodiscard]] Result<HostTls> make_host_tls(const ConfiguredPsk& key,
                                            std::string key_name,
                                            const TlsPair& pair);

/// The host's key for this subsystem; null if it has none.
[[nodiscard]] const HostTls* find_host_tls(const SubsystemConfig& config,
                                           std::string_view host_nqn);

/// The key that an identity names; null if it is none of this subsystem's.
[[nodiscard]] const TlsCredential* find_credential(const SubsystemConfig& config,
                                                   std::string_view identity);

/// True if the host may reach the subsystem at that address through TLS only.
[[nodiscard]] bool requires_tls(const SubsystemConfig& config,
                                const ListenerConfig* listener,
                                std::string_view host_nqn);

/// Judges a Connect of `host_nqn` by way of `listener` (null: an address that is not the
/// subsystem's own) over a connection with that identity, which is empty in clear.
[[nodiscard]] TlsVerdict judge_tls(const SubsystemConfig& config,
                                   const ListenerConfig* listener,
                                   std::string_view host_nqn,
                                   std::string_view identity);

}  // namespace basalt::nvmf
