#pragma once

#include <array>
#include <span>

#include "reactor/limits.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::bdev {

/// One T a core, each on cache lines of its own. Owner: a device. A slot is touched on its own core
/// only, which is why nothing here locks; the control thread gets at it with visit_cores().
template <typename T>
class PerCore {
  public:
    [[nodiscard]] T& on(const Reactor& here) { return slots_[here.core().raw()].value; }

    /// Gives every core a copy. Before any core has seen the object.
    void fill(const T& value) {
        for (Slot& slot : slots_) {
            slot.value = value;
        }
    }

  private:
    struct alignas(kCacheLineBytes) Slot {
        T value{};
    };
    std::array<Slot, kReactorsMax> slots_{};
};

/// Runs `run(there, object)` on each of `cores` in turn and goes on on `home` when the last has
/// ended. `object` and `cores` live until then.
template <typename Object>
Task<void> visit_cores(Reactor& home,
                       std::span<const CoreId> cores,
                       Object& object,
                       typename visit<Object>::Run run) {
    for (const CoreId core : cores) {
        visit<Object> there(home, core, object, run);
        co_await there;
    }
}

}  // namespace basalt::bdev
