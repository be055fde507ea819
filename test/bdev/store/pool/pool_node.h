#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/leaf/file_bdev.h"
#include "bdev/store/pool/pool.h"
#include "bdev/store/transfer/transfers.h"
#include "reactor/sim/sim_stream_files.h"
#include "test/bdev/support/sim_node.h"
#include "test/bdev/support/test_io.h"
#include "test/reactor/may_leak.h"

namespace basalt::bdev::store::test {

/// Passes everything on to another device, and counts what changes the drive.
class MeteredBdev final : public Bdev {
  public:
    MeteredBdev(std::unique_ptr<Bdev> inner, uint64_t& writes)
        : inner_(std::move(inner)), writes_(writes) {}

    [[nodiscard]] const BdevInfo& info() const override { return inner_->info(); }
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override {
        BASALT_TRY(std::unique_ptr<BdevChannel> channel, inner_->open_channel(here));
        return std::unique_ptr<BdevChannel>(std::make_unique<Channel>(std::move(channel), writes_));
    }

  private:
    class Channel final : public BdevChannel {
      public:
        Channel(std::unique_ptr<BdevChannel> inner, uint64_t& writes)
            : inner_(std::move(inner)), writes_(writes) {}
        void submit(IoRequest& request) override {
            writes_ += request.op == IoOp::kRead ? 0U : 1U;
            inner_->submit(request);
        }

      private:
        std::unique_ptr<BdevChannel> inner_;
        uint64_t& writes_;
    };

    std::unique_ptr<Bdev> inner_;
    uint64_t& writes_;
};

/// A simulated machine with two cores and a drive on which a pool is.
class PoolNode : public SimNode {
  public:
    static constexpr uint64_t kDriveBytes = uint64_t{64} << 20U;

    explicit PoolNode(uint64_t seed,
                      const sim::FaultOptions& faults = sim::calm(),
                      uint64_t drive_bytes = kDriveBytes)
        : SimNode(seed, faults), drive(world.add_drive(node, "/d", {.size_bytes = drive_bytes})) {
        partition_options.cache_pages = kCachePagesMin;
        attach();
    }
    ~PoolNode() {
        world.crash_node(node);
        detach();
    }

    /// A UUID that says the number.
    static Uuid uuid(uint32_t number) {
        Uuid uuid;
        uuid.bytes[0] = 0xaa;
        std::memcpy(uuid.bytes.data() + 4, &number, sizeof(number));
        return uuid;
    }

    PoolHome home() { return {control(), *registry}; }

    Status create() {
        PoolOptions options;
        options.name = "p";
        options.uuid = uuid(1);
        options.partition = partition_options;
        Result<std::unique_ptr<Pool>> made = wait(Pool::create(home(), *device, options, problem));
        return keep(made);
    }
    Status open() {
        Result<std::unique_ptr<Pool>> made =
            wait(Pool::open(home(), *device, partition_options, problem));
        return keep(made);
    }
    Status close() {
        const Status closed = wait(pool->close());
        if (closed || closed.error().code != Errc::kBusy) {
            pool.reset();
        }
        return closed;
    }

    /// The power fails, and the pool is opened again.
    Status cut_power() {
        lose_power();
        return restart();
    }
    /// In two steps, for who has channels: they go in between.
    void lose_power() { world.crash_node(node); }
    Status restart() {
        detach();
        reboot();
        attach();
        return open();
    }

    Status add_volume(const std::string& name,
                      uint64_t blocks = 2048,
                      uint32_t block_bytes = kBlockBytes) {
        VolumeOptions options;
        options.name = name;
        options.uuid = uuid(++uuids);
        options.size_blocks = blocks;
        options.block_bytes = block_bytes;
        return wait(pool->create_volume(options));
    }
    Status take_snapshot(const std::string& volume, const std::string& name) {
        SnapshotOptions options;
        options.volume = volume;
        options.name = name;
        options.uuid = uuid(++uuids);
        std::vector<SnapshotOptions> all{options};
        return wait(pool->snapshot(all));
    }
    Status clone(const std::string& snapshot, const std::string& name) {
        VolumeOptions options;
        options.name = name;
        options.uuid = uuid(++uuids);
        return wait(pool->clone(snapshot, options));
    }

    std::unique_ptr<DeviceChannel> open_channel(const std::string& name, uint32_t on = 0) {
        return std::move(pool->device_of(name)->open(core(on))).value();
    }
    Errc run(BdevChannel& channel, TestIo& io) {
        io.submit(channel);
        finish(io);
        return io.code();
    }
    /// Fills `count` sectors of `name` with `value`, by as many writes as that takes.
    Errc fill(const std::string& name, uint64_t first, uint64_t count, uint8_t value) {
        const auto channel = open_channel(name);
        Errc code = Errc::kOk;
        while (count > 0 && code == Errc::kOk) {
            TestIo io;
            const uint64_t some = std::min(count, channel->info().transfer_max.raw());
            io.prepare(IoOp::kWrite, first, some, channel->info().block_size_bytes);
            io.fill(value);
            code = run(*channel, io);
            first += some;
            count -= some;
        }
        return code;
    }
    /// Whether `count` sectors of `name` hold nothing but `value`.
    bool holds(const std::string& name, uint64_t first, uint64_t count, uint8_t value) {
        const auto channel = open_channel(name, 1);
        bool holds = true;
        while (count > 0 && holds) {
            TestIo io;
            const uint64_t some = std::min(count, channel->info().transfer_max.raw());
            io.prepare(IoOp::kRead, first, some, channel->info().block_size_bytes);
            holds = run(*channel, io) == Errc::kOk &&
                    std::all_of(io.data, io.data + io.size_bytes, [value](std::byte b) {
                        return b == std::byte{value};
                    });
            first += some;
            count -= some;
        }
        return holds;
    }

    PartitionOptions partition_options;
    uint64_t device_writes = 0;  ///< All that changes the drive: writes, flushes, trims.
    sim::Drive& drive;
    std::unique_ptr<BdevRegistry> registry;
    Device* device = nullptr;
    std::unique_ptr<Pool> pool;
    static constexpr uint64_t kStreamBytes = uint64_t{4} << 20U;
    std::unique_ptr<sim::SimStreamFiles> streams;
    std::unique_ptr<Transfers> transfers;
    std::string problem;
    uint32_t uuids = 1;

  private:
    // Its end is a loss of power, and so is cut_power(): sequences under way never end.
    const basalt::test::MayLeak may_leak_{};

    void attach() {
        streams = std::make_unique<sim::SimStreamFiles>(world.random(), files(), kStreamBytes);
        transfers = std::make_unique<Transfers>(control());
        registry = std::make_unique<BdevRegistry>(cores());
        FileOptions options;
        options.name = "File0";
        options.path = "/d";
        options.uuid.bytes[0] = 1;
        auto file = std::move(FileBdev::open(options, files())).value();
        device = *registry->add(std::make_unique<MeteredBdev>(std::move(file), device_writes));
    }
    void detach() {
        transfers.reset();
        streams.reset();
        pool.reset();
        // A sequence that never ends may have a claim on one of the devices, or a name reserved.
        static_cast<void>(registry.release());
    }
    Status keep(Result<std::unique_ptr<Pool>>& made) {
        if (!made) {
            return made.error();
        }
        pool = std::move(*made);
        return kOk;
    }
};

}  // namespace basalt::bdev::store::test
