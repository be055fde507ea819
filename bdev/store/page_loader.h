#pragma once

#include <array>
#include <coroutine>
#include <cstdint>

#include "bdev/store/device_port.h"
#include "bdev/store/page_cache.h"
#include "bdev/store/space.h"

namespace basalt::bdev::store {

/// Reads pages of the trees into the cache, a bounded number at a time, and verifies them. Owner:
/// the engine. Core: the partition's.
class PageLoader {
  public:
    static constexpr uint32_t kLoadsMax = 32;

    PageLoader(DevicePort& port, PageCache& cache, Space& space);
    PageLoader(const PageLoader&) = delete;
    PageLoader& operator=(const PageLoader&) = delete;
    ~PageLoader() { line_.clear(); }

    /// Resumes `waiter` when it is worth looking for the page again: it is there, or has_failed
    /// says that it can't be. Never resumes it inside. False, and it is not resumed: there can be
    /// no page where `pointer` leads to.
    [[nodiscard]] bool want(const Pointer& pointer, PageWaiter& waiter);

    /// Frames may be free now: lets those look again that found none.
    void retry();

    [[nodiscard]] uint32_t under_way() const { return under_way_; }

    /// The last page that could not be read or was not what was written.
    [[nodiscard]] uint64_t last_damaged() const { return last_damaged_; }

  private:
    struct Load {
        WholeIoRequest request;
        iovec piece{};
        PageLoader* loader = nullptr;
        uint32_t frame = PageCache::kNone;
    };

    void loaded(Load& load);

    DevicePort& port_;
    PageCache& cache_;
    Space& space_;
    std::array<Load, kLoadsMax> loads_;
    PageWaiters line_;  // No load, or no frame, was free.
    uint32_t under_way_ = 0;
    uint64_t last_damaged_ = 0;
};

/// `co_await PageWait(loader, pointer)`: false if the page can't be read. Then look again.
class [[nodiscard]] PageWait : private PageWaiter {
  public:
    PageWait(PageLoader& loader, const Pointer& pointer) : loader_(loader), pointer_(pointer) {}

    [[nodiscard]] bool await_ready() const { return false; }
    [[nodiscard]] bool await_suspend(std::coroutine_handle<> awaiter) {
        awaiter_ = awaiter;
        resume = [](PageWaiter& waiter) { static_cast<PageWait&>(waiter).awaiter_.resume(); };
        is_possible_ = loader_.want(pointer_, *this);
        return is_possible_;
    }
    [[nodiscard]] bool await_resume() const { return is_possible_ && !has_failed; }

  private:
    PageLoader& loader_;
    Pointer pointer_;
    std::coroutine_handle<> awaiter_;
    bool is_possible_ = false;
};

}  // namespace basalt::bdev::store
