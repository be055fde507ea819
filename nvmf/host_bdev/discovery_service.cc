#include "nvmf/host_bdev/discovery_service.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "nvmf/wire/nqn.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

constexpr uint64_t kPollNs = kNsPerMs;
constexpr uint32_t kDiscoveryNotices = 1U << 31U;
/// A log that does not stand still, or a subsystem that does not answer, is tried again after this.
constexpr uint64_t kTryAgainNs = 5 * kNsPerSecond;

/// A field of text, which ends with blanks or a zero.
template <size_t N>
std::string text_of(const char (&field)[N]) {
    std::string text(field, strnlen(field, N));
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
        text.pop_back();
    }
    return text;
}

/// `options` for another controller.
SessionOptions options_for(const SessionOptions& options, const DiscoveredPath& path) {
    SessionOptions other = options;
    const Result<SocketAddress> address = SocketAddress::parse(path.host, path.port);
    if (address) {
        other.host.address = *address;
    }
    other.host.subsystem_nqn = path.nqn;
    return other;
}

}  // namespace

DiscoveryContents read_discovery(std::span<const nvmf_disc_log_entry> log) {
    DiscoveryContents contents;
    for (const nvmf_disc_log_entry& entry : log) {
        DiscoveredPath path{.nqn = text_of(entry.subnqn), .host = text_of(entry.traddr)};
        const std::string port = text_of(entry.trsvcid);
        const auto parsed = std::from_chars(port.data(), port.data() + port.size(), path.port);
        const bool is_tcp = entry.trtype == NVMF_TRTYPE_TCP && parsed.ec == std::errc{};
        if (!is_tcp || !is_valid_nqn(path.nqn) || !SocketAddress::parse(path.host, path.port)) {
            continue;
        }
        if (entry.subtype == NVME_NQN_NVME) {
            contents.subsystems.insert(std::move(path));
        } else if (entry.subtype == NVME_NQN_DISC) {
            contents.referrals.insert(std::move(path));
        }
    }
    return contents;
}

DiscoveryService::DiscoveryService(Reactor& control,
                                   std::string name,
                                   const SessionOptions& options,
                                   DiscoveryUser& user)
    : control_(control), name_(std::move(name)), options_(options), user_(user) {
    timer_.set([](Timer&, void* self) { static_cast<DiscoveryService*>(self)->work().detach(); },
               this);
}

DiscoveryService::~DiscoveryService() {
    BASALT_ASSERT((!is_working_ && controller_ == nullptr) || control_.is_abandoned());
}

Task<Status> DiscoveryService::start(uint64_t attach_timeout_ns) {
    waits_for_attach_ = attach_timeout_ns != 0;
    work().detach();
    ++waiting_;
    const uint64_t end_ns = control_.now_ns() + attach_timeout_ns;
    while (!has_tried_ && control_.now_ns() < end_ns && !is_stopping_) {
        co_await sleep_for(control_, kPollNs);
    }
    --waiting_;
    co_return has_tried_ || attach_timeout_ns == 0 ? kOk : Status(Errc::kTimedOut);
}

Task<void> DiscoveryService::stop() {
    is_stopping_ = true;
    control_.stop_timer(timer_);
    if (controller_) {
        controller_->admin().close(Error(Errc::kCancelled));
    }
    while (is_working_ || waiting_ > 0) {
        co_await sleep_for(control_, kPollNs);
    }
    control_.stop_timer(timer_);
    if (controller_) {
        co_await controller_->end();
        controller_.reset();
    }
}

void DiscoveryService::on_async_event(uint32_t /*result*/) {
    has_news_ = true;
    work().detach();
}

void DiscoveryService::on_controller_lost(Error /*reason*/) {
    is_lost_ = true;
    work_in(0);
}

void DiscoveryService::work_in(uint64_t delay_ns) {
    control_.stop_timer(timer_);
    if (!is_stopping_) {
        control_.start_timer(timer_, delay_ns);
    }
}

Task<Status> DiscoveryService::connect() {
    is_lost_ = false;
    SessionOptions options = options_;
    options.host.wants_discovery_events = true;
    HostControllerUser& hearer = *this;  // The base is private, so only we can name it.
    controller_ = std::make_unique<HostController>(control_, options.host, &hearer);
    const Status connected = co_await controller_->connect();
    if (!connected) {
        controller_.reset();
        co_return connected;
    }
    has_news_ = true;
    // One without events is read once.
    static_cast<void>(co_await controller_->configure_events(kDiscoveryNotices));
    co_return kOk;
}

Task<Status> DiscoveryService::read() {
    const auto log = co_await controller_->read_discovery_log();
    if (!log) {
        co_return log.error();
    }
    DiscoveryContents contents = read_discovery(*log);
    std::set<DiscoveredPath> seen;
    for (uint32_t depth = 0; depth < kReferralDepthMax && !contents.referrals.empty(); ++depth) {
        const std::set<DiscoveredPath> referrals = std::exchange(contents.referrals, {});
        for (const DiscoveredPath& referral : referrals) {
            const bool is_own = referral.host == options_.host.address.host() &&
                                referral.port == options_.host.address.port();
            const bool is_one_too_many = seen.size() >= kReferralsMax;
            if (!is_own && !is_one_too_many && seen.insert(referral).second && !is_stopping_) {
                co_await follow(referral, contents);
            }
        }
    }
    if (is_stopping_) {
        co_return Errc::kCancelled;  // Not all were asked.
    }
    has_referrals_ = !seen.empty();
    std::erase_if(told_, [&seen](const auto& one) { return !seen.contains(one.first); });
    if (contents.subsystems.size() > kDiscoveredSubsystemsMax) {
        BASALT_LOG(kWarn, "nvmf", "{}: a log of that many subsystems is cut", name_);
        contents.subsystems.erase(std::next(contents.subsystems.begin(), kDiscoveredSubsystemsMax),
                                  contents.subsystems.end());
    }
    wanted_ = std::move(contents.subsystems);
    co_return kOk;
}

/// Adds what another discovery controller's log says, or has said: one that is down for a while
/// must not cost its subsystems their paths.
Task<void> DiscoveryService::follow(const DiscoveredPath& referral, DiscoveryContents& into) {
    const SessionOptions options = options_for(options_, referral);
    HostController other(control_, options.host, nullptr);
    Status status = co_await other.connect();
    if (status) {
        const auto log = co_await other.read_discovery_log();
        if (log) {
            told_[referral] = read_discovery(*log);
        } else {
            status = log.error();
        }
    }
    co_await other.end();
    if (!status) {
        BASALT_LOG(kWarn,
                   "nvmf",
                   "{}: the discovery service at {}:{} can't be read: {}",
                   name_,
                   referral.host,
                   referral.port,
                   describe(status.error().code));
    }
    const auto told = told_.find(referral);
    if (told != told_.end()) {
        into.subsystems.insert(told->second.subsystems.begin(), told->second.subsystems.end());
        into.referrals.insert(told->second.referrals.begin(), told->second.referrals.end());
    }
}

/// True if all that is wanted is there.
Task<bool> DiscoveryService::apply() {
    bool is_complete = true;
    const std::set<DiscoveredPath> wanted = wanted_;
    for (const DiscoveredPath& path : wanted) {
        if (!attached_.contains(path) && !is_stopping_) {
            const Status attached = co_await user_.attach_discovered(name_, path);
            if (attached) {
                attached_.insert(path);
            }
            is_complete &= attached.has_value();
        }
    }
    const std::set<DiscoveredPath> attached = attached_;
    for (const DiscoveredPath& path : attached) {
        if (!wanted.contains(path) && !is_stopping_) {
            const Status detached = co_await user_.detach_discovered(name_, path);
            if (detached || detached.error().code == Errc::kNotFound) {
                attached_.erase(path);
            }
            is_complete &= !attached_.contains(path);
        }
    }
    has_tried_ = true;
    co_return is_complete;
}

/// Does what is to be done now; the timer and the controller's calls start it again.
Task<void> DiscoveryService::work() {
    if (is_working_ || is_stopping_) {
        co_return;  // It will see what has come.
    }
    is_working_ = true;
    if (controller_ && is_lost_) {
        co_await controller_->end();
        controller_.reset();
    }
    Status status;
    if (!controller_) {
        status = co_await connect();
    }
    bool is_complete = true;
    while (status && has_news_ && !is_stopping_) {
        has_news_ = false;
        status = co_await read();
        if (status) {
            is_complete = co_await apply();
        }
    }
    is_working_ = false;
    if (!status || is_lost_) {
        const uint64_t longest_ns =
            std::max(options_.reconnect.reconnect_delay_sec, 1U) * kNsPerSecond;
        pause_ns_ = std::min(longest_ns, std::max(kReconnectDelayNsMin, pause_ns_ * 2));
        has_news_ = true;
        is_lost_ |= controller_ != nullptr && !controller_->admin().is_live();
        work_in(pause_ns_);
    } else {
        pause_ns_ = 0;
        if (!is_complete || has_referrals_) {
            has_news_ = true;
            work_in(is_complete ? kReferralPeriodNs : kTryAgainNs);
        }
    }
}

}  // namespace basalt::nvmf
