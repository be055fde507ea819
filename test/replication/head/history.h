#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace basalt::replication::test {

/// What hosts did with the blocks of a volume, and whether each block was a register: whether one
/// order of all its writes and reads, in which none changes places with one that began after it had
/// ended, explains what was read (linearizable; Gibbons and Korach, "Testing shared memories",
/// 1997, section 4: values are written once, but for zeroes).
class History {
  public:
    explicit History(uint64_t blocks) : blocks_(blocks) {}

    /// Gives the value to write, never zero; of a write of zeroes only a name. A write of which
    /// nobody hears that it ended may come into effect at any time, or never.
    uint64_t begin_write(uint64_t first, uint64_t count, uint64_t now, bool is_zero);
    void end_write(uint64_t value, uint64_t now) { writes_[value - 1].end = now; }

    /// A read between `begin` and `end` saw `seen`. What is wrong with that, if it can be told
    /// already.
    [[nodiscard]] std::string check_read(uint64_t block,
                                         uint64_t seen,
                                         uint64_t begin,
                                         uint64_t end);
    /// Whether these blocks, all of the volume, may have been so at one moment between `begin` and
    /// `end`: with each write they have all that ended before it began.
    [[nodiscard]] std::string check_cut(const std::vector<uint64_t>& seen,
                                        uint64_t begin,
                                        uint64_t end);
    /// What is wrong with all of it together, at the end.
    [[nodiscard]] std::string check_all() const;

  private:
    static constexpr uint64_t kNever = ~uint64_t{0};

    struct Span {
        uint64_t begin = 0;
        uint64_t end = 0;
    };
    struct Seen {
        uint64_t value = 0;
        Span when;
    };
    struct Block {
        std::vector<uint64_t> writes;
        std::vector<Seen> reads;
    };
    /// When a block must have had a value, or else when it had it at one moment at least.
    struct Zone {
        uint64_t value = 0;
        uint64_t first_end = kNever;
        uint64_t last_begin = 0;
        [[nodiscard]] bool is_forward() const { return first_end < last_begin; }
    };

    [[nodiscard]] Span span_of(uint64_t value) const {
        return value == 0 ? Span{0, 0} : writes_[value - 1];
    }
    [[nodiscard]] bool is_zero(uint64_t value) const { return value == 0 || is_zero_[value - 1]; }
    [[nodiscard]] std::vector<uint64_t> candidates(const Block& of, uint64_t seen) const;
    [[nodiscard]] std::string judge(const Block& of,
                                    uint64_t value,
                                    uint64_t begin,
                                    uint64_t end) const;
    [[nodiscard]] std::vector<Zone> zones_of(const Block& of) const;

    std::vector<Span> writes_;
    std::vector<bool> is_zero_;
    std::vector<Block> blocks_;
};

}  // namespace basalt::replication::test
