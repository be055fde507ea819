#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "reactor/sim/world.h"
#include "replication/head/map_authority.h"

namespace basalt::replication::test {

/// A map authority that never fails, for heads on several machines which do. What heads and
/// authority tell each other takes its time, in order, and waits while a head is cut off: then only
/// the end of its lease frees the volume of it.
///
/// Owner: the test. Ports are the heads', of one life of their machines each.
class SimAuthority {
  public:
    class Port;

    /// `world` outlives it.
    SimAuthority(sim::World& world, uint32_t replicas, uint64_t lease_us, uint64_t delay_max_ns);
    SimAuthority(const SimAuthority&) = delete;
    SimAuthority& operator=(const SimAuthority&) = delete;
    ~SimAuthority();

    /// A head's way to the authority, from `here`. Destroyed when the head is; before the
    /// authority.
    [[nodiscard]] std::unique_ptr<Port> add_port(Reactor& here);

    /// Sees that the machine of the head that was chosen is dead, if it is: another one may be.
    void notice_death();

    [[nodiscard]] Epoch epoch() const { return epoch_; }
    [[nodiscard]] ReplicaSet set() const { return set_; }

  private:
    /// What a head asks or is told.
    struct Word {
        enum class Kind : uint8_t {
            kAskGrant,
            kAskSet,
            kAskOpen,
            kAskLease,
            kGaveUp,  // All words to the authority come before ...
            kGranted,
            kOtherChosen,
            kSet,
            kOpen,
            kLease,  // ... those to the head.
        };
        Kind kind = Kind::kAskGrant;
        Claim claim = Claim::kIfFree;
        bool is_again = false;  ///< No answer has come yet.
        Epoch epoch{};
        ReplicaSet set{};
        bool is_granted = false;
    };
    using Name = uint64_t;  // Of a port; 0: of none.

    void take(Port& port, const Word& word);
    void choose(Name name);
    void consider_grants();
    void consider_opening();
    void leave(Port& port);
    [[nodiscard]] bool is_last(const Port& port, Epoch epoch) const;

    sim::World& world_;
    const uint64_t lease_us_;
    const uint64_t delay_max_ns_;
    std::map<Name, Port*> ports_;
    Name names_ = 0;
    Epoch epoch_;
    ReplicaSet set_;
    Name chosen_ = 0;  // Is to be the head.
    Name head_ = 0;    // Was granted the last epoch.
    Epoch tenure_;     // Its first one.
    Name lease_ = 0;   // Served last.
    uint64_t lease_until_ns_ = 0;
};

class SimAuthority::Port final : public MapAuthority {
  public:
    Port(SimAuthority& authority, Reactor& here, Name name);
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;
    ~Port() override;

    void set_away(bool is_away);

    void start(MapUser& user) override { user_ = &user; }
    void ask_grant(Claim claim) override {
        say({.kind = Word::Kind::kAskGrant, .claim = claim, .is_again = is_asking_});
        is_asking_ = true;
    }
    void ask_set(Epoch epoch, ReplicaSet set) override {
        say({.kind = Word::Kind::kAskSet, .epoch = epoch, .set = set});
    }
    void ask_open(Epoch epoch) override { say({.kind = Word::Kind::kAskOpen, .epoch = epoch}); }
    void ask_lease(Epoch epoch) override { say({.kind = Word::Kind::kAskLease, .epoch = epoch}); }
    void stop() override;

  private:
    friend class SimAuthority;

    void say(const Word& word);
    void start_timer(Timer& timer, uint64_t delay_ns);
    void wake();
    void run();
    void hear(const Word& word);

    SimAuthority& authority_;
    Reactor& here_;
    const Name name_;
    MapUser* user_ = nullptr;
    std::deque<Word> words_;
    bool is_away_ = false;
    bool is_asking_ = false;  ///< To be the head.
    Timer timer_;
    // The authority's.
    bool wants_grant_ = false;
    bool is_told_ = false;  ///< That another one was chosen, since it wants to be.
    bool is_opening_ = false;
    Epoch opening_;
    Timer lease_timer_;
};

}  // namespace basalt::replication::test
