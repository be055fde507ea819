#pragma once

#include <string>

#include "bdev/core/uuid.h"
#include "control/metadata/store.h"

namespace basalt::cluster {

/// Elects one of several control processes: whoever has the key "leader", with a lease. What a
/// leader decides is a transaction with conditions all the same: one that hangs, and goes on when
/// another has been elected, does no harm.
///
/// Life: tick() again and again, then resign(). Owner: ControlPlane. Core: the control thread's.
class Leadership {
  public:
    /// `who` is this process.
    Leadership(metadata::MetadataStore& store, bdev::Uuid who) : store_(store), who_(who) {}

    /// Keeps the lease alive, or tries to be elected. Errors: the store's: whether this process
    /// leads is not known then, so it does not.
    [[nodiscard]] Task<Status> tick();
    /// Another one may lead at once.
    [[nodiscard]] Task<void> resign();

    [[nodiscard]] bool is_leader() const { return is_leader_; }

  private:
    [[nodiscard]] Task<Status> stand();

    metadata::MetadataStore& store_;
    const bdev::Uuid who_;
    metadata::LeaseId lease_;
    bool is_leader_ = false;
};

}  // namespace basalt::cluster
