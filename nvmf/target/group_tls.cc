#include "nvmf/target/group_tls.h"

#include <utility>

#include "nvmf/target/poll_group.h"

namespace basalt::nvmf {

ListenerTls GroupTls::listener_tls(ListenerId listener) const {
    uint32_t users = 0;
    uint32_t strict = 0;
    bool has_keys = false;
    for (const auto& subsystem : group_.subsystems()) {
        const SubsystemConfig& config = subsystem->config();
        // A host that authenticates may ask for a key, and come back with it.
        has_keys = has_keys || (config.listens_on(listener) &&
                                (!config.tls_hosts.empty() || !config.dhchap_hosts.empty()));
        if (const ListenerConfig* at = config.find_listener(listener)) {
            ++users;
            strict += at->requires_tls ? 1 : 0;
        }
    }
    if (users > 0 && strict == users) {
        return ListenerTls::kRequired;
    }
    return strict > 0 || has_keys ? ListenerTls::kPossible : ListenerTls::kNone;
}

Result<GroupSocket> GroupTls::adopt(AcceptedSocket accepted,
                                    ListenerId listener,
                                    const SocketOptions& options,
                                    SocketHandler& handler) {
    Network& network = group_.reactor().network();
    const ListenerTls wanted = listener_tls(listener);
    if (wanted == ListenerTls::kNone) {
        BASALT_TRY(std::unique_ptr<Socket> socket,
                   network.adopt(std::move(accepted), options, handler));
        return GroupSocket{std::move(socket), nullptr};
    }
    if (context_ == nullptr) {
        auto made = tls::Context::make(group_.reactor(), tls::Role::kServer);
        if (!made) {
            network.discard(accepted);
            return made.error();
        }
        context_ = std::move(*made);
    }
    tls::ServerOptions server;
    server.allows_clear = wanted == ListenerTls::kPossible;
    server.handshake_timeout_ns = group_.options().handshake_timeout_ms * kNsPerMs;
    BASALT_TRY(
        std::unique_ptr<tls::TlsSocket> socket,
        tls::TlsSocket::adopt(*context_, std::move(accepted), options, server, *this, handler));
    tls::TlsSocket* tls = socket.get();
    return GroupSocket{std::move(socket), tls};
}

const tls::Psk* GroupTls::find(std::string_view identity) {
    for (const auto& subsystem : group_.subsystems()) {
        if (subsystem->is_closing()) {
            continue;
        }
        if (const TlsCredential* found = find_credential(subsystem->config(), identity)) {
            return &found->psk;
        }
    }
    for (const GeneratedKey& key : generated_) {
        if (key.credential.identity == identity) {
            return &key.credential.psk;
        }
    }
    return nullptr;
}

void GroupTls::remove(std::string_view identity) {
    std::erase_if(generated_,
                  [&](const GeneratedKey& key) { return key.credential.identity == identity; });
}

bool GroupTls::is_generated(SubsystemId subsystem,
                            std::string_view host_nqn,
                            std::string_view identity) const {
    return std::any_of(generated_.begin(), generated_.end(), [&](const GeneratedKey& key) {
        return key.subsystem == subsystem && key.host_nqn == host_nqn &&
               key.credential.identity == identity;
    });
}

}  // namespace basalt::nvmf
