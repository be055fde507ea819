#pragma once

#include <memory>
#include <string>

#include "bdev/core/bdev.h"

namespace basalt::bdev {

struct PassthroughOptions {
    std::string name;
    Uuid uuid;  ///< Nil: a random one.
};

/// A layer that changes nothing: the pattern for other layers, and the measure of what a layer
/// costs. Owner: BdevRegistry.
class PassthroughBdev final : public Bdev {
  public:
    /// `base` outlives the layer: the registry claims it.
    PassthroughBdev(const PassthroughOptions& options, Bdev& base);

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] Bdev* base() const override { return &base_; }
    [[nodiscard]] BdevConfig describe() const override;
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

  private:
    Bdev& base_;
    BdevInfo info_;
};

}  // namespace basalt::bdev
