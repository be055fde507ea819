#include "test/sim/replication/store_machine.h"

#include <algorithm>
#include <array>
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
    for (uint32_t i = 0; i < options_.cores; ++i) {
        life_->cores.emplace_back(i);
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
    life_->registry = std::make_unique<bdev::BdevRegistry>(life_->cores);
    bdev::FileOptions file;
    file.name = "File0";
    file.path = "/d";
    file.uuid.bytes[0] = 1;
    bdev::Device* base = *life_->registry->add(
        std::move(bdev::FileBdev::open(file, world_.file_system(node))).value());
    bdev::DelayOptions delay;
    delay.name = "Delay0";
    delay.uuid.bytes[0] = 2;
    auto layer = std::move(bdev::DelayBdev::make(delay, *base)).value();
    life_->delay = layer.get();
    life_->device = *life_->registry->add(std::move(layer));
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
    if (state_ == State::kOpeningPool || state_ == State::kOpeningReplicas || life_->was_slow) {
        // What never ends holds on to all of it, and a slow drive to requests.
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

void StoreMachine::slow_down(uint64_t delay_us) {
    if (state_ == State::kServing && (delay_us > 0 || life_->was_slow)) {
        const bdev::DelayLatencies slow{delay_us, delay_us, delay_us, delay_us};
        life_->was_slow = true;
        life_->delay->update(*life_->reactors.back(), life_->cores, slow).detach();
    }
}

/// Hosts write blocks that have one value all over, which nothing else on the drive has.
bool StoreMachine::rot(Random& random) {
    constexpr uint64_t kSectors = kDriveBytes / kBlockBytes;
    const uint64_t start = random.below(kSectors);
    std::array<uint64_t, kBlockBytes / sizeof(uint64_t)> sector{};
    const iovec piece{sector.data(), sizeof(sector)};
    for (uint64_t i = 0; i < kSectors; ++i) {
        const uint64_t at = (start + i) % kSectors * kBlockBytes;
        if (drive.read(at, &piece, kBlockBytes) && sector[0] != 0 &&
            std::equal(sector.begin() + 1, sector.end(), sector.begin())) {
            drive.corrupt(at + random.below(kBlockBytes));
            return true;
        }
    }
    return false;
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
    for (uint64_t block = 0; block < options_.settings.blocks; ++block) {
        values.push_back(read_block(*channel, block));
    }
    return values;
}

uint64_t StoreMachine::read_block(bdev::DeviceChannel& channel, uint64_t block) {
    bdev::TestIo io;
    io.prepare(bdev::IoOp::kRead, block, 1, kBlockBytes);
    io.submit(channel);
    if (!world_.run_until([&io] { return io.is_done(); }, kLongestNs) || !io.status()) {
        return kUnreadable;
    }
    uint64_t value = 0;
    std::memcpy(&value, io.data, sizeof(value));
    const bool is_same =
        std::memcmp(io.data, io.data + sizeof(value), kBlockBytes - sizeof(value)) == 0;
    return is_same ? value : ~uint64_t{0};
}

void StoreMachine::spoil(uint64_t block) {
    bdev::Device* device = life_->pool->device_of(PoolReplicaDrive::data_name(kVolume));
    const auto channel = std::move(device->open(*life_->reactors.front())).value();
    bdev::TestIo io;
    io.prepare(bdev::IoOp::kWrite, block, 1, kBlockBytes);
    std::memset(io.data, 0xbd, kBlockBytes);
    io.submit(*channel);
    BASALT_ASSERT(world_.run_until([&io] { return io.is_done(); }, kLongestNs) && io.status());
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
