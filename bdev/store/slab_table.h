#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

namespace basalt::bdev::store {

/// Which slabs of a pool some partition has. Slabs are taken and given seldom, so one table of
/// atomic bits is shared by the cores instead of asking the control thread: a partition that needs
/// one can't wait for an answer in the middle of a write.
///
/// Owner: the pool, which outlives its partitions. Any core. What is in it is not on the device:
/// each partition says what it has when it opens (Partition::load).
class SlabTable {
  public:
    /// For slabs 0 to `slab_count` - 1, all free; room for a pool that grows to `slabs_max`.
    SlabTable(uint32_t slab_count, uint32_t slabs_max);
    SlabTable(const SlabTable&) = delete;
    SlabTable& operator=(const SlabTable&) = delete;

    /// Takes a free slab; nothing when there is none.
    [[nodiscard]] std::optional<uint32_t> take();

    /// Takes `slab`. False: there is no such slab, or somebody has it.
    [[nodiscard]] bool claim(uint32_t slab);

    /// Gives back a slab that was taken or claimed.
    void give(uint32_t slab);

    /// The pool has grown: more slabs, at most slabs_max. Control thread.
    void grow(uint32_t slab_count) { slab_count_.store(slab_count); }

    [[nodiscard]] uint32_t slab_count() const { return slab_count_.load(); }
    [[nodiscard]] uint32_t slabs_max() const { return slabs_max_; }
    [[nodiscard]] uint32_t free_count() const { return slab_count() - taken_.load(); }

  private:
    static constexpr uint32_t kBits = 64;

    const uint32_t slabs_max_;
    std::unique_ptr<std::atomic<uint64_t>[]> words_;
    std::atomic<uint32_t> slab_count_;
    std::atomic<uint32_t> taken_{0};
};

}  // namespace basalt::bdev::store
