#include "bdev/qos/throttle.h"

namespace basalt::qos {

using bdev::IoOp;

IoCost cost_of(const bdev::IoRequest& request, uint32_t block_bytes) {
    const auto bytes = static_cast<uint32_t>(request.count.raw() * block_bytes);
    switch (request.op) {
        case IoOp::kRead:
        case IoOp::kCompare: return {.bytes = bytes, .is_write = false};
        case IoOp::kWrite: return {.bytes = bytes, .is_write = true};
        case IoOp::kWriteZeroes:
        case IoOp::kUnmap:
        case IoOp::kFlush: break;
    }
    return {.bytes = 0, .is_write = true};
}

void Throttle::submit(bdev::IoRequest& request) {
    if (request.op == IoOp::kFlush) {
        inner_.submit(request);
        return;
    }
    const IoCost cost = cost_of(request, block_bytes_);
    if (lane_->try_take(cost)) [[likely]] {
        inner_.submit(request);
    } else {
        lane_->wait(request, cost, this);
    }
}

void Throttle::release() {
    if (lane_ != nullptr) {
        lane_->release(this);
    }
}

void Throttle::abandon() {
    if (lane_ != nullptr) {
        lane_->abandon(this);
    }
}

void Throttle::go(bdev::IoRequest& request, void* context) {
    static_cast<Throttle*>(context)->inner_.submit(request);
}

}  // namespace basalt::qos
