#include "bdev/store/page_loader.h"

#include "bdev/store/checksum.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

PageLoader::PageLoader(DevicePort& port, PageCache& cache, Space& space)
    : port_(port), cache_(cache), space_(space) {
    for (Load& load : loads_) {
        load.loader = this;
    }
}

bool PageLoader::want(const Pointer& pointer, PageWaiter& waiter) {
    waiter.has_failed = false;
    uint32_t frame = cache_.find(pointer.block());
    if (frame == PageCache::kNone) {
        if (!space_.is_page_used(pointer.block())) {
            last_damaged_ = pointer.block();
            return false;
        }
        Load* load = nullptr;
        for (Load& candidate : loads_) {
            if (candidate.frame == PageCache::kNone) {
                load = &candidate;
                break;
            }
        }
        frame =
            load == nullptr ? PageCache::kNone : cache_.begin_load(pointer.block(), pointer.crc);
        if (frame == PageCache::kNone) {
            line_.push_back(waiter);
            return true;
        }
        load->frame = frame;
        load->piece = {&cache_.page(frame), kBlockBytes};
        port_.prepare(load->request, IoOp::kRead, pointer.block(), {&load->piece, 1}, 1);
        load->request.push_completion(
            [](IoRequest&, void* context) {
                auto& done = *static_cast<Load*>(context);
                done.loader->loaded(done);
            },
            load);
        ++under_way_;
        port_.submit(load->request);
    }
    BASALT_ASSERT(cache_.frame(frame).state == PageCache::State::kLoading);
    cache_.frame(frame).waiters.push_back(waiter);
    return true;
}

void PageLoader::loaded(Load& load) {
    const uint32_t frame = load.frame;
    load.frame = PageCache::kNone;
    --under_way_;
    const auto bytes = std::as_bytes(std::span(&cache_.page(frame), 1));
    const bool is_good =
        load.request.status.has_value() && crc32c(bytes) == cache_.frame(frame).crc;
    if (!is_good) {
        last_damaged_ = cache_.frame(frame).block;
    }
    cache_.end_load(frame, is_good);
    retry();
}

void PageLoader::retry() {
    PageWaiters line;
    line.splice_back(line_);
    while (PageWaiter* waiter = line.pop_front()) {
        waiter->has_failed = false;
        waiter->resume(*waiter);
    }
}

}  // namespace basalt::bdev::store
