#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nvmf/target/group_tls.h"
#include "reactor/async_mutex.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::nvmf {

class PollGroup;

/// The keys for TLS that hosts' authentications have made (secure channel concatenation), the same
/// on every reactor. A host makes one in clear, on a connection that it gives up then, and comes
/// back with it; a key serves all connections of that association. It is forgotten when none has
/// used it for a while, and when the host's keys are replaced or it is removed; connections that
/// are there stay.
///
/// Life: add() and revoke(), then end(). Owner: Target. Core: the control thread's.
class GeneratedKeys {
  public:
    /// Both outlive it. `groups` may be filled later.
    GeneratedKeys(Reactor& control, const std::vector<PollGroup*>& groups);
    GeneratedKeys(const GeneratedKeys&) = delete;
    GeneratedKeys& operator=(const GeneratedKeys&) = delete;

    /// When it ends, every reactor knows the key.
    [[nodiscard]] Task<void> add(GeneratedKey key);
    /// Forgets those of a host.
    [[nodiscard]] Task<void> revoke(SubsystemId subsystem, std::string host_nqn);
    /// Nothing of it visits a reactor from here on.
    [[nodiscard]] Task<void> end();

  private:
    struct Entry {
        SubsystemId subsystem;
        std::string host_nqn;
        std::string identity;
        uint64_t used_ns = 0;
    };

    [[nodiscard]] Task<void> remove(std::vector<std::string> identities);
    [[nodiscard]] Task<void> sweep();
    void watch();

    Reactor& control_;
    const std::vector<PollGroup*>& groups_;
    std::vector<Entry> entries_;  // Oldest first.
    AsyncMutex turns_{control_};
    Timer timer_;  // Runs while there are entries.
    bool is_ended_ = false;
};

}  // namespace basalt::nvmf
