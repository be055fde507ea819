#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "reactor/reactor.h"
#include "replication/core/head_core.h"
#include "replication/head/findings.h"
#include "replication/head/head_memory.h"
#include "replication/head/head_request.h"
#include "replication/head/head_statistics.h"
#include "replication/head/map_authority.h"
#include "replication/head/read_table.h"
#include "replication/link/replica_link.h"

namespace basalt::replication {

/// Who looks closer at what hosts' reads find wrong, and has it mended. Core: the head's.
class SuspectUser {
  public:
    /// Some of these blocks are bad at a replica. From inside a completion: may submit requests,
    /// and do nothing else with the head.
    virtual void suspected(BlockRange range) = 0;

  protected:
    ~SuspectUser() = default;
};

/// A volume's head: the shell of HeadCore. It has the links to the replicas, the clock, the hosts'
/// requests and their data, and does what the core decides.
///
///   submit -> [line] -> cut into parts -> [line for memory] -> [line] -> core -> link … ->
///   complete
///
/// A part is up to 64 blocks and crosses no boundary of 256 (a store's chunk of 1 MiB). A write's
/// data is copied, and its sums computed, when it is given to the core; it is held until all
/// replicas have it. What has no place waits in line; nothing fails for want of room.
///
/// While this head is about to begin, requests wait. When another head has been chosen they get
/// kStaleEpoch, which hosts take for a path that is gone, until it is this one's turn again.
///
/// Time is asked for only while something is under way: a volume without I/O costs nothing.
///
/// Life: start(), submit() …, stop() with no request of a host under way. Owner: whoever wires the
/// volume. Core: one, `here`'s, for everything. Allocates when it is made.
class Head final : private LinkUser, private MapUser {
  public:
    using Links = std::vector<std::unique_ptr<ReplicaLink>>;

    /// All that is passed outlives the head. `links`: one for each replica, in their order, whose
    /// memory for what comes in is `memory`.reads() or the replica's own. `settings` are valid.
    /// `mistakes`: of tests only.
    Head(Reactor& here,
         const Settings& settings,
         HeadMemory& memory,
         MapAuthority& authority,
         Links links,
         const Mistakes& mistakes = {});
    Head(const Head&) = delete;
    Head& operator=(const Head&) = delete;
    ~Head() override;

    void start(Claim claim);
    /// Pushes another head away that has been chosen.
    void take_over();
    /// Leaves the volume to other heads for good: what is under way, and all that comes until
    /// stop(), gets kStaleEpoch. For an end that must not wait for replicas. From the poll loop,
    /// not from inside a completion.
    void give_up();
    /// Ends all, and gives the volume up. From the poll loop, not from inside a completion.
    void stop();

    /// Replica `replica`, one whose answers don't count now, is somewhere else from now on: where
    /// `link` leads, which is as the constructor's are. Gives the link that led there before,
    /// stopped. From the poll loop, not from inside a completion.
    [[nodiscard]] std::unique_ptr<ReplicaLink> replace_link(uint32_t replica,
                                                            std::unique_ptr<ReplicaLink> link);

    void submit(HeadRequest& request);

    /// The snapshot of line `number` is not wanted any more: has all replicas that count delete it.
    /// Gives those that have none by now: until it is all of them it is to be called again, some
    /// times a second. One line at a time. From the poll loop, not from inside a completion.
    [[nodiscard]] ReplicaSet drop_line(OpNumber number);

    [[nodiscard]] Reactor& reactor() { return here_; }
    [[nodiscard]] const Settings& settings() const { return settings_; }
    [[nodiscard]] HeadStatistics statistics() const;
    /// What was found wrong at replicas since the head was made.
    [[nodiscard]] const Findings& findings() const { return findings_; }
    /// Null: nobody. Else outlives the head, or takes itself away.
    void set_suspect_user(SuspectUser* user) { suspect_user_ = user; }
    /// Adds what is wrong with `range`; `is_decided`: most replicas, or one that can be read, say
    /// what is right.
    void note_findings(BlockRange range,
                       const Compared& compared,
                       bool is_decided,
                       bool is_of_scrub);
    /// Nothing is to be done unless somebody asks for something: no timer runs.
    [[nodiscard]] bool is_at_rest() const { return !timer_.is_running(); }

  private:
    /// A piece of a request, one write or read for the core.
    struct Part {
        enum class State : uint8_t {
            kFree,      ///< cut_one().
            kMemory,    ///< A BlockBuffer is free: granted_memory().
            kPermit,    ///< Another read ends: end_permit().
            kReady,     ///< give_one(), in order, when the core has room.
            kUnderWay,  ///< The core answers: finish_part().
        };
        Part(Head& head, uint32_t place)
            : index(place), waiter(&Head::granted_memory, this), owner(head) {}
        const uint32_t index;  ///< In parts_; its tag.
        State state = State::kFree;
        HeadRequest* request = nullptr;
        uint64_t offset = 0;  ///< Of its first block in the request.
        BlockRange range{};
        BlockRef data{};         ///< kWrite, until it is given to the core.
        uint64_t data_name = 0;  ///< Likewise: its place in written_, + 1.
        ListLink link;
        BlockWaiter waiter;
        Head& owner;
    };
    using RequestLine = IntrusiveList<HeadRequest, &HeadRequest::link_>;
    using PartLine = IntrusiveList<Part, &Part::link>;
    struct Drain : Event {
        Head* head = nullptr;
    };
    /// One of the writes to a replica, timed.
    struct Sample {
        uint64_t id = 0;  ///< 0: none is under way.
        uint64_t sent_ns = 0;
    };

    // LinkUser
    void link_up(uint32_t replica) override;
    void link_down(uint32_t replica) override;
    void link_replied(uint32_t replica, const Reply& reply, BlockRef data) override;
    // MapUser
    void granted(Epoch epoch, ReplicaSet set) override;
    void other_chosen() override;
    void set_answered(Epoch asked, bool is_granted) override;
    void open_answered(Epoch asked, bool is_granted, uint64_t lease_us) override;
    void lease_answered(Epoch asked, bool is_granted, uint64_t lease_us) override;

    // head.cc
    void apply(HeadEvent event);
    void perform(const HeadAction& action);
    void send(const HeadAction& action);
    void count_copied(uint32_t blocks);
    void ask_grant(Claim claim);
    void ask_lease_if_needed();
    void lengthen_lease(uint64_t asked_us, uint64_t lease_us);
    [[nodiscard]] bool needs_time() const;
    void keep_time();
    void tick();
    void note_reply(uint32_t replica, const Reply& reply);

    // head_requests.cc
    void drain();
    void drain_later();
    void go_on();
    [[nodiscard]] bool cut_one();
    void find_room(Part& part);
    [[nodiscard]] bool give_one();
    static void granted_memory(void* part, BlockRef buffer);
    [[nodiscard]] static size_t size_class_of(const Part& part);
    void end_permit(const Part& part);
    void take_data(Part& part);
    void answered(const HeadAction& action);
    void finish_part(Part& part, Status outcome);
    void end_if_done(HeadRequest& request);
    void complete(HeadRequest& request);
    void note_compared(const Part& part, const HeadAction& action);
    void fail_waiting();
    [[nodiscard]] static Status deliver(const Part& part, const BlockRef& data);
    [[nodiscard]] Part& part_of(uint64_t tag) { return *parts_[tag]; }
    [[nodiscard]] bool is_open() const { return core_.state() == HeadCore::State::kOpen; }

    Reactor& here_;
    const Settings settings_;
    HeadMemory& memory_;
    MapAuthority& authority_;
    Links links_;
    HeadCore core_;
    const uint64_t tick_us_;
    Timer timer_;
    Drain drain_;
    bool is_started_ = false;
    bool is_applying_ = false;
    bool is_going_on_ = false;

    // Of the authority.
    bool is_grant_asked_ = false;
    bool is_other_chosen_ = false;
    bool is_lease_asked_ = false;
    Epoch tenure_;
    uint64_t asked_open_us_ = 0;
    uint64_t asked_lease_us_ = 0;
    uint64_t lease_until_us_ = 0;
    uint64_t lease_half_us_ = 0;
    ReplicaSet asked_set_;

    // Hosts' requests. All lines are in order of arrival.
    RequestLine incoming_;  // Not looked at yet.
    RequestLine line_;      // To be cut.
    RequestLine done_;      // To be completed.
    std::vector<std::unique_ptr<Part>> parts_;
    PartLine free_parts_;
    std::array<PartLine, 2> permit_lines_;  // By size, as BlockBuffers has them.
    std::array<uint32_t, 2> permits_{};
    PartLine ready_;
    bool is_full_ = false;             // The core said kLater.
    uint32_t waiting_for_memory_ = 0;  // Parts.

    std::vector<BlockRef> written_;  // Data of writes, until all replicas have it.
    std::vector<uint32_t> written_free_;
    ReadTable read_;

    ReplicaSet linked_;
    ReplicaSet resync_of_;  // Whose copies statistics_.resync_blocks counts; since when:
    uint64_t resync_began_us_ = 0;
    std::array<Sample, kReplicasMax> samples_{};
    HeadStatistics statistics_;
    Findings findings_;
    bool is_scrubbing_ = false;
    SuspectUser* suspect_user_ = nullptr;
    OpNumber dropping_;   // The line that drop_line() was last called for,
    ReplicaSet dropped_;  // and who has said that it has none.
};

}  // namespace basalt::replication
