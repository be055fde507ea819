#include "replication/node/replicated_volume.h"

#include <utility>

#include <fmt/format.h>

#include "replication/head/limits.h"
#include "replication/head/local_link.h"
#include "replication/link/tcp_link.h"
#include "replication/node/stopped.h"

namespace basalt::replication {

namespace {

constexpr uint64_t kMemoryPollNs = kNsPerMs;

/// What is wrong with it, in words; empty if nothing is.
std::string problem_of(const ReplicatedVolumeOptions& options) {
    const Settings& settings = options.settings;
    const size_t count = options.replicas.size();
    if (count < 1 || count > kReplicasMax || count != settings.replicas) {
        return fmt::format("there must be 1 to {} replicas", kReplicasMax);
    }
    for (size_t i = 0; i < count; ++i) {
        for (size_t k = 0; k < i; ++k) {
            if (options.replicas[i].drive == options.replicas[k].drive) {
                return fmt::format("two replicas are on drive {}",
                                   options.replicas[i].drive.to_string());
            }
        }
    }
    if (settings.write_quorum < 1 || settings.write_quorum > count || settings.read_quorum < 1 ||
        settings.read_quorum > count) {
        return fmt::format("a quorum of {} replicas is 1 to {}", count, count);
    }
    if (settings.drop_timeout_us < settings.slow_us) {
        return "a replica can't be dropped before it is slow";
    }
    if (!settings.validate() || options.uuid.is_nil() || options.map_path.empty() ||
        options.lease_us == 0) {
        return "a number is out of its bounds";
    }
    return "";
}

}  // namespace

/// What is to be done on the head's core, and what came of it.
struct ReplicatedVolume::Order {
    ReplicatedVolume& volume;
    uint32_t index = 0;
    ReplicaPlace place{};
    ReplicaDirectory* local = nullptr;
    Status status{};
    HeadStatistics statistics{};
    uint64_t bytes_per_second = 0;
    ReplicaScrubReport scrub{};
};

ReplicatedVolume::ReplicatedVolume(ReplicatedHome home, ReplicatedVolumeOptions options)
    : home_(home), options_(std::move(options)) {}

ReplicatedVolume::~ReplicatedVolume() {
    BASALT_ASSERT(head_ == nullptr || home_.control.is_abandoned());
}

Task<void> ReplicatedVolume::visit_core(Order& order, Task<void> (*run)(Reactor&, Order&)) {
    visit<Order> there(home_.control, options_.core, order, run);
    co_await there;
}

// ---- its beginning

Task<Result<std::unique_ptr<ReplicatedVolume>>> ReplicatedVolume::open(
    ReplicatedHome home, ReplicatedVolumeOptions options, std::string& problem) {
    problem = problem_of(options);
    if (!problem.empty()) {
        co_return Errc::kInvalidArgument;
    }
    std::unique_ptr<ReplicatedVolume> made(new ReplicatedVolume(home, std::move(options)));
    const Status started = co_await made->start(problem);
    if (!started) {
        co_return started.error();
    }
    co_return Result<std::unique_ptr<ReplicatedVolume>>(std::move(made));
}

StaticAuthorityOptions ReplicatedVolume::map_options() {
    StaticAuthorityOptions map;
    map.volume = options_.uuid;
    map.replicas = options_.settings.replicas;
    map.lease_us = options_.lease_us;
    map.path = options_.map_path;
    map.is_standby = options_.is_standby;
    for (const ReplicaPlace& place : options_.replicas) {
        map.drives.push_back(place.drive);
    }
    map.watch_ns = kMapWatchNs;
    map.user = this;
    return map;
}

/// What is wrong with the map.
std::string ReplicatedVolume::words_for(Errc code) const {
    std::string words = fmt::format("its map in {}", options_.map_path);
    if (code == Errc::kBusy) {
        words += ", which another head has";
    } else if (code == Errc::kInvalidArgument) {
        words += ", which is another volume's, of more replicas, or of other drives";
    }
    return words;
}

Task<Status> ReplicatedVolume::start(std::string& problem) {
    Result<std::unique_ptr<HeadMemory>> memory = HeadMemory::make(options_.memory);
    if (!memory) {
        problem = "memory for its head";
        co_return memory.error();
    }
    memory_ = std::move(*memory);
    StaticAuthorityOptions map = map_options();
    Task<Result<std::unique_ptr<StaticAuthority>>> opening =
        StaticAuthority::open(home_.control, home_.files, std::move(map));
    Result<std::unique_ptr<StaticAuthority>> authority = co_await opening;
    if (!authority) {
        problem = words_for(authority.error().code);
        co_return authority.error();
    }
    authority_ = std::move(*authority);
    for (uint32_t i = 0; i < options_.replicas.size(); ++i) {
        local_.push_back(home_.host.lend(options_.replicas[i].address, options_.core));
        options_.settings.distance[i] = local_[i] != nullptr ? 0 : 1;
    }
    Order order{.volume = *this};
    co_await visit_core(order, start_there);
    lines_ = std::make_unique<VolumeLines>(
        home_.control, home_.files, options_.map_path + ".lines", options_.uuid, *head_);
    lines_->set_serving(serves_);
    co_return kOk;
}

std::unique_ptr<ReplicaLink> ReplicatedVolume::make_link(Reactor& there,
                                                         const ReplicaPlace& place,
                                                         ReplicaDirectory* local,
                                                         std::unique_ptr<StoreConnection>& out) {
    if (local != nullptr) {
        return std::make_unique<LocalLink>(there, *local, place.drive, options_.volume);
    }
    StoreOptions store;
    store.address = place.address;
    store.cluster = options_.cluster;
    store.drive = place.drive;
    store.connection = static_cast<uint16_t>(there.core().raw());
    out = std::make_unique<StoreConnection>(there, memory_->reads(), store);
    TcpLinkOptions link;
    link.volume = options_.volume;
    link.blocks = options_.settings.blocks;
    return std::make_unique<TcpLink>(*out, link);
}

Task<void> ReplicatedVolume::start_there(Reactor& there, Order& order) {
    ReplicatedVolume& self = order.volume;
    self.connections_.resize(self.options_.replicas.size());
    Head::Links links;
    for (size_t i = 0; i < self.options_.replicas.size(); ++i) {
        links.push_back(
            self.make_link(there, self.options_.replicas[i], self.local_[i], self.connections_[i]));
    }
    MapAuthority& port = self.authority_->add_port(there);
    self.head_ = std::make_unique<Head>(
        there, self.options_.settings, *self.memory_, port, std::move(links));
    self.scrubber_ = std::make_unique<Scrubber>(*self.head_);
    for (const auto& connection : self.connections_) {
        if (connection != nullptr) {
            connection->start();
        }
    }
    self.head_->start(Claim::kIfFree);
    co_return;
}

// ---- its end

Task<void> ReplicatedVolume::give_up() {
    Order order{.volume = *this};
    co_await visit_core(order, give_up_there);
}

Task<void> ReplicatedVolume::give_up_there(Reactor&, Order& order) {
    order.volume.head_->give_up();
    co_return;
}

Task<void> ReplicatedVolume::close() {
    Order order{.volume = *this};
    lines_->begin_closing();
    if (lines_->is_drawing()) {
        co_await visit_core(order, give_up_there);
    }
    co_await lines_->close();
    co_await visit_core(order, stop_there);
    co_await authority_->close();
    co_await visit_core(order, end_there);
    for (uint32_t i = 0; i < local_.size(); ++i) {
        give_back(i);
    }
}

Task<void> ReplicatedVolume::stop_there(Reactor&, Order& order) {
    ReplicatedVolume& self = order.volume;
    if (self.scrubber_->is_busy()) {
        self.head_->give_up();  // A comparison may wait for replicas, for ever.
    }
    co_await self.scrubber_->stop();
    self.head_->stop();
}

bool ReplicatedVolume::has_all_memory() const {
    const HeadMemoryOptions& all = memory_->options();
    const auto is_back = [](const BlockBuffers& buffers, BlockBuffers::Counts counts) {
        return buffers.free_count(1) == counts.small &&
               buffers.free_count(kRangeBlocksMax) == counts.large;
    };
    return is_back(memory_->writes(), all.writes) && is_back(memory_->reads(), all.reads);
}

/// Replicas of this process may have data of the head in hand still, and so may the network.
Task<void> ReplicatedVolume::end_there(Reactor& there, Order& order) {
    ReplicatedVolume& self = order.volume;
    self.scrubber_.reset();
    self.head_.reset();
    for (auto& connection : self.connections_) {
        if (connection != nullptr) {
            stopped ending(*connection);
            co_await ending;
            connection.reset();
        }
    }
    bool is_free = self.has_all_memory();
    while (!is_free) {
        sleep_for pause(there, kMemoryPollNs);
        co_await pause;
        is_free = self.has_all_memory();
    }
}

void ReplicatedVolume::give_back(uint32_t index) {
    if (std::exchange(local_[index], nullptr) != nullptr) {
        home_.host.give_back();
    }
}

// ---- meanwhile

Task<void> ReplicatedVolume::take_over() {
    Order order{.volume = *this};
    co_await visit_core(order, take_over_there);
}

Task<void> ReplicatedVolume::take_over_there(Reactor&, Order& order) {
    order.volume.head_->take_over();
    co_return;
}

ReplicatedVolume::Role ReplicatedVolume::role() const {
    if (authority_->is_standby()) {
        return Role::kStandby;
    }
    return serves_ ? Role::kServes : Role::kBegins;
}

void ReplicatedVolume::serving_changed(bool serves) {
    serves_ = serves;
    if (lines_ != nullptr) {
        lines_->set_serving(serves);
    }
    if (home_.watcher != nullptr) {
        home_.watcher->head_changed();
    }
}

Task<HeadStatistics> ReplicatedVolume::statistics() {
    Order order{.volume = *this};
    co_await visit_core(order, look_there);
    co_return order.statistics;
}

Task<void> ReplicatedVolume::look_there(Reactor&, Order& order) {
    order.statistics = order.volume.head_->statistics();
    co_return;
}

Task<Status> ReplicatedVolume::start_scrub(uint64_t bytes_per_second) {
    Order order{.volume = *this, .bytes_per_second = bytes_per_second};
    co_await visit_core(order, start_scrub_there);
    co_return order.status;
}

Task<void> ReplicatedVolume::start_scrub_there(Reactor&, Order& order) {
    order.status = order.volume.scrubber_->start(order.bytes_per_second);
    co_return;
}

Task<void> ReplicatedVolume::stop_scrub() {
    Order order{.volume = *this};
    co_await visit_core(order, stop_scrub_there);
}

Task<void> ReplicatedVolume::stop_scrub_there(Reactor&, Order& order) {
    order.volume.scrubber_->cancel();
    co_return;
}

Task<ReplicaScrubReport> ReplicatedVolume::scrub_report() {
    Order order{.volume = *this};
    co_await visit_core(order, report_scrub_there);
    co_return std::move(order.scrub);
}

Task<void> ReplicatedVolume::report_scrub_there(Reactor&, Order& order) {
    order.scrub = {order.volume.scrubber_->state(), order.volume.head_->findings()};
    co_return;
}

Task<Status> ReplicatedVolume::replace(uint32_t index, ReplicaPlace place) {
    Order order{.volume = *this, .index = index, .place = place, .local = nullptr};
    co_await visit_core(order, look_there);
    if (order.statistics.live.has(index)) {
        co_return Errc::kBusy;
    }
    // The map first: whoever takes over must not trust what is on the drive before.
    Task<Status> noting = authority_->set_drive(index, place.drive);
    const Status noted = co_await noting;
    if (!noted) {
        co_return noted;
    }
    order.local = home_.host.lend(place.address, options_.core);
    co_await visit_core(order, replace_there);
    if (!order.status) {
        if (order.local != nullptr) {
            home_.host.give_back();
        }
        Task<Status> going_back = authority_->set_drive(index, options_.replicas[index].drive);
        static_cast<void>(co_await going_back);
        co_return order.status;
    }
    give_back(index);
    local_[index] = order.local;
    options_.replicas[index] = place;
    co_return kOk;
}

Task<void> ReplicatedVolume::replace_there(Reactor& there, Order& order) {
    ReplicatedVolume& self = order.volume;
    if (self.head_->statistics().live.has(order.index)) {
        order.status = Errc::kBusy;
        co_return;
    }
    std::unique_ptr<StoreConnection> connection;
    std::unique_ptr<ReplicaLink> link = self.make_link(there, order.place, order.local, connection);
    if (connection != nullptr) {
        connection->start();
    }
    std::unique_ptr<ReplicaLink> before = self.head_->replace_link(order.index, std::move(link));
    before.reset();
    std::swap(self.connections_[order.index], connection);
    if (connection != nullptr) {
        stopped ending(*connection);
        co_await ending;
    }
    order.status = kOk;
}

}  // namespace basalt::replication
