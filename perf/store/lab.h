#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bdev/core/registry.h"
#include "bdev/leaf/memory_source.h"
#include "bdev/store/pool/pool.h"
#include "perf/store/block_load.h"
#include "reactor/io/posix_file_system.h"
#include "reactor/threads.h"

namespace basalt::perf {

/// One reactor, devices on it, and one pool: what the scenarios measure with. An error ends the
/// program with a message, for there is nothing to go on with. Owner: main. Core: the control
/// reactor's.
class Lab {
  public:
    explicit Lab(ReactorThreads& threads);
    Lab(const Lab&) = delete;
    Lab& operator=(const Lab&) = delete;

    [[nodiscard]] bdev::Device& add_memory(const std::string& name, uint64_t bytes);
    /// A file that is made, sparse, if it is missing.
    [[nodiscard]] bdev::Device& add_file(const std::string& path, uint64_t bytes);
    [[nodiscard]] bdev::Device& add(std::unique_ptr<bdev::Bdev> device);
    void remove(const std::string& name);

    /// Formats `device`.
    [[nodiscard]] Task<void> make_pool(bdev::Device& device, bdev::store::PartitionOptions options);
    [[nodiscard]] Task<void> open_pool(bdev::Device& device, bdev::store::PartitionOptions options);
    [[nodiscard]] Task<void> close_pool();
    [[nodiscard]] Task<bdev::Device*> make_volume(std::string name, uint64_t bytes);
    [[nodiscard]] Task<void> snapshot(std::string volume, std::string name);

    /// Runs a load on a channel of its own.
    [[nodiscard]] Task<BlockLoadResult> load(bdev::Device& device, BlockLoadOptions options);

    [[nodiscard]] bdev::store::Pool& pool() { return *pool_; }
    [[nodiscard]] Reactor& control() { return threads_.control(); }
    [[nodiscard]] uint64_t now_ns() { return control().clock().now_ns(); }

  private:
    struct LoadVisit;
    static Task<void> load_there(Reactor& there, LoadVisit& visit);

    ReactorThreads& threads_;
    bdev::AnonymousMemory memory_;
    PosixFileSystem files_;
    bdev::BdevRegistry registry_;
    std::unique_ptr<bdev::store::Pool> pool_;
    uint64_t snapshots_ = 0;
};

}  // namespace basalt::perf
