#include "test/sim/replication/store_machine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "bdev/leaf/file_bdev.h"
#include "test/bdev/support/test_io.h"

namespace basalt::replication::test {

namespace {

constexpr BlockBuffers::Counts kBuffers{.small = 64, .large = 12};
constexpr uint64_t kLongestNs = 100 * kNsPerSecond;

}  // namespace

StoreMachine::StoreMachine(sim::World& world, const StoreMachineOptions& options)
    : node(world.add_node()),
      drive(world.add_drive(node, "/d", {.size_bytes = kDriveBytes})),
      world_(world),
      options_(options) {
    world_.crash_node(node);
}

StoreMachine::~StoreMachine() {
    if (state_ != State::kOff) {
        crash(sim::Crash::kPowerLoss);
    }
}

bdev::Uuid StoreMachine::drive_uuid() const {
    return {{0xdd, static_cast<uint8_t>(options_.index)}};
}

const ReplicaState& StoreMachine::replica_state() {
    return life_->replicas->find(drive_uuid(), kVolume)->state();
}

// ---- life

void StoreMachine::create(ReplicaOrigin origin) {
    making_ = origin;
    begin_life();
    bdev::store::PoolOptions options;
    options.name = "p";
    options.uuid = drive_uuid();
    options.partition.cache_pages = bdev::store::kCachePagesMin;
    const bdev::store::PoolHome home{*life_->reactors.back(), *life_->registry};
    life_->opening_pool.emplace(
        bdev::store::Pool::create(home, *life_->device, options, life_->problem));
}

void StoreMachine::boot() {
    begin_life();
    bdev::store::PartitionOptions options;
    options.cache_pages = bdev::store::kCachePagesMin;
    const bdev::store::PoolHome home{*life_->reactors.back(), *life_->registry};
    life_->opening_pool.emplace(
        bdev::store::Pool::open(home, *life_->device, options, life_->problem));
}

void StoreMachine::begin_life() {
    BASALT_ASSERT(state_ == State::kOff);
    state_ = State::kOpeningPool;
    world_.restart_node(node);
    life_ = std::make_unique<Life>();
    std::vector<CoreId> cores;
    for (uint32_t i = 0; i < options_.cores; ++i) {
        cores.emplace_back(i);
    }
    for (uint32_t i = 0; i <= options_.cores; ++i) {
        life_->reactors.push_back(&world_.add_reactor(node));
    }
    const size_t bytes = BlockBuffers::region_bytes(kBuffers);
    life_->memory = std::make_unique_for_overwrite<std::byte[]>(bytes + kBlockBytes);
    const auto address = reinterpret_cast<uintptr_t>(life_->memory.get());
    const size_t skipped = (kBlockBytes - address % kBlockBytes) % kBlockBytes;
    life_->buffers =
        std::make_unique<BlockBuffers>(std::span(life_->memory.get() + skipped, bytes), kBuffers);
    life_->registry = std::make_unique<bdev::BdevRegistry>(cores);
    bdev::FileOptions file;
    file.name = "File0";
    file.path = "/d";
    file.uuid.bytes[0] = 1;
    life_->device = *life_->registry->add(
        std::move(bdev::FileBdev::open(file, world_.file_system(node))).value());
}

void StoreMachine::go_on() {
    switch (state_) {
        case State::kOpeningPool:
            if (life_->opening_pool->is_done()) {
                open_replicas();
            }
            return;
        case State::kOpeningReplicas:
            if (life_->opening_replicas->is_done()) {
                serve();
            }
            return;
        case State::kOff:
        case State::kServing:
        case State::kBroken: return;
    }
}

void StoreMachine::open_replicas() {
    Result<std::unique_ptr<bdev::store::Pool>> opened = life_->opening_pool->result();
    life_->opening_pool.reset();
    if (!opened) {
        fail(fmt::format("the pool: {}, {}", describe(opened.error().code), life_->problem));
        return;
    }
    life_->pool = std::move(*opened);
    Reactor& here = *life_->reactors.front();
    life_->drive = std::make_unique<PoolReplicaDrive>(here, *life_->buffers, *life_->pool);
    life_->careless = std::make_unique<CarelessDrive>(here, *life_->drive, options_.store_mistakes);
    life_->replicas = std::make_unique<Replicas>(here, *life_->buffers, options_.mistakes);
    BASALT_ASSERT(life_->replicas->add_drive(*life_->careless));
    state_ = State::kOpeningReplicas;
    if (making_) {
        const ReplicaKey key{drive_uuid(), kVolume};
        life_->opening_replicas.emplace(life_->replicas->create(key, options_.settings, *making_));
    } else {
        life_->opening_replicas.emplace(life_->replicas->open_all(drive_uuid()));
    }
}

void StoreMachine::serve() {
    const Status opened = life_->opening_replicas->result();
    life_->opening_replicas.reset();
    if (!opened) {
        fail(fmt::format("the replica: {}", describe(opened.error().code)));
        return;
    }
    making_.reset();
    life_->server = std::make_unique<ReplicaServer>(
        *life_->reactors.front(),
        *life_->replicas,
        ReplicaServerOptions{
            .address = address(), .connections_max = 16, .silence_ns = options_.silence_ns});
    BASALT_ASSERT(life_->server->listen().has_value());
    state_ = State::kServing;
}

void StoreMachine::fail(const std::string& why) {
    state_ = State::kBroken;
    problem_ = fmt::format("store {} can't be opened: {}", options_.index, why);
}

void StoreMachine::crash(sim::Crash how) {
    BASALT_ASSERT(state_ != State::kOff);
    world_.crash_node(node, how);
    if (state_ == State::kOpeningPool || state_ == State::kOpeningReplicas) {
        // What never ends holds on to all of it.
        static_cast<void>(life_.release());
    } else {
        Life& life = *life_;
        life.server.reset();
        life.replicas.reset();
        life.careless.reset();
        life.drive.reset();
        life.pool.reset();
        // A line that was being drawn holds the name of its snapshot for ever.
        static_cast<void>(life.registry.release());
        life_.reset();
    }
    state_ = State::kOff;
}

// ---- looks

std::optional<std::vector<uint64_t>> StoreMachine::contents(std::optional<OpNumber> line) {
    const std::string name =
        line ? PoolReplicaDrive::line_name(kVolume, *line) : PoolReplicaDrive::data_name(kVolume);
    bdev::Device* device = life_->pool->device_of(name);
    if (device == nullptr) {
        return std::nullopt;
    }
    const auto channel = std::move(device->open(*life_->reactors.front())).value();
    std::vector<uint64_t> values;
    bool is_read = true;
    for (uint64_t first = 0; is_read && first < options_.settings.blocks;) {
        const uint64_t count = std::min<uint64_t>(options_.settings.blocks - first, 64);
        bdev::TestIo io;
        io.prepare(bdev::IoOp::kRead, first, count, kBlockBytes);
        io.submit(*channel);
        is_read = world_.run_until([&io] { return io.is_done(); }, kLongestNs) && io.status();
        for (uint64_t i = 0; is_read && i < count; ++i) {
            const std::byte* block = io.data + i * kBlockBytes;
            uint64_t value = 0;
            std::memcpy(&value, block, sizeof(value));
            const bool is_same =
                std::memcmp(block, block + sizeof(value), kBlockBytes - sizeof(value)) == 0;
            values.push_back(is_same ? value : ~uint64_t{0});
        }
        first += count;
    }
    return is_read ? std::optional(std::move(values)) : std::nullopt;
}

std::string StoreMachine::check_pool() {
    Task<Result<bdev::store::CheckReport>> checking = life_->pool->check();
    if (!world_.run_until([&checking] { return checking.is_done(); }, kLongestNs)) {
        return "the check of the pool never ends";
    }
    const Result<bdev::store::CheckReport> report = checking.result();
    if (!report) {
        return fmt::format("the check of the pool: {}", describe(report.error().code));
    }
    if (!report->is_clean()) {
        return fmt::format(
            "the pool: {} blocks leaked, {} missing, {} doubled, {} pages broken, "
            "{} counts wrong",
            report->leaked_blocks,
            report->missing_blocks,
            report->doubled_blocks,
            report->broken_pages,
            report->wrong_counts);
    }
    return {};
}

}  // namespace basalt::replication::test
