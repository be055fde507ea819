#include "reactor/sim/sim_mailbox.h"

#include <algorithm>

#include "reactor/base/assert.h"
#include "reactor/limits.h"

namespace basalt::sim {

namespace {
constexpr uint64_t kMessageNs = 300;  // What a ring and a cache miss take between two cores.
}

uint32_t SimMailbox::slots() const {
    const uint32_t slots = timeline_.faults.message_ring_slots;
    return slots == 0 ? kMessageRingSlots : slots;
}

bool SimMailbox::send(CoreId to, Event& event) {
    BASALT_ASSERT(to.raw() < peers_.size());
    BASALT_ASSERT(to != core_);
    if (!has_power_) {
        return true;
    }
    return peers_[to.raw()]->accept(core_, event);
}

bool SimMailbox::accept(CoreId from, Event& event) {
    BASALT_ASSERT(!event.link.is_linked());
    if (rings_.size() <= from.raw()) {
        rings_.resize(from.raw() + 1);
    }
    Ring& ring = rings_[from.raw()];
    if (ring.events.size() >= slots()) {
        return false;
    }
    ring.events.push_back(&event);
    const uint64_t now_ns = timeline_.now_ns();
    ring.last_arrival_ns =
        std::max(ring.last_arrival_ns,
                 now_ns + kMessageNs + timeline_.up_to(timeline_.faults.message_jitter_ns));
    timeline_.after(ring.last_arrival_ns - now_ns, *this, 0, from.raw(), 0);
    return true;
}

void SimMailbox::occur(uint32_t /*what*/, uint64_t a, uint64_t /*b*/) {
    if (has_power_) {
        ++rings_[a].arrived;
        ++arrived_count_;
    }
}

uint32_t SimMailbox::receive(std::span<Event*> out) {
    if (arrived_count_ == 0) {
        return 0;
    }
    uint32_t count = 0;
    const auto ring_count = static_cast<uint32_t>(rings_.size());
    const auto start = static_cast<uint32_t>(timeline_.random().below(ring_count));
    for (uint32_t i = 0; i < ring_count && count < out.size(); ++i) {
        const uint32_t from = (start + i) % ring_count;
        Ring& ring = rings_[from];
        while (ring.arrived > 0 && count < out.size()) {
            out[count++] = ring.events.front();
            ring.events.pop_front();
            --ring.arrived;
            --arrived_count_;
            timeline_.trace((uint64_t{core_.raw()} << 32U) | from);
        }
    }
    return count;
}

void SimMailbox::power_off() {
    has_power_ = false;
    rings_.clear();
    arrived_count_ = 0;
}

}  // namespace basalt::sim
