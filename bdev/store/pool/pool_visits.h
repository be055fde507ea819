#pragma once

#include <vector>

#include "bdev/store/pool/pool.h"

namespace basalt::bdev::store {

/// Keeps the pool open while somebody looks at its partitions, or a snapshot is sent or received.
class Pool::Look {
  public:
    explicit Look(Pool& pool) : pool_(pool) { ++pool_.looks_; }
    Look(const Look&) = delete;
    Look& operator=(const Look&) = delete;
    ~Look() { --pool_.looks_; }

  private:
    Pool& pool_;
};

/// A look at one partition on its core. `argument` is all seats' alike.
template <typename Argument>
struct Pool::Visit {
    Pool& pool;
    uint32_t index = 0;
    Argument& argument;
    Status status;

    [[nodiscard]] Seat& seat() { return pool.seats_[index]; }
    [[nodiscard]] Partition& partition() { return *seat().partition; }
};

template <typename Argument>
Task<Status> Pool::on_seats(Argument& argument, Task<void> (*run)(Reactor&, Visit<Argument>&)) {
    struct Leg {
        static Task<void> go(Reactor& home, Visit<Argument>& one, decltype(run) there) {
            visit<Visit<Argument>> far(home, one.seat().place.core, one, there);
            co_await far;
        }
    };
    std::vector<Visit<Argument>> visits;
    visits.reserve(seats_.size());
    for (uint32_t i = 0; i < seats_.size(); ++i) {
        visits.push_back(Visit<Argument>{*this, i, argument, kOk});
    }
    std::vector<Task<void>> under_way;
    under_way.reserve(visits.size());
    for (Visit<Argument>& one : visits) {
        under_way.push_back(Leg::go(home_.control, one, run));
    }
    for (Task<void>& leg : under_way) {
        co_await leg;
    }
    Status status = kOk;
    for (const Visit<Argument>& one : visits) {
        status = status ? one.status : status;
    }
    co_return status;
}

}  // namespace basalt::bdev::store
