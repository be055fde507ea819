#include "bdev/store/pool/range_gate.h"

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

bool RangeGate::enter(GateEntry& entry) {
    BASALT_ASSERT(entry.count > 0);
    BASALT_ASSERT(entry.granted != nullptr);
    entries_.push_back(entry);
    entry.is_inside_ = !must_wait(entry);
    return entry.is_inside_;
}

void RangeGate::leave(GateEntry& entry) {
    BASALT_ASSERT(entry.is_inside_);
    Entries::remove(entry);
    for (GateEntry* other = entries_.front(); other != nullptr;) {
        GateEntry* const next = entries_.next(*other);
        if (!other->is_inside_ && other->overlaps(entry) && !must_wait(*other)) {
            other->is_inside_ = true;
            other->granted(other->context);
        }
        other = next;
    }
}

void RangeGate::forget(GateEntry& entry) {
    if (entry.link_.is_linked()) {
        Entries::remove(entry);
    }
}

bool RangeGate::must_wait(const GateEntry& entry) {
    for (GateEntry* other = entries_.front(); other != &entry; other = entries_.next(*other)) {
        if (other->overlaps(entry)) {
            return true;
        }
    }
    return false;
}

}  // namespace basalt::bdev::store
