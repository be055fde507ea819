#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/layer/delay_bdev.h"
#include "bdev/store/pool/pool.h"
#include "reactor/sim/world.h"
#include "replication/link/replica_server.h"
#include "replication/replica/pool_replica_drive.h"
#include "replication/replica/replicas.h"
#include "test/sim/replication/careless_store.h"

namespace basalt::replication::test {

struct StoreMachineOptions {
    uint32_t index = 0;
    uint32_t cores = 1;  ///< That the pool is spread over.
    Settings settings{};
    uint64_t silence_ns = 0;
    Mistakes mistakes{};
    StoreMistakes store_mistakes{};
};

/// A machine that keeps one replica of volume 1: a drive, a pool on it, a replica in that, and the
/// server before it. It crashes at any moment and comes back by itself step by step, as go_on() is
/// called.
///
///   kOff -> kOpeningPool -> kOpeningReplicas -> kServing -> kOff
class StoreMachine {
  public:
    static constexpr uint16_t kPort = 4500;
    static constexpr uint64_t kVolume = 1;
    static constexpr uint64_t kUnreadable = ~uint64_t{1};
    static constexpr uint64_t kDriveBytes = uint64_t{32} << 20U;

    enum class State : uint8_t {
        kOff,              ///< boot(), create().
        kOpeningPool,      ///< go_on().
        kOpeningReplicas,  ///< go_on().
        kServing,          ///< crash().
        kBroken,           ///< Nobody: see problem().
    };

    /// A machine without power and with an empty drive.
    StoreMachine(sim::World& world, const StoreMachineOptions& options);
    StoreMachine(const StoreMachine&) = delete;
    StoreMachine& operator=(const StoreMachine&) = delete;
    ~StoreMachine();

    /// Switched on with a drive on which all is made anew.
    void create(ReplicaOrigin origin);
    void boot();
    /// Between two runs of the world: does the next step, if the one before is done.
    void go_on();
    void crash(sim::Crash how);
    /// Each request of the drive takes so much longer from now on, if it is serving.
    void slow_down(uint64_t delay_us);
    /// Turns a bit of a block of data, any. False: there is none.
    [[nodiscard]] bool rot(Random& random);
    /// The block has something else from now on, under a checksum that goes with it.
    void spoil(uint64_t block);

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] const std::string& problem() const { return problem_; }
    [[nodiscard]] SocketAddress address() const { return sim::World::address(node, kPort); }
    [[nodiscard]] bdev::Uuid drive_uuid() const;
    [[nodiscard]] bdev::store::Pool& pool() { return *life_->pool; }
    /// While it is serving.
    [[nodiscard]] const ReplicaState& replica_state();

    // While it is serving, and nobody else uses the world.

    /// What all blocks of the volume, or of one of its lines, have: the value that a block has all
    /// over, ~0, or kUnreadable. Nothing: there is no such line.
    [[nodiscard]] std::optional<std::vector<uint64_t>> contents(
        std::optional<OpNumber> line = std::nullopt);
    /// Recomputes what is in use in the pool. What is wrong with it.
    [[nodiscard]] std::string check_pool();

    const sim::NodeId node;
    sim::Drive& drive;

  private:
    /// All that a loss of power ends.
    struct Life {
        std::vector<Reactor*> reactors;  // The last one is the control thread's.
        std::vector<CoreId> cores;       // The others'.
        std::unique_ptr<std::byte[]> memory;
        std::unique_ptr<BlockBuffers> buffers;
        std::unique_ptr<bdev::BdevRegistry> registry;
        bdev::Device* device = nullptr;
        bdev::DelayBdev* delay = nullptr;
        bool was_slow = false;
        std::string problem;
        std::optional<Task<Result<std::unique_ptr<bdev::store::Pool>>>> opening_pool;
        std::unique_ptr<bdev::store::Pool> pool;
        std::unique_ptr<PoolReplicaDrive> drive;
        std::unique_ptr<CarelessDrive> careless;
        std::unique_ptr<Replicas> replicas;
        std::optional<Task<Status>> opening_replicas;
        std::unique_ptr<ReplicaServer> server;
    };

    void begin_life();
    void open_replicas();
    void serve();
    [[nodiscard]] uint64_t read_block(bdev::DeviceChannel& channel, uint64_t block);
    void fail(const std::string& why);

    sim::World& world_;
    const StoreMachineOptions options_;
    std::unique_ptr<Life> life_;
    State state_ = State::kOff;
    std::optional<ReplicaOrigin> making_;
    std::string problem_;
};

}  // namespace basalt::replication::test
