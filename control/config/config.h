#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "reactor/base/log.h"
#include "reactor/io/socket_address.h"
#include "reactor/limits.h"
#include "reactor/reactor.h"

namespace basalt::control {

/// A sparse file to make before a call, if it is missing.
struct NewFile {
    std::string path;
    uint64_t size_bytes = 0;
};

/// A path that the TOML file names. A message about it tells where.
struct NamedFile {
    std::string path;
    std::string origin;  ///< "basalt.toml:14: bdev.path".
};

/// One call of the API that start-up makes, from a table of the TOML file or from a saved
/// configuration. Both go through the same methods as a call of rpc.py.
struct StartupCall {
    std::string method;
    nlohmann::json params;
    std::string origin;  ///< For messages: "basalt.toml:12: bdev".
    std::optional<NewFile> new_file;
    std::optional<NamedFile> file{};  ///< That the call opens, if it does.
    bool may_exist = false;           ///< What it makes may be there already, from an earlier life.
};

/// How messages are logged.
struct LogConfig {
    LogLevel level = LogLevel::kInfo;
    bool is_json = false;
};

/// Where the control role keeps the cluster's metadata: in a file, or in an etcd cluster.
struct MetadataConfig {
    std::string path = "/var/lib/basalt/cluster.db";  ///< Without endpoints.
    std::vector<std::string> endpoints;               ///< HOST:PORT of an etcd's members.
    std::string root;       ///< What keys begin with in the etcd; empty: "basalt/".
    bool has_tls = false;   ///< To the etcd.
    std::string ca_file;    ///< PEM: who signed the members' certificates; empty: the system's.
    std::string cert_file;  ///< PEM: ours; empty: none.
    std::string key_file;   ///< PEM: its private key.
};

/// The control role.
struct ControlPlaneConfig {
    std::string cluster;  ///< UUID of the cluster; empty: that of the metadata, or a new one.
    MetadataConfig metadata;
};

/// All that basaltd can be told at start: the TOML file, with the command line on top. A value,
/// constant once main has put it together.
struct Config {
    std::string uuid;  ///< Of this node; empty if it has none.
    std::string rpc_socket = "/var/tmp/basalt.sock";
    std::string rpc_tcp;                    ///< "127.0.0.1:5260"; empty: no TCP.
    std::optional<uint16_t> grpc_port;      ///< Without: no gRPC.
    std::string grpc_listen = "127.0.0.1";  ///< Address of the gRPC API.
    std::vector<uint32_t> cores;            ///< Empty: the first processor that we may use.
    uint32_t hugepages = 0;                 ///< Of 2 MiB.
    std::string cores_origin{};             ///< "basalt.toml:2: cores"; empty: not from the file.
    std::string hugepages_origin{};         ///< As cores_origin.
    PollMode poll = PollMode::kAdaptive;
    uint64_t idle_before_sleep_ns = kIdleBeforeSleepNs;
    LogConfig log;
    std::optional<uint16_t> discovery_port;  ///< Of [nvmf]; without: the target's default.
    std::vector<SocketAddress> nvmf_listen;  ///< Where subsystems that name no address are served.
    std::optional<ControlPlaneConfig> control_plane;  ///< Without: no control role.
    std::vector<StartupCall> calls;                   ///< In order.
};

}  // namespace basalt::control
