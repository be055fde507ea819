#include "control/handlers/replication_convert.h"

#include "control/config/endpoint.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;
using replication::ReplicaPlace;
using replication::ReplicatedVolumeOptions;

constexpr uint64_t kBytesAMbyte = 1'000'000;
constexpr uint64_t kBlocksAMib = (uint64_t{1} << 20U) / replication::kBlockBytes;
constexpr uint64_t kUsAMs = 1000;

Json params_of(const ReplicatedVolumeOptions& options) {
    const replication::Settings& settings = options.settings;
    Json replicas = Json::array();
    for (const ReplicaPlace& place : options.replicas) {
        replicas.push_back(replica_place_text(place));
    }
    return {{"name", options.name},
            {"uuid", options.uuid.to_string()},
            {"volume", options.volume},
            {"size_in_mib", settings.blocks / kBlocksAMib},
            {"cluster", options.cluster.to_string()},
            {"replicas", std::move(replicas)},
            {"map_file", options.map_path},
            {"write_quorum", settings.write_quorum},
            {"read_quorum", settings.read_quorum},
            {"core", options.core.raw()},
            {"lease_ms", options.lease_us / kUsAMs},
            {"read_timeout_ms", settings.read_timeout_us / kUsAMs},
            {"slow_ms", settings.slow_us / kUsAMs},
            {"drop_timeout_ms", settings.drop_timeout_us / kUsAMs},
            {"takeover_wait_ms", settings.takeover_wait_us / kUsAMs},
            {"resync_mbytes_per_sec", settings.resync_bytes_per_second / kBytesAMbyte},
            {"standby", options.is_standby}};
}

}  // namespace

std::optional<ReplicaPlace> parse_replica_place(std::string_view text) {
    const size_t slash = text.rfind('/');
    if (slash == std::string_view::npos) {
        return std::nullopt;
    }
    const Result<SocketAddress> address = parse_endpoint(text.substr(0, slash), std::nullopt);
    const Result<bdev::Uuid> drive = bdev::Uuid::parse(text.substr(slash + 1));
    if (!address || !drive) {
        return std::nullopt;
    }
    return ReplicaPlace{.address = *address, .drive = *drive};
}

std::string replica_place_text(const ReplicaPlace& place) {
    return place.address.to_string() + "/" + place.drive.to_string();
}

std::vector<SavedCall> replication_calls(const Context& context) {
    std::vector<SavedCall> calls;
    if (context.replica_host.is_running()) {
        const replication::ReplicaHostOptions& options = context.replica_host.options();
        calls.push_back({.method = "replication_start_server",
                         .params = {{"address", options.address.to_string()},
                                    {"cluster", options.cluster.to_string()},
                                    {"core", options.core.raw()}}});
    }
    for (const auto& volume : context.replicated.all()) {
        calls.push_back(
            {.method = "bdev_replicated_create", .params = params_of(volume->options())});
    }
    return calls;
}

std::vector<SavedCall> replica_drive_calls(const Context& context) {
    std::vector<SavedCall> calls;
    for (const auto& [uuid, pool] : context.replica_host.drives()) {
        calls.push_back(
            {.method = "replication_add_drive", .params = {{"lvs_name", pool->identity().name}}});
    }
    return calls;
}

bool stands_on_replicated(const Context& context, const bdev::store::Pool& pool) {
    const bdev::store::Pool* at = &pool;
    while (at != nullptr) {
        const bdev::Bdev* leaf = &at->device();
        while (leaf->base() != nullptr) {
            leaf = leaf->base();
        }
        const std::string& name = leaf->info().name;
        if (context.replicated.find(name) != nullptr) {
            return true;
        }
        at = context.pools.find_volume(name).pool;  // A volume of another pool?
    }
    return false;
}

}  // namespace basalt::control
