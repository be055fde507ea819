#pragma once

#include <cstdint>
#include <memory>

#include "bdev/core/bdev.h"
#include "replication/head/head.h"

namespace basalt::replication {

/// A replicated volume on one core: sends each request to the head's core and completes it when it
/// is back. On the head's own core without a message.
///
///   submit -> [line] -> start ==message==> Head::submit … complete ==message==> finish
///
/// Owner: whoever opened it. Core: the one it was opened on; in between an operation belongs to the
/// head's core.
class ReplicaChannel final : public bdev::BdevChannel {
  public:
    /// Requests under way of one channel; more wait in line.
    static constexpr uint32_t kOperations = 256;

    /// `head` outlives the channel.
    ReplicaChannel(Reactor& here, Head& head);
    ReplicaChannel(const ReplicaChannel&) = delete;
    ReplicaChannel& operator=(const ReplicaChannel&) = delete;
    ~ReplicaChannel() override;

    void submit(bdev::IoRequest& request) override;

  private:
    struct Operation;

    void start(Operation& operation, bdev::IoRequest& request);
    void finish(Operation& operation);

    Reactor& here_;
    Head& head_;
    const CoreId head_core_;
    std::unique_ptr<Operation[]> operations_;
    Operation* free_ = nullptr;
    bdev::HeldRequests line_;
};

}  // namespace basalt::replication
