#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nvmf/target/options.h"
#include "nvmf/target/tls_access.h"
#include "reactor/tls/tls_socket.h"

namespace basalt::nvmf {

class PollGroup;

/// A key for TLS that an authentication has made for a host and a subsystem. A value.
struct GeneratedKey {
    SubsystemId subsystem;
    std::string host_nqn{};
    TlsCredential credential{};
};

/// A new connection's socket; `tls` is the same one if it speaks TLS or may.
struct GroupSocket {
    std::unique_ptr<Socket> socket;
    tls::TlsSocket* tls = nullptr;
};

/// TLS on one reactor: puts it between a new connection and its socket where an address may want
/// it, and knows the keys of all subsystems as this reactor has them. Owner and core: PollGroup.
class GroupTls final : public tls::PskSource {
  public:
    explicit GroupTls(PollGroup& group) : group_(group) {}
    GroupTls(const GroupTls&) = delete;
    GroupTls& operator=(const GroupTls&) = delete;

    /// Takes an accepted connection over, in clear or not, as the subsystems on `listener` want it
    /// at this moment. Errors: those of Network::adopt; kNoMemory.
    [[nodiscard]] Result<GroupSocket> adopt(AcceptedSocket accepted,
                                            ListenerId listener,
                                            const SocketOptions& options,
                                            SocketHandler& handler);

    /// What connections on `listener` have to begin with.
    [[nodiscard]] ListenerTls listener_tls(ListenerId listener) const;

    /// Also those of subsystems that listen elsewhere: Connect tells them.
    [[nodiscard]] const tls::Psk* find(std::string_view identity) override;

    /// Keys that authentications have made: GeneratedKeys has the same ones on every reactor.
    void add(const GeneratedKey& key) { generated_.push_back(key); }
    void remove(std::string_view identity);
    [[nodiscard]] bool is_generated(SubsystemId subsystem,
                                    std::string_view host_nqn,
                                    std::string_view identity) const;

  private:
    PollGroup& group_;
    std::vector<GeneratedKey> generated_;
    std::unique_ptr<tls::Context> context_;  // From the first connection on that may speak TLS.
};

}  // namespace basalt::nvmf
