#include "reactor/sim/timeline.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "reactor/base/assert.h"

namespace basalt::sim {

bool Timeline::is_later(const Entry& x, const Entry& y) {
    return x.time_ns != y.time_ns ? x.time_ns > y.time_ns : x.sequence > y.sequence;
}

void Timeline::advance_to(uint64_t now_ns) {
    BASALT_ASSERT(now_ns >= now_ns_);
    now_ns_ = now_ns;
}

void Timeline::after(
    uint64_t delay_ns, TimelineTarget& target, uint32_t what, uint64_t a, uint64_t b) {
    heap_.push_back(Entry{now_ns_ + delay_ns, next_sequence_++, &target, a, b, what});
    std::push_heap(heap_.begin(), heap_.end(), is_later);
}

uint32_t Timeline::run_due() {
    uint32_t count = 0;
    while (!heap_.empty() && heap_[0].time_ns <= now_ns_) {
        std::pop_heap(heap_.begin(), heap_.end(), is_later);
        const Entry entry = heap_.back();
        heap_.pop_back();
        trace(entry.time_ns);
        trace((uint64_t{entry.what} << 56U) ^ (entry.a << 8U) ^ entry.b);
        entry.target->occur(entry.what, entry.a, entry.b);
        ++count;
    }
    return count;
}

void Timeline::trace(uint64_t value) {
    trace_hash_ = (std::rotl(trace_hash_, 5) ^ value) * 0x9E3779B97F4A7C15U;
}

void Timeline::trace(std::span<const std::byte> data) {
    const auto mix = [](uint64_t hash, uint64_t word) {
        return (std::rotl(hash, 5) ^ word) * 0x9E3779B97F4A7C15U;
    };
    // Four at a time, as each waits for its multiplication.
    std::array<uint64_t, 4> lanes{data.size(), 1, 2, 3};
    size_t i = 0;
    for (; i + sizeof(lanes) <= data.size(); i += sizeof(lanes)) {
        std::array<uint64_t, 4> words{};
        std::memcpy(words.data(), &data[i], sizeof(words));
        for (size_t lane = 0; lane < lanes.size(); ++lane) {
            lanes[lane] = mix(lanes[lane], words[lane]);
        }
    }
    uint64_t hash = mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
    for (; i < data.size(); ++i) {
        hash = mix(hash, std::to_integer<uint64_t>(data[i]));
    }
    trace(hash);
}

}  // namespace basalt::sim
