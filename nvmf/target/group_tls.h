#pragma once

#include <memory>
#include <string_view>

#include "nvmf/target/options.h"
#include "nvmf/target/tls_access.h"
#include "reactor/tls/tls_socket.h"

namespace basalt::nvmf {

class PollGroup;

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

  private:
    PollGroup& group_;
    std::unique_ptr<tls::Context> context_;  // From the first connection on that may speak TLS.
};

}  // namespace basalt::nvmf
