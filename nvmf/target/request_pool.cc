#include "nvmf/target/request_pool.h"

#include <new>

#include "nvmf/target/limits.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

RequestStore::~RequestStore() {
    BASALT_ASSERT(used_count_ == 0);
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
    free_.reserve(total_count_);
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

RequestPool::RequestPool(Reactor& reactor, uint32_t first_tag, uint32_t count)
    : reactor_(reactor), store_(first_tag) {
    store_.add(count);
}

void RequestPool::serve() {
    while (store_.free_count() > 0) {
        auto* waiter = static_cast<RequestWaiter*>(lines_.next(store_.free_count()));
        if (waiter == nullptr) {
            return;
        }
        serve(*waiter);
    }
}

/// It counts as having taken one.
void RequestPool::serve(RequestWaiter& waiter) {
    FairLine& account = *waiter.account_;
    for (uint32_t granted = 1;; ++granted) {
        Request* request = store_.take();
        BASALT_ASSERT(request != nullptr);
        if (!waiter.granted_(waiter.context_, *request)) {
            return;
        }
        const uint32_t free = store_.free_count();
        if (granted == kRequestsPerGrant || free == 0 || !FairLines::has_right(account, free)) {
            lines_.wait(waiter, account);  // Behind the others of its host.
            return;
        }
        FairLines::took(account);
    }
}

}  // namespace basalt::nvmf
