#include "bdev/qos/bucket.h"

#include <algorithm>

#include "reactor/base/assert.h"
#include "reactor/io/clock.h"

namespace basalt::qos {

namespace {

// A second in nanoseconds times a terabyte does not fit 64 bits.
__extension__ using Wide = unsigned __int128;

uint64_t narrow(Wide value) {
    return value > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(value);
}

}  // namespace

uint64_t Bucket::time_of(uint64_t amount) const {
    return narrow((Wide{amount} * kNsPerSecond + rate_ - 1) / rate_);
}

void Bucket::change(uint64_t rate, uint64_t depth_ns, uint64_t now_ns) {
    const uint64_t old_rate = rate_;
    const uint64_t lacking_ns = full_ns_ > now_ns ? full_ns_ - now_ns : 0;
    rate_ = rate;
    depth_ns_ = depth_ns;
    carry_ = 0;
    full_ns_ = 0;
    if (old_rate != 0 && rate != 0 && lacking_ns != 0) {
        full_ns_ = now_ns + narrow(Wide{lacking_ns} * old_rate / rate);
    }
}

uint64_t Bucket::ready_ns(uint64_t amount, uint64_t now_ns) const {
    if (!is_set() || amount == 0) {
        return now_ns;
    }
    const uint64_t needed_ns = std::min(time_of(amount), depth_ns_);
    const uint64_t enough_ns = full_ns_ + needed_ns;
    return enough_ns > now_ns + depth_ns_ ? enough_ns - depth_ns_ : now_ns;
}

void Bucket::take(uint64_t amount, uint64_t now_ns) {
    if (!is_set() || amount == 0) {
        return;
    }
    if (full_ns_ < now_ns) {
        full_ns_ = now_ns;
        carry_ = 0;
    }
    const Wide total = Wide{amount} * kNsPerSecond + carry_;
    full_ns_ += narrow(total / rate_);
    carry_ = narrow(total % rate_);
}

void Bucket::give_back(uint64_t amount) {
    if (!is_set()) {
        return;
    }
    // Rounded down: rather too little comes back.
    const uint64_t back_ns = narrow(Wide{amount} * kNsPerSecond / rate_);
    full_ns_ -= std::min(full_ns_, back_ns);
}

}  // namespace basalt::qos
