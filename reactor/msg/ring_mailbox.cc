#include "reactor/msg/ring_mailbox.h"

// The variant of the rings that is written with C11 atomics: the same instructions on x86, right on
// every other machine, and understood by the thread sanitizer.
#ifndef RTE_USE_C11_MEM_MODEL
#define RTE_USE_C11_MEM_MODEL
#endif
#include <rte_ring.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

// Stands between "write mine" and "read theirs" on both sides of the sleep protocol.
void full_fence() {
// The thread sanitizer can't see what a fence orders, which is why nothing but the flag's own value
// depends on this one.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wtsan"
    std::atomic_thread_fence(std::memory_order_seq_cst);
#pragma GCC diagnostic pop
}

/// For the consumer. rte_ring_empty() reads the producer's tail as an ordinary variable.
bool is_empty(const rte_ring& ring) {
    return __atomic_load_n(&ring.prod.tail, __ATOMIC_SEQ_CST) == ring.cons.tail;
}

}  // namespace

RingMesh::RingMesh(uint32_t reactors)
    : reactors_(reactors), rings_(size_t{reactors} * reactors, nullptr), receivers_(reactors) {
    for (uint32_t i = 0; i < reactors; ++i) {
        mailboxes_.push_back(std::make_unique<RingMailbox>(*this, CoreId(i)));
    }
}

Result<std::unique_ptr<RingMesh>> RingMesh::create(HugeMemory& memory,
                                                   std::span<const int32_t> numa_nodes,
                                                   uint32_t slots) {
    const auto reactors = static_cast<uint32_t>(numa_nodes.size());
    BASALT_ASSERT(reactors > 0);
    BASALT_ASSERT(reactors <= kReactorsMax);
    std::unique_ptr<RingMesh> mesh(new RingMesh(reactors));
    const ssize_t ring_bytes = rte_ring_get_memsize(slots);
    BASALT_ASSERT(ring_bytes > 0);
    for (uint32_t to = 0; to < reactors; ++to) {
        for (uint32_t from = 0; from < reactors; ++from) {
            if (from == to) {
                continue;
            }
            // On the receiver's node: it polls its rings far more often than anybody sends.
            BASALT_TRY(
                const std::span<std::byte> place,
                memory.allocate(static_cast<size_t>(ring_bytes), kCacheLineBytes, numa_nodes[to]));
            auto* ring = static_cast<rte_ring*>(static_cast<void*>(place.data()));
            const int failed = rte_ring_init(ring, "", slots, RING_F_SP_ENQ | RING_F_SC_DEQ);
            BASALT_ASSERT(failed == 0);
            mesh->rings_[size_t{to} * reactors + from] = ring;
        }
    }
    return mesh;
}

RingMesh::~RingMesh() {
    for (const rte_ring* ring : rings_) {
        BASALT_ASSERT(ring == nullptr || rte_ring_empty(ring) == 1);
    }
}

void RingMesh::set_waker(CoreId core, Waker& waker) {
    receivers_[core.raw()].waker = &waker;
}

inline bool RingMesh::has_messages(uint32_t to) const {
    const rte_ring* const* inbound = &rings_[size_t{to} * reactors_];
    for (uint32_t from = 0; from < reactors_; ++from) {
        if (from != to && !is_empty(*inbound[from])) {
            return true;
        }
    }
    return false;
}

bool RingMailbox::send(CoreId to, Event& event) {
    BASALT_ASSERT(to.raw() < mesh_.reactors_);
    BASALT_ASSERT(to != self_);
    if (rte_ring_sp_enqueue(&mesh_.ring(self_.raw(), to.raw()), &event) != 0) {
        return false;
    }
    full_fence();
    RingMesh::Receiver& receiver = mesh_.receivers_[to.raw()];
    // The plain look first: an exchange on every message would bounce the line between the cores.
    if (receiver.is_asleep.load(std::memory_order_relaxed) && receiver.is_asleep.exchange(false)) {
        receiver.waker->wake();
    }
    return true;
}

uint32_t RingMailbox::receive(std::span<Event*> out) {
    if (!mesh_.has_messages(self_.raw())) {
        return 0;  // The answer to nearly all polls.
    }
    return drain(out);
}

uint32_t RingMailbox::drain(std::span<Event*> out) {
    const uint32_t reactors = mesh_.reactors_;
    uint32_t count = 0;
    uint32_t from = first_sender_;
    for (uint32_t i = 0; i < reactors && count < out.size(); ++i) {
        if (from != self_.raw()) {
            count += rte_ring_sc_dequeue_burst(&mesh_.ring(from, self_.raw()),
                                               // Event* and void* have one representation here.
                                               reinterpret_cast<void**>(&out[count]),
                                               static_cast<unsigned>(out.size()) - count,
                                               nullptr);
        }
        from = from + 1 == reactors ? 0 : from + 1;
    }
    first_sender_ = from;
    return count;
}

bool RingMailbox::prepare_sleep() {
    RingMesh::Receiver& receiver = mesh_.receivers_[self_.raw()];
    BASALT_ASSERT(receiver.waker != nullptr);
    receiver.is_asleep.store(true);
    full_fence();
    if (mesh_.has_messages(self_.raw())) {
        receiver.is_asleep.store(false);
        return false;
    }
    return true;
}

void RingMailbox::awake() {
    mesh_.receivers_[self_.raw()].is_asleep.store(false);
}

}  // namespace basalt
