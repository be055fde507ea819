#include "control/config/replication_tables.h"

#include "control/config/call_params.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kBytesAMib = uint64_t{1} << 20U;
constexpr uint64_t kVolumeMax = (uint64_t{1} << 53U) - 1;
constexpr uint64_t kCoresMax = 1024;

uint64_t volume_of(TableReader& table) {
    const std::optional<uint64_t> volume = table.number("volume", 1, kVolumeMax);
    if (!volume) {
        table.fail("volume", "is missing; it is the volume's number at its head and replicas");
    }
    return *volume;
}

}  // namespace

std::string read_replication(TableReader& top, std::vector<StartupCall>& calls) {
    std::optional<TableReader> table = top.table("replication");
    if (!table) {
        return "";
    }
    std::string cluster = required_text(*table, "cluster");
    const std::optional<std::string> listen = table->text("listen");
    const std::optional<uint64_t> core = table->number("core", 0, kCoresMax);
    if (listen) {
        Json params{{"address", *listen}, {"cluster", cluster}};
        put(params, "core", core);
        add_call(calls, table->origin(), "replication_start_server", std::move(params));
    }
    table->finish();
    return cluster;
}

void read_replicated_bdev(TableReader& table, const std::string& cluster, Json& params) {
    params["uuid"] = required_text(table, "uuid");
    params["volume"] = volume_of(table);
    params["size_in_mib"] = blocks_of(table, kBytesAMib);
    params["cluster"] = cluster;
    put(params, "cluster", table.text("cluster"));
    if (params["cluster"] == "") {
        table.fail("cluster", "is missing, here and in [replication]");
    }
    const std::vector<std::string> replicas = table.texts("replicas");
    if (replicas.empty()) {
        table.fail("replicas", "is missing; it lists ADDRESS:PORT/DRIVE of each");
    }
    params["replicas"] = replicas;
    params["map_file"] = required_text(table, "map_file");
    put(params, "write_quorum", table.number("write_quorum", 1, 5));
    put(params, "read_quorum", table.number("read_quorum", 1, 5));
    put(params, "core", table.number("core", 0, kCoresMax));
    put(params, "lease_ms", table.number("lease_ms", 10, 60'000));
    for (const char* time : {"read_timeout_ms", "slow_ms", "drop_timeout_ms"}) {
        put(params, time, table.number(time, 1, 600'000));
    }
    put(params, "takeover_wait_ms", table.number("takeover_wait_ms", 0, 600'000));
    put(params, "standby", table.flag("standby"));
    put(params, "resync_mbytes_per_sec", table.number("resync_mbytes_per_sec", 0, 1'000'000));
}

void read_replicas(TableReader& pool, const std::string& name, std::vector<StartupCall>& calls) {
    const std::vector<TableReader> replicas = pool.tables("replica");
    if (!pool.flag("replicas").value_or(false)) {
        if (!replicas.empty()) {
            pool.fail("replica", "is of a drive of replicas; set replicas = true");
        }
        return;
    }
    add_call(calls, pool.origin(), "replication_add_drive", {{"lvs_name", name}});
    for (TableReader each : replicas) {
        Json params{{"lvs_name", name}, {"volume", volume_of(each)}};
        params["size_in_mib"] = blocks_of(each, kBytesAMib);
        put(params, "replacement", each.flag("replacement"));
        add_call(calls, each.origin(), "replication_create_replica", std::move(params));
        calls.back().may_exist = true;
        each.finish();
    }
}

}  // namespace basalt::control
