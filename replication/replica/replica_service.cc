#include "replication/replica/replica_service.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace basalt::replication {

namespace {

bool is_read(MessageKind kind) {
    return kind == MessageKind::kRead || kind == MessageKind::kCopyRead;
}

bool brings_data(const Message& message) {
    return message.kind == MessageKind::kCopy ||
           (message.kind == MessageKind::kWrite && message.write == WriteKind::kData);
}

}  // namespace

/// `co_await Idle(service)`: goes on when nothing is under way and all is answered.
class [[nodiscard]] ReplicaService::Idle {
  public:
    explicit Idle(ReplicaService& service) : service_(service) {}

    [[nodiscard]] bool await_ready() const { return service_.is_idle(); }
    void await_suspend(std::coroutine_handle<> awaiter) {
        BASALT_ASSERT(!service_.stopper_);
        service_.stopper_ = awaiter;
    }
    void await_resume() const {}

  private:
    ReplicaService& service_;
};

Task<Result<std::unique_ptr<ReplicaService>>> ReplicaService::open(
    Reactor& here, BlockBuffers& buffers, std::unique_ptr<ReplicaStore> store, Mistakes mistakes) {
    Result<std::unique_ptr<ReplicaState>> state = co_await store->load_state();
    if (!state) {
        const Status stopped = co_await store->stop();
        static_cast<void>(stopped);  // What matters is why it can't be used.
        co_return state.error();
    }
    co_return std::unique_ptr<ReplicaService>(
        new ReplicaService(here, buffers, std::move(store), **state, mistakes));
}

ReplicaService::ReplicaService(Reactor& here,
                               BlockBuffers& buffers,
                               std::unique_ptr<ReplicaStore> store,
                               const ReplicaState& state,
                               const Mistakes& mistakes)
    : here_(here),
      buffers_(buffers),
      store_(std::move(store)),
      core_(store_->settings(), state, mistakes),
      lists_(store_->settings()),
      jobs_(std::make_unique<Job[]>(core_.slots())),
      data_(core_.slots() + 1) {
    // A message that finds no slot has data for a moment, too.
    free_data_.reserve(data_.size());
    for (auto i = static_cast<uint32_t>(data_.size()); i > 0; --i) {
        free_data_.push_back(i - 1);
    }
    for (uint32_t i = 0; i < core_.slots(); ++i) {
        jobs_[i].service = this;
        jobs_[i].slot = i;
    }
    replies_.reserve(size_t{core_.slots()} * 2);
    store_->start(core_.state());
}

ReplicaService::~ReplicaService() {
    BASALT_ASSERT(here_.is_abandoned() || (is_stopping_ && is_idle()));
    for (uint32_t i = 0; i < core_.slots(); ++i) {
        buffers_.cancel(jobs_[i].waiter);
    }
}

uint64_t ReplicaService::connect(ReplyPort& port) {
    connections_.push_back({++connection_names_, &port});
    return connection_names_;
}

void ReplicaService::disconnect(uint64_t connection) {
    std::erase_if(connections_,
                  [connection](const Connection& each) { return each.name == connection; });
}

ReplyPort* ReplicaService::find(uint64_t connection) const {
    for (const Connection& each : connections_) {
        if (each.name == connection) {
            return each.port;
        }
    }
    return nullptr;
}

// ---- messages

void ReplicaService::take(uint64_t connection, const Message& message, BlockRef data) {
    BASALT_ASSERT(!brings_data(message) || message.range.count == 0 ||
                  (data.is_valid() && data.blocks() == message.range.count));
    if (is_stopping_) {
        return;  // The connections are told that the replica is gone.
    }
    Message own = message;
    own.connection = connection;
    own.data = brings_data(message) ? keep(std::move(data)) : 0;
    perform(core_.apply(own), BlockRef());
    flush_later();
}

uint64_t ReplicaService::keep(BlockRef data) {
    BASALT_ASSERT(!free_data_.empty());
    const uint32_t place = free_data_.back();
    free_data_.pop_back();
    data_[place] = std::move(data);
    return uint64_t{place} + 1;
}

void ReplicaService::forget(uint64_t name) {
    if (name != 0) {
        data_[name - 1].reset();
        free_data_.push_back(static_cast<uint32_t>(name - 1));
    }
}

/// `loaded`: what the first answer to a read among them brings.
void ReplicaService::perform(ReplicaCore::Actions actions, BlockRef loaded) {
    for (const ReplicaAction& action : actions) {
        switch (action.kind) {
            case ReplicaAction::Kind::kStore: start_store(action); break;
            case ReplicaAction::Kind::kLoad: start_load(action); break;
            case ReplicaAction::Kind::kReply: {
                const bool has_data =
                    is_read(action.reply.kind) && action.reply.status == Errc::kOk;
                forget(action.message.data);
                replies_.push_back(
                    {action.reply, has_data ? std::exchange(loaded, BlockRef()) : BlockRef()});
                break;
            }
        }
    }
}

void ReplicaService::start_store(const ReplicaAction& action) {
    Job& job = jobs_[action.slot];
    job.message = &core_.message(action.slot);
    job.blocks = action.blocks;
    job.draws_line = action.draws_line;
    job.change = action.change;
    job.data = job.message->data != 0 ? data_[job.message->data - 1] : BlockRef();
    job.context = &job;
    job.done = [](StoreJob&, Errc status, void* context) {
        auto& done = *static_cast<Job*>(context);
        done.service->stored(done, status);
    };
    store_->store(job);
}

void ReplicaService::start_load(const ReplicaAction& action) {
    Job& job = jobs_[action.slot];
    job.message = &core_.message(action.slot);
    job.change = nullptr;
    job.context = &job;
    job.done = [](StoreJob&, Errc status, void* context) {
        auto& done = *static_cast<Job*>(context);
        done.service->loaded(done, status);
    };
    const uint32_t blocks = job.message->range.count;
    BlockRef buffer = buffers_.try_take(blocks);
    if (buffer.is_valid()) {
        load_into(job, std::move(buffer));
        return;
    }
    ++counters_.buffer_waits;
    job.is_waiting = true;
    buffers_.wait(job.waiter, blocks);
}

void ReplicaService::Job::granted(void* self, BlockRef buffer) {
    auto& job = *static_cast<Job*>(self);
    job.is_waiting = false;
    job.service->load_into(job, std::move(buffer));
}

void ReplicaService::load_into(Job& job, BlockRef buffer) {
    job.data = std::move(buffer);
    store_->load(job);
}

// ---- what the store has done

void ReplicaService::stored(Job& job, Errc status) {
    count(job, status);
    job.data.reset();
    perform(core_.stored(job.slot, status), BlockRef());
    flush();
}

void ReplicaService::loaded(Job& job, Errc status) {
    count(job, status);
    BlockRef data = std::move(job.data);
    const uint64_t digest = status == Errc::kOk ? digest_of(data.sums()) : 0;
    perform(core_.loaded(job.slot, status, digest), std::move(data));
    flush();
}

void ReplicaService::count(const Job& job, Errc status) {
    const Message& message = *job.message;
    if (status != Errc::kOk) {
        ++counters_.errors;
    } else if (is_read(message.kind)) {
        ++counters_.reads;
        counters_.blocks_read += message.range.count;
    } else if (is_write(message.kind)) {
        ++(message.kind == MessageKind::kWrite ? counters_.writes : counters_.copies);
        counters_.blocks_written += static_cast<uint64_t>(std::popcount(job.blocks));
    } else {
        ++counters_.controls;
    }
}

// ---- answers

void ReplicaService::flush_later() {
    if (replies_.empty() || is_flushing_ || is_flush_due_) {
        return;
    }
    is_flush_due_ = true;
    here_.defer(flush_event_);
}

void ReplicaService::flush_now(Event& event, Reactor&) {
    ReplicaService& self = static_cast<OwnEvent&>(event).service;
    self.is_flush_due_ = false;
    self.flush();
}

void ReplicaService::flush() {
    if (is_flushing_) {
        return;
    }
    is_flushing_ = true;
    // A port may give the next message from inside reply(), so that there are more.
    for (size_t i = 0; i < replies_.size(); ++i) {
        PendingReply pending = std::move(replies_[i]);
        core_.fill_in(pending.reply);
        counters_.refused += uint64_t{pending.reply.status == Errc::kStaleEpoch ||
                                      pending.reply.status == Errc::kTryAgain ||
                                      pending.reply.status == Errc::kNoMemory ||
                                      pending.reply.status == Errc::kInvalidArgument};
        if (ReplyPort* port = find(pending.reply.connection)) {
            port->reply(pending.reply, std::move(pending.data));
        }
    }
    replies_.clear();
    is_flushing_ = false;
    tell_if_idle();
}

// ---- the end

bool ReplicaService::is_idle() const {
    return core_.slots_in_use() == 0 && replies_.empty() && !is_flush_due_;
}

void ReplicaService::tell_if_idle() {
    if (stopper_ && is_idle() && !idle_event_.link.is_linked()) {
        here_.defer(idle_event_);
    }
}

void ReplicaService::go_on(Event& event, Reactor&) {
    std::exchange(static_cast<OwnEvent&>(event).service.stopper_, nullptr).resume();
}

Task<Status> ReplicaService::stop() {
    BASALT_ASSERT(!is_stopping_ && !is_flushing_);
    is_stopping_ = true;
    // Who holds the buffers may be waiting for us.
    for (uint32_t i = 0; i < core_.slots(); ++i) {
        if (std::exchange(jobs_[i].is_waiting, false)) {
            buffers_.cancel(jobs_[i].waiter);
            loaded(jobs_[i], Errc::kCancelled);
        }
    }
    co_await Idle(*this);
    const std::vector<Connection> left = std::exchange(connections_, {});
    for (const Connection& each : left) {
        each.port->replica_gone(*this, each.name);
    }
    co_return co_await store_->stop();
}

}  // namespace basalt::replication
