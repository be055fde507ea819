#include "bdev/core/channel_set.h"

#include <utility>

#include "reactor/base/assert.h"

namespace basalt::bdev {

struct ChannelSet::OpenVisit {
    ChannelSet& set;
    Status status{};
};

Task<void> ChannelSet::open_there(Reactor& there, OpenVisit& request) {
    if (!request.status) {
        co_return;  // Another core has failed already.
    }
    auto channel = request.set.device_.open(there);
    if (!channel) {
        request.status = channel.error();
        co_return;
    }
    request.set.channels_.on(there) = std::move(channel).value();
}

Task<void> ChannelSet::close_there(Reactor& there, ChannelSet& set) {
    std::unique_ptr<DeviceChannel>& channel = set.channels_.on(there);
    if (!channel) {
        co_return;
    }
    drained idle(*channel);
    co_await idle;
    channel.reset();
}

Task<Status> ChannelSet::open(Reactor& control) {
    BASALT_ASSERT(!is_open_);
    is_open_ = true;
    OpenVisit request{*this};
    co_await visit_cores(control, device_.cores(), request, &ChannelSet::open_there);
    if (!request.status) {
        co_await close(control);
    }
    co_return request.status;
}

Task<void> ChannelSet::close(Reactor& control) {
    BASALT_ASSERT(is_open_);
    co_await visit_cores(control, device_.cores(), *this, &ChannelSet::close_there);
    is_open_ = false;
}

}  // namespace basalt::bdev
