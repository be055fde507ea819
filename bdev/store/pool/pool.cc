#include "bdev/store/pool/pool.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "bdev/store/pool/pool_visits.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

namespace {

/// The opening, or closing, of the pool's own channel on the first core.
struct ChannelVisit {
    Device& device;
    std::unique_ptr<DeviceChannel>& channel;
    Status status;

    static Task<void> open(Reactor& there, ChannelVisit& self) {
        Result<std::unique_ptr<DeviceChannel>> opened = self.device.open(there);
        if (opened) {
            self.channel = std::move(*opened);
        } else {
            self.status = opened.error();
        }
        co_return;
    }
    static Task<void> close(Reactor&, ChannelVisit& self) {
        self.channel.reset();
        co_return;
    }
};

Place other(Place place) {
    return place == Place::kA ? Place::kB : Place::kA;
}

}  // namespace

Pool::Pool(PoolHome home, Device& device)
    : home_(home),
      device_(device),
      changes_(home.control),
      sweep_turn_(home.control),
      scrub_turn_(home.control),
      space_turn_(home.control) {
    space_timer_.set([](Timer&, void* self) { static_cast<Pool*>(self)->look_at_space().detach(); },
                     this);
}

Pool::~Pool() {
    BASALT_ASSERT(seats_.empty() || home_.control.is_abandoned());
    if (!home_.control.is_abandoned()) {
        home_.control.stop_timer(space_timer_);
    }
    // What stands on a channel goes before it.
    for (Seat& seat : seats_) {
        seat.partition.reset();
    }
}

// ---- from nothing to an open pool, and back

Task<Result<std::unique_ptr<Pool>>> Pool::create(PoolHome home,
                                                 Device& device,
                                                 PoolOptions options,
                                                 std::string& problem) {
    std::unique_ptr<Pool> pool(new Pool(home, device));
    Status status = co_await pool->attach(problem);
    const PartitionOptions partition = options.partition;
    if (status) {
        status = co_await pool->format(options, problem);
    }
    if (status) {
        status = co_await pool->load(partition, true, problem);
    }
    if (!status) {
        co_await pool->detach();
        co_return status.error();
    }
    pool->start_background();
    co_return Result<std::unique_ptr<Pool>>(std::move(pool));
}

Task<Result<std::unique_ptr<Pool>>> Pool::open(PoolHome home,
                                               Device& device,
                                               PartitionOptions options,
                                               std::string& problem) {
    std::unique_ptr<Pool> pool(new Pool(home, device));
    Status status = co_await pool->attach(problem);
    SuperblockFinding finding = SuperblockFinding::kNothing;
    if (status) {
        status = co_await pool->read_superblock(finding);
    }
    if (status && finding != SuperblockFinding::kPool) {
        problem = fmt::format("on '{}' there is {}", device.info().name, describe(finding));
        switch (finding) {
            case SuperblockFinding::kNewer: status = Errc::kNotSupported; break;
            case SuperblockFinding::kDeviceTooSmall: status = Errc::kNoSpace; break;
            case SuperblockFinding::kDamaged: status = Errc::kDataCorrupt; break;
            case SuperblockFinding::kPool:
            case SuperblockFinding::kNothing:
            case SuperblockFinding::kHalfFormatted: status = Errc::kNotFound; break;
        }
    }
    if (status) {
        status = co_await pool->take_growth();
    }
    if (status) {
        status = co_await pool->load(options, false, problem);
    }
    if (!status) {
        co_await pool->detach();
        co_return status.error();
    }
    pool->start_background();
    co_return Result<std::unique_ptr<Pool>>(std::move(pool));
}

void Pool::start_background() {
    start_sweep();
    look_later();
}

Task<Result<SuperblockFinding>> Pool::examine(PoolHome home, Device& device) {
    Pool pool(home, device);
    std::string problem;
    Status status = co_await pool.attach(problem);
    SuperblockFinding finding = SuperblockFinding::kNothing;
    if (status) {
        status = co_await pool.read_superblock(finding);
    } else if (status.error().code == Errc::kNotSupported) {
        status = kOk;  // A device that can't hold a pool holds none.
    }
    co_await pool.detach();
    if (!status) {
        co_return status.error();
    }
    co_return finding;
}

bool Pool::is_used() const {
    return looks_ > 0 || std::any_of(devices_.begin(), devices_.end(), [this](const auto& entry) {
               const Device* device = home_.registry.find(entry.second->info().name);
               const bool is_ours = suspended_.count(entry.first) != 0;
               return (!is_ours && !device->user().empty()) || device->open_channels() > 0;
           });
}

Task<Status> Pool::close() {
    if (is_used()) {
        co_return Errc::kBusy;
    }
    is_closing_ = true;
    co_await stop_scrub();
    home_.control.stop_timer(space_timer_);
    co_await space_turn_.acquire();
    const AsyncMutex::Turn no_look(space_turn_);
    co_await swept();  // Before it is our turn: its end is a change.
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    for (const auto& [uuid, bdev] : devices_) {
        co_await clear_limits(uuid);
    }
    if (is_used()) {
        is_closing_ = false;
        start_background();
        co_return Errc::kBusy;
    }
    suspended_.clear();
    while (!devices_.empty()) {
        const Uuid uuid = devices_.begin()->first;
        remove_device(uuid);
    }
    int none = 0;
    const auto end = [](Reactor&, Visit<int>& visit) -> Task<void> {
        visit.status = co_await visit.partition().close();
    };
    const Status status = co_await on_seats<int>(none, end);
    co_await detach();
    co_return status;
}

Task<Status> Pool::erase(PoolHome home, Device& device) {
    Pool pool(home, device);
    std::string problem;
    Status status = co_await pool.attach(problem);
    if (status) {
        BlockMemory zeroes(2);
        status = co_await pool.io_->write(PoolLayout::superblock(Place::kA), zeroes.all());
    }
    co_await pool.detach();
    co_return status;
}

Task<Status> Pool::attach(std::string& problem) {
    if (!BlockIo::is_suitable(device_.info())) {
        problem = fmt::format(
            "'{}' can't be written in blocks of {} bytes", device_.info().name, kBlockBytes);
        co_return Errc::kNotSupported;
    }
    Result<Claim> claimed = home_.registry.claim(device_, "a pool");
    if (!claimed) {
        problem = fmt::format("'{}' is used by {}", device_.info().name, device_.user());
        co_return claimed.error();
    }
    claim_ = std::move(*claimed);
    const CoreId first = home_.registry.cores().front();
    ChannelVisit there{device_, channel_, kOk};
    visit<ChannelVisit> opening(home_.control, first, there, &ChannelVisit::open);
    co_await opening;
    if (there.status) {
        io_ = std::make_unique<BlockIo>(home_.control, first, *channel_, device_.info());
    } else {
        problem = fmt::format("'{}' can't be opened", device_.info().name);
    }
    co_return there.status;
}

Task<void> Pool::detach() {
    int none = 0;
    const auto end = [](Reactor&, Visit<int>& visit) -> Task<void> {
        visit.seat().partition.reset();
        visit.seat().channel.reset();
        co_return;
    };
    static_cast<void>(co_await on_seats<int>(none, end));
    seats_.clear();
    places_.clear();
    io_.reset();
    if (channel_ != nullptr) {
        ChannelVisit there{device_, channel_, kOk};
        const CoreId first = home_.registry.cores().front();
        visit<ChannelVisit> closing(home_.control, first, there, &ChannelVisit::close);
        co_await closing;
    }
    claim_.release();
}

// ---- the superblock

Task<Status> Pool::read_superblock(SuperblockFinding& finding) {
    if (BlockIo::count(device_.info()) < 2) {
        finding = SuperblockFinding::kNothing;
        co_return kOk;
    }
    BlockMemory memory(2);
    const Status status = co_await io_->read(PoolLayout::superblock(Place::kA), memory.all());
    if (status) {
        finding = decode_both(
            memory.block(0), memory.block(1), BlockIo::count(device_.info()), identity_, newest_);
    }
    co_return status;
}

Task<Status> Pool::write_superblock(Place place, PoolState state) {
    identity_.state = state;
    const Superblock block = encode(identity_);
    BlockMemory memory(1);
    std::memcpy(memory.all().data(), &block, sizeof(block));
    co_return co_await io_->write(PoolLayout::superblock(place), memory.all());
}

Task<Status> Pool::take_growth() {
    const PoolLayout before = identity_.layout;
    const PoolLayout grown = before.grown(BlockIo::count(device_.info()));
    if (grown == before) {
        co_return kOk;
    }
    identity_.layout = grown;
    ++identity_.sequence;
    Status status = kOk;
    for (uint32_t copies = 0; copies < 2 && status; ++copies) {
        // Never the one that is known to be whole, so that there always is one.
        const Place place = other(newest_);
        status = co_await write_superblock(place, PoolState::kInUse);
        newest_ = status ? place : newest_;
    }
    if (!status) {
        identity_.layout = before;
    }
    co_return status;
}

Task<Result<uint64_t>> Pool::grow() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (is_closing_) {
        co_return Errc::kBusy;
    }
    const uint32_t before = slabs_->slab_count();
    const Status status = co_await take_growth();
    if (!status) {
        co_return status.error();
    }
    // Only now, that the device says so, may a partition take one of them.
    slabs_->grow(identity_.layout.slab_count);
    const uint64_t blocks =
        uint64_t{identity_.layout.slab_count - before} * identity_.layout.slab_blocks;
    BASALT_LOG(kInfo, "store", "pool {} has grown by {} blocks", identity_.name, blocks);
    co_return blocks;
}

Task<Status> Pool::format(PoolOptions options, std::string& problem) {
    if (!is_name(options.name) || options.name.size() > kPoolNameBytesMax ||
        options.uuid.is_nil()) {
        problem = fmt::format("a pool's name has 1 to {} characters, none of them '/' or a space",
                              kPoolNameBytesMax);
        co_return Errc::kInvalidArgument;
    }
    const auto cores = static_cast<uint32_t>(home_.registry.cores().size());
    const uint32_t partitions = options.partition_count == 0 ? cores : options.partition_count;
    const Result<PoolLayout> layout =
        PoolLayout::plan(BlockIo::count(device_.info()), std::min(partitions, kPartitionsMax));
    if (!layout) {
        problem =
            fmt::format("'{}' is too small for {} partitions", device_.info().name, partitions);
        co_return layout.error();
    }
    identity_ = PoolIdentity{.pool_uuid = options.uuid,
                             .device_uuid = device_.info().uuid,
                             .name = options.name,
                             .created_ns = options.created_ns,
                             .sequence = 1,
                             .state = PoolState::kFormatting,
                             .layout = *layout};
    BlockMemory zeroes(1);
    Status status = co_await io_->write(PoolLayout::superblock(Place::kB), zeroes.all());
    if (status) {
        status = co_await write_superblock(Place::kA, PoolState::kFormatting);
    }
    co_return status;
}

// ---- what is in it

/// How a partition is brought up on its core.
struct Pool::Making {
    PartitionOptions options;
    bool is_new = false;
};

Task<void> Pool::make_there(Reactor& there, Visit<Making>& visit) {
    Pool& pool = visit.pool;
    Seat& seat = visit.seat();
    Result<std::unique_ptr<DeviceChannel>> channel = pool.device_.open(there);
    if (!channel) {
        visit.status = channel.error();
        co_return;
    }
    seat.channel = std::move(*channel);
    const PartitionPlace place{pool.identity_.pool_uuid, pool.identity_.layout, visit.index};
    Result<std::unique_ptr<Partition>> made = Partition::make(
        there, *seat.channel, pool.device_.info(), place, *pool.slabs_, visit.argument.options);
    if (!made) {
        visit.status = made.error();
        co_return;
    }
    seat.partition = std::move(*made);
    seat.place.partition = seat.partition.get();
    if (visit.argument.is_new) {
        visit.status = co_await seat.partition->format();
    }
    // The control thread waits for us, so nobody changes the catalogue.
    for (const auto& [id, node] : pool.catalogue_.nodes()) {
        seat.partition->set_node(node);
    }
    if (visit.status) {
        visit.status = co_await seat.partition->load();
    }
}

Task<Status> Pool::open_partitions(PartitionOptions options, bool is_new) {
    const uint32_t slabs = identity_.layout.slab_count;
    slabs_ = std::make_unique<SlabTable>(slabs, identity_.layout.grown(kBlockNumberMax).slab_count);
    const auto cores = home_.registry.cores();
    seats_.resize(identity_.layout.partition_count);
    for (uint32_t i = 0; i < seats_.size(); ++i) {
        seats_[i].place.core = cores[i % cores.size()];
    }
    Making making{options, is_new};
    Status status = co_await on_seats<Making>(making, &make_there);
    if (status) {  // All have loaded, so opening may take slabs.
        int none = 0;
        const auto open = [](Reactor&, Visit<int>& visit) -> Task<void> {
            visit.status = co_await visit.partition().open();
        };
        status = co_await on_seats<int>(none, open);
    }
    for (const Seat& seat : seats_) {
        places_.push_back(seat.place);
    }
    co_return status;
}

Task<Status> Pool::load(PartitionOptions options, bool is_new, std::string& problem) {
    const BlockSeal seal(identity_.pool_uuid.bytes, 0);
    file_ = std::make_unique<CatalogueFile>(*io_, identity_.layout, seal);
    Status status = kOk;
    if (is_new) {
        status = co_await file_->format();
    } else {
        status = co_await file_->load(catalogue_, problem);
    }
    if (!status) {
        co_return status;
    }
    status = co_await open_partitions(options, is_new);
    if (!status) {
        problem = "a partition can't be opened; the log says why";
        co_return status;
    }
    if (is_new) {
        ++identity_.sequence;
        status = co_await write_superblock(Place::kA, PoolState::kInUse);
        if (status) {
            status = co_await write_superblock(Place::kB, PoolState::kInUse);
            newest_ = Place::kB;
        }
    }
    if (status) {
        add_devices();
        std::vector<Uuid> devices;
        for (const auto& [uuid, bdev] : devices_) {
            devices.push_back(uuid);
        }
        co_await publish_usage(devices);
        co_await tell_note_owners();
    }
    co_return status;
}

void Pool::add_devices() {
    for (const auto& [uuid, volume] : catalogue_.volumes()) {
        if (!volume.is_receiving) {
            add_device(options_of(volume));
        }
    }
    for (const auto& [uuid, snapshot] : catalogue_.snapshots()) {
        add_device(options_of(snapshot));
    }
}

}  // namespace basalt::bdev::store
