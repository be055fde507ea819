#include "nvmf/target/queue_memory.h"

#include "reactor/base/assert.h"

namespace basalt::nvmf {

HostShare& HostShares::join(std::string_view host_nqn) {
    auto at = by_host_.find(host_nqn);
    if (at == by_host_.end()) {
        at = by_host_.try_emplace(std::string(host_nqn)).first;
        at->second.name = at->first;
    }
    ++at->second.users;
    return at->second;
}

void HostShares::leave(HostShare& share) {
    BASALT_ASSERT(share.users > 0);
    if (--share.users == 0) {
        by_host_.erase(by_host_.find(share.name));
    }
}

}  // namespace basalt::nvmf
