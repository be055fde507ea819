#pragma once

#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bdev/leaf/malloc_bdev.h"
#include "reactor/io/random.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {

/// A device that does what it is asked after a while, not at once: a write lands when it is nearly
/// forgotten. It is no memory for the target, so in-capsule data goes to a buffer. One simulated
/// machine, so all cores may use its members.
class LateBdev final : public bdev::Bdev {
  public:
    explicit LateBdev(std::unique_ptr<bdev::Bdev> inner, BlockCount transfer_max)
        : inner_(std::move(inner)), info_(inner_->info()) {
        info_.is_memory = false;
        info_.transfer_max = transfer_max;
    }
    /// Made, registered, and a namespace of `world`.
    static LateBdev& add(TargetWorld& world,
                         const std::string& name,
                         BlockCount transfer_max = BlockCount(0)) {
        bdev::MallocOptions options;
        options.name = name;
        options.uuid = bdev::Uuid::from_name("late", name);
        options.block_count = BlockCount(TargetWorld::kBlocks);
        options.block_size_bytes = TargetWorld::kBlockBytes;
        auto made = std::make_unique<LateBdev>(
            bdev::MallocBdev::make(options, world.memory).value(), transfer_max);
        LateBdev& late = *made;
        BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
        late.nsid = world.add_namespace(name);
        return late;
    }

    const bdev::BdevInfo& info() const override { return info_; }
    Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override {
        auto opened = inner_->open_channel(here);
        return std::unique_ptr<bdev::BdevChannel>(
            std::make_unique<Channel>(*this, here, std::move(*opened)));
    }

    /// Each request waits for so long at most, by chance; UINT64_MAX: until release().
    uint64_t delay_max_ns = UINT64_MAX;
    Random random{1};
    Nsid nsid;
    uint64_t landed_writes = 0;  ///< Handed to the memory.
    uint64_t last_write_ns = 0;  ///< When.
    Status flush_outcome = kOk;  ///< Of every flush.

    /// Requests that wait.
    [[nodiscard]] uint64_t held_count() const {
        uint64_t count = 0;
        for (const Channel* channel : channels_) {
            count += channel->held_count();
        }
        return count;
    }
    /// Does all that waits, and what comes from now on, at once.
    void release() {
        delay_max_ns = 0;
        for (Channel* channel : channels_) {
            channel->release();
        }
    }

  private:
    class Channel final : public bdev::BdevChannel {
      public:
        Channel(LateBdev& owner, Reactor& here, std::unique_ptr<bdev::BdevChannel> inner)
            : owner_(owner), here_(here), inner_(std::move(inner)) {
            owner.channels_.push_back(this);
        }
        ~Channel() override { std::erase(owner_.channels_, this); }

        void submit(bdev::IoRequest& request) override {
            if (owner_.delay_max_ns == 0) {
                pass_on(request);
                return;
            }
            Held& held = held_.emplace_back(*this, request);
            held.timer.set([](Timer&, void* self) { static_cast<Held*>(self)->end(); }, &held);
            if (owner_.delay_max_ns != UINT64_MAX) {
                here_.start_timer(held.timer, 1 + owner_.random.below(owner_.delay_max_ns));
            }
        }
        [[nodiscard]] uint64_t held_count() const { return held_.size(); }
        void release() {
            while (!held_.empty()) {
                here_.stop_timer(held_.front().timer);
                held_.front().end();
            }
        }

      private:
        struct Held {
            Held(Channel& to, bdev::IoRequest& what) : channel(to), request(what) {}
            void end() {
                Channel& to = channel;
                bdev::IoRequest& what = request;
                to.held_.remove_if([this](const Held& each) { return &each == this; });
                to.pass_on(what);
            }
            Channel& channel;
            bdev::IoRequest& request;
            Timer timer;
        };

        void pass_on(bdev::IoRequest& request) {
            if (request.op != bdev::IoOp::kRead && request.op != bdev::IoOp::kCompare) {
                ++owner_.landed_writes;
                owner_.last_write_ns = here_.now_ns();
            }
            if (request.op == bdev::IoOp::kFlush) {
                request.push_completion(
                    [](bdev::IoRequest& done, void* self) {
                        done.complete(static_cast<Channel*>(self)->owner_.flush_outcome);
                    },
                    this);
            }
            inner_->submit(request);
        }

        LateBdev& owner_;
        Reactor& here_;
        std::unique_ptr<bdev::BdevChannel> inner_;
        std::list<Held> held_;
    };

    std::unique_ptr<bdev::Bdev> inner_;
    bdev::BdevInfo info_;
    std::vector<Channel*> channels_;
};

}  // namespace basalt::nvmf
