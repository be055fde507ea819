#include "perf/store/lab.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>

#include "bdev/leaf/file_bdev.h"
#include "bdev/leaf/malloc_bdev.h"

namespace basalt::perf {

namespace {

constexpr uint32_t kBlockBytes = 4096;

[[noreturn]] void give_up(const std::string& doing, Error error, const std::string& why = "") {
    fmt::print(stderr, "basalt-store-perf: {}: {} {}\n", doing, describe(error.code), why);
    std::exit(1);
}

void need(const std::string& doing, const Status& status) {
    if (!status) {
        give_up(doing, status.error());
    }
}

}  // namespace

struct Lab::LoadVisit {
    bdev::Device& device;
    BlockLoadOptions options;
    BlockLoadResult result;
};

Lab::Lab(ReactorThreads& threads) : threads_(threads), registry_({CoreId(0)}) {}

bdev::Device& Lab::add(std::unique_ptr<bdev::Bdev> device) {
    const std::string name = device->info().name;
    Result<bdev::Device*> added = registry_.add(std::move(device));
    if (!added) {
        give_up("adding " + name, added.error());
    }
    return **added;
}

bdev::Device& Lab::add_memory(const std::string& name, uint64_t bytes) {
    bdev::MallocOptions options;
    options.name = name;
    options.block_count = BlockCount(bytes / kBlockBytes);
    Result<std::unique_ptr<bdev::MallocBdev>> made = bdev::MallocBdev::make(options, memory_);
    if (!made) {
        give_up("making a device in memory", made.error());
    }
    return add(std::move(made).value());
}

bdev::Device& Lab::add_file(const std::string& path, uint64_t bytes) {
    bdev::FileOptions options;
    options.name = path;
    options.path = path;
    options.create_size_bytes = bytes;
    Result<std::unique_ptr<bdev::FileBdev>> made = bdev::FileBdev::open(options, files_);
    if (!made) {
        give_up("opening " + path, made.error());
    }
    return add(std::move(made).value());
}

void Lab::remove(const std::string& name) {
    need("removing " + name, registry_.remove(name));
}

Task<void> Lab::make_pool(bdev::Device& device, bdev::store::PartitionOptions options) {
    bdev::store::PoolOptions pool;
    pool.name = "pool";
    pool.uuid = bdev::Uuid::make_random();
    pool.partition = options;
    std::string problem;
    const bdev::store::PoolHome home{control(), registry_};
    Result<std::unique_ptr<bdev::store::Pool>> made =
        co_await bdev::store::Pool::create(home, device, pool, problem);
    if (!made) {
        give_up("making a pool", made.error(), problem);
    }
    pool_ = std::move(made).value();
}

Task<void> Lab::open_pool(bdev::Device& device, bdev::store::PartitionOptions options) {
    std::string problem;
    const bdev::store::PoolHome home{control(), registry_};
    Result<std::unique_ptr<bdev::store::Pool>> made =
        co_await bdev::store::Pool::open(home, device, options, problem);
    if (!made) {
        give_up("opening the pool", made.error(), problem);
    }
    pool_ = std::move(made).value();
}

Task<void> Lab::close_pool() {
    const Status closed = co_await pool_->close();
    need("closing the pool", closed);
    pool_.reset();
}

Task<bdev::Device*> Lab::make_volume(std::string name, uint64_t bytes) {
    bdev::store::VolumeOptions options;
    options.name = name;
    options.uuid = bdev::Uuid::make_random();
    options.size_blocks = bytes / kBlockBytes;
    const Status made = co_await pool_->create_volume(options);
    need("making volume " + name, made);
    co_return pool_->device_of(name);
}

Task<void> Lab::snapshot(std::string volume, std::string name) {
    bdev::store::SnapshotOptions options;
    options.volume = volume;
    options.name = name;
    options.uuid = bdev::Uuid::make_random();
    std::vector<bdev::store::SnapshotOptions> all{options};
    const Status taken = co_await pool_->snapshot(all);
    need("taking snapshot " + name, taken);
}

Task<BlockLoadResult> Lab::load(bdev::Device& device, BlockLoadOptions options) {
    if (options.block_count == 0) {
        options.block_count = device.info().block_count.raw();
    }
    LoadVisit there{device, options, {}};
    co_await visit(control(), CoreId(0), there, &Lab::load_there);
    need("I/O on " + device.info().name, there.result.status);
    co_return std::move(there.result);
}

Task<void> Lab::load_there(Reactor& there, LoadVisit& visit) {
    Result<std::unique_ptr<bdev::DeviceChannel>> channel = visit.device.open(there);
    if (!channel) {
        visit.result.status = channel.error();
        co_return;
    }
    BlockLoad load(there, **channel, visit.options);
    visit.result = co_await load.run();
}

}  // namespace basalt::perf
