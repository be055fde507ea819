#pragma once

#include "control/handlers/context.h"
#include "reactor/task.h"

namespace basalt::control {

/// Makes the ANA states of namespaces that are replicated volumes those of their heads, in
/// subsystems that report ANA: inaccessible on all listeners while the head is elsewhere (the
/// volume is a standby here), optimized from when it serves here; non-optimized, if somebody has
/// said so, is left as it is. While a head begins nothing changes. To be called when a head, a
/// namespace or a listener has changed.
void follow_heads(Context& context);

/// Follows them when they change. Owner: the daemon. Core: the control thread.
class AnaFollower final : public replication::HeadWatcher {
  public:
    explicit AnaFollower(Context& context) : context_(context) {}
    void head_changed() override { follow_heads(context_); }

  private:
    Context& context_;
};

}  // namespace basalt::control
