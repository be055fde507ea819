#include <algorithm>
#include <utility>

#include "nvmf/host_bdev/ana_log.h"
#include "nvmf/host_bdev/controller_session.h"
#include "reactor/base/log.h"

// What a session does when its controller's namespaces or their ANA states have changed.

namespace basalt::nvmf {

namespace {

constexpr uint32_t kChangedListBytes = 4096;
constexpr uint8_t kCmicAna = 1U << 3U;

class LogOfController final : public AnaLogSource {
  public:
    explicit LogOfController(HostController& controller) : controller_(controller) {}
    [[nodiscard]] Task<Status> read(uint64_t offset, std::span<std::byte> piece) override {
        co_return co_await controller_.read_log(NVME_LOG_LID_ANA, offset, piece);
    }

  private:
    HostController& controller_;
};

}  // namespace

bool ControllerSession::has_ana() const {
    return (identity_.cmic & kCmicAna) != 0;
}

Task<Status> ControllerSession::read_ana() {
    if (!has_ana()) {
        co_return kOk;
    }
    const uint64_t wanted = sizeof(nvme_ana_log) +
                            uint64_t{identity_.nanagrpid} * sizeof(nvme_ana_group_desc) +
                            uint64_t{std::max(identity_.mnan, identity_.nn)} * sizeof(uint32_t);
    const uint64_t bytes_max = std::min<uint64_t>((wanted + 3) / 4 * 4, kAnaLogBytesMax);
    LogOfController source(*controller_);
    const Result<std::vector<AnaGroup>> groups =
        co_await read_ana_log(source, bytes_max, controller_->transfer_bytes_max());
    if (!groups) {
        co_return groups.error();
    }
    for (auto& [nsid, space] : namespaces_) {
        const uint32_t wanted_group = space.ana_group;
        const auto group =
            std::find_if(groups->begin(), groups->end(), [wanted_group](const AnaGroup& one) {
                return one.group == wanted_group;
            });
        space.access = group != groups->end() ? group->access : PathAccess::kInaccessible;
    }
    watch_transitions();
    co_return kOk;
}

void ControllerSession::watch_transitions() {
    const uint64_t now_ns = control_.now_ns();
    std::map<uint32_t, uint64_t> seen;
    uint64_t first_ns = UINT64_MAX;
    for (const auto& [nsid, space] : namespaces_) {
        if (space.access == PathAccess::kChange) {
            const auto before = in_transition_since_ns_.find(nsid);
            const uint64_t since_ns =
                before == in_transition_since_ns_.end() ? now_ns : before->second;
            seen.emplace(nsid, since_ns);
            first_ns = std::min(first_ns, since_ns);
        }
    }
    in_transition_since_ns_ = std::move(seen);
    control_.stop_timer(transition_timer_);
    if (first_ns == UINT64_MAX) {
        return;
    }
    const uint64_t end_ns = first_ns + std::max<uint64_t>(identity_.anatt, 1) * kNsPerSecond;
    if (now_ns < end_ns) {
        control_.start_timer(transition_timer_, end_ns - now_ns);
        return;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "controller {}: a namespace is in transition for longer than {} s",
               cntlid_.raw(),
               uint32_t{identity_.anatt});
    lost(Error(Errc::kTimedOut));
}

void ControllerSession::stop_watching() {
    control_.stop_timer(transition_timer_);
    control_.stop_timer(retry_timer_);
    in_transition_since_ns_.clear();
}

void ControllerSession::refresh_ana() {
    wants_ana_ = true;
    refresh().detach();
}

Task<void> ControllerSession::refresh() {
    if (is_refreshing_) {
        co_return;  // It will see what has come.
    }
    is_refreshing_ = true;
    ++running_;
    co_await sequence_.acquire();
    const AsyncMutex::Turn turn(sequence_);
    while (is_live() && !is_stopping_ && (wants_scan_ || wants_ana_)) {
        Status status;
        wants_ana_ = false;
        const bool is_scan = std::exchange(wants_scan_, false);
        if (is_scan) {
            // Reading the list is what arms the event again.
            std::vector<std::byte> changed(kChangedListBytes);
            const std::span<std::byte> list(changed);
            status = co_await controller_->read_log(NVME_LOG_LID_CHANGED_NS, 0, list);
            status = co_await scan();
        } else {
            status = co_await read_ana();
        }
        if (status) {
            user_.on_session_changed(*this);
        } else if (is_live() && !is_stopping_ && controller_->admin().is_live()) {
            BASALT_LOG(kWarn,
                       "nvmf",
                       "controller {} can't be asked for its namespaces: {}",
                       cntlid_.raw(),
                       describe(status.error().code));
            // What it would have told may be that a path is there again: nobody tells it twice.
            (is_scan ? wants_scan_ : wants_ana_) = true;
            control_.stop_timer(retry_timer_);
            control_.start_timer(retry_timer_, kRefreshRetryNs);
            break;
        }
    }
    is_refreshing_ = false;
    --running_;
}

}  // namespace basalt::nvmf
