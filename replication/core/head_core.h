#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "replication/core/head_port.h"
#include "replication/core/op_table.h"
#include "replication/core/settings.h"
#include "replication/core/window.h"

namespace basalt::replication {

/// The decisions of a volume's head: numbers for writes, who has them, when the host is told, who
/// may be read, who leaves and returns, and how a new head begins. It follows
/// replication/model/quorum.pml; the names of its steps are in the comments.
///
///   kIdle -> kRecovering -> kAgreeing -> kOpening -> kOpen
///     ^           |             |           |          |
///     +-----------+-------------+-----------+----------+   kSuperseded, or kStop
///
/// Pure: no I/O, clock or allocation after it is made. Owner: the shell. Core: one. The actions of
/// a call live until the next one, and are to be performed in their order.
class HeadCore {
  public:
    enum class State : uint8_t {
        kIdle,        ///< kGranted.
        kRecovering,  ///< Enough replicas are fenced and have told their windows.
        kAgreeing,    ///< A quorum of them has what the head decided.
        kOpening,     ///< The authority confirms, when the old head's lease is over.
        kOpen,        ///< Serves hosts.
    };

    explicit HeadCore(const Settings& settings, const Mistakes& mistakes = {});

    using Actions = std::span<const HeadAction>;
    [[nodiscard]] Actions apply(const HeadEvent& event);

    // For statistics and tests.
    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] Epoch epoch() const { return epoch_; }
    [[nodiscard]] ReplicaSet set() const { return set_; }
    [[nodiscard]] ReplicaSet live() const { return live_; }
    [[nodiscard]] ReplicaSet joining() const { return join_; }
    [[nodiscard]] OpNumber watermark() const { return watermark_; }
    [[nodiscard]] OpNumber generation() const { return generation_; }
    [[nodiscard]] uint32_t ops() const { return ops_.size(); }
    [[nodiscard]] uint32_t reads() const { return static_cast<uint32_t>(active_reads_.size()); }
    /// Nothing will come of time alone: kTick may be left out until there is another event.
    [[nodiscard]] bool is_at_rest() const;
    /// Blocks that the joining replica still lacks.
    [[nodiscard]] uint64_t blocks_to_copy() const { return todo_.count(); }
    /// Blocks that a replica which is away may lack.
    [[nodiscard]] uint64_t blocks_dirty() const { return dirty_.count(); }

  private:
    /// What the head knows of one replica.
    struct Peer {
        bool is_linked = false;
        bool is_at_epoch = false;  ///< It has confirmed this epoch: may get writes and reads.
        bool has_failed = false;   ///< Its store failed, or it is in no state to go on.
        bool is_gated = false;     ///< Writes of a new generation wait for older ones here.
        bool is_complete = false;  ///< It joins, and lacks nothing any more.
        bool has_asked = false;    ///< A control message is on its way.
        uint32_t session = 0;
        uint32_t unanswered = 0;
        uint64_t silent_since_us = 0;  ///< With unanswered; else since when it is not linked.
        uint64_t control_id = 0;
        OpNumber told_watermark{};
        // Of a beginning:
        bool is_heard = false;
        Epoch agreed{};
        OpNumber watermark{};
        OpNumber generation{};
        Window window{};
        uint32_t work_index = 0;
        uint32_t work_offset = 0;
        uint64_t work_block = 0;  ///< Of dirty_, when the list is done.
    };

    struct ReadAnswer {
        bool is_there = false;
        uint64_t id = 0;
        uint64_t digest = 0;
        OpNumber newest{};
    };
    struct Read {
        enum class State : uint8_t {
            kFree,    ///< host_read().
            kAsking,  ///< place() asks replicas; on_read_reply().
            kHeld,    ///< What was read is not safe yet, or the lease is over: check_held().
        };
        State state = State::kFree;
        uint64_t tag = 0;
        BlockRange range{};
        ReplicaSet asked{};       ///< Have not answered yet.
        ReplicaSet tried{};       ///< Not to be asked again.
        ReplicaSet bad{};         ///< Could not read it, or have something else.
        ReplicaSet unreadable{};  ///< Of these, those that could not.
        bool is_mended = true;    ///< What is wrong is written anew.
        uint32_t wanted = 1;
        bool is_quiet = true;  ///< No write to the range has been under way since it began.
        uint32_t chosen = 0;
        uint32_t place = 0;  ///< In active_reads_.
        uint64_t asked_us = 0;
        std::array<ReadAnswer, kReplicasMax> answers{};
    };
    struct Copy {
        enum class Purpose : uint8_t { kNone, kJoin, kSettle, kRepair };
        Purpose purpose = Purpose::kNone;
        bool is_writing = false;    ///< Has been read.
        bool is_overtaken = false;  ///< A write to the range began meanwhile.
        BlockRange range{};
        uint32_t source = 0;
        uint32_t target = 0;
        OpNumber number{};
        OpNumber as_of{};
        uint64_t id = 0;
        uint64_t data = 0;
    };
    struct Winner {
        OpNumber number{};
        ReplicaSet sources{};
    };

    // head_core.cc
    void link_up(uint32_t replica);
    void link_down(uint32_t replica);
    void greet(uint32_t replica);
    void tick();
    void on_reply(uint32_t replica, const Reply& reply);
    void on_control_reply(uint32_t replica, const Reply& reply);
    uint64_t send(uint32_t replica, const Message& message, uint32_t slot);
    void send_control(uint32_t replica, const Message& message);
    void answer(uint64_t tag, Errc status, uint64_t data = 0, OpNumber number = {});
    void forget_read(uint64_t id);
    void reset_link(uint32_t replica);
    void stop(bool is_superseded);
    HeadAction& act(HeadAction::Kind kind);
    [[nodiscard]] ReplicaSet all() const { return ReplicaSet::all(settings_.replicas); }
    [[nodiscard]] ReplicaSet linked() const;
    [[nodiscard]] uint32_t quorum() const;
    [[nodiscard]] Errc check_range(BlockRange range) const;

    // head_writes.cc
    void host_write(const HeadEvent& event);
    void issue(const Op& op);
    void send_op(Op& op, uint32_t replica);
    void pump(uint32_t replica);
    void drop_line(OpNumber number);
    void on_write_reply(uint32_t replica, const Reply& reply);
    void learn(Op& op, uint32_t replica);
    [[nodiscard]] bool is_quorum(const Op& op) const;
    void acknowledge(Op& op);
    void acknowledge_all();
    void advance_watermark();
    void spread_watermark();

    // head_reads.cc
    void host_read(const HeadEvent& event);
    void place(Read& read);
    [[nodiscard]] uint32_t choose(const Read& read) const;
    [[nodiscard]] bool has_all_acknowledged(uint32_t replica, BlockRange range) const;
    void on_read_reply(uint32_t replica, const Reply& reply);
    void compare(Read& read);
    void settle(Read& read);
    void finish_read(Read& read, Errc status);
    void check_held();
    template <typename Function>
    void for_each_read(Function&& function);
    void place_all();
    void time_out_reads();
    void lose_reads_of(uint32_t replica);

    // head_members.cc
    void consider_members();
    void consider_joining();
    [[nodiscard]] bool is_silent(const Peer& peer) const;
    void retry_failed();
    [[nodiscard]] ReplicaSet failed_members();
    void consider_drop();
    void consider_join();
    void adopt(bool is_granted);
    void on_joining(uint32_t replica, const Reply& reply);
    void abort_join();
    void consider_joined();
    [[nodiscard]] bool is_held_by(ReplicaSet stay) const;

    // head_takeover.cc
    void begin(const HeadEvent& event);
    void on_fenced(uint32_t replica, const Reply& reply);
    void consider_deciding();
    void decide();
    void load_known(ReplicaSet counted);
    [[nodiscard]] Winner winner_of(uint64_t block) const;
    void settle_replicas();
    void settle_replica(uint32_t replica);
    [[nodiscard]] bool copy_known(uint32_t replica);
    [[nodiscard]] bool copy_dirty(uint32_t replica);
    [[nodiscard]] bool copy_settled(uint32_t replica, BlockRange range, const Winner& winner);
    static void restart_work(Peer& peer);
    [[nodiscard]] bool lacks(uint32_t replica, uint64_t block, const Winner& winner) const;
    void on_settled(uint32_t replica);
    void consider_opening();
    void open(const HeadEvent& event);

    // head_copies.cc
    [[nodiscard]] Copy* free_copy(uint32_t keep_free);
    void start_copy(Copy& copy);
    void on_copy_reply(uint32_t replica, const Reply& reply);
    void copied(const Copy& copy);
    void end_copy(Copy& copy);
    void end_copies_of(uint32_t replica);
    void overtake_copies(BlockRange range);
    void repair(BlockRange range, uint32_t source, ReplicaSet targets);
    void copy_for_join();
    [[nodiscard]] bool copy_run(uint64_t block, uint64_t end, uint32_t source, bool is_urgent);
    [[nodiscard]] bool may_copy() const;
    void charge_copy(uint32_t blocks);
    [[nodiscard]] bool is_quiet(uint64_t block, uint32_t source, ReplicaSet target) const;
    [[nodiscard]] uint32_t copy_source(ReplicaSet from) const;
    [[nodiscard]] ReplicaSet at_epoch() const;
    void settle_copied_ops();

    const Settings settings_;
    const Mistakes mistakes_;
    State state_ = State::kIdle;
    uint64_t now_us_ = 0;
    uint64_t ids_ = 0;
    bool wants_room_ = false;
    bool is_short_ = false;   ///< Hosts wait for memory that writes under way hold.
    uint64_t host_us_ = 0;    ///< When a host last asked for something.
    uint64_t copied_us_ = 0;  ///< Until then copies have used the rate that they may have.

    Epoch epoch_;
    Epoch tenure_;
    ReplicaSet set_;      ///< In sync, as the map of this epoch has it.
    ReplicaSet live_;     ///< Began this tenure together, or joined: their answers count.
    ReplicaSet join_;     ///< The one that is brought up to date.
    ReplicaSet pending_;  ///< The set that the authority was asked for.
    bool has_pending_ = false;
    bool is_joining_ready_ = false;  ///< It has told what it lacks.
    uint64_t lease_until_us_ = 0;

    std::array<Peer, kReplicasMax> peers_;
    OpTable ops_;
    uint64_t count_ = 0;
    OpNumber watermark_;
    OpNumber generation_;
    BlockBitmap dirty_;
    BlockBitmap todo_;
    uint64_t todo_cursor_ = 0;
    ReplicaSet unreadable_;  ///< Could not read what shall be copied.
    std::vector<Read> reads_;
    std::vector<uint32_t> active_reads_;  ///< Slots of those that are not free, in any order.
    std::vector<uint32_t> free_reads_;
    uint32_t held_reads_ = 0;
    uint32_t read_turn_ = 0;
    std::vector<Copy> copies_;
    uint32_t copies_under_way_ = 0;

    // Of a beginning.
    uint64_t began_us_ = 0;
    uint64_t progress_us_ = 0;
    ReplicaSet heard_;
    ReplicaSet counted_;
    ReplicaSet settled_;
    std::vector<BlockRange> work_;
    std::vector<WindowEntry> known_;

    std::vector<HeadAction> actions_;
};

/// `function` may end the read that it is given, and no other.
template <typename Function>
void HeadCore::for_each_read(Function&& function) {
    // Backwards: when one ends, the last, which has had its turn, takes its place.
    for (size_t i = active_reads_.size(); i > 0; --i) {
        function(reads_[active_reads_[i - 1]]);
    }
}

}  // namespace basalt::replication
