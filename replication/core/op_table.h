#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "replication/core/types.h"
#include "replication/core/window.h"

namespace basalt::replication {

/// A write that a head knows to be above the watermark: its own, or one that it found when it
/// began.
struct Op {
    OpNumber number{};
    BlockRange range{};
    OpNumber generation{};
    uint64_t tag = 0;   ///< The host's command; its own writes only.
    uint64_t data = 0;  ///< The shell's name for the data.
    uint64_t since_us = 0;
    ReplicaSet sent{};     ///< On the connection and in the epoch that they have now.
    ReplicaSet acked{};    ///< It is durable there.
    ReplicaSet by_copy{};  ///< They joined later and get it by a copy.
    WriteKind write = WriteKind::kData;
    bool is_mine = false;      ///< Taken from a host in this tenure.
    bool is_answered = false;  ///< The host was told; always true if it is not mine.
};

/// The ops of a head, the lowest number first: a ring of fixed size. One owner, one core.
class OpTable {
  public:
    explicit OpTable(uint32_t ops_max) : ops_(std::bit_ceil(ops_max)) {}

    [[nodiscard]] uint32_t size() const { return size_; }
    [[nodiscard]] bool empty() const { return size_ == 0; }
    [[nodiscard]] uint32_t room() const { return static_cast<uint32_t>(ops_.size()) - size_; }
    [[nodiscard]] Op& operator[](uint32_t index) { return ops_[place(index)]; }
    [[nodiscard]] const Op& operator[](uint32_t index) const { return ops_[place(index)]; }

    Op& push_back(const Op& op) {
        BASALT_ASSERT(room() > 0);
        BASALT_ASSERT(empty() || (*this)[size_ - 1].number <= op.number);
        count(op.range, 1);
        ++size_;
        return (*this)[size_ - 1] = op;
    }
    void pop_front() {
        BASALT_ASSERT(!empty());
        count((*this)[0].range, -1);
        first_ = place(1);
        --size_;
    }
    void clear() {
        size_ = 0;
        touched_.fill(0);
    }

    /// Whether there may be ops that touch blocks of `range`: mostly no, so that nobody has to look
    /// at all of them. `range` is of one block or more.
    [[nodiscard]] bool may_touch(BlockRange range) const {
        return (touched_[region(range.first)] | touched_[region(range.end() - 1)]) != 0;
    }

    /// The first op with that number, or null.
    [[nodiscard]] Op* find(OpNumber number) {
        uint32_t low = 0;
        uint32_t high = size_;
        while (low < high) {
            const uint32_t middle = (low + high) / 2;
            if ((*this)[middle].number < number) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low < size_ && (*this)[low].number == number ? &(*this)[low] : nullptr;
    }

  private:
    static constexpr size_t kRegions = 4096;

    [[nodiscard]] uint32_t place(uint32_t index) const {
        return (first_ + index) & static_cast<uint32_t>(ops_.size() - 1);
    }
    [[nodiscard]] static size_t region(uint64_t block) {
        return block / kRangeBoundaryBlocks % kRegions;
    }
    /// A range has less than kRangeBoundaryBlocks: it is in one region, or in two.
    void count(BlockRange range, int change) {
        if (range.count == 0) {
            return;
        }
        const size_t first = region(range.first);
        const size_t last = region(range.end() - 1);
        touched_[first] = static_cast<uint16_t>(touched_[first] + change);
        if (last != first) {
            touched_[last] = static_cast<uint16_t>(touched_[last] + change);
        }
    }

    std::vector<Op> ops_;
    std::array<uint16_t, kRegions> touched_{};  ///< Ops in each 1 MiB, modulo 4 GiB.
    uint32_t first_ = 0;
    uint32_t size_ = 0;
};

}  // namespace basalt::replication
