#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "replication/core/types.h"

namespace basalt::replication {

/// One bit a block of a volume: what an absent replica may lack, or what is still to be copied.
/// Allocates when it is made and never after. A value; one owner, one core.
class BlockBitmap {
  public:
    BlockBitmap() = default;
    explicit BlockBitmap(uint64_t blocks) : blocks_(blocks), words_((blocks + 63) / 64) {}

    [[nodiscard]] uint64_t blocks() const { return blocks_; }
    [[nodiscard]] uint64_t count() const { return count_; }
    [[nodiscard]] bool empty() const { return count_ == 0; }
    [[nodiscard]] bool has(uint64_t block) const {
        return ((words_[block / 64] >> (block % 64)) & 1U) != 0;
    }

    void set(uint64_t block) {
        BASALT_ASSERT(block < blocks_);
        count_ += uint64_t{!has(block)};
        words_[block / 64] |= uint64_t{1} << (block % 64);
    }
    void clear(uint64_t block) {
        BASALT_ASSERT(block < blocks_);
        count_ -= uint64_t{has(block)};
        words_[block / 64] &= ~(uint64_t{1} << (block % 64));
    }
    void set(BlockRange range) {
        for (uint64_t block = range.first; block < range.end(); ++block) {
            set(block);
        }
    }
    /// As set(), for many. O(count / 64).
    void set_run(uint64_t first, uint64_t count) {
        BASALT_ASSERT(first <= blocks_ && count <= blocks_ - first);
        const uint64_t end = first + count;
        while (first < end) {
            const uint64_t bits = std::min(end - first, 64 - first % 64);
            const uint64_t mask = (~uint64_t{0} >> (64 - bits)) << (first % 64);
            uint64_t& word = words_[first / 64];
            count_ += static_cast<uint64_t>(std::popcount(mask & ~word));
            word |= mask;
            first += bits;
        }
    }
    void clear(BlockRange range) {
        for (uint64_t block = range.first; block < range.end(); ++block) {
            clear(block);
        }
    }
    void clear_all() {
        std::fill(words_.begin(), words_.end(), 0);
        count_ = 0;
    }
    void set_all() { set_run(0, blocks_); }
    /// All of `other`, which is of the same size, too. O(size).
    void merge(const BlockBitmap& other) {
        BASALT_ASSERT(blocks_ == other.blocks_);
        count_ = 0;
        for (size_t i = 0; i < words_.size(); ++i) {
            words_[i] |= other.words_[i];
            count_ += static_cast<uint64_t>(std::popcount(words_[i]));
        }
    }
    /// The first block from `from` on that is set; blocks() if there is none. O(size / 64).
    [[nodiscard]] uint64_t next(uint64_t from) const {
        for (uint64_t word = from / 64; word < words_.size(); ++word) {
            uint64_t bits = words_[word];
            if (word == from / 64) {
                bits &= ~uint64_t{0} << (from % 64);
            }
            if (bits != 0) {
                return word * 64 + static_cast<uint64_t>(std::countr_zero(bits));
            }
        }
        return blocks_;
    }
    /// The first block from `from` on that is not set; blocks() if all are. O(size / 64).
    [[nodiscard]] uint64_t next_clear(uint64_t from) const {
        for (uint64_t word = from / 64; word < words_.size(); ++word) {
            uint64_t bits = ~words_[word];
            if (word == from / 64) {
                bits &= ~uint64_t{0} << (from % 64);
            }
            if (bits != 0) {
                const auto first = static_cast<uint64_t>(std::countr_zero(bits));
                return std::min(blocks_, word * 64 + first);
            }
        }
        return blocks_;
    }

    /// Copies the bits from `first` on, which `out` has room for, in whole words, little-endian;
    /// those beyond the end are 0. `first` is a multiple of 64.
    void save(uint64_t first, std::span<std::byte> out) const {
        BASALT_ASSERT(first % 64 == 0);
        const size_t at = first / 64;
        const size_t count = std::min(out.size() / sizeof(uint64_t), words_.size() - at);
        std::memcpy(out.data(), words_.data() + at, count * sizeof(uint64_t));
        std::fill(out.begin() + static_cast<ptrdiff_t>(count * sizeof(uint64_t)),
                  out.end(),
                  std::byte{0});
    }
    /// Puts such bits back. False: some are beyond the end, and nobody knows what is set now.
    [[nodiscard]] bool load(uint64_t first, std::span<const std::byte> in) {
        BASALT_ASSERT(first % 64 == 0);
        for (size_t i = 0; i < in.size() / sizeof(uint64_t); ++i) {
            uint64_t word = 0;
            std::memcpy(&word, in.data() + i * sizeof(word), sizeof(word));
            const uint64_t block = first + i * 64;
            const uint64_t left = block < blocks_ ? std::min<uint64_t>(blocks_ - block, 64) : 0;
            if (left < 64 && (word >> left) != 0) {
                return false;
            }
            if (left > 0) {
                count_ -= static_cast<uint64_t>(std::popcount(words_[block / 64]));
                count_ += static_cast<uint64_t>(std::popcount(word));
                words_[block / 64] = word;
            }
        }
        return true;
    }

  private:
    uint64_t blocks_ = 0;
    uint64_t count_ = 0;
    std::vector<uint64_t> words_;
};

}  // namespace basalt::replication
