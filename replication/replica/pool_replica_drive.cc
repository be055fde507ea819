#include "replication/replica/pool_replica_drive.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace basalt::replication {

using bdev::store::NoteChannel;

namespace {

constexpr std::string_view kPrefix = "replica-";
constexpr std::string_view kSuffix = ".state";

}  // namespace

PoolReplicaDrive::PoolReplicaDrive(Reactor& here, BlockBuffers& buffers, bdev::store::Pool& pool)
    : here_(here), buffers_(buffers), pool_(pool), uuid_(pool.identity().pool_uuid) {}

std::string PoolReplicaDrive::data_name(uint64_t volume) {
    return fmt::format("{}{:016x}", kPrefix, volume);
}

std::string PoolReplicaDrive::state_name(uint64_t volume) {
    return data_name(volume) + std::string(kSuffix);
}

std::string PoolReplicaDrive::line_name(uint64_t volume, OpNumber line) {
    return fmt::format("{}@{}.{}", data_name(volume), line.epoch.raw(), line.count);
}

bdev::Uuid PoolReplicaDrive::uuid_of(const std::string& name) const {
    return bdev::Uuid::from_name(uuid_.to_string(), name);
}

// ---- on the replicas' core

Task<void> PoolReplicaDrive::visit_control(Order& order, Task<void> (*run)(Reactor&, Order&)) {
    visit<Order> far(here_, pool_.home().control.core(), order, run);
    co_await far;
}

Task<Status> PoolReplicaDrive::create(uint64_t volume, Settings settings, ReplicaOrigin origin) {
    Order order{.drive = *this, .volume = volume, .blocks = settings.blocks};
    co_await visit_control(order, make_there);
    if (!order.status && order.status.error().code == Errc::kExists) {
        const bool is_left = co_await is_unfinished(volume);
        if (!is_left) {
            co_return Errc::kExists;
        }
        co_await visit_control(order, remove_there);
        if (order.status) {
            co_await visit_control(order, make_there);
        }
    }
    if (!order.status) {
        co_return order.status;
    }
    const Status formatted =
        co_await format(volume, settings, origin == ReplicaOrigin::kReplacement);
    co_return formatted;
}

Task<Status> PoolReplicaDrive::format(uint64_t volume, Settings settings, bool is_blank) {
    Result<PoolReplicaParts> parts = co_await open_parts(volume);
    if (!parts) {
        co_return parts.error();
    }
    const Status written =
        co_await PoolReplicaStore::format(*parts->metadata, uuid_, volume, settings, is_blank);
    parts->data.reset();
    parts->metadata.reset();
    co_await let_go(volume);
    co_return written;
}

/// Whether a crash came while it was made: then it never had a state.
Task<bool> PoolReplicaDrive::is_unfinished(uint64_t volume) {
    Result<PoolReplicaParts> parts = co_await open_parts(volume);
    if (!parts) {
        co_return false;
    }
    const Result<StateRecord> record =
        co_await PoolReplicaStore::examine(*parts->metadata, uuid_, volume);
    parts->data.reset();
    parts->metadata.reset();
    co_await let_go(volume);
    co_return !record && record.error().code == Errc::kNotFound;
}

Task<Result<PoolReplicaParts>> PoolReplicaDrive::open_parts(uint64_t volume) {
    Order order{.drive = *this, .volume = volume};
    co_await visit_control(order, claim_there);
    if (!order.status) {
        co_return order.status.error();
    }
    Result<std::unique_ptr<NoteChannel>> data = NoteChannel::open(*order.data, here_);
    Result<std::unique_ptr<NoteChannel>> metadata = NoteChannel::open(*order.metadata, here_);
    if (!data || !metadata) {
        const Error error = data ? metadata.error() : data.error();
        data = Errc::kCancelled;  // Closes what is open.
        metadata = Errc::kCancelled;
        co_await let_go(volume);
        co_return error;
    }
    PoolReplicaParts parts;
    parts.drive = uuid_;
    parts.volume = volume;
    parts.data = std::move(*data);
    parts.metadata = std::move(*metadata);
    co_return std::move(parts);
}

Task<Result<std::unique_ptr<ReplicaStore>>> PoolReplicaDrive::open(uint64_t volume) {
    Result<PoolReplicaParts> parts = co_await open_parts(volume);
    if (!parts) {
        co_return parts.error();
    }
    ReplicaVolumes& volumes = *this;
    std::unique_ptr<ReplicaStore> store =
        std::make_unique<PoolReplicaStore>(here_, buffers_, volumes, std::move(*parts));
    co_return std::move(store);
}

Task<Status> PoolReplicaDrive::remove(uint64_t volume) {
    Order order{.drive = *this, .volume = volume};
    co_await visit_control(order, remove_there);
    co_return order.status;
}

Task<std::vector<uint64_t>> PoolReplicaDrive::list() {
    Order order{.drive = *this};
    co_await visit_control(order, list_there);
    co_return std::move(order.volumes);
}

Task<Status> PoolReplicaDrive::draw_line(uint64_t volume, OpNumber line) {
    Order order{.drive = *this, .volume = volume, .line = line};
    co_await visit_control(order, draw_there);
    co_return order.status;
}

Task<Status> PoolReplicaDrive::drop_line(uint64_t volume, OpNumber line) {
    Order order{.drive = *this, .volume = volume, .line = line};
    co_await visit_control(order, drop_there);
    co_return order.status;
}

Task<void> PoolReplicaDrive::let_go(uint64_t volume) {
    Order order{.drive = *this, .volume = volume};
    co_await visit_control(order, let_go_there);
}

// ---- on the control thread

Task<Status> PoolReplicaDrive::make_volume(std::string name, uint64_t blocks) {
    bdev::store::VolumeOptions options;
    options.name = name;
    options.uuid = uuid_of(name);
    options.size_blocks = blocks;
    const Status made = co_await pool_.create_volume(options);
    co_return made;
}

Task<void> PoolReplicaDrive::make_there(Reactor&, Order& order) {
    PoolReplicaDrive& self = order.drive;
    if (self.pool_.catalogue().find_volume(state_name(order.volume)) != nullptr) {
        order.status = Errc::kExists;
        co_return;
    }
    order.status = co_await self.remove_data(order.volume);
    if (!order.status) {
        co_return;
    }
    const std::string data = data_name(order.volume);
    order.status = co_await self.make_volume(data, order.blocks);
    if (!order.status) {
        co_return;
    }
    const std::string state = state_name(order.volume);
    order.status = co_await self.make_volume(state, metadata_blocks(order.blocks));
    if (!order.status) {
        const Status undone = co_await self.remove_data(order.volume);
        static_cast<void>(undone);  // It is no replica either way.
    }
}

/// The blocks and the lines of what is no replica, or not any more.
Task<Status> PoolReplicaDrive::remove_data(uint64_t volume) {
    const std::string name = data_name(volume);
    if (pool_.catalogue().find_volume(name) != nullptr) {
        const Status removed = co_await pool_.delete_volume(name);
        if (!removed) {
            co_return removed;
        }
    }
    std::vector<std::string> lines;
    for (const auto& [uuid, snapshot] : pool_.catalogue().snapshots()) {
        if (snapshot.name.rfind(name + "@", 0) == 0) {
            lines.push_back(snapshot.name);
        }
    }
    for (const std::string& line : lines) {
        const Status removed =
            co_await pool_.delete_snapshot(line, bdev::store::WithClones::kDelete);
        if (!removed) {
            co_return removed;
        }
    }
    co_return kOk;
}

Task<void> PoolReplicaDrive::remove_there(Reactor&, Order& order) {
    PoolReplicaDrive& self = order.drive;
    const std::string state = state_name(order.volume);
    if (self.pool_.catalogue().find_volume(state) == nullptr) {
        order.status = Errc::kNotFound;
        co_return;
    }
    order.status = co_await self.pool_.delete_volume(state);
    if (order.status) {
        order.status = co_await self.remove_data(order.volume);
    }
}

Task<void> PoolReplicaDrive::claim_there(Reactor&, Order& order) {
    PoolReplicaDrive& self = order.drive;
    const bdev::store::Catalogue& catalogue = self.pool_.catalogue();
    const std::string data = data_name(order.volume);
    const std::string state = state_name(order.volume);
    if (catalogue.find_volume(data) == nullptr || catalogue.find_volume(state) == nullptr) {
        order.status = Errc::kNotFound;
        co_return;
    }
    order.data = self.pool_.device_of(data);
    order.metadata = self.pool_.device_of(state);
    if (order.data == nullptr || order.metadata == nullptr) {
        order.status = Errc::kDeviceGone;
        co_return;
    }
    bdev::BdevRegistry& registry = self.pool_.home().registry;
    const std::string user = fmt::format("replica of volume {}", order.volume);
    Result<bdev::Claim> first = registry.claim(*order.data, user);
    Result<bdev::Claim> second = registry.claim(*order.metadata, user);
    if (!first || !second) {
        order.status = first ? second.error() : first.error();
        co_return;
    }
    Claims& claims = self.claims_[order.volume];
    claims.data = std::move(*first);
    claims.metadata = std::move(*second);
    order.status = kOk;
}

Task<void> PoolReplicaDrive::let_go_there(Reactor&, Order& order) {
    order.drive.claims_.erase(order.volume);
    co_return;
}

Task<void> PoolReplicaDrive::list_there(Reactor&, Order& order) {
    for (const auto& [uuid, volume] : order.drive.pool_.catalogue().volumes()) {
        const std::string_view name = volume.name;
        uint64_t number = 0;
        if (name.size() == kPrefix.size() + 16 + kSuffix.size()) {
            const char* digits = name.data() + kPrefix.size();
            std::from_chars(digits, digits + 16, number, 16);
        }
        if (name == state_name(number)) {
            order.volumes.push_back(number);
        }
    }
    std::sort(order.volumes.begin(), order.volumes.end());
    co_return;
}

Task<void> PoolReplicaDrive::draw_there(Reactor&, Order& order) {
    PoolReplicaDrive& self = order.drive;
    bdev::store::SnapshotOptions options;
    options.volume = data_name(order.volume);
    options.name = line_name(order.volume, order.line);
    options.uuid = self.uuid_of(options.name);
    if (self.pool_.catalogue().find_snapshot(options.name) != nullptr) {
        order.status = kOk;  // Drawn before a crash that came before the state.
        co_return;
    }
    std::vector<bdev::store::SnapshotOptions> one;
    one.push_back(options);
    order.status = co_await self.pool_.snapshot(one);
}

Task<void> PoolReplicaDrive::drop_there(Reactor&, Order& order) {
    PoolReplicaDrive& self = order.drive;
    const std::string name = line_name(order.volume, order.line);
    order.status = kOk;
    if (self.pool_.catalogue().find_snapshot(name) != nullptr) {
        order.status = co_await self.pool_.delete_snapshot(name, bdev::store::WithClones::kRefuse);
    }
}

}  // namespace basalt::replication
