#include "nvmf/target/tls_access.h"

#include <algorithm>

#include "nvmf/target/options.h"
#include "nvmf/wire/nqn.h"

namespace basalt::nvmf {

Result<HostTls> make_host_tls(const ConfiguredPsk& key, std::string key_name, const TlsPair& pair) {
    if (!is_valid_nqn(pair.host_nqn) || !is_valid_nqn(pair.subsystem_nqn)) {
        return Errc::kInvalidArgument;
    }
    HostTls made{std::string(pair.host_nqn), std::move(key_name), {}};
    for (const IdentityVersion version : {IdentityVersion::kPlain, IdentityVersion::kWithDigest}) {
        Result<TlsCredential> credential = derive_credential(key, pair, version);
        if (credential) {
            made.credentials.push_back(std::move(*credential));
        } else if (credential.error().code != Errc::kOutOfRange) {
            return credential.error();  // Long names have no plain identity; the other one will do.
        }
    }
    return made;
}

const HostTls* find_host_tls(const SubsystemConfig& config, std::string_view host_nqn) {
    const auto at = std::find_if(config.tls_hosts.begin(),
                                 config.tls_hosts.end(),
                                 [&](const HostTls& host) { return host.host_nqn == host_nqn; });
    return at == config.tls_hosts.end() ? nullptr : &*at;
}

const TlsCredential* find_credential(const SubsystemConfig& config, std::string_view identity) {
    for (const HostTls& host : config.tls_hosts) {
        for (const TlsCredential& credential : host.credentials) {
            if (credential.identity == identity) {
                return &credential;
            }
        }
    }
    return nullptr;
}

bool requires_tls(const SubsystemConfig& config,
                  const ListenerConfig* listener,
                  std::string_view host_nqn) {
    return (listener != nullptr && listener->requires_tls) ||
           find_host_tls(config, host_nqn) != nullptr;
}

TlsVerdict judge_tls(const SubsystemConfig& config,
                     const ListenerConfig* listener,
                     std::string_view host_nqn,
                     std::string_view identity) {
    if (identity.empty()) {
        return requires_tls(config, listener, host_nqn) ? TlsVerdict::kNeedsTls
                                                        : TlsVerdict::kAllowed;
    }
    const HostTls* host = find_host_tls(config, host_nqn);
    const bool is_theirs = host != nullptr && std::any_of(host->credentials.begin(),
                                                          host->credentials.end(),
                                                          [&](const TlsCredential& own) {
                                                              return own.identity == identity;
                                                          });
    return is_theirs ? TlsVerdict::kAllowed : TlsVerdict::kWrongIdentity;
}

}  // namespace basalt::nvmf
