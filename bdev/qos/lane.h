#pragma once

#include <array>
#include <cstdint>

#include "bdev/core/io_request.h"
#include "bdev/qos/scheduler.h"
#include "reactor/reactor.h"

namespace basalt::qos {

class Domain;
class Lane;

/// A claim on its way between a core and the scheduler's: with it go tokens that were not used, and
/// it comes back with those that it asked for.
struct ClaimEvent : Event, Claim {
    ClaimEvent(Domain& to, Lane& from, Member& of) : Claim(of), domain(to), lane(from) {}

    Domain& domain;
    Lane& lane;
    Cost returned;
};

/// Somebody other than a request who waits for its turn: a stream whose next command is not read
/// before. Owner: whoever waits.
struct StreamTurn {
    using Go = void (*)(void* context);

    Go go = nullptr;          ///< Called when it has been paid for.
    void* context = nullptr;  ///< Outlives the waiting.
    IoCost cost;
    Lane* lane = nullptr;  ///< In which it waits.
    uint64_t number = 0;
    ListLink link;
};

/// The tokens of one member (a device, a host) on one core, and those who wait for some. While
/// there are tokens, taking some is a subtraction. When they get fewer than half of what came last,
/// one claim goes to the domain's home core, so that more is there before they run out, if the
/// limit allows. What waits is served in order, reads and writes each for themselves where one of
/// them lacks tokens of its own.
///
/// What is not used for kIdleReturnNs goes back, after which nothing here runs until somebody
/// comes. Owner: Flow. Core: `here`'s. Invariant: while somebody waits, a claim is under way.
class Lane {
  public:
    /// Lets a request go on that has waited. `context` is what wait() was given.
    using Go = void (*)(bdev::IoRequest& request, void* context);

    Lane(Reactor& here, CoreId home_core, Domain& domain, Member& member, Go go);
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;
    ~Lane();

    /// Takes what `cost` says, if it is there and nobody waits. False: wait.
    [[nodiscard]] bool try_take(IoCost cost) {
        if ((waiting_ != 0 && is_behind_others(cost)) || !has(cost)) [[unlikely]] {
            return false;
        }
        spend(cost);
        return true;
    }
    /// Takes it anyhow: others wait until it is paid.
    void charge(IoCost cost) { spend(cost); }

    /// Puts a request in line that could not take. It leaves through Go, never inside wait(), or by
    /// forget(). Meanwhile the lane uses the request's hold and leaf fields.
    void wait(bdev::IoRequest& request, IoCost cost, void* context);
    void wait(StreamTurn& turn);
    /// Takes a request that waits here (request.lane) out of line.
    void forget(bdev::IoRequest& request);
    void forget(StreamTurn& turn);
    /// Lets a request go that waits here, at no charge: its device leaves. Or all of a context.
    void release(bdev::IoRequest& request);
    void release(const void* context);
    /// Forgets all of a context: their machine has lost its power.
    void abandon(const void* context);

    // --- For the domain.

    void set_terms(const Terms& terms);
    /// Nothing is limited any more; all who wait go.
    void end();
    /// After end(): nothing of this lane is elsewhere.
    [[nodiscard]] bool has_ended() const { return has_ended_ && !is_claim_away_; }
    /// Its claim is back, with what it asked for.
    void claim_is_back();
    /// Never changes, so that every core may ask.
    [[nodiscard]] CoreId core() const { return here_.core(); }

    /// How many wait.
    [[nodiscard]] uint64_t waiting() const { return waiting_; }

  private:
    enum Direction : uint32_t { kReads, kWrites, kDirections };
    using StreamList = IntrusiveList<StreamTurn, &StreamTurn::link>;

    [[nodiscard]] bool has(IoCost cost) const {
        const bool has_ios = !terms_.counts_ios || tokens_.ios > 0;
        return has_ios &&
               (cost.is_write ? !terms_.counts_writes || tokens_.write_bytes >= cost.bytes
                              : !terms_.counts_reads || tokens_.read_bytes >= cost.bytes);
    }
    void spend(IoCost cost) {
        tokens_.subtract(cost);
        spent_.add(cost);
        if (is_low() && !is_claim_away_) [[unlikely]] {
            send_claim();
        }
    }
    [[nodiscard]] bool is_behind_others(IoCost cost) const {
        return !held_[cost.is_write ? kWrites : kReads].empty() || !streams_.empty();
    }
    /// Of something that is counted less than half of what came last is left.
    [[nodiscard]] bool is_low() const {
        return (terms_.counts_ios && tokens_.ios < low_.ios) ||
               (terms_.counts_reads && tokens_.read_bytes < low_.read_bytes) ||
               (terms_.counts_writes && tokens_.write_bytes < low_.write_bytes);
    }
    /// `cost` without what is not counted.
    [[nodiscard]] Cost counted(const Cost& cost) const;
    template <typename Visit>
    void for_each_of(const void* context, Visit visit);
    void join(IoCost cost);
    void leave(IoCost cost);
    /// Serves whoever came first of those who can be served. False: nobody can.
    [[nodiscard]] bool serve_one();
    void serve();
    /// What the first of each line need.
    [[nodiscard]] Cost needed() const;
    /// Asks for more, if anything is needed that is counted.
    void send_claim();
    void post_claim();
    void look_idle();

    Reactor& here_;
    const CoreId home_core_;
    const Go go_;
    Terms terms_;
    Cost tokens_;
    Cost spent_;   // Since the last claim.
    Cost low_;     // Half of what came last.
    Cost queued_;  // Of all who wait.
    uint64_t waiting_ = 0;
    uint64_t next_number_ = 0;  // Orders those who wait.
    std::array<bdev::HeldRequests, kDirections> held_;
    StreamList streams_;
    ClaimEvent claim_;
    bool is_claim_away_ = false;
    bool has_ended_ = false;
    Timer idle_timer_;  // Runs while there are tokens to give back.
    uint64_t claims_ = 0;
    uint64_t idle_claims_ = 0;  // Both as they were when the timer was started: idle if they still
    Cost idle_spent_;           // are.
};

}  // namespace basalt::qos
