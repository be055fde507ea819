#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/store/pool/pool.h"

namespace basalt::bdev::store {

/// The open pools of the process. Owner: the daemon. Core: the control thread.
class Pools {
  public:
    /// What a name leads to: the volume's or snapshot's own name, without its pool's.
    struct Found {
        Pool* pool = nullptr;  ///< Null: nothing.
        std::string name;
    };

    explicit Pools(PoolHome home) : home_(home) {}
    Pools(const Pools&) = delete;
    Pools& operator=(const Pools&) = delete;

    /// Formats `device`. Errors: those of Pool::create(), and kExists: there is a pool of that
    /// name.
    [[nodiscard]] Task<Result<Pool*>> create(Device& device,
                                             PoolOptions options,
                                             std::string& problem);

    /// Opens the pool that may be on `device`; null if there is none, or the device is used.
    /// Errors: those of Pool::open(); kExists: a pool of that name is open.
    [[nodiscard]] Task<Result<Pool*>> examine(Device& device, std::string& problem);

    /// Closes `pool`. Errors: those of Pool::close().
    [[nodiscard]] Task<Status> close(Pool& pool);

    /// Closes `pool` and makes its device one without a pool. Errors: those of Pool::close(), and
    /// of the device.
    [[nodiscard]] Task<Status> destroy(Pool& pool);

    /// Before the end of the process: calls that take long give up.
    void cancel_work();

    /// At the end of the process: nobody uses a volume any more.
    [[nodiscard]] Task<void> close_all();

    /// By name or UUID; null if there is none.
    [[nodiscard]] Pool* find(std::string_view name_or_uuid) const;
    /// A volume or snapshot by "POOL/NAME" or UUID.
    [[nodiscard]] Found find_volume(std::string_view name_or_uuid) const;
    [[nodiscard]] const std::vector<std::unique_ptr<Pool>>& all() const { return pools_; }

  private:
    [[nodiscard]] Result<Pool*> keep(Result<std::unique_ptr<Pool>> made);

    PoolHome home_;
    std::vector<std::unique_ptr<Pool>> pools_;
};

}  // namespace basalt::bdev::store
