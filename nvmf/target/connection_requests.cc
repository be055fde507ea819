#include "nvmf/target/connection_requests.h"

#include <utility>

#include "nvmf/target/connection.h"
#include "nvmf/target/queue_memory.h"

namespace basalt::nvmf {

ConnectionRequests::ConnectionRequests(Connection& connection)
    : connection_(connection),
      own_(kOwnTagFirst),
      claim_waiter_(
          [](void* self, Request& request) {
              static_cast<ConnectionRequests*>(self)->claim_granted(request);
              return false;
          },
          this),
      backlog_waiter_(
          [](void* self, Request& request) {
              return static_cast<ConnectionRequests*>(self)->backlog_granted(request);
          },
          this) {
    own_.add(kRequestsBeforeConnect);
}

ConnectionRequests::~ConnectionRequests() {
    BASALT_ASSERT(used_count_ == 0);
    BASALT_ASSERT(claimed_ == nullptr);
}

void ConnectionRequests::deepen(uint32_t commands_max, bool is_admin) {
    BASALT_ASSERT(commands_max_ == kRequestsBeforeConnect);
    BASALT_ASSERT(commands_max <= kOwnTags);
    commands_max_ = commands_max;
    if (is_admin) {
        own_.add(commands_max - kRequestsBeforeConnect);
    } else {
        backlog_.reserve(commands_max);
    }
    may_be_room();
}

void ConnectionRequests::share(RequestPools& pools, HostShare& host) {
    cancel_waiters();
    pools_ = &pools;
    general_ = {&pools.general, &host.requests};
    capsules_ = {&pools.capsules, &host.capsule_requests};
    may_be_room();
}

void ConnectionRequests::share_no_more() {
    cancel_waiters();
    general_ = {};
    capsules_ = {};
    may_be_room();
}

void ConnectionRequests::cancel_waiters() {
    FairLines::cancel(claim_waiter_);
    FairLines::cancel(backlog_waiter_);
}

void ConnectionRequests::may_be_room() {
    if (is_short_) {
        is_short_ = false;
        connection_.resume_later();
    }
}

Request* ConnectionRequests::take(Kind kind) {
    const RequestSource& source = kind == Kind::kCapsule ? capsules_ : general_;
    if (source.pool != nullptr) [[likely]] {
        if (Request* request = source.pool->try_take(*source.account)) {
            request->source_of_request = source;
            return request;
        }
    }
    Request* request = own_.take();
    if (request != nullptr) {
        request->source_of_request = {};
    }
    return request;
}

void ConnectionRequests::wait(RequestWaiter& waiter, const RequestSource& source) {
    if (source.pool != nullptr && !waiter.is_waiting()) {
        source.pool->wait(waiter, *source.account);
    }
}

void ConnectionRequests::put(Request& request) {
    const RequestSource source = std::exchange(request.source_of_request, {});
    if (source.pool != nullptr) [[likely]] {
        source.pool->put(request, *source.account);
    } else {
        own_.put(request);
    }
}

void ConnectionRequests::use(Request& request) {
    request.owner = &connection_;
    used_.push_back(request);
    ++used_count_;
}

// --- The head of the stream --------------------------------------------------------------------

Request* ConnectionRequests::claim(Kind kind) {
    if (claimed_ == nullptr) {
        claimed_ = take(kind);
        if (claimed_ != nullptr) {
            FairLines::cancel(claim_waiter_);
        }
    }
    return claimed_;
}

void ConnectionRequests::use_claimed() {
    use(*std::exchange(claimed_, nullptr));
}

void ConnectionRequests::wait_for_claim() {
    is_short_ = true;
    wait(claim_waiter_, capsules_);
}

void ConnectionRequests::claim_granted(Request& request) {
    BASALT_ASSERT(claimed_ == nullptr);
    request.source_of_request = capsules_;
    claimed_ = &request;
    connection_.resume_later();
}

// --- What was set aside ------------------------------------------------------------------------

Request* ConnectionRequests::take_oldest(WaitingCommand& command) {
    Request* request = take(Kind::kGeneral);
    if (request == nullptr) {
        is_short_ = true;
        wait(backlog_waiter_, general_);
        return nullptr;
    }
    use(*request);
    command = backlog_.pop();
    if (backlog_.is_empty()) {
        FairLines::cancel(backlog_waiter_);
    }
    return request;
}

bool ConnectionRequests::backlog_granted(Request& request) {
    request.source_of_request = general_;
    if (!connection_.may_begin_oldest()) {
        put(request);
        return false;
    }
    use(request);
    connection_.begin_set_aside(request, backlog_.pop());
    return connection_.may_begin_oldest();
}

// --- The end -----------------------------------------------------------------------------------

void ConnectionRequests::give_back(Request& request) {
    BASALT_ASSERT(request.owner == &connection_);
    BASALT_ASSERT(used_count_ > 0);
    used_.remove(request);
    --used_count_;
    request.owner = nullptr;
    put(request);
    may_be_room();
}

void ConnectionRequests::leave() {
    cancel_waiters();
    if (claimed_ != nullptr) {
        put(*std::exchange(claimed_, nullptr));
    }
}

void ConnectionRequests::stop() {
    leave();
    backlog_.clear();
}

Request* ConnectionRequests::find(uint32_t tag) const {
    Request* request = own_.find(tag);
    if (request == nullptr && pools_ != nullptr) {
        request = pools_->find(tag);
    }
    return request != nullptr && request->owner == &connection_ ? request : nullptr;
}

}  // namespace basalt::nvmf
