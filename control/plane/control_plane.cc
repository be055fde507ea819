#include "control/plane/control_plane.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "control/plane/limits.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::cluster {
namespace {

constexpr uint64_t kTickMinNs = 10 * kNsPerMs;

/// Often enough for what is set.
uint64_t tick_of(const health::HealthSettings& settings) {
    const uint64_t shortest =
        std::min(settings.heartbeat_interval_ns, settings.scan_interval_ns) / 4;
    return std::clamp(shortest, kTickMinNs, kTickNs);
}

}  // namespace

/// `co_await nap`: goes on after the delay, or when it is woken.
class [[nodiscard]] ControlPlane::Nap {
  public:
    Nap(ControlPlane& plane, uint64_t delay_ns) : plane_(plane), delay_ns_(delay_ns) {}
    Nap(const Nap&) = delete;
    Nap& operator=(const Nap&) = delete;
    ~Nap() = default;

    [[nodiscard]] bool await_ready() const { return plane_.is_stopping_; }
    void await_suspend(std::coroutine_handle<> sleeper) {
        sleeper_ = sleeper;
        plane_.nap_ = this;
        timer_.set([](Timer&, void* self) { static_cast<Nap*>(self)->end(); }, this);
        plane_.here_.start_timer(timer_, delay_ns_);
    }
    void await_resume() const {}

    void wake() {
        plane_.here_.stop_timer(timer_);
        plane_.here_.start_timer(timer_, 0);
    }

  private:
    void end() {
        plane_.nap_ = nullptr;
        sleeper_.resume();
    }

    ControlPlane& plane_;
    const uint64_t delay_ns_;
    Timer timer_;
    std::coroutine_handle<> sleeper_;
};

ControlPlane::Use::Use(ControlPlane& plane) : plane_(plane) {
    BASALT_ASSERT(plane.is_ready());
    ++plane_.users_;
}

ControlPlane::ControlPlane(Reactor& here,
                           StoreSource& source,
                           NodeApi& api,
                           ControlPlaneOptions options)
    : here_(here), source_(source), api_(api), options_(options) {}

ControlPlane::~ControlPlane() {
    BASALT_ASSERT(!is_running_ || here_.is_abandoned());
}

PlaneParts ControlPlane::parts() {
    BASALT_ASSERT(is_ready());
    return {.here = here_,
            .store = open_->store,
            .view = open_->view,
            .api = api_,
            .watch = open_->watch,
            .cluster = open_->cluster};
}

Attachments& ControlPlane::attachments() {
    BASALT_ASSERT(is_ready());
    return *open_->attachments;
}

void ControlPlane::start() {
    BASALT_ASSERT(!is_running_);
    is_running_ = true;
    run().detach();
}

void ControlPlane::begin_stop() {
    is_stopping_ = true;
    if (nap_ != nullptr) {
        nap_->wake();
    }
}

Task<void> ControlPlane::stop() {
    BASALT_ASSERT(is_stopping_);
    while (is_running_) {
        co_await sleep_for(here_, kSeenPollNs);
    }
}

Task<void> ControlPlane::run() {
    std::string said;
    while (!is_stopping_) {
        const Status opened = co_await open();
        if (opened) {
            said.clear();
            BASALT_LOG(kInfo,
                       "cluster",
                       "control process of cluster {}: metadata in {} ({})",
                       open_->cluster.to_string(),
                       source_.address(),
                       source_.kind());
            co_await serve();
        } else if (problem_ != std::exchange(said, problem_)) {
            BASALT_LOG(kError, "cluster", "the store of the metadata: {}", problem_);
        }
        co_await close();
        Nap pause(*this, kReopenPauseNs);
        co_await pause;
    }
    is_running_ = false;
}

/// Errors, explained in `problem_`: the store's; kInvalidArgument: it is another cluster's.
Task<Status> ControlPlane::open() {
    const Result<metadata::MetadataStore*> store = source_.open(problem_);
    if (!store) {
        co_return store.error();
    }
    open_ = std::make_unique<Open>(here_, **store, api_, options_.process);
    std::array<uint8_t, 16> bytes{};
    for (uint8_t& byte : bytes) {
        byte = static_cast<uint8_t>(here_.random().next());
    }
    const Uuid fresh = options_.cluster.is_nil() ? Uuid::from_random(bytes) : options_.cluster;
    const Result<Uuid> cluster = co_await open_cluster(**store, fresh, options_.started_ns);
    if (!cluster) {
        look_problem(cluster.error());
        co_return cluster.error();
    }
    if (!options_.cluster.is_nil() && *cluster != options_.cluster) {
        problem_ = source_.address() + " is of cluster " + cluster->to_string() +
                   ", and the configuration says " + options_.cluster.to_string();
        co_return Errc::kInvalidArgument;
    }
    open_->cluster = *cluster;
    const Status loaded = co_await open_->view.load();
    look_problem(loaded);
    if (loaded) {
        open_->is_ready = true;
        open_->attachments.emplace(parts());
    }
    co_return loaded;
}

void ControlPlane::look_problem(const Status& status) {
    problem_ = status ? "" : source_.address() + ": " + std::string(describe(status.error().code));
}

/// While the copy is current.
Task<void> ControlPlane::serve() {
    Open& open = *open_;
    while (!is_stopping_ && open.view.is_current()) {
        const ClusterSettings settings = read_settings(open.view.settings());
        open.watch.tick(open.view, settings.health);
        const Status led = co_await open.leadership.tick();
        look_problem(led);
        if (led && open.leadership.is_leader() && open.view.is_current()) {
            co_await lead();
        }
        if (led || !open.view.is_current()) {
            Nap nap(*this, tick_of(settings.health));
            co_await nap;
        } else {
            break;  // An embedded store that failed has to be opened anew; an etcd may be.
        }
    }
}

Task<void> ControlPlane::lead() {
    Open& open = *open_;
    std::vector<std::pair<Uuid, Node::Health>> changed;
    for (const auto& [uuid, node] : open.view.nodes()) {
        const Node::Health health = to_health(open.watch.state(uuid));
        if (health != node.record.health()) {
            changed.emplace_back(uuid, health);
        }
    }
    for (const auto& [uuid, health] : changed) {
        const Node::Health now = health;
        std::function<Status(Node&)> set = [now](Node& node) -> Status {
            node.set_health(now);
            return kOk;
        };
        Task<Result<Versioned<Node>>> updating =
            update_record<Node>(open.store, key_of(kNodes, uuid), Revision(), std::move(set));
        // What fails is seen, and tried, with the next tick.
        const Result<Versioned<Node>> updated = co_await updating;
        if (updated) {
            co_await wait_until_seen(here_, open.view, updated->version);
        }
    }
    std::vector<Uuid> attached;
    for (const auto& [uuid, attachment] : open.view.attachments()) {
        attached.push_back(uuid);
    }
    for (const Uuid& uuid : attached) {
        if (!is_stopping_) {
            mend(uuid).detach();
        }
    }
}

/// Beside the tick: a target that hangs holds up its own volumes only.
Task<void> ControlPlane::mend(Uuid volume) {
    const Use use(*this);
    co_await open_->attachments->mend(volume);
}

Task<void> ControlPlane::close() {
    if (open_ != nullptr) {
        open_->is_ready = false;
        while (users_ > 0) {
            co_await sleep_for(here_, kSeenPollNs);
        }
        co_await open_->watch.drain();
        co_await open_->leadership.resign();
        open_->view.stop();
        open_.reset();
    }
    source_.close();
}

}  // namespace basalt::cluster
