#include "control/handlers/pool_calls.h"

#include <chrono>

namespace basalt::control {

std::string volume_words(const std::string& name) {
    return "volume '" + name + "'";
}

const bdev::store::Pool* pool_above(Context& context, const bdev::Bdev& device) {
    for (const auto& pool : context.pools.all()) {
        if (bdev::stands_on(pool->device(), device)) {
            return pool.get();
        }
    }
    return nullptr;
}

uint64_t wall_clock_ns() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::nanoseconds(now).count());
}

}  // namespace basalt::control
