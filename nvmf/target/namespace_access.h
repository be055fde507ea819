#pragma once

#include <string_view>
#include <vector>

#include "nvmf/target/ana.h"
#include "nvmf/target/options.h"
#include "nvmf/wire/ids.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// What one queue may do with each namespace. It depends on the host (a namespace may be hidden
/// from it) and on the listener by which the queue came (the ANA state of the namespace's group
/// there). Worked out whenever a configuration is applied, so that an I/O looks at one byte, and
/// only where anything is restricted at all.
///
/// Owner: ControllerLink. Core: the connection's.
class NamespaceAccess {
  public:
    void update(const SubsystemConfig& config, ListenerId listener, std::string_view host_nqn);

    /// Success, also if there is no such namespace. Invalid Namespace or Format: it is hidden from
    /// the host. A path related status: it can't be reached by this path now.
    [[nodiscard]] NvmeStatus check(Nsid nsid) const {
        return by_nsid_.empty() ? status::kSuccess : check_restricted(nsid);
    }
    /// False only if it is hidden from the host.
    [[nodiscard]] bool is_visible(Nsid nsid) const {
        return by_nsid_.empty() || limit_of(nsid) != kHidden;
    }
    /// Optimized stands for all that is accessible.
    [[nodiscard]] AnaState ana_state(Nsid nsid) const;

  private:
    static constexpr uint8_t kFree = 0;
    static constexpr uint8_t kHidden = 0xff;  // All else: the AnaState that is in the way.

    [[nodiscard]] NvmeStatus check_restricted(Nsid nsid) const;
    [[nodiscard]] uint8_t limit_of(Nsid nsid) const {
        return nsid.raw() - 1U < by_nsid_.size() ? by_nsid_[nsid.raw() - 1U] : kFree;
    }

    std::vector<uint8_t> by_nsid_;  // By nsid - 1; empty if nothing is restricted.
};

}  // namespace basalt::nvmf
