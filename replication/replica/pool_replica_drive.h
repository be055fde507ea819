#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/store/pool/pool.h"
#include "replication/replica/pool_replica_store.h"
#include "replication/replica/replicas.h"

namespace basalt::replication {

/// A store pool as a drive of replicas. Each has two volumes there, "replica-N" with its blocks and
/// "replica-N.state"; a line of replicated snapshots is the snapshot "replica-N@EPOCH.COUNT" (N in
/// 16 hexadecimal digits). The names are a convention: nobody else should touch them.
///
/// A replica exists when its state does: that volume is made last and deleted first, so that what a
/// crash leaves is no replica, and goes when one of that number is made.
///
/// Owner: the process. Core: one that the pool has devices on, for all but what visits the control
/// thread. Outlives its stores; destroyed when they are stopped.
class PoolReplicaDrive final : public ReplicaDrive, private ReplicaVolumes {
  public:
    /// All outlive the drive; the pool is open until then.
    PoolReplicaDrive(Reactor& here, BlockBuffers& buffers, bdev::store::Pool& pool);
    PoolReplicaDrive(const PoolReplicaDrive&) = delete;
    PoolReplicaDrive& operator=(const PoolReplicaDrive&) = delete;
    ~PoolReplicaDrive() override = default;

    /// The pool's.
    [[nodiscard]] const bdev::Uuid& uuid() const override { return uuid_; }
    [[nodiscard]] Task<Status> create(uint64_t volume,
                                      Settings settings,
                                      ReplicaOrigin origin) override;
    [[nodiscard]] Task<Result<std::unique_ptr<ReplicaStore>>> open(uint64_t volume) override;
    [[nodiscard]] Task<Status> remove(uint64_t volume) override;
    [[nodiscard]] Task<std::vector<uint64_t>> list() override;

    [[nodiscard]] static std::string data_name(uint64_t volume);
    [[nodiscard]] static std::string state_name(uint64_t volume);
    [[nodiscard]] static std::string line_name(uint64_t volume, OpNumber line);

  private:
    /// What is to be done on the control thread, and what came of it.
    struct Order {
        PoolReplicaDrive& drive;
        uint64_t volume = 0;
        uint64_t blocks = 0;
        OpNumber line{};
        Status status{};
        bdev::Device* data = nullptr;
        bdev::Device* metadata = nullptr;
        std::vector<uint64_t> volumes{};
    };
    /// The two devices of a replica that is open.
    struct Claims {
        bdev::Claim data;
        bdev::Claim metadata;
    };

    [[nodiscard]] Task<Status> draw_line(uint64_t volume, OpNumber line) override;
    [[nodiscard]] Task<Status> drop_line(uint64_t volume, OpNumber line) override;
    [[nodiscard]] Task<void> let_go(uint64_t volume) override;

    [[nodiscard]] Task<void> visit_control(Order& order, Task<void> (*run)(Reactor&, Order&));
    [[nodiscard]] Task<Result<PoolReplicaParts>> open_parts(uint64_t volume);
    [[nodiscard]] Task<Status> format(uint64_t volume, Settings settings, bool is_blank);
    [[nodiscard]] Task<bool> is_unfinished(uint64_t volume);

    // On the control thread.
    static Task<void> make_there(Reactor& control, Order& order);
    static Task<void> claim_there(Reactor& control, Order& order);
    static Task<void> remove_there(Reactor& control, Order& order);
    static Task<void> list_there(Reactor& control, Order& order);
    static Task<void> draw_there(Reactor& control, Order& order);
    static Task<void> drop_there(Reactor& control, Order& order);
    static Task<void> let_go_there(Reactor& control, Order& order);
    [[nodiscard]] Task<Status> make_volume(std::string name, uint64_t blocks);
    [[nodiscard]] Task<Status> remove_data(uint64_t volume);
    [[nodiscard]] bdev::Uuid uuid_of(const std::string& name) const;

    Reactor& here_;
    BlockBuffers& buffers_;
    bdev::store::Pool& pool_;
    const bdev::Uuid uuid_;
    std::map<uint64_t, Claims> claims_;  // On the control thread only.
};

}  // namespace basalt::replication
