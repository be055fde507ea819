#include "nvmf/target/target.h"

#include <algorithm>
#include <bit>

#include "nvmf/wire/nqn.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

constexpr size_t kSerialNumberCharsMax = 20;
constexpr size_t kModelNumberCharsMax = 40;

bool is_printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

bool is_opening_time(uint32_t ms) {
    return ms >= kOpeningTimeoutMsMin && ms <= kOpeningTimeoutMsMax;
}

bool is_valid(const TransportOptions& options) {
    return options.queue_entries_max >= 16 && options.queue_entries_max <= 4096 &&
           options.io_queues_max >= 1 && options.io_queues_max <= 1024 &&
           std::has_single_bit(options.io_bytes_max) && options.io_bytes_max >= 2 * 4096 &&
           options.io_bytes_max <= BufferPool::kBufferBytesMax &&
           options.capsule_data_bytes <= kAdminCapsuleDataBytes &&
           options.capsule_data_bytes % 16 == 0 && options.admin_queue_entries_max >= 32 &&
           options.admin_queue_entries_max <= 4096 && options.small_buffers >= kBuffersOfASizeMin &&
           options.medium_buffers >= kBuffersOfASizeMin &&
           options.large_buffers >= kBuffersOfASizeMin && options.capsule_buffers >= 16 &&
           options.requests >= kRequestsPerGroupMin &&
           options.capsule_requests >= kCapsuleRequestsPerGroupMin &&
           options.requests + options.capsule_requests <= kOwnTagFirst &&
           options.socket_priority <= 6 && options.abort_patience_ms >= 1 &&
           is_opening_time(options.handshake_timeout_ms) &&
           is_opening_time(options.authentication_timeout_ms) && options.opening_max >= 1 &&
           options.opening_per_address_max >= 1 && options.host_connections_max >= 1 &&
           options.host_controllers_max >= 1;
}

/// A warning for each ANA group that `next` leaves without an optimized path here. Another target
/// may have one, so it is no error.
void warn_of_lost_paths(const SubsystemConfig& current, const SubsystemConfig& next) {
    const auto before = groups_without_optimized_path(current);
    for (const uint32_t group : groups_without_optimized_path(next)) {
        if (!std::binary_search(before.begin(), before.end(), group)) {
            BASALT_LOG(kWarn,
                       "nvmf",
                       "ANA group {} of {} is optimized on no listener of this target",
                       group,
                       next.nqn);
        }
    }
}

bool is_valid(const SubsystemOptions& options) {
    return is_valid_nqn(options.nqn) && options.nqn != kDiscoveryNqn &&
           options.serial_number.size() <= kSerialNumberCharsMax &&
           is_printable(options.serial_number) && !options.model_number.empty() &&
           options.model_number.size() <= kModelNumberCharsMax &&
           is_printable(options.model_number) && options.namespaces_max >= 1 &&
           options.namespaces_max <= kNamespacesMax && options.cntlid_min >= 1 &&
           options.cntlid_min <= options.cntlid_max && options.cntlid_max <= 0xffef;
}

// --- Visits: what the control thread has done on a reactor. Each names its group's core by where
// it is sent, carries its arguments there and its results back.

struct MakeGroup {
    std::span<PollGroup* const> peers;
    TransportOptions options;
    Authenticator& authenticator;
    std::span<std::byte> buffers;
    PollGroup* made = nullptr;

    static Task<void> run(Reactor& there, MakeGroup& self) {
        auto group = std::make_unique<PollGroup>(
            there, self.peers, self.options, self.authenticator, self.buffers);
        self.made = group.release();  // Owned by Target::groups_.
        co_return;
    }
};

struct EndGroup {
    PollGroup* group = nullptr;

    static Task<void> run(Reactor&, EndGroup& self) {
        auto closed = self.group->close_all();
        co_await closed;
    }
};

struct DeleteGroup {
    PollGroup* group = nullptr;

    static Task<void> run(Reactor&, DeleteGroup& self) {
        const std::unique_ptr<PollGroup> owned(self.group);
        co_return;
    }
};

struct ApplyConfig {
    PollGroup* group = nullptr;
    const SubsystemConfig* config = nullptr;
    Status status = kOk;

    static Task<void> run(Reactor&, ApplyConfig& self) {
        auto applied = self.group->apply(*self.config);
        self.status = co_await applied;
    }
};

struct RemoveSubsystem {
    PollGroup* group = nullptr;
    SubsystemId id;
    uint64_t discovery_generation = 0;

    static Task<void> run(Reactor&, RemoveSubsystem& self) {
        auto removed = self.group->remove_subsystem(self.id, self.discovery_generation);
        co_await removed;
    }
};

struct AnnounceDiscovery {
    PollGroup* group = nullptr;
    const DiscoveryAudience* audience = nullptr;

    static Task<void> run(Reactor&, AnnounceDiscovery& self) {
        self.group->announce_discovery(*self.audience);
        co_return;
    }
};

}  // namespace

Target::Target(Reactor& control, uint32_t reactor_count, BufferMemory& memory)
    : control_(control),
      reactor_count_(reactor_count),
      memory_(memory),
      authenticator_(control, *this, random_) {
    BASALT_ASSERT(reactor_count > 0);
    for (uint32_t i = 0; i < reactor_count; ++i) {
        cores_.emplace_back(i);
    }
    balance_timer_.set([](Timer&, void* self) { static_cast<Target*>(self)->on_balance_timer(); },
                       this);
    transition_timer_.set(
        [](Timer&, void* self) { static_cast<Target*>(self)->end_transitions().detach(); }, this);
    auto discovery = std::make_unique<SubsystemConfig>();
    discovery->id = SubsystemId(next_subsystem_id_++);
    discovery->type = SubsystemType::kDiscovery;
    discovery->nqn = kDiscoveryNqn;
    discovery->serial_number = "00000000000000000000";
    discovery->model_number = "Basalt discovery controller";
    discovery->allow_any_host = true;
    auto state = std::make_unique<SubsystemState>();
    state->config = std::move(discovery);
    subsystems_.push_back(std::move(state));
}

Target::~Target() {
    control_.stop_timer(balance_timer_);
    control_.stop_timer(transition_timer_);
    BASALT_ASSERT(groups_.empty());
}

Target::SubsystemState* Target::find_state(std::string_view nqn) {
    for (const auto& state : subsystems_) {
        if (state->config->nqn == nqn) {
            return state.get();
        }
    }
    return nullptr;
}

const SubsystemConfig* Target::find(std::string_view nqn) const {
    for (const auto& state : subsystems_) {
        if (state->config->nqn == nqn) {
            return state->config.get();
        }
    }
    return nullptr;
}

std::vector<const SubsystemConfig*> Target::subsystems() const {
    std::vector<const SubsystemConfig*> all;
    all.reserve(subsystems_.size());
    for (const auto& state : subsystems_) {
        all.push_back(state->config.get());
    }
    return all;
}

// --- The whole ---------------------------------------------------------------------------------

Task<Status> Target::create_transport(TransportOptions options) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (is_ended_) {
        co_return Errc::kCancelled;
    }
    if (transport_) {
        co_return Errc::kExists;
    }
    if (!is_valid(options)) {
        co_return Errc::kInvalidArgument;
    }
    for (const auto& state : subsystems_) {
        if (state->config->ana_reporting &&
            ana_log_bytes_max(state->config->namespaces_max) > options.io_bytes_max) {
            co_return Errc::kInvalidArgument;
        }
    }
    std::vector<std::span<std::byte>> buffers;
    for (uint32_t i = 0; i < reactor_count_; ++i) {
        auto region = memory_.allocate(CoreId(i), PollGroup::buffer_bytes(options));
        if (!region) {
            co_return region.error();
        }
        buffers.push_back(*region);
    }
    groups_.assign(reactor_count_, nullptr);
    for (uint32_t i = 0; i < reactor_count_; ++i) {
        MakeGroup made{groups_, options, authenticator_, buffers[i]};
        visit<MakeGroup> trip(control_, CoreId(i), made, &MakeGroup::run);
        co_await trip;
        groups_[i] = made.made;
    }
    transport_ = options;
    // Subsystems made before the transport have no namespace yet, so this can't fail.
    for (const auto& state : subsystems_) {
        for (uint32_t i = 0; i < reactor_count_; ++i) {
            ApplyConfig applied{groups_[i], state->config.get()};
            visit<ApplyConfig> trip(control_, CoreId(i), applied, &ApplyConfig::run);
            co_await trip;
            BASALT_ASSERT(applied.status.has_value());
        }
    }
    co_return kOk;
}

Task<void> Target::shut_down() {
    is_ending_ = true;
    set_balancing(false);
    control_.stop_timer(transition_timer_);
    while (is_balance_under_way_ || is_ending_transitions_) {
        co_await sleep_for(control_, kDrainPollNs);
    }
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    // Before the connections, or a host that comes back meanwhile finds an ended group.
    auto stopped = stop_listeners();
    co_await stopped;
    // Twice: a connection that was on its way from one group to another ends in the other one,
    // which may have been asked before.
    for (uint32_t i = 0; i < 2 * groups_.size(); ++i) {
        const auto core = static_cast<uint32_t>(i % groups_.size());
        EndGroup ended{groups_[core]};
        visit<EndGroup> trip(control_, CoreId(core), ended, &EndGroup::run);
        co_await trip;
    }
    for (const auto& state : subsystems_) {
        auto withdrawn = withdraw(state->config->id, static_cast<uint32_t>(groups_.size()));
        co_await withdrawn;
        auto rates_ended = end_rates(*state);
        co_await rates_ended;
    }
    co_await generated_keys_.end();
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        DeleteGroup deleted{groups_[i]};
        visit<DeleteGroup> trip(control_, CoreId(i), deleted, &DeleteGroup::run);
        co_await trip;
    }
    groups_.clear();
    subsystems_.clear();
    transport_.reset();
    is_ended_ = true;
}

// --- Publishing --------------------------------------------------------------------------------

Task<Status> Target::publish(SubsystemState& state, std::unique_ptr<const SubsystemConfig> next) {
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        ApplyConfig applied{groups_[i], next.get()};
        visit<ApplyConfig> trip(control_, CoreId(i), applied, &ApplyConfig::run);
        co_await trip;
        if (applied.status) {
            continue;
        }
        // Back to what was on the cores that have changed already; core i has not.
        if (state.config == nullptr) {
            auto withdrawn = withdraw(next->id, i);
            co_await withdrawn;
        }
        for (uint32_t j = 0; state.config != nullptr && j < i; ++j) {
            ApplyConfig undone{groups_[j], state.config.get()};
            visit<ApplyConfig> back(control_, CoreId(j), undone, &ApplyConfig::run);
            co_await back;
            BASALT_ASSERT(undone.status.has_value());  // It only gives up what it opened.
        }
        co_return applied.status.error();
    }
    if (state.config != nullptr) {
        warn_of_lost_paths(*state.config, *next);
    }
    state.config = std::move(next);
    co_return kOk;
}

Task<void> Target::withdraw(SubsystemId id, uint32_t group_count) {
    for (uint32_t i = 0; i < group_count; ++i) {
        RemoveSubsystem removed{groups_[i], id, discovery_generation_};
        visit<RemoveSubsystem> trip(control_, CoreId(i), removed, &RemoveSubsystem::run);
        co_await trip;
    }
}

Task<void> Target::announce_discovery(DiscoveryAudience audience) {
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        AnnounceDiscovery announced{groups_[i], &audience};
        visit<AnnounceDiscovery> trip(control_, CoreId(i), announced, &AnnounceDiscovery::run);
        co_await trip;
    }
}

// --- Subsystems ----------------------------------------------------------------------------------

Task<Status> Target::create_subsystem(SubsystemOptions options) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (is_ended_) {
        co_return Errc::kCancelled;
    }
    if (!is_valid(options)) {
        co_return Errc::kInvalidArgument;
    }
    if (uint32_t{options.cntlid_max} - options.cntlid_min + 1 < reactor_count_) {
        co_return Errc::kInvalidArgument;  // Some reactor would have no controller id to give.
    }
    if (options.ana_reporting && transport_ &&
        ana_log_bytes_max(options.namespaces_max) > transport_->io_bytes_max) {
        co_return Errc::kInvalidArgument;
    }
    if (find(options.nqn) != nullptr) {
        co_return Errc::kExists;
    }
    auto config = std::make_unique<SubsystemConfig>();
    config->id = SubsystemId(next_subsystem_id_++);
    config->nqn = options.nqn;
    config->serial_number =
        options.serial_number.empty() ? "00000000000000000000" : options.serial_number;
    config->model_number = options.model_number;
    config->allow_any_host = options.allow_any_host;
    config->ana_reporting = options.ana_reporting;
    config->namespaces_max = options.namespaces_max;
    config->cntlid_min = options.cntlid_min;
    config->cntlid_max = options.cntlid_max;
    auto state = std::make_unique<SubsystemState>();
    SubsystemState& created = *state;
    auto published = publish(created, std::move(config));
    const Status outcome = co_await published;
    if (outcome) {
        subsystems_.push_back(std::move(state));  // Without a listener no host can see it yet.
    }
    co_return outcome;
}

Task<Status> Target::delete_subsystem(std::string nqn) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    if (state->config->type == SubsystemType::kDiscovery) {
        co_return Errc::kNotSupported;
    }
    ++discovery_generation_;
    auto withdrawn = withdraw(state->config->id, static_cast<uint32_t>(groups_.size()));
    co_await withdrawn;
    auto rates_ended = end_rates(*state);
    co_await rates_ended;
    const std::unique_ptr<const SubsystemConfig> deleted = std::move(state->config);
    std::erase_if(subsystems_, [&](const auto& candidate) { return candidate.get() == state; });
    co_await drop_unused_listeners();
    if (!deleted->listeners.empty()) {
        DiscoveryAudience audience{.allowed_by = deleted.get(), .host = {}};
        co_await announce_discovery(audience);
    }
    co_return kOk;
}

}  // namespace basalt::nvmf
