#include "perf/store/zero_skipper.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "bdev/core/deferred.h"

namespace basalt::perf {

namespace {

bool is_all_zero(const iovec& piece) {
    const auto* bytes = static_cast<const std::byte*>(piece.iov_base);
    return piece.iov_len == 0 ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, piece.iov_len - 1) == 0);
}

/// Owner: whoever opened it. Core: the one it was opened on.
class ZeroSkipperChannel final : public bdev::BdevChannel {
  public:
    ZeroSkipperChannel(Reactor& here, std::unique_ptr<bdev::BdevChannel> base)
        : here_(here), base_(std::move(base)) {}

    void submit(bdev::IoRequest& request) override {
        const std::span pieces(request.pieces, request.piece_count);
        if (request.op == bdev::IoOp::kWrite && std::ranges::all_of(pieces, is_all_zero)) {
            bdev::complete_later(here_, request, kOk);
        } else {
            base_->submit(request);
        }
    }

  private:
    Reactor& here_;
    std::unique_ptr<bdev::BdevChannel> base_;
};

}  // namespace

ZeroSkipper::ZeroSkipper(const std::string& name, bdev::Bdev& base)
    : base_(base), info_(base.info()) {
    info_.name = name;
    info_.uuid = bdev::Uuid::make_random();
}

Result<std::unique_ptr<bdev::BdevChannel>> ZeroSkipper::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<bdev::BdevChannel> base, base_.open_channel(here));
    return std::unique_ptr<bdev::BdevChannel>(
        std::make_unique<ZeroSkipperChannel>(here, std::move(base)));
}

}  // namespace basalt::perf
