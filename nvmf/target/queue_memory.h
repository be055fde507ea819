#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "reactor/buffer_pool.h"
#include "reactor/fair_lines.h"

namespace basalt::nvmf {

/// What the queues of one host hold of a reactor's memory, however many connections and subsystems
/// they belong to: an account in each pool that hosts share. Owner: HostShares.
struct HostShare {
    BufferAccount data;
    BufferAccount capsules;
    BufferAccount admin_data;
    BufferAccount admin_capsules;
    BufferAccount pairs;
    BufferAccount steps;
    FairLine requests;
    FairLine capsule_requests;
    uint32_t users = 0;     ///< Connections, and what may outlive them.
    std::string_view name;  ///< The host's NQN.
};

/// The buffers of one kind of queue. In-capsule data has a pool of its own: whoever holds one of
/// these waits for nothing that is behind it in its stream, so that a pool emptied by R2T transfers
/// can't lock a connection up.
struct QueuePools {
    struct Counts {
        BufferPool::Counts data;
        BufferPool::Counts capsules;

        [[nodiscard]] size_t region_bytes() const {
            return BufferPool::region_bytes(data) + BufferPool::region_bytes(capsules);
        }
    };

    /// `region` is page aligned and as long as the counts say.
    QueuePools(std::span<std::byte> region, const Counts& counts)
        : data(region, counts.data),
          capsules(region.subspan(BufferPool::region_bytes(counts.data)), counts.capsules) {}

    BufferPool data;
    BufferPool capsules;
};

/// Where a buffer comes from and goes back to. A value; both outlive the buffer.
struct BufferSource {
    BufferPool* pool = nullptr;
    BufferAccount* account = nullptr;

    [[nodiscard]] Buffer try_acquire(uint32_t size_bytes) const {
        return pool->try_acquire(size_bytes, *account);
    }
    void wait(BufferWaiter& waiter, uint32_t size_bytes) const {
        pool->wait(waiter, size_bytes, *account);
    }
    void release(Buffer buffer) const { pool->release(buffer, *account); }
};

/// The hosts that have queues on one reactor, by the name that they gave at Connect.
///
/// Owner: PollGroup. Core: the group's.
class HostShares {
  public:
    /// The host's share, with one user more.
    [[nodiscard]] HostShare& join(std::string_view host_nqn);
    /// One user less; the last one ends it.
    void leave(HostShare& share);

  private:
    std::map<std::string, HostShare, std::less<>> by_host_;
};

}  // namespace basalt::nvmf
