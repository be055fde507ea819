#pragma once

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "reactor/base/assert.h"
#include "replication/link/block_buffer.h"

namespace basalt::replication {

/// What replicas sent, by the id of the reply that it came with, until the core has no use for it:
/// a hash table of fixed size with open addressing. Owner: a head. Allocates when it is made.
class ReadTable {
  public:
    /// At most `entries_max` at a time.
    explicit ReadTable(uint32_t entries_max) : entries_(std::bit_ceil(entries_max * 2)) {}

    [[nodiscard]] uint32_t size() const { return size_; }

    /// `id` is not 0 and not in here.
    void put(uint64_t id, BlockRef data) {
        BASALT_ASSERT(id != 0 && size_ < entries_.size() / 2);
        size_t at = place(id);
        while (entries_[at].id != 0) {
            BASALT_ASSERT(entries_[at].id != id);
            at = next(at);
        }
        entries_[at].id = id;
        entries_[at].data = std::move(data);
        ++size_;
    }

    /// Another holder of it; not a valid one if there is nothing of that id.
    [[nodiscard]] BlockRef get(uint64_t id) const {
        const size_t at = find(id);
        return entries_[at].id == id ? entries_[at].data : BlockRef();
    }

    /// Takes it out; likewise.
    BlockRef take(uint64_t id) {
        size_t hole = find(id);
        if (entries_[hole].id != id) {
            return {};
        }
        BlockRef taken = std::move(entries_[hole].data);
        entries_[hole].id = 0;
        --size_;
        // Whoever was pushed on past the hole moves back (Knuth, vol. 3, 6.4, algorithm R).
        for (size_t at = next(hole); entries_[at].id != 0; at = next(at)) {
            const size_t home = place(entries_[at].id);
            const bool is_between =
                hole <= at ? (hole < home && home <= at) : (hole < home || home <= at);
            if (!is_between) {
                entries_[hole].id = std::exchange(entries_[at].id, 0);
                entries_[hole].data = std::move(entries_[at].data);
                hole = at;
            }
        }
        return taken;
    }

  private:
    struct Entry {
        uint64_t id = 0;
        BlockRef data{};
    };

    [[nodiscard]] size_t place(uint64_t id) const {
        // The golden ratio spreads ids that count up (Knuth, vol. 3, 6.4).
        return (id * 0x9e3779b97f4a7c15U >> 32) & (entries_.size() - 1);
    }
    [[nodiscard]] size_t next(size_t at) const { return (at + 1) & (entries_.size() - 1); }
    /// Where it is, or the hole where it would be.
    [[nodiscard]] size_t find(uint64_t id) const {
        size_t at = place(id);
        while (entries_[at].id != 0 && entries_[at].id != id) {
            at = next(at);
        }
        return at;
    }

    std::vector<Entry> entries_;
    uint32_t size_ = 0;
};

}  // namespace basalt::replication
