#pragma once

namespace basalt {

/// Ends a reactor's IoDriver::wait() from another thread. Implementations: UringDriver (an eventfd
/// that its ring reads).
class Waker {
  public:
    virtual ~Waker() = default;

    /// Makes the present wait(), or else the next one, return. Any thread. Never blocks.
    virtual void wake() = 0;
};

}  // namespace basalt
