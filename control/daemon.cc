#include "control/daemon.h"

#include <array>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "control/config/endpoint.h"
#include "control/handlers/replication_convert.h"
#include "control/replay.h"
#include "control/version.h"
#include "reactor/base/log.h"

namespace basalt::control {

namespace {

constexpr uint64_t kMib = uint64_t{1} << 20;
// Address space without huge pages: rings and what is rare, and for each reactor its I/O buffers.
constexpr uint64_t kOrdinaryBytesBase = 64 * kMib;
constexpr uint64_t kOrdinaryBytesPerReactor = 64 * kMib;
constexpr uint64_t kDrainPollNs = kNsPerMs;
// At the end hosts' I/O is finished. What a replicated volume without enough replicas holds would
// never be: another head is to have it then. As long as a replica may be silent by default.
constexpr uint64_t kHeadsPatienceNs = 5 * kNsPerSecond;

std::vector<CoreId> cores_of(const ReactorThreads& threads) {
    std::vector<CoreId> cores;
    for (uint32_t i = 0; i < threads.count(); ++i) {
        cores.emplace_back(i);
    }
    return cores;
}

// What lasts and tells this node from others: the UUID it was given, else the id of the operating
// system's installation (machine-id(5)), else the host's name.
std::string node_of(const Config& config) {
    if (!config.uuid.empty()) {
        return config.uuid;
    }
    std::string id;
    std::ifstream("/etc/machine-id") >> id;
    if (!id.empty() && id != "uninitialized") {
        return id;
    }
    std::array<char, 256> name{};
    gethostname(name.data(), name.size() - 1);
    return name.data();
}

// The key of the file that asked for what can't be had, in front of what is wrong.
Error blame(const std::string& origin, Error error, std::string& problem) {
    if (!origin.empty()) {
        problem.insert(0, origin + ": ");
    }
    return error;
}

Result<std::vector<Processor>> choose_processors(const Config& config, std::string& problem) {
    BASALT_TRY(const Topology topology, Topology::load(problem));
    if (config.cores.empty()) {
        return std::vector<Processor>{topology.processors().front()};
    }
    auto selected = topology.select(config.cores, problem);
    if (!selected) {
        return blame(config.cores_origin, selected.error(), problem);
    }
    return selected;
}

}  // namespace

Result<std::span<std::byte>> PooledBuffers::allocate(CoreId core, size_t bytes) {
    constexpr size_t kPageBytes = 4096;
    return memory_.allocate(bytes, kPageBytes, threads_.processor(core).numa_node);
}

Result<std::unique_ptr<Daemon>> Daemon::start(Config config, std::string& problem) {
    BASALT_TRY(const std::vector<Processor> processors, choose_processors(config, problem));
    const Result<HugeMemory*> memory = HugeMemory::init(
        {.hugepages = config.hugepages,
         .ordinary_bytes = kOrdinaryBytesBase + processors.size() * kOrdinaryBytesPerReactor},
        problem);
    if (!memory) {
        return blame(config.hugepages_origin, memory.error(), problem);
    }
    auto services = std::make_unique<UringServices>(UringOptions{});
    BASALT_TRY(std::unique_ptr<ReactorThreads> threads,
               ReactorThreads::start({.processors = processors,
                                      .mode = config.poll,
                                      .idle_before_sleep_ns = config.idle_before_sleep_ns},
                                     **memory,
                                     *services,
                                     problem));
    std::unique_ptr<Daemon> daemon(
        new Daemon(std::move(config), **memory, std::move(services), std::move(threads)));
    BASALT_CHECK(daemon->open_control_plane(problem));
    BASALT_CHECK(daemon->open_servers(problem));
    return daemon;
}

Daemon::Daemon(Config config,
               HugeMemory& memory,
               std::unique_ptr<UringServices> services,
               std::unique_ptr<ReactorThreads> threads)
    : config_(std::move(config)),
      services_(std::move(services)),
      threads_(std::move(threads)),
      buffers_(memory, *threads_),
      cores_(cores_of(*threads_)),
      groups_(threads_->control(), cores_),
      devices_(cores_),
      target_(threads_->control(), threads_->count(), buffers_),
      device_sequences_(threads_->control()),
      remote_(threads_->control(), devices_, device_sequences_),
      pools_({threads_->control(), devices_}),
      transfers_(threads_->control()),
      replica_host_(threads_->control()),
      replicated_({threads_->control(), devices_, files_, replica_host_}),
      context_{.threads = *threads_,
               .devices = devices_,
               .groups = groups_,
               .keyring = keyring_,
               .target = target_,
               .remote = remote_,
               .pools = pools_,
               .transfers = transfers_,
               .replica_host = replica_host_,
               .replicated = replicated_,
               .files = files_,
               .stream_files = stream_files_,
               .device_memory = device_memory_,
               .node = node_of(config_),
               .discovery_port = config_.discovery_port.value_or(nvmf::kDiscoveryPort),
               .device_sequences = device_sequences_},
      introspection_(table_),
      app_handlers_(context_, *this),
      bdev_device_handlers_(context_),
      bdev_drive_handlers_(context_),
      bdev_nvme_handlers_(context_),
      bdev_info_handlers_(context_),
      bdev_qos_handlers_(context_),
      bdev_lvol_handlers_(context_),
      bdev_store_handlers_(context_),
      bdev_store_care_handlers_(context_),
      bdev_store_transfer_handlers_(context_),
      keyring_handlers_(context_),
      nvmf_path_handlers_(context_),
      nvmf_subsystem_handlers_(context_),
      nvmf_auth_handlers_(context_),
      nvmf_info_handlers_(context_),
      nvmf_qos_handlers_(context_),
      replication_handlers_(context_),
      bdev_replicated_handlers_(context_),
      bdev_replicated_care_handlers_(context_),
      bdev_replicated_snapshot_handlers_(context_),
      config_handlers_(context_, table_),
      node_handlers_(context_, config_.uuid, config_.nvmf_listen),
      cluster_handlers_(cluster_context_),
      cluster_node_handlers_(cluster_context_),
      cluster_volume_handlers_(cluster_context_) {
    replicated_.watch(ana_follower_);
    app_handlers_.add_to(table_);
    bdev_device_handlers_.add_to(table_);
    bdev_drive_handlers_.add_to(table_);
    bdev_nvme_handlers_.add_to(table_);
    bdev_info_handlers_.add_to(table_);
    bdev_qos_handlers_.add_to(table_);
    bdev_lvol_handlers_.add_to(table_);
    bdev_store_handlers_.add_to(table_);
    bdev_store_care_handlers_.add_to(table_);
    bdev_store_transfer_handlers_.add_to(table_);
    keyring_handlers_.add_to(table_);
    nvmf_path_handlers_.add_to(table_);
    nvmf_subsystem_handlers_.add_to(table_);
    nvmf_auth_handlers_.add_to(table_);
    nvmf_info_handlers_.add_to(table_);
    nvmf_qos_handlers_.add_to(table_);
    replication_handlers_.add_to(table_);
    bdev_replicated_handlers_.add_to(table_);
    bdev_replicated_care_handlers_.add_to(table_);
    bdev_replicated_snapshot_handlers_.add_to(table_);
    config_handlers_.add_to(table_);
    node_handlers_.add_to(table_);
    cluster_handlers_.add_to(table_);
    cluster_node_handlers_.add_to(table_);
    cluster_volume_handlers_.add_to(table_);
    target_.set_balancing(true);
}

Status Daemon::open_control_plane(std::string& problem) {
    if (!config_.control_plane) {
        return kOk;
    }
    UringDriver& driver = services_->driver(threads_->control_core());
    BASALT_TRY(metadata_source_,
               cluster::MetadataSource::make(
                   threads_->control(), driver, config_.control_plane->metadata, problem));
    nodes_ = std::make_unique<cluster::GrpcNodes>(table_);
    cluster::ControlPlaneOptions options{.process = bdev::Uuid::make_random(),
                                         .started_ns = wall_clock_ns()};
    if (const Result<bdev::Uuid> uuid = bdev::Uuid::parse(config_.control_plane->cluster)) {
        options.cluster = *uuid;
    }
    control_plane_ = std::make_unique<cluster::ControlPlane>(
        threads_->control(), *metadata_source_, *nodes_, options);
    cluster_context_.plane = control_plane_.get();
    return kOk;
}

Status Daemon::open_servers(std::string& problem) {
    auto server = rpc::JsonRpcServer::create(table_);
    if (!server) {
        problem = "the API does not start: " + std::string(describe(server.error().code));
        return server.error();
    }
    json_server_ = std::move(*server);
    if (const Status listening = json_server_->listen_unix(config_.rpc_socket); !listening) {
        const Errc code = listening.error().code;
        problem = "the API can't listen on " + config_.rpc_socket + ": " +
                  std::string(describe(code)) +
                  (code == Errc::kAddressInUse
                       ? "; another daemon has it (take a different rpc_socket, or stop that one)"
                       : "");
        return listening.error();
    }
    if (!config_.rpc_tcp.empty()) {
        BASALT_TRY(const SocketAddress address, parse_endpoint(config_.rpc_tcp, std::nullopt));
        const Status listening = json_server_->listen_tcp(address.host(), address.port());
        if (!listening) {
            problem = "the API can't listen on " + config_.rpc_tcp + ": " +
                      std::string(describe(listening.error().code));
            return listening.error();
        }
    }
    return config_.grpc_port ? open_grpc(problem) : kOk;
}

Status Daemon::open_grpc(std::string& problem) {
    BASALT_TRY(const SocketAddress listen, parse_endpoint(config_.grpc_listen, config_.grpc_port));
    const std::string address = listen.to_string();
    if (!listen.is_loopback()) {
        BASALT_LOG(
            kWarn,
            "control",
            "gRPC listens on {}: whoever reaches it owns this daemon, for it asks nobody who "
            "they are",
            address);
    }
    auto server = rpc::GrpcServer::start(table_, address);
    if (!server) {
        problem =
            "gRPC can't listen on " + address + ": " + std::string(describe(server.error().code));
        return server.error();
    }
    grpc_server_ = std::move(*server);
    return kOk;
}

int Daemon::run() {
    UringDriver& driver = services_->driver(threads_->control_core());
    Stopper& stopper = *this;  // The base is private, so only we can name it.
    signal_watcher_.emplace(driver, stopper);
    begin().detach();
    threads_->run_control();
    signal_watcher_.reset();
    return exit_status_;
}

Task<void> Daemon::begin() {
    auto replaying = replay(table_, config_.calls, context_.is_stopping);
    const std::optional<ReplayError> error = co_await replaying;
    has_begun_ = true;
    if (error) {
        BASALT_LOG(kError, "control", "{}", error->text);
        exit_status_ = 1;
        context_.is_stopping = true;
    }
    if (context_.is_stopping) {
        end().detach();
        co_return;
    }
    serve();
    log_ready();
}

void Daemon::serve() {
    UringDriver& driver = services_->driver(threads_->control_core());
    json_watcher_.emplace(driver, *json_server_);
    if (grpc_server_) {
        grpc_watcher_.emplace(driver, *grpc_server_);
    }
    if (control_plane_) {
        nodes_watcher_.emplace(driver, *nodes_);
        control_plane_->start();
    }
}

void Daemon::log_ready() {
    std::string processors;
    for (uint32_t i = 0; i < threads_->count(); ++i) {
        processors += (i == 0 ? "" : ",") + std::to_string(threads_->processor(CoreId(i)).os_index);
    }
    BASALT_LOG(kInfo,
               "control",
               "{}{} is ready: reactors on processors {}; {}; API on {}{}{}{}",
               version_text(),
               config_.uuid.empty() ? "" : ", node " + config_.uuid + ",",
               processors,
               config_.hugepages > 0 ? std::to_string(config_.hugepages) + " huge pages"
                                     : std::string("no huge pages"),
               config_.rpc_socket,
               config_.rpc_tcp.empty() ? "" : " and ",
               config_.rpc_tcp,
               grpc_server_ ? ", gRPC on port " + std::to_string(grpc_server_->port()) : "");
}

void Daemon::request_stop() {
    if (context_.is_stopping) {
        return;
    }
    context_.is_stopping = true;
    pools_.cancel_work();
    // Before that, begin() notices by itself.
    if (has_begun_) {
        end().detach();
    }
}

Task<void> Daemon::drain_calls() {
    while (context_.running_calls > 0) {
        co_await sleep_for(threads_->control(), kDrainPollNs);
    }
}

/// They need the heads for it, which need the replicas, which are in pools.
Task<void> Daemon::close_pools_above_heads() {
    for (size_t i = pools_.all().size(); i-- > 0;) {
        bdev::store::Pool& pool = *pools_.all()[i];
        if (stands_on_replicated(context_, pool)) {
            const std::string name = pool.identity().name;
            const Status closed = co_await pools_.close(pool);
            if (!closed) {
                BASALT_LOG(kError,
                           "control",
                           "pool {}: not closed: {}",
                           name,
                           describe(closed.error().code));
            }
        }
    }
}

Task<void> Daemon::end() {
    // This may be inside the call that asked for the end: its server must not go under it.
    co_await sleep_for(threads_->control(), 0);
    json_server_->stop_listening();
    if (grpc_server_) {
        grpc_server_->stop_accepting();
    }
    if (nodes_watcher_) {
        control_plane_->begin_stop();
        nodes_->cancel();
    }
    // Hosts, and calls, may wait for a volume that has no quorum.
    heads_patience_.set(
        [](Timer&, void* self) { static_cast<Daemon*>(self)->replicated_.give_up().detach(); },
        this);
    threads_->control().start_timer(heads_patience_, kHeadsPatienceNs);
    // Calls under way are answered before their connections go; those that clients still begin
    // meanwhile are ended after the servers.
    auto draining = drain_calls();
    co_await draining;
    json_watcher_.reset();
    grpc_watcher_.reset();
    json_server_.reset();
    grpc_server_.reset();
    auto draining_rest = drain_calls();
    co_await draining_rest;
    if (nodes_watcher_) {
        auto stopping_plane = control_plane_->stop();
        co_await stopping_plane;
        nodes_watcher_.reset();
    }
    auto closing = target_.shut_down();
    co_await closing;
    // Nobody has a device open any more. Their limits have claims on the reactors.
    for (const auto& device : devices_.devices()) {
        auto clearing = device->limits().clear(threads_->control());
        co_await clearing;
    }
    // Layers may stand on volumes. The last made are the highest.
    std::vector<std::string> layers;
    for (const auto& device : devices_.devices()) {
        if (device->base() != nullptr) {
            layers.push_back(device->info().name);
        }
    }
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
        static_cast<void>(devices_.remove(*layer));
    }
    auto stopping_transfers = transfers_.stop_all();
    co_await stopping_transfers;
    auto closing_upper_pools = close_pools_above_heads();
    co_await closing_upper_pools;
    threads_->control().stop_timer(heads_patience_);
    auto closing_heads = replicated_.shut_down();
    co_await closing_heads;
    // Replicas are in pools.
    auto closing_replicas = replica_host_.shut_down();
    co_await closing_replicas;
    // Only pools have devices open still: those that they are on.
    auto closing_pools = pools_.close_all();
    co_await closing_pools;
    auto leaving = remote_.shut_down();
    co_await leaving;
    BASALT_LOG(kInfo, "control", "stopped");
    threads_->control().stop();
}

}  // namespace basalt::control
