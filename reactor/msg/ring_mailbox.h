#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "reactor/base/result.h"
#include "reactor/base/strong_int.h"
#include "reactor/limits.h"
#include "reactor/memory.h"
#include "reactor/msg/mailbox.h"
#include "reactor/msg/waker.h"

struct rte_ring;

namespace basalt {

class RingMesh;

/// One reactor's end of a RingMesh. Owner: the mesh. Core: its reactor's; a send touches the rings
/// of which this reactor is the one producer, and a receive those of which it is the one consumer.
class RingMailbox final : public Mailbox {
  public:
    RingMailbox(RingMesh& mesh, CoreId self) : mesh_(mesh), self_(self) {}
    RingMailbox(const RingMailbox&) = delete;
    RingMailbox& operator=(const RingMailbox&) = delete;

    [[nodiscard]] bool send(CoreId to, Event& event) override;
    [[nodiscard]] uint32_t receive(std::span<Event*> out) override;
    [[nodiscard]] bool prepare_sleep() override;
    void awake() override;

  private:
    /// The rare part of receive(), apart so that the other need not save registers for it.
    [[gnu::noinline]] uint32_t drain(std::span<Event*> out);

    RingMesh& mesh_;
    const CoreId self_;
    uint32_t first_sender_ = 0;  // Where the next receive() starts, so that nobody is starved.
};

/// The message rings of a process: one DPDK single-producer single-consumer ring for each ordered
/// pair of reactors, and for each reactor the flag that says that it sleeps.
///
/// The sleep protocol. A reactor that wants to sleep sets its flag and then looks into its rings
/// once more; a sender puts its event into the ring and then looks at the flag. Each side writes
/// one thing and reads the other, so with a full fence between the two steps on both sides at least
/// one of them sees the other's write (Dekker's argument; acquire and release do not give this):
/// the receiver finds the event and stays awake, or the sender finds the flag and wakes it. The
/// sender takes the flag with an exchange, so that of many senders one pays the wake-up.
///
/// Life: made before the reactor threads, destroyed after they ended, with every ring empty.
/// Owner: ReactorThreads.
class RingMesh {
  public:
    /// Rings of `slots` (a power of two; one slot stays free) between numa_nodes.size() reactors;
    /// numa_nodes[i] is where reactor i runs. Errors: kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<RingMesh>> create(
        HugeMemory& memory,
        std::span<const int32_t> numa_nodes,
        uint32_t slots = kMessageRingSlots);
    RingMesh(const RingMesh&) = delete;
    RingMesh& operator=(const RingMesh&) = delete;
    ~RingMesh();

    /// Says how to wake reactor `core`. On its thread, before it first prepares to sleep. `waker`
    /// outlives every send by any reactor.
    void set_waker(CoreId core, Waker& waker);

    [[nodiscard]] RingMailbox& mailbox(CoreId core) { return *mailboxes_[core.raw()]; }

  private:
    friend class RingMailbox;

    // On a cache line of its own: every sender reads it with every message.
    struct alignas(kCacheLineBytes) Receiver {
        std::atomic<bool> is_asleep{false};
        Waker* waker = nullptr;
    };

    explicit RingMesh(uint32_t reactors);

    [[nodiscard]] rte_ring& ring(uint32_t from, uint32_t to) const {
        return *rings_[to * reactors_ + from];
    }
    [[nodiscard]] bool has_messages(uint32_t to) const;

    const uint32_t reactors_;
    std::vector<rte_ring*> rings_;  // By receiver, then by sender; none from a reactor to itself.
    std::vector<Receiver> receivers_;
    std::vector<std::unique_ptr<RingMailbox>> mailboxes_;
};

}  // namespace basalt
