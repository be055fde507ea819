#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bdev/core/io_request.h"
#include "bdev/core/registry.h"
#include "bdev/leaf/file_bdev.h"
#include "bdev/store/pool/pool.h"
#include "reactor/base/assert.h"
#include "reactor/sim/world.h"
#include "reactor/task.h"
#include "test/fuzz/store_image.h"

namespace basalt::bdev::store {

/// A simulated machine with two cores and a drive with any image on it. Whatever is asked of it has
/// an end: waiting for ever is a fault.
class StoreBench {
  public:
    static constexpr uint64_t kDriveBytes = uint64_t{16} << 20U;

    explicit StoreBench(const std::map<uint64_t, StoreImage::Block>& image)
        : node_(world_.add_node()), drive_(world_.add_drive(node_, "/d", {kDriveBytes})) {
        for (const auto& [where, block] : image) {
            StoreImage::Block bytes = block;
            const iovec piece{bytes.data(), bytes.size()};
            const Status written =
                drive_.write(where * kBlockBytes, &piece, bytes.size(), sim::Drive::Durable::kYes);
            BASALT_ASSERT(written);
        }
        for (uint32_t i = 0; i < 2; ++i) {
            world_.add_reactor(node_);
        }
        control_ = &world_.add_reactor(node_);
        registry_ = std::make_unique<BdevRegistry>(std::vector{CoreId(0), CoreId(1)});
        FileOptions options;
        options.name = "d";
        options.path = "/d";
        options.uuid.bytes[0] = 1;
        device_ =
            *registry_->add(std::move(FileBdev::open(options, world_.file_system(node_))).value());
    }
    StoreBench(const StoreBench&) = delete;
    StoreBench& operator=(const StoreBench&) = delete;
    ~StoreBench() {
        world_.power_off();
        pool_.reset();
        registry_.reset();
    }

    static Uuid uuid(uint8_t number) {
        Uuid uuid;
        uuid.bytes[0] = number;
        uuid.bytes[15] = 0xaa;
        return uuid;
    }

    template <typename T>
    T wait(Task<T> task) {
        const bool is_done =
            world_.run_until([&task] { return task.is_done(); }, 1000 * kNsPerSecond);
        BASALT_ASSERT(is_done);
        return task.result();
    }
    void wait(Task<void> task) {
        const bool is_done =
            world_.run_until([&task] { return task.is_done(); }, 1000 * kNsPerSecond);
        BASALT_ASSERT(is_done);
    }

    void create() {
        PoolOptions options;
        options.name = "p";
        options.uuid = uuid(1);
        options.partition = partition_options();
        pool_ = std::move(wait(Pool::create(home(), *device_, options, problem_))).value();
    }
    bool open() {
        auto opened = wait(Pool::open(home(), *device_, partition_options(), problem_));
        if (opened) {
            pool_ = std::move(*opened);
        }
        return opened.has_value();
    }
    void close() {
        static_cast<void>(wait(pool_->close()));
        pool_.reset();
    }
    [[nodiscard]] Pool& pool() { return *pool_; }
    [[nodiscard]] BdevRegistry& registry() { return *registry_; }

    /// One request to a device of the pool, of at most its size; whether it succeeded.
    bool transfer(Device& device, IoOp op, uint64_t first, uint64_t count, uint8_t value = 0) {
        const BdevInfo& info = device.info();
        const uint64_t size = info.block_count.raw();
        if (size == 0 || !info.can(op)) {
            return false;
        }
        first = std::min(first, size - 1);
        count = std::min(count, size - first);
        auto opened = device.open(world_.reactor(node_, CoreId(0)));
        BASALT_ASSERT(opened);
        WholeIoRequest request;
        request.op = op;
        request.first = Lba(first);
        request.count = BlockCount(count);
        std::vector<std::byte> memory;
        iovec piece{};
        if (op == IoOp::kRead || op == IoOp::kWrite) {
            const uint64_t bytes = count * info.block_size_bytes;
            memory.assign(bytes + kBlockBytes, std::byte{value});
            const auto address = reinterpret_cast<uintptr_t>(memory.data());
            piece = {memory.data() + (kBlockBytes - address % kBlockBytes) % kBlockBytes, bytes};
            request.pieces = &piece;
            request.piece_count = 1;
        }
        bool is_done = false;
        request.push_completion(
            [](IoRequest&, void* context) { *static_cast<bool*>(context) = true; }, &is_done);
        (*opened)->submit(request);
        const bool has_ended = world_.run_until([&] { return is_done; }, 1000 * kNsPerSecond);
        BASALT_ASSERT(has_ended);
        return request.status.has_value();
    }

    /// What the drive holds now, without blocks of zeroes.
    [[nodiscard]] StoreImage image() {
        std::map<uint64_t, StoreImage::Block> blocks;
        for (uint64_t where = 0; where < kDriveBytes / kBlockBytes; ++where) {
            StoreImage::Block bytes;
            const iovec piece{bytes.data(), bytes.size()};
            BASALT_ASSERT(drive_.read(where * kBlockBytes, &piece, bytes.size()));
            if (bytes != StoreImage::Block{}) {
                blocks[where] = bytes;
            }
        }
        return {std::move(blocks), pool_->identity().layout, uuid(1)};
    }

  private:
    static PartitionOptions partition_options() {
        PartitionOptions options;
        options.requests = 16;
        options.cache_pages = kCachePagesMin;
        return options;
    }
    PoolHome home() { return {*control_, *registry_}; }

    sim::World world_{1};
    sim::NodeId node_;
    sim::Drive& drive_;
    Reactor* control_ = nullptr;
    std::unique_ptr<BdevRegistry> registry_;
    Device* device_ = nullptr;
    std::unique_ptr<Pool> pool_;
    std::string problem_;
};

}  // namespace basalt::bdev::store
