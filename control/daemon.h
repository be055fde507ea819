#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/leaf/memory_source.h"
#include "bdev/store/pool/pools.h"
#include "control/config/config.h"
#include "control/handlers/ana_follower.h"
#include "control/handlers/app_handlers.h"
#include "control/handlers/bdev_device_handlers.h"
#include "control/handlers/bdev_drive_handlers.h"
#include "control/handlers/bdev_info_handlers.h"
#include "control/handlers/bdev_lvol_handlers.h"
#include "control/handlers/bdev_nvme_handlers.h"
#include "control/handlers/bdev_qos_handlers.h"
#include "control/handlers/bdev_replicated_care_handlers.h"
#include "control/handlers/bdev_replicated_handlers.h"
#include "control/handlers/bdev_replicated_snapshot_handlers.h"
#include "control/handlers/bdev_store_care_handlers.h"
#include "control/handlers/bdev_store_handlers.h"
#include "control/handlers/bdev_store_transfer_handlers.h"
#include "control/handlers/cluster_handlers.h"
#include "control/handlers/config_handlers.h"
#include "control/handlers/context.h"
#include "control/handlers/keyring_handlers.h"
#include "control/handlers/node_handlers.h"
#include "control/handlers/nvmf_auth_handlers.h"
#include "control/handlers/nvmf_info_handlers.h"
#include "control/handlers/nvmf_path_handlers.h"
#include "control/handlers/nvmf_qos_handlers.h"
#include "control/handlers/nvmf_subsystem_handlers.h"
#include "control/handlers/replication_handlers.h"
#include "control/plane/control_plane.h"
#include "control/plane/grpc_nodes.h"
#include "control/plane/metadata_source.h"
#include "control/signals.h"
#include "nvmf/target/target.h"
#include "reactor/io/posix_file_system.h"
#include "reactor/io/posix_stream_files.h"
#include "reactor/memory.h"
#include "reactor/threads.h"
#include "reactor/uring_services.h"
#include "replication/node/replicated_volumes.h"
#include "rpc/server/grpc_server.h"
#include "rpc/server/introspection.h"
#include "rpc/server/json_rpc_server.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Takes the I/O buffers of the target from the process's memory, near each reactor. Owner: the
/// daemon.
class PooledBuffers final : public nvmf::BufferMemory {
  public:
    PooledBuffers(HugeMemory& memory, const ReactorThreads& threads)
        : memory_(memory), threads_(threads) {}
    [[nodiscard]] Result<std::span<std::byte>> allocate(CoreId core, size_t bytes) override;

  private:
    HugeMemory& memory_;
    const ReactorThreads& threads_;
};

/// Everything that a basaltd process consists of, wired by hand: reactors, devices, target, the
/// API's methods, and the servers that offer them.
///
/// Life: start() brings the reactors up and takes the sockets of the API; run() makes the calls of
/// the configuration, serves until it is asked to stop, drains, and returns the exit status. Owner:
/// main. Thread: the control thread, which is main's.
class Daemon final : private Stopper {
  public:
    /// Errors, explained in `problem` in one line: those of memory, processors, io_uring, and
    /// kAddressInUse if another daemon has the socket. Once a process.
    [[nodiscard]] static Result<std::unique_ptr<Daemon>> start(Config config, std::string& problem);
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon() override = default;

    /// 0 after an orderly end that somebody asked for, 1 if the configuration could not be applied.
    [[nodiscard]] int run();

  private:
    // Lets a server of the API work when its descriptor is ready.
    template <typename Server>
    class ServerWatcher final : public FdWatcher {
      public:
        ServerWatcher(UringDriver& driver, Server& server) : driver_(driver), server_(server) {
            driver_.watch(server_.poll_fd(), *this);
        }
        ServerWatcher(const ServerWatcher&) = delete;
        ServerWatcher& operator=(const ServerWatcher&) = delete;
        ~ServerWatcher() override { driver_.unwatch(*this); }
        void on_ready(uint32_t /*events*/) override { server_.process_ready(); }

      private:
        UringDriver& driver_;
        Server& server_;
    };

    Daemon(Config config,
           HugeMemory& memory,
           std::unique_ptr<UringServices> services,
           std::unique_ptr<ReactorThreads> threads);

    Status open_servers(std::string& problem);
    Status open_grpc(std::string& problem);
    Status open_control_plane(std::string& problem);
    void serve();
    Task<void> drain_calls();
    void request_stop() override;
    Task<void> begin();
    Task<void> end();
    Task<void> close_pools_above_heads();
    void log_ready();

    const Config config_;
    std::unique_ptr<UringServices> services_;
    std::unique_ptr<ReactorThreads> threads_;
    PosixFileSystem files_;
    PosixStreamFiles stream_files_;
    bdev::AnonymousMemory device_memory_;
    PooledBuffers buffers_;
    const std::vector<CoreId> cores_;
    qos::Groups groups_;
    bdev::BdevRegistry devices_;
    PosixKeyFiles key_files_;
    Keyring keyring_{key_files_};
    nvmf::Target target_;
    AsyncMutex device_sequences_;
    nvmf::RemoteDevices remote_;
    bdev::store::Pools pools_;
    bdev::store::Transfers transfers_;
    replication::ReplicaHost replica_host_;
    replication::ReplicatedVolumes replicated_;
    Context context_;
    AnaFollower ana_follower_{context_};
    ClusterContext cluster_context_{context_};

    rpc::MethodTable table_;
    rpc::Introspection introspection_;
    AppHandlers app_handlers_;
    BdevDeviceHandlers bdev_device_handlers_;
    BdevDriveHandlers bdev_drive_handlers_;
    BdevNvmeHandlers bdev_nvme_handlers_;
    BdevInfoHandlers bdev_info_handlers_;
    BdevQosHandlers bdev_qos_handlers_;
    BdevLvolHandlers bdev_lvol_handlers_;
    BdevStoreHandlers bdev_store_handlers_;
    BdevStoreCareHandlers bdev_store_care_handlers_;
    BdevStoreTransferHandlers bdev_store_transfer_handlers_;
    KeyringHandlers keyring_handlers_;
    NvmfPathHandlers nvmf_path_handlers_;
    NvmfSubsystemHandlers nvmf_subsystem_handlers_;
    NvmfAuthHandlers nvmf_auth_handlers_;
    NvmfInfoHandlers nvmf_info_handlers_;
    NvmfQosHandlers nvmf_qos_handlers_;
    ReplicationHandlers replication_handlers_;
    BdevReplicatedHandlers bdev_replicated_handlers_;
    BdevReplicatedCareHandlers bdev_replicated_care_handlers_;
    BdevReplicatedSnapshotHandlers bdev_replicated_snapshot_handlers_;
    ConfigHandlers config_handlers_;
    NodeHandlers node_handlers_;
    ClusterHandlers cluster_handlers_;
    ClusterNodeHandlers cluster_node_handlers_;
    ClusterVolumeHandlers cluster_volume_handlers_;

    // Null without the control role.
    std::unique_ptr<cluster::MetadataSource> metadata_source_;
    std::unique_ptr<cluster::GrpcNodes> nodes_;
    std::unique_ptr<cluster::ControlPlane> control_plane_;
    std::optional<ServerWatcher<cluster::GrpcNodes>> nodes_watcher_;

    std::unique_ptr<rpc::JsonRpcServer> json_server_;
    std::unique_ptr<rpc::GrpcServer> grpc_server_;  // Null without a port.
    std::optional<ServerWatcher<rpc::JsonRpcServer>> json_watcher_;
    std::optional<ServerWatcher<rpc::GrpcServer>> grpc_watcher_;
    std::optional<SignalWatcher> signal_watcher_;
    Timer heads_patience_;    // Runs while the end waits for hosts' I/O.
    bool has_begun_ = false;  // The calls of the configuration are made.
    int exit_status_ = 0;
};

}  // namespace basalt::control
