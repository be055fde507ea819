#include "nvmf/target/connection_rate.h"

#include <utility>

#include "nvmf/target/connection.h"
#include "nvmf/target/host_rate.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"

namespace basalt::nvmf {

ConnectionRate::ConnectionRate(Connection& connection) : connection_(connection) {
    turn_.context = this;
    turn_.go = [](void* self) { static_cast<ConnectionRate*>(self)->turn_came(); };
}

// --- In the stream -----------------------------------------------------------------------------

bool ConnectionRate::pay_capsule(const Sqe& sqe, uint32_t bytes) {
    if (is_capsule_paid_ || sqe.fuse() != Fuse::kNone || !connection_.is_live()) {
        return true;
    }
    if (turn_.lane != nullptr) {
        return false;
    }
    const std::optional<qos::IoCost> cost = host_cost(sqe, bytes, 0);
    const bool will_be_refused = connection_.link.subsystem->find_namespace(sqe.nsid()) == nullptr;
    if (!cost || will_be_refused) {
        return true;
    }
    if (connection_.link.lane->try_take(*cost)) {
        is_capsule_paid_ = true;
        return true;
    }
    turn_.cost = *cost;
    stopped_since_ns_ = connection_.group().reactor().now_ns();
    connection_.link.lane->wait(turn_);
    return false;
}

bool ConnectionRate::take_payment() {
    return std::exchange(is_capsule_paid_, false);
}

void ConnectionRate::turn_came() {
    is_capsule_paid_ = true;
    stopped_ns_ += connection_.group().reactor().now_ns() - stopped_since_ns_;
    connection_.resume_later();
}

void ConnectionRate::leave() {
    if (turn_.lane != nullptr) {
        turn_.lane->forget(turn_);
        stopped_ns_ += connection_.group().reactor().now_ns() - stopped_since_ns_;
    }
}

uint64_t ConnectionRate::receiving_ns() const {
    const uint64_t now_ns = connection_.group_->reactor().now_ns();
    return now_ns - stopped_ns_ - (turn_.lane != nullptr ? now_ns - stopped_since_ns_ : 0);
}

// --- Commands ----------------------------------------------------------------------------------

bool ConnectionRate::pay(Request& request) {
    if (request.is_paid) {
        return true;
    }
    const ControllerLink& link = connection_.link;
    const Namespace* space = link.subsystem->find_namespace(request.sqe.nsid());
    const uint32_t block_bytes = space == nullptr ? 0 : space->info().block_size_bytes;
    const std::optional<qos::IoCost> cost = host_cost(request.sqe, request.data_bytes, block_bytes);
    if (!cost) {
        return true;
    }
    if (request.fused != nullptr) {
        // The halves of a pair wait for each other; what comes next waits for them.
        link.lane->charge(*cost);
        return true;
    }
    if (link.lane->try_take(*cost)) {
        request.is_paid = true;
        return true;
    }
    if (connection_.move_.is_quieting() && !request.holds_memory()) {
        connection_.set_aside(request);
        return false;
    }
    request.set_state(Request::State::kThrottled);
    link.lane->wait(request.io, *cost, &request);
    return false;
}

void ConnectionRate::granted(bdev::IoRequest& /*io*/, void* request) {
    Request& paid = *static_cast<Request*>(request);
    paid.is_paid = true;
    if (paid.connection().is_closing()) {
        paid.connection().free_request(paid);
    } else {
        paid.connection().go_on(paid);
    }
}

void ConnectionRate::set_throttled_aside() {
    connection_.requests_.visit([this](Request& request) {
        if (request.state() == Request::State::kThrottled && !request.holds_memory()) {
            request.io.lane->forget(request.io);
            connection_.set_aside(request);
        }
    });
}

void ConnectionRate::free_throttled() {
    connection_.requests_.visit([this](Request& request) {
        if (request.state() == Request::State::kThrottled) {
            request.io.lane->forget(request.io);
            connection_.free_request(request);
        }
    });
}

void ConnectionRate::refuse_orphans() {
    Subsystem& subsystem = *connection_.link.subsystem;
    connection_.requests_.visit([&](Request& request) {
        if (request.state() == Request::State::kThrottled &&
            subsystem.find_namespace(request.sqe.nsid()) == nullptr) {
            request.io.lane->forget(request.io);
            connection_.judge(request);
        }
    });
    if (turn_.lane != nullptr) {
        leave();
        connection_.resume_later();  // The capsule may be one of them.
    }
}

void ConnectionRate::hurry(const Namespace& leaving) {
    connection_.requests_.visit([&](Request& request) {
        const bool is_inside = request.state() == Request::State::kExecuting &&
                               (request.target_namespace == &leaving || request.fused != nullptr);
        if (is_inside && request.io.lane != nullptr) {
            request.io.lane->release(request.io);
        }
    });
}

}  // namespace basalt::nvmf
