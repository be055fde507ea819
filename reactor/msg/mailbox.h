#pragma once

#include <cstdint>
#include <span>

#include "reactor/base/strong_int.h"
#include "reactor/msg/event.h"

namespace basalt {

/// One reactor's end of the message rings: a bounded single-producer single-consumer ring for each
/// ordered pair of reactors. Owner and core: the reactor it belongs to. Implementations:
/// RingMailbox (DPDK rings, real threads) and sim::SimMailbox.
class Mailbox {
  public:
    virtual ~Mailbox() = default;

    /// Puts `event` into the ring to `to` and wakes that reactor if it sleeps. Returns false, and
    /// leaves the event with the caller, when the ring is full.
    [[nodiscard]] virtual bool send(CoreId to, Event& event) = 0;

    /// Takes up to out.size() received events, in the order each sender sent them. Returns how
    /// many.
    [[nodiscard]] virtual uint32_t receive(std::span<Event*> out) = 0;

    /// Announces that this reactor is about to sleep. Returns false, and takes the announcement
    /// back, when a message is waiting already. After true, every sender wakes this reactor.
    [[nodiscard]] virtual bool prepare_sleep() = 0;

    /// Takes the announcement back after the sleep.
    virtual void awake() = 0;
};

}  // namespace basalt
