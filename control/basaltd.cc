#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "control/config/load.h"
#include "control/config/saved_config.h"
#include "control/daemon.h"
#include "control/descriptor_limit.h"
#include "control/log_sink.h"
#include "control/version.h"
#include "reactor/topology.h"

namespace basalt::control {

namespace {

// What the command line says; each wins over the file.
struct Arguments {
    std::string config_path;
    std::string saved_config_path;
    std::optional<std::string> rpc_socket;
    std::optional<std::string> rpc_tcp;
    std::optional<std::string> cores;
    std::optional<uint32_t> hugepages;
    std::optional<std::string> poll;
    std::optional<std::string> log_level;
    bool is_log_json = false;
    std::optional<uint16_t> grpc_port;
};

constexpr const char* kExamples = R"(
Examples:
  basaltd                                     an empty daemon, filled by scripts/rpc.py
  basaltd -c scripts/config/development.toml  serves a volume in memory on port 4420
  basaltd --cores 0,2-3 --hugepages 512       three reactors, 1 GiB of huge pages
  basaltd --json saved.json                   what 'rpc.py save_config' wrote
)";

void declare(CLI::App& app, Arguments& arguments) {
    app.add_option("-c,--config", arguments.config_path, "TOML file")->type_name("FILE");
    app.add_option("--json",
                   arguments.saved_config_path,
                   "saved configuration (SPDK's layout), applied after the TOML file")
        ->type_name("FILE");
    app.add_option("-r,--rpc-socket",
                   arguments.rpc_socket,
                   "Unix socket of the JSON-RPC API "
                   "[/var/tmp/basalt.sock]")
        ->type_name("PATH");
    app.add_option("--rpc-tcp", arguments.rpc_tcp, "loopback address of the JSON-RPC API [none]")
        ->type_name("ADDRESS:PORT");
    app.add_option("--grpc-port", arguments.grpc_port, "loopback port of the gRPC API [none]")
        ->check(CLI::Range(1, 65535))
        ->type_name("PORT");
    app.add_option("-m,--cores",
                   arguments.cores,
                   "processors to run reactors on, a list (0,2-3) or a mask (0xd) [the first]")
        ->type_name("LIST");
    app.add_option("--hugepages", arguments.hugepages, "huge pages of 2 MiB to take [0: none]")
        ->type_name("COUNT");
    app.add_option(
           "--poll", arguments.poll, "adaptive: sleep when idle; busy: poll for ever [adaptive]")
        ->check(CLI::IsMember({"adaptive", "busy"}))
        ->type_name("MODE");
    app.add_option("--log-level", arguments.log_level, "least level to log [info]")
        ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
        ->type_name("LEVEL");
    app.add_flag("--log-json", arguments.is_log_json, "log one JSON object a line");
}

Result<Config> make_config(const Arguments& arguments, std::string& problem) {
    Config config;
    if (!arguments.config_path.empty()) {
        BASALT_TRY(config, load_config(arguments.config_path, problem));
    }
    if (!arguments.saved_config_path.empty()) {
        BASALT_TRY(std::vector<StartupCall> calls,
                   load_saved_config(arguments.saved_config_path, problem));
        for (StartupCall& call : calls) {
            config.calls.push_back(std::move(call));
        }
    }
    if (arguments.cores) {
        BASALT_TRY(config.cores, parse_core_list(*arguments.cores, problem));
        config.cores_origin.clear();
    }
    if (arguments.rpc_tcp) {
        problem = check_rpc_tcp(*arguments.rpc_tcp);
        if (!problem.empty()) {
            problem = "--rpc-tcp: " + problem;
            return Errc::kInvalidArgument;
        }
        config.rpc_tcp = *arguments.rpc_tcp;
    }
    if (arguments.log_level) {
        BASALT_TRY(config.log.level, parse_log_level(*arguments.log_level));
    }
    config.rpc_socket = arguments.rpc_socket.value_or(config.rpc_socket);
    if (arguments.hugepages) {
        config.hugepages = *arguments.hugepages;
        config.hugepages_origin.clear();
    }
    config.log.is_json = config.log.is_json || arguments.is_log_json;
    if (arguments.grpc_port) {
        config.grpc_port = arguments.grpc_port;
    }
    if (arguments.poll) {
        config.poll = *arguments.poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive;
    }
    return config;
}

int fail(const std::string& problem) {
    // tidy: allow(banned): the log is not set up yet, and this is for the operator's terminal.
    std::fprintf(stderr, "basaltd: %s\n", problem.c_str());
    return 1;
}

int run(int argc, char** argv) {
    block_stop_signals();
    Arguments arguments;
    CLI::App app("Basalt's storage daemon: serves volumes to hosts by NVMe/TCP.", "basaltd");
    app.footer(kExamples);
    app.set_version_flag("--version", version_text());
    declare(app, arguments);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& wanted) {
        return app.exit(wanted);  // --help or --version.
    } catch (const CLI::ParseError& error) {
        return fail(std::string(error.what()) + " (see basaltd --help)");
    }
    std::string problem;
    Result<Config> config = make_config(arguments, problem);
    if (!config) {
        return fail(problem);
    }
    start_logging(config->log);
    raise_descriptor_limit(config->cores.empty() ? 1 : static_cast<uint32_t>(config->cores.size()));
    Result<std::unique_ptr<Daemon>> daemon = Daemon::start(std::move(*config), problem);
    if (!daemon) {
        return fail(problem);
    }
    return (*daemon)->run();
}

}  // namespace

}  // namespace basalt::control

int main(int argc, char** argv) {
    // What a library throws and nobody expected. Our own failures are values.
    try {
        return basalt::control::run(argc, argv);
    } catch (const std::exception& error) {
        return basalt::control::fail(error.what());
    }
}
