#include "control/config/volume_tables.h"

#include <array>
#include <iterator>
#include <string>

#include <fmt/format.h>

#include "control/config/call_params.h"
#include "control/config/endpoint.h"
#include "control/config/replication_tables.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kBlockBytesMax = 4096;
constexpr uint16_t kDiscoveryPort = 8009;  // Of referrals that name no port.

uint64_t block_bytes_of(TableReader& table) {
    const uint64_t bytes = table.number("block_size", 512, kBlockBytesMax).value_or(4096);
    if ((bytes & (bytes - 1)) != 0) {
        table.fail("block_size", "must be a power of two");
    }
    return bytes;
}

// null and malloc.
void read_memory_bdev(TableReader& table, StartupCall& call) {
    const uint64_t block_bytes = block_bytes_of(table);
    call.params["block_size"] = block_bytes;
    call.params["num_blocks"] = blocks_of(table, block_bytes);
    put(call.params, "uuid", table.text("uuid"));
}

void read_file_bdev(TableReader& table, StartupCall& call) {
    const std::string path = required_text(table, "path");
    call.params["filename"] = path;
    call.file = NamedFile{.path = path, .origin = table.origin("path")};
    if (table.has("block_size")) {
        call.params["block_size"] = block_bytes_of(table);
    }
    put(call.params, "readonly", table.flag("readonly"));
    put(call.params, "uuid", table.text("uuid"));
    if (const auto bytes = table.size_bytes("size")) {
        call.new_file = NewFile{.path = path, .size_bytes = *bytes};
    }
}

void read_nvme_bdev(TableReader& table, StartupCall& call) {
    uint32_t named = 0;
    for (const char* key : {"nguid", "eui64", "uuid", "path"}) {
        const std::optional<std::string> value = table.text(key);
        named += value ? 1U : 0U;
        put(call.params, key, value);
    }
    if (const auto path = table.text("path")) {
        call.file = NamedFile{.path = *path, .origin = table.origin("path")};
    }
    if (named != 1) {
        table.fail("nguid", "exactly one of nguid, eui64, uuid and path must say which drive");
    }
}

constexpr uint64_t kIosMax = 1'000'000'000;
constexpr uint64_t kMbytesMax = uint64_t{1} << 20U;

void put_limits(Json& params, TableReader& table) {
    put(params, "rw_ios_per_sec", table.number("rw_ios_per_sec", 0, kIosMax));
    put(params, "rw_mbytes_per_sec", table.number("rw_mbytes_per_sec", 0, kMbytesMax));
}

// The limits of a table that has a member's, under the names of the API.
Json read_qos(TableReader& table) {
    Json params = Json::object();
    put_limits(params, table);
    put(params, "rw_ios_per_sec_max", table.number("rw_ios_per_sec_max", 0, kIosMax));
    put(params, "rw_ios_per_sec_min", table.number("rw_ios_per_sec_min", 0, kIosMax));
    for (const char* key : {"r_mbytes_per_sec",
                            "w_mbytes_per_sec",
                            "rw_mbytes_per_sec_max",
                            "r_mbytes_per_sec_max",
                            "w_mbytes_per_sec_max",
                            "rw_mbytes_per_sec_min"}) {
        put(params, key, table.number(key, 0, kMbytesMax));
    }
    put(params, "burst_seconds", table.number("burst_seconds", 0, 86'400));
    put(params, "weight", table.number("weight", 1, 10'000));
    return params;
}

StartupCall read_bdev(TableReader table,
                      const std::string& cluster,
                      std::vector<StartupCall>& limits) {
    constexpr std::array<std::string_view, 5> kTypes{
        "null", "malloc", "file", "nvme", "replicated"};
    constexpr std::array<const char*, 5> kMethods{"bdev_null_create",
                                                  "bdev_malloc_create",
                                                  "bdev_aio_create",
                                                  "bdev_nvme_attach_passthrough",
                                                  "bdev_replicated_create"};
    const std::optional<size_t> type = table.choice("type", kTypes);
    if (!type) {
        table.fail("type",
                   "is missing; it is one of \"null\", \"malloc\", \"file\", \"nvme\", "
                   "\"replicated\"");
    }
    StartupCall call{.method = kMethods[*type],
                     .params = {{"name", required_text(table, "name")}},
                     .origin = table.origin(),
                     .new_file = std::nullopt};
    if (*type <= 1) {
        read_memory_bdev(table, call);
    } else if (*type == 2) {
        read_file_bdev(table, call);
    } else if (*type == 3) {
        read_nvme_bdev(table, call);
    } else {
        read_replicated_bdev(table, cluster, call.params);
    }
    Json qos = read_qos(table);
    put(qos, "qos_group", table.text("qos_group"));
    if (!qos.empty()) {
        qos["name"] = call.params["name"];
        add_call(limits, table.origin(), "bdev_set_qos_limit", std::move(qos));
    }
    table.finish();
    return call;
}

// A pool that is on a device, or is made there if the file says so in so many words; its volumes,
// which are made if they are not there. What is there stays as it is.
void read_pool(TableReader table, std::vector<StartupCall>& calls) {
    const std::string name = required_text(table, "name");
    Json pool{{"bdev_name", required_text(table, "bdev")}, {"lvs_name", name}};
    put(pool, "create", table.flag("create"));
    put(pool, "partitions", table.number("partitions", 1, 64));
    add_call(calls, table.origin(), "bdev_store_open", std::move(pool));
    if (const auto percent = table.number("low_space_percent", 0, 99)) {
        add_call(calls,
                 table.origin(),
                 "bdev_store_set_low_space",
                 {{"lvs_name", name}, {"percent", *percent}});
    }
    for (TableReader& each : table.tables("volume")) {
        constexpr uint64_t kBytesAMib = 1U << 20U;
        const std::string volume = required_text(each, "name");
        Json params{{"lvs_name", name}, {"lvol_name", volume}};
        params["size_in_mib"] = blocks_of(each, kBytesAMib);
        if (each.has("block_size")) {
            params["block_size"] = block_bytes_of(each);
        }
        add_call(calls, each.origin(), "bdev_lvol_create", std::move(params));
        calls.back().may_exist = true;
        Json qos = read_qos(each);
        put(qos, "qos_group", each.text("qos_group"));
        if (!qos.empty()) {
            qos["name"] = fmt::format("{}/{}", name, volume);
            add_call(calls, each.origin(), "bdev_set_qos_limit", std::move(qos));
        }
        each.finish();
    }
    read_replicas(table, name, calls);
    table.finish();
}

SocketAddress endpoint(const TableReader& table,
                       std::string_view key,
                       const std::string& text,
                       uint16_t port) {
    const Result<SocketAddress> address = parse_endpoint(text, port);
    if (!address) {
        table.fail(key,
                   "'" + text +
                       "' is no address; write for example \"0.0.0.0:4420\" or "
                       "\"[::]:4420\"");
    }
    return *address;
}

std::vector<SocketAddress> endpoints(TableReader& table, std::string_view key, uint16_t port) {
    std::vector<SocketAddress> addresses;
    for (const std::string& text : table.texts(key)) {
        addresses.push_back(endpoint(table, key, text, port));
    }
    return addresses;
}

// What [nvmf] says: the call that makes the transport, and the addresses of subsystems that name
// none.
struct Transport {
    StartupCall call;
    std::vector<SocketAddress> listen;
};

Transport read_transport(TableReader& top, uint16_t port) {
    Transport transport;
    transport.call.method = "nvmf_create_transport";
    transport.call.params = {{"trtype", "TCP"}};
    transport.call.origin = top.origin();
    if (std::optional<TableReader> table = top.table("nvmf")) {
        Json& params = transport.call.params;
        transport.call.origin = table->origin();
        put(params, "max_queue_depth", table->number("max_queue_depth", 16, 4096));
        put(params, "max_io_qpairs_per_ctrlr", table->number("max_io_qpairs_per_ctrlr", 1, 1024));
        put(params, "in_capsule_data_size", table->number("in_capsule_data_size", 0, 8192));
        put(params, "max_io_size", table->size_bytes("max_io_size"));
        put(params, "c2h_success", table->flag("c2h_success"));
        for (const char* time : {"handshake_timeout_ms", "authentication_timeout_ms"}) {
            put(params, time, table->number(time, 100, 600'000));
        }
        for (const char* bound : {"max_opening_connections",
                                  "max_opening_per_address",
                                  "max_connections_per_host",
                                  "max_controllers_per_host"}) {
            put(params, bound, table->number(bound, 1, UINT16_MAX));
        }
        static_cast<void>(table->number("discovery_port", 0, UINT16_MAX));
        transport.listen = endpoints(*table, "listen", port);
        table->finish();
    }
    if (transport.listen.empty()) {
        transport.listen.push_back(endpoint(top, "nvme_tcp_port", "0.0.0.0", port));
    }
    return transport;
}

Json listen_address(const SocketAddress& address) {
    return {{"trtype", "TCP"},
            {"adrfam", address.is_ipv6() ? "IPv6" : "IPv4"},
            {"traddr", address.host()},
            {"trsvcid", std::to_string(address.port())}};
}

Json namespace_params(TableReader table) {
    Json params{{"bdev_name", required_text(table, "bdev")}};
    put(params, "nsid", table.number("nsid", 1, 0xffff'fffe));
    put(params, "uuid", table.text("uuid"));
    put(params, "nguid", table.text("nguid"));
    put(params, "eui64", table.text("eui64"));
    put(params, "ptpl_file", table.text("ptpl_file"));
    put(params, "anagrpid", table.number("anagrpid", 1, UINT32_MAX));
    if (!table.texts("hosts").empty()) {
        params["no_auto_visible"] = true;
    }
    table.finish();
    return params;
}

// The namespaces of a subsystem, and which hosts see them where not all do.
void read_namespaces(TableReader& table, const std::string& nqn, std::vector<StartupCall>& calls) {
    for (TableReader& each : table.tables("namespace")) {
        const std::vector<std::string> hosts = each.texts("hosts");
        const std::optional<uint64_t> nsid = each.number("nsid", 1, 0xffff'fffe);
        if (!hosts.empty() && !nsid) {
            each.fail("nsid", "is missing; a namespace with hosts needs it");
        }
        add_call(calls,
                 each.origin(),
                 "nvmf_subsystem_add_ns",
                 {{"nqn", nqn}, {"namespace", namespace_params(each)}});
        for (const std::string& host : hosts) {
            add_call(calls,
                     each.origin(),
                     "nvmf_ns_add_host",
                     {{"nqn", nqn}, {"nsid", *nsid}, {"host", host}});
        }
    }
}

// The hosts of a subsystem, each with a table of its own, since it has more than a name.
void read_hosts(TableReader& table,
                const std::string& nqn,
                std::vector<StartupCall>& calls,
                std::vector<StartupCall>& limits) {
    for (TableReader& each : table.tables("host")) {
        Json host{{"nqn", nqn}, {"host", required_text(each, "nqn")}};
        put(host, "psk", each.text("psk"));
        Json qos = read_qos(each);
        if (!qos.empty()) {
            qos["nqn"] = nqn;
            qos["host"] = host["host"];
            add_call(limits, each.origin(), "nvmf_subsystem_set_host_qos_limit", std::move(qos));
        }
        add_call(calls, each.origin(), "nvmf_subsystem_add_host", std::move(host));
        each.finish();
    }
}

// How well the listeners of a subsystem lead to it, at first.
std::optional<std::string> read_ana_state(TableReader& table) {
    constexpr std::array<std::string_view, 3> kStates{"optimized", "non_optimized", "inaccessible"};
    const std::optional<size_t> state = table.choice("ana_state", kStates);
    return state ? std::optional(std::string(kStates[*state])) : std::nullopt;
}

// What the discovery log tells of other targets.
void read_referrals(TableReader& top, std::vector<StartupCall>& calls) {
    for (TableReader& each : top.tables("referral")) {
        const SocketAddress address =
            endpoint(each, "address", required_text(each, "address"), kDiscoveryPort);
        Json referral{{"address", listen_address(address)}};
        put(referral, "subnqn", each.text("nqn"));
        put(referral, "secure_channel", each.flag("secure_channel"));
        add_call(calls, each.origin(), "nvmf_discovery_add_referral", std::move(referral));
        each.finish();
    }
}

// Listeners go to a list of their own, to come after all subsystems.
void read_subsystem(TableReader table,
                    const Transport& transport,
                    uint16_t port,
                    std::vector<StartupCall>& calls,
                    std::vector<StartupCall>& listeners) {
    const std::string nqn = required_text(table, "nqn");
    const std::vector<std::string> hosts = table.texts("hosts");
    const std::optional<bool> allow_any_host = table.flag("allow_any_host");
    if (hosts.empty() && !table.has("host") && !allow_any_host.value_or(false)) {
        table.fail("hosts",
                   "nobody could connect: list the hosts' NQNs, or set allow_any_host = true");
    }
    Json subsystem{{"nqn", nqn}, {"allow_any_host", allow_any_host.value_or(false)}};
    put(subsystem, "serial_number", table.text("serial_number"));
    put(subsystem, "model_number", table.text("model_number"));
    put(subsystem, "max_namespaces", table.number("max_namespaces", 1, 1024));
    put(subsystem, "ana_reporting", table.flag("ana_reporting"));
    put(subsystem, "min_cntlid", table.number("min_cntlid", 1, 65519));
    put(subsystem, "max_cntlid", table.number("max_cntlid", 1, 65519));
    add_call(calls, table.origin(), "nvmf_create_subsystem", std::move(subsystem));
    for (const std::string& host : hosts) {
        add_call(calls, table.origin(), "nvmf_subsystem_add_host", {{"nqn", nqn}, {"host", host}});
    }
    std::vector<StartupCall> limits;
    read_hosts(table, nqn, calls, limits);
    Json capacity = Json::object();
    put_limits(capacity, table);
    if (!capacity.empty()) {
        capacity["nqn"] = nqn;
        add_call(calls, table.origin(), "nvmf_subsystem_set_qos_limit", std::move(capacity));
    }
    calls.insert(calls.end(), limits.begin(), limits.end());
    read_namespaces(table, nqn, calls);
    const std::optional<bool> secure_channel = table.flag("secure_channel");
    const std::optional<std::string> ana_state = read_ana_state(table);
    std::vector<SocketAddress> listen = endpoints(table, "listen", port);
    for (const SocketAddress& address : listen.empty() ? transport.listen : listen) {
        Json listener{{"nqn", nqn}, {"listen_address", listen_address(address)}};
        put(listener, "secure_channel", secure_channel);
        put(listener, "ana_state", ana_state);
        add_call(listeners, table.origin(), "nvmf_subsystem_add_listener", std::move(listener));
    }
    table.finish();
}

}  // namespace

std::vector<StartupCall> read_volume_tables(TableReader& top, uint16_t nvme_tcp_port) {
    std::vector<StartupCall> calls;
    for (TableReader& each : top.tables("key")) {
        const std::string name = required_text(each, "name");
        const std::string path = required_text(each, "path");
        add_call(calls, each.origin(), "keyring_file_add_key", {{"name", name}, {"path", path}});
        calls.back().file = NamedFile{.path = path, .origin = each.origin("path")};
        each.finish();
    }
    for (TableReader& each : top.tables("qos_group")) {
        Json params{{"name", required_text(each, "name")}};
        put_limits(params, each);
        add_call(calls, each.origin(), "bdev_qos_group_create", std::move(params));
        each.finish();
    }
    const std::string cluster = read_replication(top, calls);
    for (const TableReader& each : top.tables("bdev")) {
        std::vector<StartupCall> limits;
        calls.push_back(read_bdev(each, cluster, limits));
        calls.insert(calls.end(), limits.begin(), limits.end());
    }
    for (const TableReader& each : top.tables("pool")) {
        read_pool(each, calls);
    }
    Transport transport = read_transport(top, nvme_tcp_port);
    const std::vector<TableReader> subsystems = top.tables("subsystem");
    if (top.has("nvmf") || !subsystems.empty()) {
        calls.push_back(transport.call);
    }
    // Subsystems share addresses: a host that came by the first one's while another subsystem was
    // still missing would be told that there is no such thing.
    std::vector<StartupCall> listeners;
    for (const TableReader& each : subsystems) {
        read_subsystem(each, transport, nvme_tcp_port, calls, listeners);
    }
    read_referrals(top, calls);
    calls.insert(calls.end(),
                 std::make_move_iterator(listeners.begin()),
                 std::make_move_iterator(listeners.end()));
    return calls;
}

std::vector<SocketAddress> read_nvmf_listen(TableReader& top, uint16_t nvme_tcp_port) {
    return read_transport(top, nvme_tcp_port).listen;
}

std::optional<uint16_t> read_discovery_port(TableReader& top) {
    if (std::optional<TableReader> table = top.table("nvmf")) {
        if (const auto port = table->number("discovery_port", 0, UINT16_MAX)) {
            return static_cast<uint16_t>(*port);
        }
    }
    return std::nullopt;
}

}  // namespace basalt::control
