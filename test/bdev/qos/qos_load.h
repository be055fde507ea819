#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bdev/core/device.h"
#include "reactor/reactor.h"

namespace basalt::bdev {

/// Keeps so many requests under way on one channel, and counts what completes. Destroyed after
/// stop() and when it is idle.
class QosLoad {
  public:
    struct Shape {
        uint32_t depth = 32;
        uint32_t blocks = 1;
        IoOp op = IoOp::kRead;
    };

    QosLoad(DeviceChannel& channel, Shape shape) : channel_(channel), shape_(shape) {
        memory_.resize(size_t{shape.blocks} * channel.info().block_size_bytes);
        piece_ = {memory_.data(), memory_.size()};
        for (uint32_t i = 0; i < shape.depth; ++i) {
            requests_.push_back(std::make_unique<WholeIoRequest>());
        }
    }

    /// On the channel's core.
    void start() {
        is_running_ = true;
        for (const auto& request : requests_) {
            submit(*request);
        }
    }
    void stop() { is_running_ = false; }
    [[nodiscard]] bool is_idle() const { return in_flight_ == 0; }

    std::vector<std::unique_ptr<WholeIoRequest>>& requests() { return requests_; }
    uint64_t completed = 0;
    uint64_t failed = 0;

  private:
    void submit(IoRequest& request) {
        request.op = shape_.op;
        request.first = Lba(0);
        request.count = BlockCount(shape_.blocks);
        request.pieces = &piece_;
        request.piece_count = 1;
        request.push_completion(
            [](IoRequest& done, void* self) { static_cast<QosLoad*>(self)->completed_one(done); },
            this);
        ++in_flight_;
        channel_.submit(request);
    }
    void completed_one(IoRequest& request) {
        --in_flight_;
        ++completed;
        failed += request.status ? 0U : 1U;
        if (is_running_) {
            submit(request);
        }
    }

    DeviceChannel& channel_;
    const Shape shape_;
    std::vector<std::byte> memory_;
    iovec piece_{};
    std::vector<std::unique_ptr<WholeIoRequest>> requests_;
    uint32_t in_flight_ = 0;
    bool is_running_ = false;
};

}  // namespace basalt::bdev
