#pragma once

#include "bdev/core/io_request.h"
#include "reactor/reactor.h"

namespace basalt::bdev {

/// For leaves that know the outcome at once: completes `request`, which the caller owns as its
/// leaf, from the poll loop, later in this turn.
inline void complete_later(Reactor& here, IoRequest& request, Status outcome) {
    request.status = outcome;
    request.leaf_event.set_run([](Event& event, Reactor&) {
        IoRequest& done = LeafEvent::request_of(event);
        done.complete(done.status);
    });
    here.defer(request.leaf_event);
}

}  // namespace basalt::bdev
