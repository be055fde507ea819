#include "control/config/load.h"

#include <array>

#include "control/config/control_tables.h"
#include "control/config/endpoint.h"
#include "control/config/file.h"
#include "control/config/table_reader.h"
#include "control/config/volume_tables.h"
#include "reactor/topology.h"

namespace basalt::control {

namespace {

constexpr uint16_t kNvmeTcpPort = 4420;
// 1 TiB of huge pages; more is a slip of the keyboard.
constexpr uint64_t kHugePagesMax = 524'288;
// A second without work and still awake is "busy".
constexpr uint64_t kIdleBeforeSleepUsMax = 1'000'000;
constexpr std::array<std::string_view, 6> kLogLevels{
    "trace", "debug", "info", "warn", "error", "off"};

void read_log(TableReader& top, LogConfig& log) {
    std::optional<TableReader> table = top.table("log");
    if (!table) {
        return;
    }
    if (const auto level = table->choice("level", kLogLevels)) {
        log.level = static_cast<LogLevel>(*level);
    }
    log.is_json = table->flag("json").value_or(log.is_json);
    table->finish();
}

// The keys about the process and its reactors.
void read_process(TableReader& top, Config& config) {
    if (const auto cores = top.text("cores")) {
        std::string problem;
        auto parsed = parse_core_list(*cores, problem);
        if (!parsed) {
            top.fail("cores", problem);
        }
        if (parsed->size() >= kReactorsMax) {
            top.fail("cores", "at most " + std::to_string(kReactorsMax - 1) + " reactors can run");
        }
        config.cores = std::move(*parsed);
        config.cores_origin = top.origin("cores");
    }
    if (const auto count = top.number("hugepages", 0, kHugePagesMax)) {
        config.hugepages = static_cast<uint32_t>(*count);
        config.hugepages_origin = top.origin("hugepages");
    }
    constexpr std::array<std::string_view, 2> kModes{"adaptive", "busy"};
    if (const auto mode = top.choice("poll", kModes)) {
        config.poll = static_cast<PollMode>(*mode);
    }
    if (const auto us = top.number("idle_before_sleep_us", 0, kIdleBeforeSleepUsMax)) {
        config.idle_before_sleep_ns = *us * kNsPerUs;
    }
}

// The keys about the ways in.
void read_api(TableReader& top, Config& config) {
    if (auto uuid = top.text("uuid")) {
        if (!is_uuid_text(*uuid)) {
            top.fail("uuid", "'" + *uuid + "' is no UUID");
        }
        config.uuid = std::move(*uuid);
    }
    if (const auto port = top.number("grpc_port", 1, UINT16_MAX)) {
        config.grpc_port = static_cast<uint16_t>(*port);
    }
    if (auto address = top.text("grpc_listen")) {
        if (!parse_endpoint(*address, 1)) {
            top.fail("grpc_listen", "'" + *address + "' is no address; write it without a port");
        }
        config.grpc_listen = std::move(*address);
    }
    if (auto path = top.text("rpc_socket")) {
        if (path->empty()) {
            top.fail("rpc_socket", "must be the path of a Unix socket");
        }
        config.rpc_socket = std::move(*path);
    }
    if (auto address = top.text("rpc_tcp")) {
        const std::string wrong = check_rpc_tcp(*address);
        if (!wrong.empty()) {
            top.fail("rpc_tcp", wrong);
        }
        config.rpc_tcp = std::move(*address);
    }
}

Config read_config(const toml::table& table, const std::string& name) {
    TableReader top(table, name, "");
    Config config;
    read_process(top, config);
    read_api(top, config);
    read_log(top, config.log);
    config.control_plane = read_control_plane(top, config.grpc_port);
    top.refuse("storage",
               "is not known here: a drive is [[bdev]], and [[pool]] with replicas = true");
    top.refuse("raft",
               "is not supported by this version yet: without it the metadata is in a file, or, by "
               "[metadata] endpoints, in an etcd that runs already");
    const auto port = top.number("nvme_tcp_port", 1, UINT16_MAX);
    config.discovery_port = read_discovery_port(top);
    const uint16_t nvme_port = port ? static_cast<uint16_t>(*port) : kNvmeTcpPort;
    config.calls = read_volume_tables(top, nvme_port);
    config.nvmf_listen = read_nvmf_listen(top, nvme_port);
    top.finish();
    return config;
}

}  // namespace

std::string check_rpc_tcp(std::string_view text) {
    const Result<SocketAddress> address = parse_endpoint(text, std::nullopt);
    if (!address) {
        return "'" + std::string(text) + "' is no address; write for example \"127.0.0.1:5260\"";
    }
    // The API has no authentication: whoever reaches it owns the daemon.
    return address->is_loopback() ? ""
                                  : "must be a loopback address, as the API asks nobody who "
                                    "they are";
}

Result<LogLevel> parse_log_level(std::string_view text) {
    for (size_t i = 0; i < kLogLevels.size(); ++i) {
        if (kLogLevels[i] == text) {
            return static_cast<LogLevel>(i);
        }
    }
    return Errc::kInvalidArgument;
}

Result<Config> parse_config(std::string_view text, const std::string& name, std::string& problem) {
    try {
        const toml::table table = toml::parse(text, name);
        return read_config(table, name);
    } catch (const toml::parse_error& error) {
        problem = name + ":" + std::to_string(error.source().begin.line) + ": " +
                  std::string(error.description());
    } catch (const ConfigError& error) {
        problem = error.what();
    }
    return Errc::kInvalidArgument;
}

Result<Config> load_config(const std::string& path, std::string& problem) {
    BASALT_TRY(const std::string text, read_file(path, problem));
    return parse_config(text, path, problem);
}

}  // namespace basalt::control
