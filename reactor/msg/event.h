#pragma once

#include "reactor/base/intrusive_list.h"

namespace basalt {

class Reactor;

/// Something that is to run once on one reactor: a deferred completion on the same core, or a
/// message to another core. Embedded in the request that it belongs to (by inheritance or as a
/// member), so that sending allocates nothing. Owner: whoever owns the request. Between being
/// posted and being run it belongs to the reactor and must stay where it is.
class Event {
  public:
    /// Runs on the receiving core, whose reactor is `here`, from its poll loop, never inside
    /// defer() or post(). May post or free the event again.
    using Run = void (*)(Event& event, Reactor& here);

    Event() = default;
    explicit Event(Run function) : run_(function) {}
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void set_run(Run function) { run_ = function; }
    void run(Reactor& here) { run_(*this, here); }

    ListLink link;

  private:
    Run run_ = nullptr;
};

using EventList = IntrusiveList<Event, &Event::link>;

}  // namespace basalt
