#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bdev/layer/delay_bdev.h"
#include "test/nvmf/target/raw_host.h"

namespace basalt::nvmf {

/// A target in the simulated world with what a hostile host may want (a device of memory, one that
/// holds nothing, a slow one) and, on a subsystem of its own, a good host that must notice nothing.
/// There are few buffers, so that waiting for one is the usual case.
class TargetBench {
  public:
    static constexpr std::string_view kGoodNqn = "nqn.2026-11.io.basalt:good";
    static constexpr std::string_view kGoodHost = "nqn.2026-11.io.basalt:good-host";
    static constexpr uint32_t kNamespaces = 3;  ///< Of the other subsystem: 1 to 3.

    TargetBench() {
        world_.add_malloc("Slow", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        bdev::DelayOptions delay;
        delay.name = "Delay0";
        delay.latencies = {50'000, 50'000, 50'000, 50'000};
        auto slow = std::move(bdev::DelayBdev::make(delay, *world_.registry->find("Slow"))).value();
        BASALT_ASSERT(world_.registry->add(std::move(slow)).has_value());
        world_.add_namespace("Delay0");
        world_.add_malloc("Good", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        world_.expect_ok(world_.target->create_subsystem(
            {.nqn = std::string(kGoodNqn), .serial_number = "S2", .allow_any_host = true}));
        world_.add_namespace(kGoodNqn, "Good", {});
        BASALT_ASSERT(world_.run(world_.target->add_listener(std::string(kGoodNqn), world_.address))
                          .has_value());
        const ControllerId cntlid = admin_.emplace(world_).become_admin(kGoodNqn, 0, kGoodHost);
        io_.emplace(world_);
        BASALT_ASSERT(io_->handshake());
        BASALT_ASSERT(io_->connect(QueueId(1), cntlid, kGoodNqn, kGoodHost).status().ok());
        check_good_host();
    }

    [[nodiscard]] TargetWorld& world() { return world_; }
    void run_for(uint64_t duration_ns) { world_.world.run_for(duration_ns); }

    /// The good host reads what it wrote the last time, and writes something else, in the capsule
    /// and by R2T.
    void check_good_host() {
        check_block(kSmallAt, 4096);
        check_block(kLargeAt, kLargeBytes);
        ++generation_;
        const Bytes small = content(kSmallAt, 4096);
        Sqe sqe = transfer(nvme_cmd_write, kSmallAt, 4096);
        set_in_capsule_data(sqe, 4096);
        BASALT_ASSERT(io_->command(sqe, small).status().ok());
        io_->send(io_->capsule(transfer(nvme_cmd_write, kLargeAt, kLargeBytes)));
        const auto r2t = ScriptedHost::as<R2t>(io_->next_pdu());
        io_->send(io_->h2c_data(r2t, 0, content(kLargeAt, kLargeBytes), true));
        BASALT_ASSERT(io_->completion().status().ok());
    }

    /// To be called when the others have gone: the target has forgotten them.
    void check_only_good_host() {
        const std::vector<PollGroupStats> groups = world_.run(world_.target->stats());
        uint32_t queues = 0;
        for (const PollGroupStats& group : groups) {
            queues += group.admin_queues + group.io_queues;
        }
        BASALT_ASSERT(queues == 2);
    }

  private:
    static constexpr uint64_t kSmallAt = 0;
    static constexpr uint64_t kLargeAt = 256;
    static constexpr uint32_t kLargeBytes = 20480;

    static TransportOptions few_buffers() {
        TransportOptions options;
        options.small_buffers = kBuffersOfASizeMin;
        options.medium_buffers = kBuffersOfASizeMin;
        options.large_buffers = kBuffersOfASizeMin;
        options.capsule_buffers = kBuffersOfASizeMin;
        return options;
    }
    static Sqe transfer(uint8_t opcode, uint64_t first, uint32_t bytes) {
        Sqe sqe = make_command(opcode, CommandId(9), Nsid(1));
        set_range(sqe, Lba(first), BlockCount(bytes / TargetWorld::kBlockBytes));
        set_transport_data(sqe, bytes);
        return sqe;
    }
    [[nodiscard]] Bytes content(uint64_t first, uint32_t bytes) const {
        Bytes out(bytes);
        for (size_t i = 0; i < bytes && generation_ > 0; ++i) {
            out[i] = static_cast<std::byte>(generation_ + first + i / 7);
        }
        return out;
    }
    void check_block(uint64_t first, uint32_t bytes) {
        Bytes got;
        BASALT_ASSERT(io_->command(transfer(nvme_cmd_read, first, bytes), {}, &got).status().ok());
        BASALT_ASSERT(got == content(first, bytes));
    }

    TargetWorld world_{1, sim::calm(), few_buffers()};
    std::optional<ScriptedHost> admin_;
    std::optional<ScriptedHost> io_;
    uint64_t generation_ = 0;  // 0: nothing is written yet.
};

}  // namespace basalt::nvmf
