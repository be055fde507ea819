#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "nvmf/initiator/limits.h"
#include "nvmf/tls/credential.h"
#include "nvmf/wire/ids.h"
#include "reactor/io/socket_address.h"

namespace basalt::nvmf {

class HostAuthenticator;

/// How to reach a subsystem, and as whom: the same for all queues of one controller. A value.
struct HostOptions {
    SocketAddress address;
    std::string subsystem_nqn;  ///< A valid NQN.
    std::string host_nqn;       ///< A valid NQN.
    std::array<uint8_t, 16> host_id{};
    bool header_digest = false;
    bool data_digest = false;
    bool disable_sq_flow_control = false;  ///< Lets the controller leave responses of reads out.
    bool wants_discovery_events = false;   ///< Of a discovery controller that is kept connected.
    uint32_t keep_alive_ms = 10'000;       ///< 0: none.
    /// The connection ends with it. 0: none, but for what kHostAdminTimeoutNs is for.
    uint64_t command_timeout_ns = 30 * kNsPerSecond;
    uint32_t user_timeout_ms = 30'000;  ///< TCP_USER_TIMEOUT.
    TlsCredential tls{};                ///< Of host and subsystem; without an identity: no TLS.
    /// Proves our queues where the controller wants it or must prove itself; outlives them. Null:
    /// we can't.
    HostAuthenticator* authenticator = nullptr;
    /// Without `tls`: has the authentication make a key for it, and uses that (secure channel
    /// concatenation). Needs an authenticator.
    bool concatenates = false;
};

/// One queue pair.
struct HostQueueOptions {
    HostOptions host;
    QueueId qid = kAdminQueueId;
    ControllerId cntlid = kControllerIdAny;  ///< From the admin queue's Connect.
    uint32_t entries = kHostAdminQueueEntries;
    /// In-capsule data that an I/O command may carry (from IOCCSZ); longer data waits for an R2T.
    uint32_t capsule_data_bytes = 0;
};

}  // namespace basalt::nvmf
