// What the head itself takes from the heap for a host's request, once it has started: nothing.

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/base/allocation_counter.h"
#include "replication/head/head.h"
#include "test/bdev/support/manual_world.h"

namespace basalt::replication {
namespace {

/// Grants and opens at once, for ever.
class YesAuthority final : public MapAuthority {
  public:
    explicit YesAuthority(Reactor& here) : here_(here) {
        event_.self = this;
        event_.set_run([](Event& event, Reactor&) { static_cast<Say&>(event).self->say(); });
    }
    void start(MapUser& user) override { user_ = &user; }
    void ask_grant(Claim) override { here_.defer(event_); }
    void ask_set(Epoch, ReplicaSet) override {}
    void ask_open(Epoch) override { here_.defer(event_); }
    void ask_lease(Epoch) override {}
    void stop() override {}

  private:
    struct Say : Event {
        YesAuthority* self = nullptr;
    };
    void say() {
        if (!std::exchange(is_granted_, true)) {
            user_->granted(Epoch(1), ReplicaSet(7));
        } else {
            user_->open_answered(Epoch(1), true, uint64_t{1} << 50);
        }
    }

    Reactor& here_;
    MapUser* user_ = nullptr;
    Say event_;
    bool is_granted_ = false;
};

/// A replica that has done everything already.
class YesLink final : public ReplicaLink {
  public:
    YesLink(Reactor& here, BlockBuffers& reads, uint64_t blocks)
        : here_(here), reads_(reads), dirty_(blocks) {
        event_.self = this;
        event_.set_run([](Event& event, Reactor&) { static_cast<Say&>(event).self->say(); });
    }
    void start(LinkUser& user, uint32_t replica) override {
        user_ = &user;
        replica_ = replica;
        here_.defer(event_);
    }
    void send(const Message& message, BlockRef) override {
        if (message.kind == MessageKind::kTrim) {
            return;
        }
        ASSERT_LT(count_, replies_.size());
        Reply& reply = replies_[count_++];
        reply = {.kind = message.kind,
                 .epoch = message.epoch,
                 .session = message.session,
                 .id = message.id,
                 .number = message.number,
                 .dirty = &dirty_};
        blocks_[count_ - 1] = message.range.count;
        if (!event_.link.is_linked()) {
            here_.defer(event_);
        }
    }
    void reset() override {}
    void stop() override {}

  private:
    struct Say : Event {
        YesLink* self = nullptr;
    };
    void say() {
        if (!std::exchange(is_up_, true)) {
            user_->link_up(replica_);
            return;
        }
        const uint32_t count = std::exchange(count_, 0);
        const auto replies = replies_;
        const auto blocks = blocks_;
        for (uint32_t i = 0; i < count; ++i) {
            BlockRef data;
            if (replies[i].kind == MessageKind::kRead) {
                data = reads_.try_take(blocks[i]);
            }
            user_->link_replied(replica_, replies[i], std::move(data));
        }
    }

    Reactor& here_;
    BlockBuffers& reads_;
    BlockBitmap dirty_;
    LinkUser* user_ = nullptr;
    uint32_t replica_ = 0;
    Say event_;
    bool is_up_ = false;
    std::array<Reply, 64> replies_{};
    std::array<uint32_t, 64> blocks_{};
    uint32_t count_ = 0;
};

TEST(HeadAllocation, ReadsAndWritesAllocateNothing) {
    bdev::ManualWorld world(1);
    Reactor& here = world.core(0);
    const Settings settings{.blocks = 4096, .window_ops = 64, .reads = 32};
    auto memory = std::move(HeadMemory::make({})).value();
    YesAuthority authority(here);
    Head::Links links;
    for (uint32_t i = 0; i < settings.replicas; ++i) {
        links.push_back(std::make_unique<YesLink>(here, memory->reads(), settings.blocks));
    }
    Head head(here, settings, *memory, authority, std::move(links));
    head.start(Claim::kIfFree);
    world.settle();
    ASSERT_EQ(head.statistics().state, HeadCore::State::kOpen);

    std::vector<std::byte> bytes(size_t{300} * kBlockBytes);
    const iovec piece{bytes.data(), bytes.size()};
    HeadRequest request;
    uint64_t done = 0;
    request.complete = [](HeadRequest&, void* count) { ++*static_cast<uint64_t*>(count); };
    request.context = &done;
    const uint64_t before = thread_allocations();
    for (uint64_t i = 0; i < 1000; ++i) {
        constexpr std::array kOps{
            HeadOp::kWrite, HeadOp::kRead, HeadOp::kUnmap, HeadOp::kCompare, HeadOp::kSnapshot};
        request.op = kOps[i % kOps.size()];
        request.first = i * 3 % 3000;
        request.count = request.op == HeadOp::kSnapshot ? 0 : (i % 2 == 0 ? 1 : 300);
        request.pieces = &piece;
        request.piece_count = 1;
        head.submit(request);
        world.settle();
        ASSERT_EQ(done, i + 1);
        ASSERT_TRUE(request.status || request.status == Errc::kCompareMismatch);
    }
    EXPECT_EQ(thread_allocations(), before);
    head.stop();
}

}  // namespace
}  // namespace basalt::replication
