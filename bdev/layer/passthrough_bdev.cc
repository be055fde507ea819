#include "bdev/layer/passthrough_bdev.h"

#include <utility>

namespace basalt::bdev {

namespace {

/// Owner: whoever opened it. Core: the one it was opened on.
class PassthroughChannel final : public BdevChannel {
  public:
    explicit PassthroughChannel(std::unique_ptr<BdevChannel> base) : base_(std::move(base)) {}

    // Nothing to do on the way back, so no completion is pushed.
    void submit(IoRequest& request) override { base_->submit(request); }

  private:
    std::unique_ptr<BdevChannel> base_;
};

}  // namespace

PassthroughBdev::PassthroughBdev(const PassthroughOptions& options, Bdev& base)
    : base_(base), info_(base.info()) {
    info_.follow(base.info());
    info_.name = options.name;
    info_.product_name = "passthru";
    info_.uuid = options.uuid.is_nil() ? Uuid::make_random() : options.uuid;
}

BdevConfig PassthroughBdev::describe() const {
    return {"bdev_passthru_create",
            {{"name", info_.name},
             {"base_bdev_name", base_.info().name},
             {"uuid", info_.uuid.to_string()}}};
}

Result<std::unique_ptr<BdevChannel>> PassthroughBdev::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<BdevChannel> base, base_.open_channel(here));
    return std::unique_ptr<BdevChannel>(std::make_unique<PassthroughChannel>(std::move(base)));
}

}  // namespace basalt::bdev
