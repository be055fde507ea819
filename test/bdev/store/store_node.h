#pragma once

#include <memory>
#include <string>

#include "bdev/leaf/file_bdev.h"
#include "test/bdev/support/sim_node.h"

namespace basalt::bdev::store::test {

/// Counts the writes that go through it, so that a test can cut the power at each of them.
class CountingChannel final : public BdevChannel {
  public:
    explicit CountingChannel(std::unique_ptr<BdevChannel> inner) : inner_(std::move(inner)) {}

    void submit(IoRequest& request) override {
        writes += request.op == IoOp::kRead ? 0 : 1;
        inner_->submit(request);
    }

    uint64_t writes = 0;

  private:
    std::unique_ptr<BdevChannel> inner_;
};

/// A simulated machine with a drive that loses what no flush covers, and a file device on it.
class StoreNode : public SimNode {
  public:
    static constexpr uint64_t kDriveBytes = uint64_t{16} << 20U;

    explicit StoreNode(uint64_t seed, const sim::FaultOptions& faults = sim::calm())
        : SimNode(seed, faults), drive(world.add_drive(node, "/d", {.size_bytes = kDriveBytes})) {
        attach();
    }

    void attach() {
        FileOptions options;
        options.name = "File0";
        options.path = "/d";
        options.uuid.bytes[0] = 1;
        device = std::move(FileBdev::open(options, files())).value();
        auto inner = std::move(device->open_channel(core(0))).value();
        channel = std::make_unique<CountingChannel>(std::move(inner));
    }

    /// The power fails; afterwards everything that ran there is to be made anew.
    void cut_power() {
        world.crash_node(node);
        channel.reset();
        device.reset();
        reboot();
        attach();
    }

    sim::Drive& drive;
    std::unique_ptr<FileBdev> device;
    std::unique_ptr<CountingChannel> channel;
};

}  // namespace basalt::bdev::store::test
