#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bdev/core/bdev.h"

namespace basalt::bdev {

/// A leaf that a test completes by hand.
class FakeBdev final : public Bdev {
  public:
    static constexpr uint64_t kBlocks = 1000;

    explicit FakeBdev(const std::string& name, uint8_t uuid_byte, Bdev* base = nullptr)
        : base_(base) {
        info_.name = name;
        info_.uuid.bytes[0] = uuid_byte;
        info_.block_size_bytes = 512;
        info_.block_count = BlockCount(kBlocks);
        info_.supports.fill(true);
    }

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] Bdev* base() const override { return base_; }
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override {
        if (here.core() == fail_open_on) {
            return Errc::kNoMemory;
        }
        return std::unique_ptr<BdevChannel>(std::make_unique<Channel>(*this));
    }

    void complete_all(Status status) {
        for (IoRequest* request : std::exchange(pending, {})) {
            request->complete(status);
        }
    }

    BdevInfo& mutable_info() { return info_; }

    std::vector<IoRequest*> pending;
    CoreId fail_open_on{UINT32_MAX};

  private:
    class Channel final : public BdevChannel {
      public:
        explicit Channel(FakeBdev& bdev) : bdev_(bdev) {}
        void submit(IoRequest& request) override { bdev_.pending.push_back(&request); }

      private:
        FakeBdev& bdev_;
    };

    BdevInfo info_;
    Bdev* base_;
};

}  // namespace basalt::bdev
