#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "reactor/base/log.h"
#include "reactor/limits.h"
#include "reactor/reactor.h"

namespace basalt::control {

/// A sparse file to make before a call, if it is missing.
struct NewFile {
    std::string path;
    uint64_t size_bytes = 0;
};

/// One call of the API that start-up makes, from a table of the TOML file or from a saved
/// configuration. Both go through the same methods as a call of rpc.py.
struct StartupCall {
    std::string method;
    nlohmann::json params;
    std::string origin;  ///< For messages: "basalt.toml:12: bdev".
    std::optional<NewFile> new_file;
    bool may_exist = false;  ///< What it makes may be there already, from an earlier life.
};

/// How messages are logged.
struct LogConfig {
    LogLevel level = LogLevel::kInfo;
    bool is_json = false;
};

/// All that basaltd can be told at start: the TOML file, with the command line on top. A value,
/// constant once main has put it together.
struct Config {
    std::string uuid;  ///< Of this node; empty if it has none.
    std::string rpc_socket = "/var/tmp/basalt.sock";
    std::string rpc_tcp;                ///< "127.0.0.1:5260"; empty: no TCP.
    std::optional<uint16_t> grpc_port;  ///< On loopback; without: no gRPC.
    std::vector<uint32_t> cores;        ///< Empty: the first processor that we may use.
    uint32_t hugepages = 0;             ///< Of 2 MiB.
    PollMode poll = PollMode::kAdaptive;
    uint64_t idle_before_sleep_ns = kIdleBeforeSleepNs;
    LogConfig log;
    std::optional<uint16_t> discovery_port;  ///< Of [nvmf]; without: the target's default.
    std::vector<StartupCall> calls;          ///< In order.
};

}  // namespace basalt::control
