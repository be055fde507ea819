#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "reactor/msg/mailbox.h"
#include "reactor/sim/timeline.h"

namespace basalt::sim {

/// The messages of one simulated reactor: a bounded ring from each other reactor of its node. A
/// message takes a seeded time to arrive; those of one pair stay in order. Owner: World.
class SimMailbox final : public Mailbox, public TimelineTarget {
  public:
    /// `peers` are the mailboxes of the node by core, this one among them; it may still grow.
    SimMailbox(Timeline& timeline, const std::vector<SimMailbox*>& peers, CoreId core)
        : timeline_(timeline), peers_(peers), core_(core) {}

    [[nodiscard]] bool send(CoreId to, Event& event) override;
    [[nodiscard]] uint32_t receive(std::span<Event*> out) override;
    [[nodiscard]] bool prepare_sleep() override { return arrived_count_ == 0; }
    void awake() override {}

    /// True while receive() has something to give.
    [[nodiscard]] bool has_arrived() const { return arrived_count_ > 0; }

    /// The power goes: forgets all messages, takes and delivers none from now on.
    void power_off();

    void occur(uint32_t what, uint64_t a, uint64_t b) override;

  private:
    struct Ring {
        std::deque<Event*> events;
        uint32_t arrived = 0;  // Of events, from the front.
        uint64_t last_arrival_ns = 0;
    };

    [[nodiscard]] uint32_t slots() const;
    [[nodiscard]] bool accept(CoreId from, Event& event);

    Timeline& timeline_;
    const std::vector<SimMailbox*>& peers_;
    const CoreId core_;
    std::vector<Ring> rings_;  // By sender.
    uint32_t arrived_count_ = 0;
    bool has_power_ = true;
};

}  // namespace basalt::sim
