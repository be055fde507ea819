#include <algorithm>
#include <utility>

#include "nvmf/target/connection.h"
#include "nvmf/target/poll_group.h"

// What memory a connection's requests hold, and the lines in which they wait for it; and what
// waits for a request.

namespace basalt::nvmf {

void Connection::choose_sources() {
    if (is_live() && !is_admin_queue()) {
        requests_.share(group_->requests(), *link.host);
    } else {
        requests_.share_no_more();
    }
    if (!is_live()) {
        QueuePools& pools = group_->connect_pools();
        data_source_ = {&pools.data, &pools.data.common_account()};
        capsule_source_ = {&pools.capsules, &pools.capsules.common_account()};
        return;
    }
    const bool is_admin = is_admin_queue();
    QueuePools& pools = is_admin ? group_->admin_pools() : group_->io_pools();
    data_source_ = {&pools.data, is_admin ? &link.host->admin_data : &link.host->data};
    capsule_source_ = {&pools.capsules,
                       is_admin ? &link.host->admin_capsules : &link.host->capsules};
}

void Connection::need_buffer(Request& request) {
    if (request.state() != Request::State::kNeedsBuffer) {
        request.set_state(Request::State::kNeedsBuffer);
    }
    if (move_.is_quieting()) [[unlikely]] {
        set_aside(request);
        return;
    }
    const size_t size_class = BufferPool::class_for(request.data_bytes);
    const uint32_t share = std::max(1U, data_source_.pool->total_count(size_class) / kBufferShare);
    if (share_used_[size_class] >= share) {
        needy_[size_class].push_back(request);
        return;
    }
    acquire_buffer(request);
}

void Connection::acquire_buffer(Request& request) {
    ++share_used_[BufferPool::class_for(request.data_bytes)];
    request.source = data_source_;
    const Buffer buffer = data_source_.try_acquire(request.data_bytes);
    if (!buffer.is_valid()) {
        data_source_.wait(request.waiter, request.data_bytes);
        return;
    }
    use_buffer(request, buffer);
}

void Connection::buffer_is_back(size_t size_class) {
    BASALT_ASSERT(share_used_[size_class] > 0);
    --share_used_[size_class];
    if (Request* next = needy_[size_class].pop_front()) {
        acquire_buffer(*next);
    }
}

void Connection::leave_line(Request& request) {
    BASALT_ASSERT(request.state() == Request::State::kNeedsBuffer);
    if (request.link.is_linked()) {
        RequestList::remove(request);  // From needy_.
        return;
    }
    BASALT_ASSERT(request.waiter.is_waiting());
    BufferPool::cancel(request.waiter);
    buffer_is_back(BufferPool::class_for(request.data_bytes));
}

void Connection::stop_waiting() {
    BufferPool::cancel(capsule_waiter_);
    rate_.leave();
    rate_.free_throttled();
    for (RequestList& line : needy_) {
        line.clear();
    }
    requests_.stop();
    // All of them before any memory goes back, or the pool would grant it to another of these.
    requests_.visit([this](Request& request) {
        if (request.state() == Request::State::kNeedsBuffer && request.waiter.is_waiting()) {
            BufferPool::cancel(request.waiter);
            --share_used_[BufferPool::class_for(request.data_bytes)];
        }
    });
    requests_.visit([this](Request& request) {
        if (request.state() == Request::State::kNeedsBuffer) {
            free_request(request);
        }
    });
}

void Connection::release_memory(Request& request) {
    if (request.kept) {
        const KeptMemory kept = *request.kept;
        request.kept.reset();
        group_->reactor().network().give_back(kept);
    }
    if (request.buffer.is_valid()) {
        const Buffer buffer = std::exchange(request.buffer, {});
        request.source.release(buffer);
        if (request.is_buffer_of_share) {
            request.is_buffer_of_share = false;
            buffer_is_back(buffer.size_class);
        }
    }
}

// --- Without a request -------------------------------------------------------------------------

void Connection::set_aside(Request& request) {
    BASALT_ASSERT(!request.holds_memory());
    requests_.set_aside({request.sqe, request.is_paid, request.is_abort_wanted});
    free_request(request);
}

bool Connection::may_begin_oldest() const {
    return requests_.has_backlog() && !is_closing() &&
           (move_.takes_commands() || (move_.is_quieting() && requests_.is_oldest_to_abort()));
}

void Connection::begin_set_aside() {
    WaitingCommand command;
    while (may_begin_oldest()) {
        Request* request = requests_.take_oldest(command);
        if (request == nullptr) {
            return;
        }
        begin_set_aside(*request, command);
    }
}

void Connection::begin_set_aside(Request& request, const WaitingCommand& command) {
    static_cast<void>(adopt(request, command.sqe, 0));
    request.is_paid = command.is_paid;
    request.is_abort_wanted = command.is_abort_wanted;
    begin(request);
}

}  // namespace basalt::nvmf
