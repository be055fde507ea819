#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"
#include "test/bdev/store/pool/pool_node.h"

namespace basalt::bdev::store::test {

/// What a volume holds: block -> tag; what is not there is zeroes.
using Contents = std::map<uint64_t, uint64_t>;

struct ModelVolume {
    uint64_t blocks = 0;  ///< Of block_bytes.
    uint32_t block_bytes = kBlockBytes;
    bool is_snapshot = false;
    std::string origin{};  ///< Of a snapshot: the volume that it was taken of.
    Contents contents{};
};

/// A change of blocks that has begun.
struct Change {
    std::string volume;
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t tag = 0;  ///< Of its first block, then one after the other; 0: zeroes.

    [[nodiscard]] bool covers(uint64_t block) const {
        return block >= first && block < first + count;
    }
    [[nodiscard]] uint64_t tag_of(uint64_t block) const {
        return tag == 0 ? 0 : tag + (block - first);
    }
};

/// A request to a volume, with memory. May be destroyed under way once the machine has no power and
/// the channel is gone.
class PoolWork {
  public:
    PoolWork(Change its_change, IoOp op, uint32_t block_bytes)
        : change(std::move(its_change)), block_bytes_(block_bytes) {
        request.op = op;
        request.first = Lba(change.first);
        request.count = BlockCount(change.count);
        if (op == IoOp::kRead || op == IoOp::kWrite) {
            const uint64_t bytes = change.count * block_bytes;
            storage_ = std::make_unique_for_overwrite<std::byte[]>(bytes + kBlockBytes);
            const auto address = reinterpret_cast<uintptr_t>(storage_.get());
            piece_ = {storage_.get() + (kBlockBytes - address % kBlockBytes) % kBlockBytes, bytes};
            request.pieces = &piece_;
            request.piece_count = 1;
        }
        if (op == IoOp::kWrite) {
            fill();
        }
    }
    PoolWork(const PoolWork&) = delete;
    PoolWork& operator=(const PoolWork&) = delete;

    void submit(BdevChannel& channel) {
        request.push_completion(
            [](IoRequest&, void* context) { static_cast<PoolWork*>(context)->is_done = true; },
            this);
        channel.submit(request);
    }
    /// The tag of the `index`th block; UINT64_MAX: there is something else.
    [[nodiscard]] uint64_t tag(uint64_t index) const {
        const uint64_t words = block_bytes_ / sizeof(uint64_t);
        uint64_t first = 0;
        for (uint64_t word = 0; word < words; word += 512 / sizeof(uint64_t)) {
            uint64_t value = 0;
            std::memcpy(&value, start(index) + word * sizeof(value), sizeof(value));
            first = word == 0 ? value : first;
            if (value != first) {
                return UINT64_MAX;
            }
        }
        return first;
    }

    Change change;
    WholeIoRequest request;
    bool is_done = false;

  private:
    [[nodiscard]] std::byte* start(uint64_t index) const {
        return static_cast<std::byte*>(piece_.iov_base) + index * block_bytes_;
    }
    void fill() {
        for (uint64_t i = 0; i < change.count; ++i) {
            const uint64_t tag = change.tag_of(change.first + i);
            for (uint64_t at = 0; at < block_bytes_; at += sizeof(tag)) {
                std::memcpy(start(i) + at, &tag, sizeof(tag));
            }
        }
    }

    uint32_t block_bytes_;
    std::unique_ptr<std::byte[]> storage_;
    iovec piece_{};
};

/// Something that the pool's administration is asked for.
struct Order {
    enum class Kind : uint8_t { kCreate, kSnapshot, kClone, kDelete, kResize, kRollBack, kRename };
    static constexpr uint32_t kKinds = 7;

    Kind kind = Kind::kCreate;
    std::string from;  ///< The volume or snapshot that it is about, if it must not be used.
    std::vector<std::string> names;  ///< That are made; kRollBack: the snapshot.
    std::vector<ModelVolume> made;   ///< What they are; kResize: what `from` becomes.
    std::vector<Change> meanwhile;   ///< kSnapshot: what may be in it or not.
    std::unique_ptr<Task<Status>> task;
};

/// A pool under random work, all that its administration can do among it, on a machine that loses
/// its power; and a model of what must be there.
class PoolCrashRun {
  public:
    explicit PoolCrashRun(uint64_t seed);

    /// Work until the device was written to `writes` times more.
    void work(uint64_t writes);
    /// The power goes; the pool opens, is in order, and holds what the model says.
    void crash_and_verify();
    /// Everything that was begun ends; then the same.
    void end_and_verify();

    [[nodiscard]] Random& random() { return random_; }

  private:
    static constexpr uint64_t kDriveBytes = uint64_t{24} << 20U;
    static constexpr size_t kQueue = 5;
    static constexpr uint64_t kTransferBytes = 30 * uint64_t{kBlockBytes};
    static constexpr size_t kVolumesMax = 9;

    [[nodiscard]] Status add(const std::string& name, const ModelVolume& volume);
    [[nodiscard]] BdevChannel& channel(const std::string& name);
    void act();
    void begin_work();
    void begin_order();
    /// Fills in an order of its kind; false if there is nothing that it could be about.
    [[nodiscard]] bool prepare(Order& order);
    [[nodiscard]] bool prepare_snapshot(Order& order);
    [[nodiscard]] bool prepare_roll_back(Order& order);
    [[nodiscard]] Task<Status> start(const Order& order);
    void collect();
    void end_order(const Status& status);
    [[nodiscard]] bool has_happened(const Order& order);
    void apply(Order& order);
    void settle(Order& order);
    [[nodiscard]] std::string pick(bool is_snapshot);
    [[nodiscard]] bool is_busy(const std::string& name) const;
    [[nodiscard]] std::vector<uint64_t> read(const std::string& name,
                                             uint64_t first,
                                             uint64_t count);
    /// Finds out which of the changes have happened, and that each has wholly or not at all.
    void resolve(const std::string& name, ModelVolume& volume, const std::vector<Change>& changes);
    void judge(const std::string& name,
               const ModelVolume& volume,
               const std::vector<Change>& changes,
               const Contents& found);
    [[nodiscard]] bool holds(const std::string& name, const ModelVolume& volume);
    void verify();
    void check();

    Random random_;
    PoolNode node_;
    std::map<std::string, ModelVolume> volumes_;
    std::map<std::string, std::unique_ptr<DeviceChannel>> channels_;
    std::deque<std::unique_ptr<PoolWork>> works_;
    std::unique_ptr<Order> order_;
    uint64_t next_tag_ = 1;
    uint32_t next_name_ = 0;
};

}  // namespace basalt::bdev::store::test
