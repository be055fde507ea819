#pragma once

#include <cstdint>
#include <string>

#include "bdev/core/registry.h"
#include "bdev/leaf/memory_source.h"
#include "bdev/qos/groups.h"
#include "bdev/store/pool/pools.h"
#include "bdev/store/transfer/transfers.h"
#include "keyring/keyring.h"
#include "nvmf/host_bdev/remote_devices.h"
#include "nvmf/target/target.h"
#include "reactor/async_mutex.h"
#include "reactor/io/storage.h"
#include "reactor/io/stream_files.h"
#include "reactor/threads.h"
#include "replication/node/replicated_volumes.h"

namespace basalt::control {

/// What the handlers of the API work on. Owner: the daemon; everything in it outlives the handlers.
/// Core: the control thread. Dataplane objects are reached by messages only.
struct Context {
    ReactorThreads& threads;
    bdev::BdevRegistry& devices;
    qos::Groups& groups;
    Keyring& keyring;
    nvmf::Target& target;
    nvmf::RemoteDevices& remote;
    bdev::store::Pools& pools;
    bdev::store::Transfers& transfers;
    replication::ReplicaHost& replica_host;
    replication::ReplicatedVolumes& replicated;
    FileSystem& files;
    StreamFiles& stream_files;
    bdev::MemorySource& device_memory;
    const std::string node;   ///< Tells this node from others; the same after each restart.
    uint16_t discovery_port;  ///< For nvmf_create_transport, which SPDK gives no such setting.
    /// Held by each sequence that visits the reactors about a device, and by each that removes one,
    /// so that no device goes while a visit is on its way.
    AsyncMutex& device_sequences;
    bool follows_heads = false;       ///< Of follow_heads(): it is under way.
    bool have_heads_changed = false;  ///< And has more to do.
    bool is_stopping = false;         ///< Handlers that wait for something give up.
    uint32_t running_calls = 0;       ///< Handlers that wait for a reactor; see RunningCall.

    [[nodiscard]] Reactor& control() { return threads.control(); }
};

/// Counts a handler's sequence while it runs, so that the daemon takes nothing apart under it. The
/// first local variable of each handler that is a coroutine.
class RunningCall {
  public:
    explicit RunningCall(Context& context) : context_(context) { ++context_.running_calls; }
    RunningCall(const RunningCall&) = delete;
    RunningCall& operator=(const RunningCall&) = delete;
    ~RunningCall() { --context_.running_calls; }

  private:
    Context& context_;
};

/// The number by which the API names the thread of a reactor; the control thread comes after them.
[[nodiscard]] inline uint64_t thread_id_of(CoreId core) {
    return uint64_t{core.raw()} + 1;
}

/// And its name.
[[nodiscard]] inline std::string thread_name_of(CoreId core) {
    return "basalt-r" + std::to_string(core.raw());
}

/// Times of the API are in nanoseconds, which it calls ticks.
inline constexpr uint64_t kTicksPerSecond = kNsPerSecond;

}  // namespace basalt::control
