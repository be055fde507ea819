#pragma once

#include "reactor/msg/event.h"

namespace basalt {

/// An event that is a member of `Owner` and calls one of its member functions. Unlinks itself when
/// destroyed, so that an owner may end while its event waits on the same core.
template <typename Owner, void (Owner::*Function)()>
class OwnedEvent : public Event {
  public:
    explicit OwnedEvent(Owner& owner)
        : Event(
              [](Event& event, Reactor&) { (static_cast<OwnedEvent&>(event).owner_.*Function)(); }),
          owner_(owner) {}
    ~OwnedEvent() {
        if (is_waiting()) {
            EventList::remove(*this);
        }
    }

    [[nodiscard]] bool is_waiting() const { return link.is_linked(); }

  private:
    Owner& owner_;
};

}  // namespace basalt
