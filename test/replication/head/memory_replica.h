#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "reactor/reactor.h"
#include "replication/core/replica_core.h"
#include "replication/link/replica_port.h"

namespace basalt::replication::test {

/// What is left of a replica when its process dies. A value.
struct ReplicaDisk {
    explicit ReplicaDisk(const Settings& settings)
        : state(settings), bytes(settings.blocks * kBlockBytes) {}

    ReplicaState state;
    std::vector<std::byte> bytes;
    std::map<OpNumber, std::vector<std::byte>> snapshots;
    std::set<uint64_t> bad;  ///< Blocks that can't be read.
};

/// A replica in memory: the real core, a medium that takes its time, and ways there and back that
/// do. Stores end in any order.
class MemoryReplica final : public ReplicaPort {
  public:
    /// All outlives the replica.
    MemoryReplica(Reactor& here,
                  const Settings& settings,
                  ReplicaDisk& disk,
                  uint64_t delay_max_ns);
    MemoryReplica(const MemoryReplica&) = delete;
    MemoryReplica& operator=(const MemoryReplica&) = delete;
    ~MemoryReplica() override;

    [[nodiscard]] uint64_t connect(ReplyPort& port) override;
    void disconnect(uint64_t connection) override;
    void take(uint64_t connection, const Message& message, BlockRef data) override;
    [[nodiscard]] BlockBuffers& buffers() override { return buffers_; }
    [[nodiscard]] const ReplicaState& state() const override { return core_->state(); }
    [[nodiscard]] MessageLists& lists() override { return lists_; }

    /// Each store that is under way is done or not; nobody hears of it, or of anything.
    void die();
    void set_stopped(bool is_stopped) { is_stopped_ = is_stopped; }
    [[nodiscard]] bool is_stopped() const { return is_stopped_; }
    [[nodiscard]] const ReplicaCore& core() const { return *core_; }
    [[nodiscard]] bool is_busy() const { return !steps_.empty(); }
    [[nodiscard]] uint64_t blocks_copied() const { return blocks_copied_; }
    [[nodiscard]] uint64_t writes() const { return writes_; }

  private:
    /// Something that happens later: a message arrives, a store ends, an answer leaves.
    struct Step {
        enum class Kind : uint8_t { kArrive, kDone, kAnswer };
        Kind kind = Kind::kArrive;
        MemoryReplica* self = nullptr;
        Timer timer{};
        std::list<Step>::iterator at{};
        uint64_t connection = 0;
        bool is_lost = false;
        Message message{};
        ReplicaAction action{};
        Reply reply{};
        std::vector<WindowEntry> window{};
        BlockBitmap dirty{};
        BlockRef data{};
    };

    Step& later(Step::Kind kind, uint64_t not_before_ns);
    void run(Step& step);
    void perform(ReplicaCore::Actions actions);
    void finish(const ReplicaAction& action);
    void commit(const Message& message, uint64_t blocks, bool draws_line);
    [[nodiscard]] Errc load(const Message& message, BlockRef& data, uint64_t& digest);

    Reactor& here_;
    const Settings settings_;
    ReplicaDisk& disk_;
    const uint64_t delay_max_ns_;
    std::unique_ptr<ReplicaCore> core_;
    std::vector<std::byte> region_;
    BlockBuffers buffers_;
    MessageLists lists_;
    std::map<uint64_t, ReplyPort*> ports_;
    uint64_t connections_ = 0;
    uint64_t names_ = 0;
    std::map<uint64_t, BlockRef> data_;  // Of messages, by our name.
    std::map<uint64_t, BlockRef> read_;  // By the message's id.
    std::list<Step> steps_;
    uint64_t last_arrival_ns_ = 0;
    uint64_t last_answer_ns_ = 0;
    bool is_stopped_ = false;
    uint64_t blocks_copied_ = 0;
    uint64_t writes_ = 0;
};

}  // namespace basalt::replication::test
