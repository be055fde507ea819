#include "test/replication/head/history.h"

#include <algorithm>

#include <fmt/format.h>

namespace basalt::replication::test {

uint64_t History::begin_write(uint64_t first, uint64_t count, uint64_t now, bool is_zero) {
    writes_.push_back({now, kNever});
    is_zero_.push_back(is_zero);
    const uint64_t value = writes_.size();  // 0 is what was there before.
    for (uint64_t block = first; block < first + count; ++block) {
        blocks_[block].writes.push_back(value);
    }
    return value;
}

/// The writes that a block with `seen` may have had last.
std::vector<uint64_t> History::candidates(const Block& of, uint64_t seen) const {
    std::vector<uint64_t> all;
    if (seen == 0) {
        // Zeroes may be of the beginning or of any write of zeroes.
        all.push_back(0);
    }
    for (const uint64_t value : of.writes) {
        if (seen == 0 ? is_zero(value) : value == seen && !is_zero(value)) {
            all.push_back(value);
        }
    }
    return all;
}

std::string History::judge(const Block& of, uint64_t value, uint64_t begin, uint64_t end) const {
    if (span_of(value).begin > end) {
        return fmt::format("{} was read before it was written", value);
    }
    for (const uint64_t other : of.writes) {
        if (span_of(other).begin > span_of(value).end && span_of(other).end < begin) {
            return fmt::format("{} was read after {} had replaced it", value, other);
        }
    }
    for (const Seen& other : of.reads) {
        if (other.value != 0 && other.when.end < begin &&
            span_of(value).end < span_of(other.value).begin) {
            return fmt::format("{} was read after {} had been", value, other.value);
        }
    }
    return {};
}

std::string History::check_read(uint64_t block, uint64_t seen, uint64_t begin, uint64_t end) {
    Block& of = blocks_[block];
    std::string why = fmt::format("{} is there, which nobody wrote", seen);
    for (const uint64_t value : candidates(of, seen)) {
        why = judge(of, value, begin, end);
        if (why.empty()) {
            of.reads.push_back({seen, {begin, end}});
            return {};
        }
    }
    return fmt::format("block {}: {}", block, why);
}

std::string History::check_cut(const std::vector<uint64_t>& seen, uint64_t begin, uint64_t end) {
    uint64_t newest = begin;
    for (size_t block = 0; block < seen.size(); ++block) {
        std::string why = check_read(block, seen[block], begin, end);
        if (!why.empty()) {
            return why;
        }
        newest = std::max(newest, seen[block] == 0 ? 0 : span_of(seen[block]).begin);
    }
    for (size_t block = 0; block < seen.size(); ++block) {
        std::string why;
        for (const uint64_t value : candidates(blocks_[block], seen[block])) {
            why = judge(blocks_[block], value, newest, kNever);
            if (why.empty()) {
                break;
            }
        }
        if (!why.empty()) {
            return fmt::format("block {} is not of the same moment: {}", block, why);
        }
    }
    return {};
}

std::vector<History::Zone> History::zones_of(const Block& of) const {
    std::map<uint64_t, Zone> by_value;
    std::vector<Zone> zones;
    for (const uint64_t value : of.writes) {
        by_value[value] = {value, span_of(value).end, span_of(value).begin};
    }
    for (const Seen& read : of.reads) {
        if (read.value == 0) {
            zones.push_back({0, read.when.end, read.when.begin});
            continue;
        }
        Zone& zone = by_value[read.value];
        zone.first_end = std::min(zone.first_end, read.when.end);
        zone.last_begin = std::max(zone.last_begin, read.when.begin);
    }
    for (const auto& [value, zone] : by_value) {
        zones.push_back(zone);
    }
    return zones;
}

std::string History::check_all() const {
    for (size_t block = 0; block < blocks_.size(); ++block) {
        const std::vector<Zone> zones = zones_of(blocks_[block]);
        for (const Zone& held : zones) {
            if (!held.is_forward() || held.value == 0) {
                continue;
            }
            for (const Zone& other : zones) {
                const bool is_between =
                    other.is_forward()
                        ? std::max(held.first_end, other.first_end) <
                              std::min(held.last_begin, other.last_begin)
                        : held.first_end < other.last_begin && other.first_end < held.last_begin;
                if (&other != &held && is_between) {
                    return fmt::format("block {}: {} was there before and after {}",
                                       block,
                                       held.value,
                                       other.value);
                }
            }
        }
    }
    return {};
}

}  // namespace basalt::replication::test
