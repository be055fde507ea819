#pragma once

#include <algorithm>
#include <iterator>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "reactor/reactor.h"
#include "replication/replica/replica_store.h"
#include "replication/replica/replicas.h"

namespace basalt::replication::test {

/// What a replica's store may do wrong, so that tests prove that the simulation finds it.
struct StoreMistakes {
    bool acks_before_durable = false;  ///< A write is told to be done when it begins.
    bool forgets_window = false;       ///< When it is opened.
    bool forgets_dirty = false;        ///< Likewise.
};

/// A store in the way to another one, which makes these mistakes. Without any it does nothing.
class CarelessStore final : public ReplicaStore {
  public:
    CarelessStore(Reactor& here, std::unique_ptr<ReplicaStore> real, StoreMistakes mistakes)
        : here_(here), real_(std::move(real)), mistakes_(mistakes) {}
    CarelessStore(const CarelessStore&) = delete;
    CarelessStore& operator=(const CarelessStore&) = delete;
    ~CarelessStore() override = default;

    [[nodiscard]] const Settings& settings() const override { return real_->settings(); }
    [[nodiscard]] Task<Result<std::unique_ptr<ReplicaState>>> load_state() override {
        Task<Result<std::unique_ptr<ReplicaState>>> loading = real_->load_state();
        Result<std::unique_ptr<ReplicaState>> state = co_await loading;
        if (state && mistakes_.forgets_window) {
            (*state)->window.clear();
        }
        if (state && mistakes_.forgets_dirty) {
            (*state)->dirty.clear_all();
        }
        co_return std::move(state);
    }
    void start(const ReplicaState& state) override { real_->start(state); }
    void load(StoreJob& job) override {
        if (early_.empty()) {
            real_->load(job);
        } else {
            late_.push_back({&job, true});
        }
    }
    void store(StoreJob& job) override {
        if (may_be_early(job)) {
            early_.emplace_back(*this, job);
            early_.back().at = std::prev(early_.end());
            here_.start_timer(early_.back().timer, 0);
        } else if (early_.empty()) {
            real_->store(job);
        } else {
            late_.push_back({&job, false});
        }
    }
    [[nodiscard]] Task<Status> stop() override {
        Task<Status> stopping = real_->stop();
        const Status stopped = co_await stopping;
        co_return stopped;
    }

  private:
    static constexpr uint64_t kEarlyNs = 3 * kNsPerMs;

    /// A write that is told to be done, and is not begun yet or under way.
    struct Early {
        Early(CarelessStore& store, StoreJob& told_job)
            : owner(store), told(&told_job), message(*told_job.message) {
            job.message = &message;
            job.blocks = told_job.blocks;
            job.data = told_job.data;
            job.context = this;
            job.done = [](StoreJob&, Errc, void* self) {
                Early& early = *static_cast<Early*>(self);
                early.owner.ended(early);
            };
            timer.set([](Timer&, void* self) { static_cast<Early*>(self)->go_on(); }, this);
        }
        void go_on() {
            if (StoreJob* to_tell = std::exchange(told, nullptr)) {
                owner.here_.start_timer(timer, kEarlyNs);
                to_tell->done(*to_tell, Errc::kOk, to_tell->context);
            } else {
                owner.real_->store(job);
            }
        }

        CarelessStore& owner;
        StoreJob* told;
        const Message message;
        StoreJob job;
        Timer timer;
        std::list<Early>::iterator at{};
    };
    struct Late {
        StoreJob* job = nullptr;
        bool is_load = false;
    };

    [[nodiscard]] bool may_be_early(const StoreJob& job) const {
        return mistakes_.acks_before_durable && job.change == nullptr && job.data.is_valid() &&
               late_.empty() &&
               std::none_of(early_.begin(), early_.end(), [&job](const Early& early) {
                   return early.message.range.overlaps(job.message->range);
               });
    }
    void ended(const Early& early) {
        early_.erase(early.at);
        const std::vector<Late> late =
            early_.empty() ? std::exchange(late_, {}) : std::vector<Late>();
        for (const Late& each : late) {
            if (each.is_load) {
                real_->load(*each.job);
            } else {
                real_->store(*each.job);
            }
        }
    }

    Reactor& here_;
    const std::unique_ptr<ReplicaStore> real_;
    const StoreMistakes mistakes_;
    std::list<Early> early_;
    std::vector<Late> late_;  // What came meanwhile, in order.
};

/// A drive whose stores are careless.
class CarelessDrive final : public ReplicaDrive {
  public:
    CarelessDrive(Reactor& here, ReplicaDrive& real, StoreMistakes mistakes)
        : here_(here), real_(real), mistakes_(mistakes) {}

    [[nodiscard]] const bdev::Uuid& uuid() const override { return real_.uuid(); }
    [[nodiscard]] Task<Status> create(uint64_t volume,
                                      Settings settings,
                                      ReplicaOrigin origin) override {
        return real_.create(volume, settings, origin);
    }
    [[nodiscard]] Task<Result<std::unique_ptr<ReplicaStore>>> open(uint64_t volume) override {
        Task<Result<std::unique_ptr<ReplicaStore>>> opening = real_.open(volume);
        Result<std::unique_ptr<ReplicaStore>> store = co_await opening;
        if (store) {
            *store = std::make_unique<CarelessStore>(here_, std::move(*store), mistakes_);
        }
        co_return std::move(store);
    }
    [[nodiscard]] Task<Status> remove(uint64_t volume) override { return real_.remove(volume); }
    [[nodiscard]] Task<std::vector<uint64_t>> list() override { return real_.list(); }

  private:
    Reactor& here_;
    ReplicaDrive& real_;
    const StoreMistakes mistakes_;
};

}  // namespace basalt::replication::test
