#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "bdev/core/bdev.h"
#include "nvmf/target/request.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/msg/event.h"

namespace basalt::nvmf {

class FenceTable;
class PollGroup;
class RangeFence;

/// Blocks of a namespace. A value; within the namespace, so its end does not overflow.
struct BlockRange {
    uint64_t first = 0;
    uint64_t count = 0;

    [[nodiscard]] constexpr bool overlaps(const BlockRange& other) const {
        return first < other.first + other.count && other.first < first + count;
    }
};

/// What a RangeFence sends to one core and gets back. Part of the fence.
struct FenceVisit : Event {
    RangeFence* fence = nullptr;
    PollGroup* there = nullptr;
    ListLink table_link;  ///< While it stands there, or waits for its turn to.
    ListLink drain_link;  ///< While it waits for the commands before it.
};

/// Counts the commands that are at work in a namespace on one core, so that a fence can wait for
/// those that came before it, while later ones outside of it go on. They are counted in two epochs,
/// of which one is today's: to drain is to begin the other one and wait until the old one is empty.
///
/// Owner: Namespace. Core: its group's. Invariant: outside a drain the old epoch is empty.
class IoGate {
  public:
    IoGate(FenceTable& table, const bdev::Bdev& device);
    IoGate(const IoGate&) = delete;
    IoGate& operator=(const IoGate&) = delete;
    ~IoGate();

    /// No range of the namespace is fenced here: the only question that an I/O asks by itself.
    [[nodiscard]] bool is_open() const { return fences_ == 0; }
    /// A command goes to work; the result is for leave().
    [[nodiscard]] uint8_t enter() {
        ++inside_[epoch_];
        return epoch_;
    }
    void leave(uint8_t epoch) {
        BASALT_ASSERT(inside_[epoch] > 0);
        if (--inside_[epoch] == 0 && epoch != epoch_) [[unlikely]] {
            drain_over();
        }
    }
    [[nodiscard]] uint32_t inside() const { return inside_[0] + inside_[1]; }

  private:
    friend class FenceTable;
    using DrainList = IntrusiveList<FenceVisit, &FenceVisit::drain_link>;

    void drain(FenceVisit& visit);
    void drain_over();

    FenceTable& table_;
    const bdev::Bdev& device_;
    std::array<uint32_t, 2> inside_{};
    uint8_t epoch_ = 0;
    uint32_t fences_ = 0;
    DrainList draining_;  // Wait for the old epoch.
    DrainList next_;      // Came meanwhile: they wait for this one, too.
};

/// The fences that stand on one core, and the commands that wait for them to go.
///
/// Owner: PollGroup. Core: the group's.
class FenceTable {
  public:
    explicit FenceTable(Reactor& here) : here_(here) {}
    FenceTable(const FenceTable&) = delete;
    FenceTable& operator=(const FenceTable&) = delete;
    ~FenceTable() { BASALT_ASSERT(gates_.empty()); }

    [[nodiscard]] bool is_fenced(const bdev::Bdev& device, const BlockRange& range) const;

    /// Puts an executing command in line. Its `resume` is called when any fence has gone; the
    /// command asks again then.
    void wait(Request& request) { waiting_.push_back(request); }

  private:
    friend class IoGate;
    friend class RangeFence;
    using VisitList = IntrusiveList<FenceVisit, &FenceVisit::table_link>;

    /// A fence comes: it stands at once, unless one that overlaps stands here.
    void arrive(FenceVisit& visit);
    /// The fence goes.
    void leave(FenceVisit& visit);
    void stand(FenceVisit& visit);
    /// What was at work when the fence came is done: the visit goes home.
    void drained(FenceVisit& visit);
    [[nodiscard]] bool overlaps_any(const FenceVisit& visit) const;
    [[nodiscard]] IoGate* find_gate(const bdev::Bdev& device);

    Reactor& here_;
    VisitList standing_;
    VisitList line_;
    RequestList waiting_;
    std::unordered_map<const bdev::Bdev*, IoGate*> gates_;  // Changes with the configuration only.
};

/// Gives one operation a range of a namespace for itself, on all cores: other commands that touch
/// it wait, those that came before are done. It costs two rounds of messages, and nothing where
/// there is no fence.
///
///   kIdle -> kAtHome -> kSpreading -> kStanding -> kWithdrawing -> kLeavingHome -> kIdle
///
/// One core, the namespace's home, decides who is next: a fence stands there first and goes from
/// there last, so on the other cores it never meets another one that overlaps.
///
/// Owner: who uses it. Core: its group's. It is idle when it is destroyed, and the namespace stays
/// open on this core as long as it is not.
class RangeFence {
  public:
    /// Called from the poll loop.
    using Notify = void (*)(void* context);

    RangeFence(PollGroup& group, Notify granted, Notify released, void* context);
    RangeFence(const RangeFence&) = delete;
    RangeFence& operator=(const RangeFence&) = delete;
    ~RangeFence() { BASALT_ASSERT(is_idle()); }

    [[nodiscard]] bool is_idle() const { return state_ == State::kIdle; }

    /// Asks for `range` of `device`, whose home core is found by `nsid`. `granted` is called later.
    void acquire(const bdev::Bdev& device, Nsid nsid, BlockRange range);
    /// Gives it back; `released` is called later.
    void release();

  private:
    friend class FenceTable;
    friend class IoGate;
    enum class State : uint8_t {
        kIdle,
        kAtHome,       ///< Asks the home core.
        kSpreading,    ///< Asks the others.
        kStanding,     ///< Granted.
        kWithdrawing,  ///< Goes from the others.
        kLeavingHome,
    };

    void visit_home(Event::Run run);
    void visit_others(Event::Run run);
    void send(uint32_t core, Event::Run run);
    void come_back();
    void advance();

    PollGroup& group_;
    const Notify granted_;
    const Notify released_;
    void* const context_;
    std::unique_ptr<FenceVisit[]> visits_;  // By core.
    const bdev::Bdev* device_ = nullptr;
    BlockRange range_;
    uint32_t home_ = 0;
    uint32_t away_ = 0;  // Visits that are not back.
    State state_ = State::kIdle;
};

}  // namespace basalt::nvmf
