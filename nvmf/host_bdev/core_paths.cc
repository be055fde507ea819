#include "nvmf/host_bdev/core_paths.h"

#include <algorithm>
#include <utility>

namespace basalt::nvmf {

namespace {

constexpr uint64_t kNoticePollNs = kNsPerMs;

}  // namespace

CorePaths::CorePaths(Reactor& here, CoreId control, CorePathsUser& user)
    : here_(here), control_(control), user_(user) {
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        paths_[i].owner = this;
        paths_[i].index = i;
    }
    notice_.owner = this;
}

CorePaths::~CorePaths() {
    BASALT_ASSERT(channels_.empty());
    BASALT_ASSERT(!is_notice_away_ || here_.is_abandoned());
}

Task<Status> CorePaths::connect(const PathConnect& options) {
    Path& path = paths_[options.path];
    BASALT_ASSERT(path.queue == nullptr);
    path.queue = std::make_unique<HostQueue>(here_, options.queue);
    path.epoch = options.epoch;
    path.transfer_bytes_max = options.transfer_bytes_max;
    path.retry_delays = options.retry_delays;
    path.queue->set_closed(&CorePaths::on_queue_closed, &path);
    const Result<ControllerId> connected = co_await path.queue->connect();
    if (!connected) {
        path.queue.reset();
        co_return connected.error();
    }
    if (!path.queue->is_live()) {
        const Error why = path.queue->close_reason();
        co_await path.queue->end();
        path.queue.reset();
        co_return why;
    }
    path.is_up = true;
    kick();
    co_return kOk;
}

Task<void> CorePaths::drop(uint32_t index) {
    Path& path = paths_[index];
    path.is_up = false;
    if (path.queue == nullptr) {
        co_return;
    }
    co_await path.queue->end();
    path.queue.reset();
}

Task<Status> CorePaths::authenticate(uint32_t index) {
    HostQueue* queue = live_queue(index);
    if (queue == nullptr) {
        co_return Errc::kConnectionClosed;
    }
    co_return co_await queue->authenticate_again();
}

void CorePaths::lift_fence(uint32_t path, uint32_t epoch) {
    // Two visits of the control thread may come in any order.
    paths_[path].fenced_epoch = std::max(paths_[path].fenced_epoch, epoch);
    kick();
}

Task<void> CorePaths::retire() {
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        co_await drop(i);
    }
    while (is_notice_away_) {
        co_await sleep_for(here_, kNoticePollNs);
    }
}

void CorePaths::kick() {
    for (PathUser* user = channels_.front(); user != nullptr; user = channels_.next(*user)) {
        user->on_paths_changed();
    }
}

// --- News for the control thread -------------------------------------------------------------

void CorePaths::on_queue_closed(void* context, Error reason) {
    Path& path = *static_cast<Path*>(context);
    if (!std::exchange(path.is_up, false)) {
        return;  // Asked for, or it never came up.
    }
    News& news = path.owner->waiting_news_[path.index];
    news.lost_epoch = path.epoch;
    news.lost_reason = reason;
    path.owner->has_waiting_news_ = true;
    path.owner->tell();
}

void CorePaths::report_ana(uint32_t path) {
    waiting_news_[path].has_ana_hint = true;
    has_waiting_news_ = true;
    tell();
}

void CorePaths::tell() {
    if (is_notice_away_ || !has_waiting_news_) {
        return;
    }
    is_notice_away_ = true;
    has_waiting_news_ = false;
    notice_.news = std::exchange(waiting_news_, {});
    notice_.set_run(&CorePaths::deliver);
    here_.post(control_, notice_);
}

void CorePaths::deliver(Event& event, Reactor& control) {
    auto& notice = static_cast<Notice&>(event);
    CorePaths& owner = *notice.owner;
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        const News& news = notice.news[i];
        if (news.has_ana_hint) {
            owner.user_.on_ana_hint(i);
        }
        if (news.lost_epoch != 0) {
            owner.user_.on_queue_lost(i, news.lost_epoch, news.lost_reason);
        }
    }
    notice.set_run(&CorePaths::returned);
    control.post(owner.here_.core(), notice);
}

void CorePaths::returned(Event& event, Reactor& /*here*/) {
    CorePaths& owner = *static_cast<Notice&>(event).owner;
    owner.is_notice_away_ = false;
    owner.tell();
}

}  // namespace basalt::nvmf
