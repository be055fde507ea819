#include "bdev/store/pool/pools.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "reactor/base/log.h"

namespace basalt::bdev::store {

Task<Result<Pool*>> Pools::create(Device& device, PoolOptions options, std::string& problem) {
    if (find(options.name) != nullptr) {
        problem = fmt::format("there is a pool '{}'", options.name);
        co_return Errc::kExists;
    }
    Result<std::unique_ptr<Pool>> made = co_await Pool::create(home_, device, options, problem);
    co_return keep(std::move(made));
}

Task<Result<Pool*>> Pools::examine(Device& device, std::string& problem) {
    if (!device.user().empty()) {
        co_return nullptr;
    }
    const Result<SuperblockFinding> finding = co_await Pool::examine(home_, device);
    if (!finding) {
        problem = fmt::format("'{}' can't be read", device.info().name);
        co_return finding.error();
    }
    if (*finding == SuperblockFinding::kNothing) {
        co_return nullptr;
    }
    const PartitionOptions options;
    Result<std::unique_ptr<Pool>> opened = co_await Pool::open(home_, device, options, problem);
    if (opened && find((*opened)->identity().name) != nullptr) {
        problem = fmt::format("a pool '{}' is open already", (*opened)->identity().name);
        static_cast<void>(co_await (*opened)->close());
        co_return Errc::kExists;
    }
    co_return keep(std::move(opened));
}

Result<Pool*> Pools::keep(Result<std::unique_ptr<Pool>> made) {
    if (!made) {
        return made.error();
    }
    pools_.push_back(std::move(*made));
    const PoolIdentity& identity = pools_.back()->identity();
    BASALT_LOG(kInfo,
               "store",
               "pool {} {} is open on {}",
               identity.name,
               identity.pool_uuid.to_string(),
               pools_.back()->device().info().name);
    return pools_.back().get();
}

Task<Status> Pools::close(Pool& pool) {
    const Status closed = co_await pool.close();
    if (closed || closed.error().code != Errc::kBusy) {
        std::erase_if(pools_, [&pool](const auto& one) { return one.get() == &pool; });
    }
    co_return closed;
}

Task<Status> Pools::destroy(Pool& pool) {
    Device& device = pool.device();
    const Status closed = co_await close(pool);
    if (!closed && closed.error().code == Errc::kBusy) {
        co_return closed;
    }
    co_return co_await Pool::erase(home_, device);
}

void Pools::cancel_work() {
    for (const auto& pool : pools_) {
        pool->cancel_work();
    }
}

Task<void> Pools::close_all() {
    while (!pools_.empty()) {
        Pool& pool = *pools_.back();
        const std::string name = pool.identity().name;
        const Status closed = co_await close(pool);
        if (!closed) {
            BASALT_LOG(
                kError, "store", "pool {}: not closed: {}", name, describe(closed.error().code));
        }
        if (!closed && closed.error().code == Errc::kBusy) {
            BASALT_ASSERT(false);  // Its users have been shut down before.
        }
    }
}

Pool* Pools::find(std::string_view name_or_uuid) const {
    const auto found = std::find_if(pools_.begin(), pools_.end(), [&](const auto& pool) {
        return pool->identity().name == name_or_uuid ||
               pool->identity().pool_uuid.to_string() == name_or_uuid;
    });
    return found == pools_.end() ? nullptr : found->get();
}

Pools::Found Pools::find_volume(std::string_view name_or_uuid) const {
    const Result<Uuid> uuid = Uuid::parse(name_or_uuid);
    const size_t slash = name_or_uuid.find('/');
    for (const auto& pool : pools_) {
        const Catalogue& catalogue = pool->catalogue();
        if (uuid) {
            const auto volume = catalogue.volumes().find(*uuid);
            if (volume != catalogue.volumes().end()) {
                return {pool.get(), volume->second.name};
            }
            const auto snapshot = catalogue.snapshots().find(*uuid);
            if (snapshot != catalogue.snapshots().end()) {
                return {pool.get(), snapshot->second.name};
            }
        } else if (slash != std::string_view::npos &&
                   name_or_uuid.substr(0, slash) == pool->identity().name) {
            const std::string name(name_or_uuid.substr(slash + 1));
            if (catalogue.find_volume(name) != nullptr ||
                catalogue.find_snapshot(name) != nullptr) {
                return {pool.get(), name};
            }
        }
    }
    return {};
}

}  // namespace basalt::bdev::store
