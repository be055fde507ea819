#include "nvmf/target/request_pool.h"

#include <new>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

RequestStore::~RequestStore() {
    BASALT_ASSERT(used_count_ == 0);
    free_.clear();
}

void RequestStore::add(uint32_t count) {
    BASALT_ASSERT(made_.size() == total_count_);
    Region region;
    region.requests = std::make_unique_for_overwrite<std::byte[]>(count * sizeof(Request));
    region.deep = std::make_unique_for_overwrite<bdev::DeepCompletions[]>(count);
    region.count = count;
    regions_.push_back(std::move(region));
    total_count_ += count;
    made_.reserve(total_count_);
}

Request* RequestStore::take() {
    Request* request = free_.pop_front();
    if (request == nullptr) [[unlikely]] {
        request = make();
    }
    used_count_ += request == nullptr ? 0U : 1U;
    return request;
}

Request* RequestStore::make() {
    if (made_.size() == total_count_) {
        return nullptr;
    }
    Region& region = regions_.back();
    BASALT_ASSERT(region.made_count < region.count);
    std::byte* place = region.requests.get() + region.made_count * sizeof(Request);
    const auto tag = static_cast<uint16_t>(first_tag_ + made_.size());
    auto* made = ::new (place) Request(tag, region.deep[region.made_count]);
    ++region.made_count;
    made_.emplace_back(made);
    return made;
}

void RequestStore::put(Request& request) {
    BASALT_ASSERT(used_count_ > 0);
    BASALT_ASSERT(request.state() == Request::State::kFree);
    --used_count_;
    free_.push_front(request);
}

RequestPool::RequestPool(Reactor& reactor, uint32_t first_tag, uint32_t count)
    : reactor_(reactor), store_(first_tag) {
    store_.add(count);
}

Request* RequestPool::try_take(FairLine& account) {
    if (!FairLines::may_take(account, store_.free_count())) {
        return nullptr;
    }
    Request* request = store_.take();
    if (request != nullptr) {
        FairLines::took(account);
    }
    return request;
}

void RequestPool::put(Request& request, FairLine& account) {
    store_.put(request);
    FairLines::gave_back(account);
    if (lines_.has_waiters() && !serve_event_.is_waiting()) [[unlikely]] {
        reactor_.defer(serve_event_);
    }
}

void RequestPool::serve() {
    while (store_.free_count() > 0) {
        auto* waiter = static_cast<RequestWaiter*>(lines_.next(store_.free_count()));
        if (waiter == nullptr) {
            return;
        }
        Request* request = store_.take();
        BASALT_ASSERT(request != nullptr);
        waiter->granted_(waiter->context_, *request);
    }
}

}  // namespace basalt::nvmf
