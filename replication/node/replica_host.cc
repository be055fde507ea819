#include "replication/node/replica_host.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"
#include "replication/node/stopped.h"

namespace basalt::replication {

/// What is on the replicas' core.
struct ReplicaHost::Seat {
    Seat(Reactor& here, std::span<std::byte> memory, const ReplicaHostOptions& options)
        : buffers(memory, options.buffers),
          replicas(here, buffers),
          server(here, replicas, {.address = options.address, .cluster = options.cluster}) {}

    BlockBuffers buffers;
    std::vector<std::unique_ptr<PoolReplicaDrive>> drives;
    Replicas replicas;
    ReplicaServer server;
};

/// What is to be done there, and what came of it.
struct ReplicaHost::Order {
    ReplicaHost& host;
    bdev::store::Pool* pool = nullptr;
    ReplicaKey key{};
    uint64_t blocks = 0;
    ReplicaOrigin origin = ReplicaOrigin::kNewVolume;
    Status status{};
    ReplicaHostReport report{};
};

ReplicaHost::ReplicaHost(Reactor& control) : control_(control), changes_(control) {}

ReplicaHost::~ReplicaHost() {
    BASALT_ASSERT(seat_ == nullptr || control_.is_abandoned());
}

Task<void> ReplicaHost::visit_seat(Order& order, Task<void> (*run)(Reactor&, Order&)) {
    visit<Order> there(control_, options_.core, order, run);
    co_await there;
}

// ---- the server

Task<Status> ReplicaHost::start(ReplicaHostOptions options) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (is_running()) {
        co_return Errc::kExists;
    }
    const Result<std::span<std::byte>> memory =
        source_.allocate(BlockBuffers::region_bytes(options.buffers));
    if (!memory) {
        co_return memory.error();
    }
    memory_ = *memory;
    options_ = options;
    Order order{.host = *this};
    co_await visit_seat(order, start_there);
    if (!order.status) {
        source_.release(memory_);
    }
    co_return order.status;
}

Task<void> ReplicaHost::start_there(Reactor& there, Order& order) {
    ReplicaHost& self = order.host;
    self.seat_ = std::make_unique<Seat>(there, self.memory_, self.options_);
    order.status = self.seat_->server.listen();
    if (!order.status) {
        self.seat_.reset();
    }
    co_return;
}

Task<Status> ReplicaHost::stop() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const Status done = co_await stop_now();
    co_return done;
}

Task<Status> ReplicaHost::stop_now() {
    if (!is_running()) {
        co_return Errc::kNotFound;
    }
    if (!drives_.empty() || lent_ > 0) {
        co_return Errc::kBusy;
    }
    Order order{.host = *this};
    co_await visit_seat(order, stop_there);
    source_.release(memory_);
    co_return kOk;
}

Task<void> ReplicaHost::stop_there(Reactor&, Order& order) {
    ReplicaHost& self = order.host;
    stopped ending(self.seat_->server);
    co_await ending;
    self.seat_.reset();
}

Task<void> ReplicaHost::shut_down() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    while (!drives_.empty()) {
        const bdev::Uuid drive = drives_.begin()->first;
        const Status removed = co_await remove_drive_now(drive);
        BASALT_ASSERT(removed.has_value());
    }
    const Status over = co_await stop_now();
    BASALT_ASSERT(over.has_value() || over.error().code == Errc::kNotFound);
}

ReplicaDirectory* ReplicaHost::lend(const SocketAddress& address, CoreId core) {
    if (!is_running() || core != options_.core || !(address == options_.address)) {
        return nullptr;
    }
    ++lent_;
    return &seat_->replicas;
}

void ReplicaHost::give_back() {
    BASALT_ASSERT(lent_ > 0);
    --lent_;
}

// ---- drives

Task<Status> ReplicaHost::add_drive(bdev::store::Pool& pool) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (!is_running()) {
        co_return Errc::kNotFound;
    }
    const bdev::Uuid drive = pool.identity().pool_uuid;
    if (has_drive(drive)) {
        co_return Errc::kExists;
    }
    drives_.emplace(drive, &pool);
    Order order{.host = *this, .pool = &pool, .key = {.drive = drive}};
    co_await visit_seat(order, add_there);
    if (!order.status) {
        BASALT_LOG(kError,
                   "replication",
                   "drive {} ({}): not all of its replicas can be opened: {}",
                   drive.to_string(),
                   pool.identity().name,
                   describe(order.status.error().code));
    }
    co_return kOk;
}

Task<void> ReplicaHost::add_there(Reactor& there, Order& order) {
    Seat& seat = *order.host.seat_;
    seat.drives.push_back(std::make_unique<PoolReplicaDrive>(there, seat.buffers, *order.pool));
    const Status added = seat.replicas.add_drive(*seat.drives.back());
    BASALT_ASSERT(added.has_value());
    order.status = co_await seat.replicas.open_all(order.key.drive);
}

Task<Status> ReplicaHost::remove_drive(bdev::Uuid drive) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const Status removed = co_await remove_drive_now(drive);
    co_return removed;
}

Task<Status> ReplicaHost::remove_drive_now(bdev::Uuid drive) {
    if (!has_drive(drive)) {
        co_return Errc::kNotFound;
    }
    Order order{.host = *this, .key = {.drive = drive}};
    co_await visit_seat(order, remove_drive_there);
    drives_.erase(drive);
    co_return kOk;
}

Task<void> ReplicaHost::remove_drive_there(Reactor&, Order& order) {
    Seat& seat = *order.host.seat_;
    const bdev::Uuid drive = order.key.drive;
    for (const ReplicaReport& report : seat.replicas.list()) {
        if (report.key.drive != drive) {
            continue;
        }
        const ReplicaKey key = report.key;
        const Status closed = co_await seat.replicas.close(key);
        if (!closed) {
            BASALT_LOG(kError,
                       "replication",
                       "drive {}: the replica of volume {} was not closed in order: {}",
                       drive.to_string(),
                       key.volume,
                       describe(closed.error().code));
        }
    }
    const Status removed = seat.replicas.remove_drive(drive);
    BASALT_ASSERT(removed.has_value());
    std::erase_if(seat.drives, [&drive](const auto& one) { return one->uuid() == drive; });
}

// ---- replicas

Task<Status> ReplicaHost::create(ReplicaKey key, uint64_t blocks, ReplicaOrigin origin) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (!has_drive(key.drive)) {
        co_return Errc::kNotFound;
    }
    Order order{.host = *this, .key = key, .blocks = blocks, .origin = origin};
    co_await visit_seat(order, create_there);
    co_return order.status;
}

Task<void> ReplicaHost::create_there(Reactor&, Order& order) {
    const Settings settings{.blocks = order.blocks};
    const ReplicaKey key = order.key;
    order.status = co_await order.host.seat_->replicas.create(key, settings, order.origin);
}

Task<Status> ReplicaHost::remove(ReplicaKey key) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (!has_drive(key.drive)) {
        co_return Errc::kNotFound;
    }
    Order order{.host = *this, .key = key};
    co_await visit_seat(order, remove_there);
    co_return order.status;
}

Task<void> ReplicaHost::remove_there(Reactor&, Order& order) {
    const ReplicaKey key = order.key;
    order.status = co_await order.host.seat_->replicas.remove(key);
}

Task<ReplicaHostReport> ReplicaHost::report() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    Order order{.host = *this};
    if (is_running()) {
        co_await visit_seat(order, report_there);
    }
    co_return std::move(order.report);
}

Task<void> ReplicaHost::report_there(Reactor&, Order& order) {
    Seat& seat = *order.host.seat_;
    ReplicaHostReport& report = order.report;
    for (const auto& drive : seat.drives) {
        const std::vector<uint64_t> volumes = co_await drive->list();
        for (const uint64_t volume : volumes) {
            report.replicas.push_back({.key = {.drive = drive->uuid(), .volume = volume}});
        }
    }
    for (const ReplicaReport& open : seat.replicas.list()) {
        const auto held = std::find_if(report.replicas.begin(),
                                       report.replicas.end(),
                                       [&](const auto& one) { return one.key == open.key; });
        if (held != report.replicas.end()) {
            held->is_open = true;
            held->report = open;
        }
    }
    report.connections = seat.server.connection_count();
    report.outstanding = seat.server.outstanding();
}

}  // namespace basalt::replication
