#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nvmf/target/request.h"
#include "reactor/base/assert.h"
#include "reactor/fair_lines.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"

namespace basalt::nvmf {

/// Memory for requests, by transfer tag. It is reserved, and a request made in it when it is first
/// needed: what was never used costs nothing (the system backs memory that is touched). Last in,
/// first out, while they are hot.
///
/// Owner: a RequestPool, or a connection that has requests of its own. Core: the owner's.
class RequestStore {
  public:
    /// Tags go from `first_tag` on.
    explicit RequestStore(uint32_t first_tag) : first_tag_(first_tag) {}
    RequestStore(const RequestStore&) = delete;
    RequestStore& operator=(const RequestStore&) = delete;
    ~RequestStore();  ///< All are back.

    /// Reserves memory for so many more.
    void add(uint32_t count);

    /// A free one, which is the taker's until put(); null if all are in use.
    [[nodiscard]] Request* take() {
        Request* request = nullptr;
        if (!free_.empty()) [[likely]] {
            request = free_.back();
            free_.pop_back();
        } else {
            request = make();
        }
        used_count_ += request == nullptr ? 0U : 1U;
        return request;
    }
    void put(Request& request) {
        BASALT_ASSERT(used_count_ > 0);
        BASALT_ASSERT(request.state() == Request::State::kFree);
        --used_count_;
        free_.push_back(&request);  // There is room for all.
    }

    [[nodiscard]] uint32_t free_count() const { return total_count_ - used_count_; }
    [[nodiscard]] uint32_t total_count() const { return total_count_; }
    /// The request with that tag, in use or not; null: there is none.
    [[nodiscard]] Request* find(uint32_t tag) const {
        const uint32_t index = tag - first_tag_;
        return index < made_.size() ? made_[index].get() : nullptr;
    }

  private:
    struct EndRequest {
        void operator()(Request* request) const { request->~Request(); }
    };
    /// Memory that was reserved at once, and the next to be used of it.
    struct Region {
        std::unique_ptr<std::byte[]> requests;
        std::unique_ptr<bdev::DeepCompletions[]> deep;
        uint32_t count = 0;
        uint32_t made_count = 0;
    };

    [[nodiscard]] Request* make();

    const uint32_t first_tag_;
    std::vector<Region> regions_;                             // All but the last are used up.
    std::vector<std::unique_ptr<Request, EndRequest>> made_;  // The index is tag - first_tag_.
    std::vector<Request*> free_;                              // The last is the hottest.
    uint32_t total_count_ = 0;
    uint32_t used_count_ = 0;
};

/// Waits for a request of a pool. Embedded in the connection that needs it.
class RequestWaiter : public FairWaiter {
  public:
    /// Called from the reactor's loop, with a request that is now the waiter's. Returns whether it
    /// wants another; it does not wait then, the pool sees to that.
    using Granted = bool (*)(void* context, Request& request);

    /// `context` outlives the waiting.
    RequestWaiter(Granted granted, void* context) : granted_(granted), context_(context) {}

  private:
    friend class RequestPool;

    Granted granted_;
    void* context_;
    FairLine* account_ = nullptr;  // In whose line it waits.
};

/// Requests that the live I/O queues of one reactor share, each host with an account of what it
/// holds. Who finds none waits in its host's line, and gets up to kRequestsPerGrant in its turn:
/// what goes to the device together comes back together, and is answered by one send.
///
/// Owner: RequestPools. Core: the reactor's.
class RequestPool {
  public:
    RequestPool(Reactor& reactor, uint32_t first_tag, uint32_t count);
    RequestPool(const RequestPool&) = delete;
    RequestPool& operator=(const RequestPool&) = delete;

    /// Null: there is none, or the account may have no more, or others of it wait already.
    [[nodiscard]] Request* try_take(FairLine& account) {
        if (!FairLines::may_take(account, store_.free_count())) {
            return nullptr;
        }
        Request* request = store_.take();
        if (request != nullptr) {
            FairLines::took(account);
        }
        return request;
    }
    /// After try_take() gave none.
    void wait(RequestWaiter& waiter, FairLine& account) {
        waiter.account_ = &account;
        lines_.wait(waiter, account);
    }
    /// `request` was taken for `account`.
    void put(Request& request, FairLine& account) {
        store_.put(request);
        FairLines::gave_back(account);
        if (lines_.has_waiters() && !serve_event_.is_waiting()) [[unlikely]] {
            reactor_.defer(serve_event_);
        }
    }

    [[nodiscard]] Request* find(uint32_t tag) const { return store_.find(tag); }
    [[nodiscard]] uint32_t free_count() const { return store_.free_count(); }

  private:
    void serve();
    void serve(RequestWaiter& waiter);

    Reactor& reactor_;
    RequestStore store_;
    FairLines lines_;
    OwnedEvent<RequestPool, &RequestPool::serve> serve_event_{*this};
};

/// The requests of one reactor's live I/O queues.
///
/// Commands whose data comes with them, and halves of fused pairs, have a pool of their own. They
/// stop their stream until they have a request, and so nobody who holds one of that pool may wait
/// for what comes in any stream: they are executed, or refused, as soon as they are there. (Of
/// pairs that isn't true, but they are few: kFusedPairs.) All others need no memory before they
/// have a request: without one they are set aside (Backlog), and the stream goes on, with the data
/// that those are waiting for who hold the requests.
///
/// Owner: PollGroup. Core: the group's.
struct RequestPools {
    RequestPools(Reactor& reactor, uint32_t count, uint32_t capsule_count)
        : general(reactor, 0, count), capsules(reactor, count, capsule_count) {}

    [[nodiscard]] Request* find(uint32_t tag) const {
        Request* request = general.find(tag);
        return request != nullptr ? request : capsules.find(tag);
    }

    RequestPool general;
    RequestPool capsules;
};

}  // namespace basalt::nvmf
