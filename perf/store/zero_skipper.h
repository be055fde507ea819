#pragma once

#include <memory>
#include <string>

#include "bdev/core/bdev.h"

namespace basalt::perf {

/// A layer for measuring pools that are larger than the machine's disk: writes of nothing but
/// zeroes are not passed on, because what was never written reads as zeroes anyway. Right only
/// where no block is written with zeroes after something else: in a new pool, data that is all
/// zeroes, while the store's own pages never are. Owner: BdevRegistry.
class ZeroSkipper final : public bdev::Bdev {
  public:
    /// `base` outlives the layer: the registry claims it.
    ZeroSkipper(const std::string& name, bdev::Bdev& base);

    [[nodiscard]] const bdev::BdevInfo& info() const override { return info_; }
    [[nodiscard]] bdev::Bdev* base() const override { return &base_; }
    [[nodiscard]] Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override;

  private:
    bdev::Bdev& base_;
    bdev::BdevInfo info_;
};

}  // namespace basalt::perf
