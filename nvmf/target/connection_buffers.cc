#include "nvmf/target/connection.h"
#include "nvmf/target/poll_group.h"

// What memory a connection's requests hold, and the lines in which they wait for it.

namespace basalt::nvmf {

void Connection::need_buffer(Request& request) {
    request.set_state(Request::State::kNeedsBuffer);
    const size_t size_class = BufferPool::class_for(request.data_bytes);
    if (share_used_[size_class] >= group_.buffer_share(size_class)) {
        needy_[size_class].push_back(request);
        return;
    }
    acquire_buffer(request);
}

void Connection::acquire_buffer(Request& request) {
    ++share_used_[BufferPool::class_for(request.data_bytes)];
    const Buffer buffer = group_.io_pool().try_acquire(request.data_bytes);
    if (!buffer.is_valid()) {
        group_.io_pool().wait(request.waiter, request.data_bytes);
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
    for (RequestList& line : needy_) {
        line.clear();
    }
    // All of them before any memory goes back, or the pool would grant it to another of these.
    for (const auto& request : requests_) {
        if (request->state() == Request::State::kNeedsBuffer && request->waiter.is_waiting()) {
            BufferPool::cancel(request->waiter);
            --share_used_[BufferPool::class_for(request->data_bytes)];
        }
    }
    for (const auto& request : requests_) {
        if (request->state() == Request::State::kNeedsBuffer) {
            free_request(*request);
        }
    }
}

void Connection::release_memory(Request& request) {
    if (request.kept) {
        const KeptMemory kept = *request.kept;
        request.kept.reset();
        group_.reactor().network().give_back(kept);
    }
    if (request.buffer.is_valid()) {
        BufferPool& pool =
            request.is_buffer_from_capsule_pool ? group_.capsule_pool() : group_.io_pool();
        const Buffer buffer = request.buffer;
        request.buffer = {};
        pool.release(buffer);
        if (request.is_buffer_of_share) {
            request.is_buffer_of_share = false;
            buffer_is_back(buffer.size_class);
        }
    }
}

}  // namespace basalt::nvmf
