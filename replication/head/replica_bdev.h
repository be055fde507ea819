#pragma once

#include <memory>
#include <string>

#include "bdev/core/bdev.h"
#include "replication/head/head.h"

namespace basalt::replication {

struct ReplicaBdevOptions {
    std::string name;
    bdev::Uuid uuid;  ///< The volume's: the same at every head.
};

/// A replicated volume as a block device: the head behind the seam, on every core, so that it can
/// be exported, layered and taken away like any other. Blocks are 4 KiB. A write is durable at
/// `write_quorum` replicas when it completes; flushes have nothing to do. One block is written all
/// or not at all; more are so only while they are acknowledged.
///
/// kStaleEpoch means that another head has the volume.
///
/// Owner: BdevRegistry. Control thread. The head has been made and outlives the device; it is
/// stopped, on its core, after the device has been removed.
class ReplicaBdev final : public bdev::Bdev {
  public:
    ReplicaBdev(const ReplicaBdevOptions& options, Head& head);

    [[nodiscard]] const bdev::BdevInfo& info() const override { return info_; }
    [[nodiscard]] Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override;

  private:
    Head& head_;
    bdev::BdevInfo info_;
};

}  // namespace basalt::replication
