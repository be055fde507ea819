#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/metadata/state.h"
#include "control/metadata/store.h"
#include "reactor/io/random.h"
#include "reactor/reactor.h"

namespace basalt::metadata {

class SimulatedStore;

/// What goes wrong between control processes and their metadata, and how often. Rates are in parts
/// per million. A value; may be changed at any time.
struct SimulatedFaults {
    uint64_t delay_ns_max = kNsPerMs;        ///< Of each way, and of what watches are told.
    uint64_t timeout_ns = 5 * kNsPerSecond;  ///< After which a caller hears that nobody answered.
    uint64_t lease_late_ns = 0;              ///< How long after its time a lease ends.
    uint32_t request_lost_ppm = 0;           ///< Of calls: nothing is done.
    uint32_t answer_lost_ppm = 0;            ///< Of calls: done, and nobody hears of it.
    uint32_t watch_lost_ppm = 0;             ///< Of the times that a watch would be told.
    uint32_t forget_ppm = 0;                 ///< Of commits: all that was is forgotten.
};

/// The metadata that the control processes of a simulated cluster share: what an etcd is to real
/// ones. All in one thread, so that it is a passive object that SimulatedStores call when their
/// messages have arrived.
///
/// Owner: the test; it outlives its stores.
class SimulatedMetadata {
  public:
    /// `clock`: the world's, as any reactor's of it. Chance follows from `seed`.
    SimulatedMetadata(Clock& clock, uint64_t seed) : clock_(clock), random_(seed) {}
    SimulatedMetadata(const SimulatedMetadata&) = delete;
    SimulatedMetadata& operator=(const SimulatedMetadata&) = delete;
    ~SimulatedMetadata();

    /// What is so now, without anybody's asking.
    [[nodiscard]] const MetadataState& state() const { return state_; }

    SimulatedFaults faults;

  private:
    friend class SimulatedStore;

    [[nodiscard]] bool chance(uint32_t ppm) { return random_.chance(ppm, 1'000'000); }
    [[nodiscard]] uint64_t delay_ns() { return random_.below(faults.delay_ns_max + 1); }
    void end_leases();
    void changed();

    Clock& clock_;
    Random random_;
    MetadataState state_;
    std::vector<SimulatedStore*> stores_;
};

/// One control process's way to the SimulatedMetadata: takes time, loses requests, answers and
/// watches, and can be cut off.
///
/// Owner: the process. Core: the control thread's. Destroyed with no call under way and no watch,
/// or after its node has crashed, in any state.
class SimulatedStore final : public MetadataStore {
  public:
    SimulatedStore(Reactor& here, SimulatedMetadata& metadata);
    SimulatedStore(const SimulatedStore&) = delete;
    SimulatedStore& operator=(const SimulatedStore&) = delete;
    ~SimulatedStore() override;

    /// While it is not, requests and answers are lost, and watches are told nothing.
    void set_reachable(bool is_reachable);

    [[nodiscard]] Task<Result<KeyValue>> get(std::string key) override;
    [[nodiscard]] Task<Result<Page>> list(ListRequest request) override;
    [[nodiscard]] Task<Result<Outcome>> commit(Transaction transaction) override;
    [[nodiscard]] Task<Result<LeaseId>> grant(uint64_t ttl_ns) override;
    [[nodiscard]] Task<Status> keep_alive(LeaseId lease) override;
    [[nodiscard]] Task<Status> revoke(LeaseId lease) override;
    void watch(WatchUser& user, std::string prefix, Revision after) override;
    void unwatch(WatchUser& user) override;
    [[nodiscard]] Task<Status> forget(Revision until) override;

  private:
    friend class SimulatedMetadata;

    struct Watch {
        WatchUser* user;
        std::string prefix;
        Revision after;
    };

    [[nodiscard]] Task<Status> go_there();
    [[nodiscard]] Task<Status> come_back();
    [[nodiscard]] Watch* find(const WatchUser& user);
    void start(Timer& timer, uint64_t delay_ns);
    void tell_soon();
    void tell();
    void tell(WatchUser& user);
    void keep_time();

    Reactor& here_;
    SimulatedMetadata& metadata_;
    bool is_reachable_ = true;
    std::vector<Watch> watches_;
    Timer tell_timer_;
    Timer lease_timer_;
};

}  // namespace basalt::metadata
