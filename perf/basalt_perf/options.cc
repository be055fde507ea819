#include "perf/basalt_perf/options.h"

#include <cctype>
#include <charconv>
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "keyring/key_files.h"
#include "nvmf/wire/nqn.h"
#include "perf/basalt_perf/host_keys.h"
#include "perf/basalt_perf/host_name.h"
#include "reactor/topology.h"

namespace basalt::perf {

namespace {

constexpr const char* kExamples = R"(Examples:
  basalt-perf -n nqn.2024-01.io.basalt:vol1
      4 KiB random reads for 10 s from the target on this machine
  basalt-perf -a 192.0.2.7 -n NQN --rw randrw --mix 70 --qd 32 --connections 4 --cores 2-3
  basalt-perf -n NQN --rw randrw --verify --range 1g --time 30
      writes stamped blocks and checks each block read; OVERWRITES the range
  basalt-perf -n NQN --identify
      shows the controller and its namespaces

The exit status is 0 only if no I/O failed and every block checked was right.)";

struct Texts {
    std::string io_size = "4k";
    std::string range;
    std::string cores;
    std::string host_nqn;
    std::string tls_psk;
    uint32_t tls_identity = 1;
    double timeout_seconds = 30;
    uint32_t mix = 0;
};

void declare_workload(CLI::App& app, PerfOptions& options, Texts& texts) {
    app.add_option("--qd", options.queue_depth, "I/Os under way on each connection")
        ->capture_default_str()
        ->check(CLI::Range(1U, 4095U));
    app.add_option("--io-size", texts.io_size, "Bytes of one I/O (4k, 128k)")
        ->capture_default_str();
    app.add_option("--rw", options.pattern, "What to do")
        ->capture_default_str()
        ->check(CLI::IsMember({"randread", "randwrite", "read", "write", "randrw", "rw"}));
    app.add_option("--mix", texts.mix, "Reads in percent, with --rw randrw or rw (default 50)")
        ->check(CLI::Range(1U, 99U));
    app.add_option("--connections", options.connections, "I/O queue pairs in all")
        ->capture_default_str()
        ->check(CLI::Range(1U, 1024U));
    app.add_option("--time", options.seconds, "Seconds measured")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 1e6));
    app.add_option("--warmup", options.warmup_seconds, "Seconds of load before that")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1e6));
    app.add_option("--range", texts.range, "Part of the namespace: SIZE or OFFSET+SIZE");
    app.add_option("--seed", options.seed, "Of places and data; 0: a new one")
        ->capture_default_str();
    app.add_flag("--verify", options.verifies, "Stamp and check every block; overwrites the range");
    app.add_flag("--idle", options.is_idle, "Connect, keep the queues idle for --time, disconnect");
}

void declare_connection(CLI::App& app, PerfOptions& options, Texts& texts) {
    app.add_option("-a,--address", options.address, "The target's IPv4 or IPv6 address")
        ->capture_default_str();
    app.add_option("-p,--port", options.port, "The target's port")->capture_default_str();
    app.add_option("-n,--nqn", options.host.subsystem_nqn, "The subsystem's NQN")->required();
    app.add_option("--nsid", options.nsid, "The namespace (default: the first)");
    app.add_option(
        "--hostnqn", texts.host_nqn, "Who we are (default: /etc/nvme/hostnqn, or made up)");
    app.add_flag("--header-digest", options.host.header_digest, "CRC32C of each PDU header");
    app.add_flag("--data-digest", options.host.data_digest, "CRC32C of all data");
    app.add_option("--tls-psk",
                   texts.tls_psk,
                   "Use TLS with the key in FILE, as nvme gen-tls-key writes it (mode 0600)");
    app.add_option("--tls-identity",
                   texts.tls_identity,
                   "Version of the TLS identity; targets of SPDK know 0 only")
        ->capture_default_str()
        ->check(CLI::Range(0U, 1U));
    app.add_option("--dhchap-key",
                   options.dhchap_key_path,
                   "Prove who we are with the secret in FILE, as nvme gen-dhchap-key writes it "
                   "(mode 0600)");
    app.add_option("--dhchap-ctrlr-key",
                   options.dhchap_ctrlr_key_path,
                   "Have the controller prove itself with the secret in FILE");
    app.add_flag(
        "--concat", options.host.concatenates, "Use TLS with a key that the authentication makes");
    app.add_flag("--no-sq-flow-control",
                 options.host.disable_sq_flow_control,
                 "Let the target leave out the responses of reads");
    app.add_option("--timeout", texts.timeout_seconds, "Seconds until an unanswered I/O fails")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 3600.0));
    app.add_flag("--identify", options.only_identifies, "Show controller and namespaces, no I/O");
}

void declare_process(CLI::App& app, PerfOptions& options, Texts& texts) {
    app.add_option("--cores", texts.cores, "Processors to run on: 1 or 0,2-3 (default: the last)");
    app.add_flag(
        "--adaptive", options.is_adaptive, "Sleep when idle instead of polling all the time");
    app.add_option("--idle-us", options.idle_us, "How long to poll before that, in microseconds")
        ->check(CLI::Range(0U, 1'000'000U))
        ->capture_default_str();
    app.add_flag("--progress", options.shows_progress, "A line each second on standard error");
    app.add_option("--json", options.json_path, "Write the results as JSON to FILE (-: stdout)");
}

/// Makes the TLS credential of host and subsystem. Returns what is wrong, or nothing.
std::string use_tls(nvmf::HostOptions& host, const Texts& texts) {
    std::error_code error;
    const std::string path = std::filesystem::absolute(texts.tls_psk, error).string();
    PosixKeyFiles files;
    const Result<Secret> text = files.read(path);
    if (!text) {
        return "--tls-psk: " + path + ": " + std::string(describe(text.error().code)) +
               " (a regular file of ours with mode 0600 is needed)";
    }
    const Result<nvmf::ConfiguredPsk> key = nvmf::ConfiguredPsk::parse(text->text());
    if (!key) {
        return "--tls-psk: " + path + " holds no key like NVMeTLSkey-1:01:...:, or a damaged one";
    }
    Result<nvmf::TlsCredential> made =
        nvmf::derive_credential(*key,
                                {host.host_nqn, host.subsystem_nqn},
                                static_cast<nvmf::IdentityVersion>(texts.tls_identity));
    if (!made) {
        return "--tls-psk: " + std::string(describe(made.error().code));
    }
    host.tls = std::move(*made);
    return {};
}

/// Makes the paths of DH-HMAC-CHAP's secrets absolute and looks at the files. Returns what is
/// wrong, or nothing.
std::string use_dhchap(PerfOptions& options, const Texts& texts) {
    std::error_code error;
    for (std::string* path : {&options.dhchap_key_path, &options.dhchap_ctrlr_key_path}) {
        if (!path->empty()) {
            *path = std::filesystem::absolute(*path, error).string();
        }
    }
    if (options.dhchap_key_path.empty() &&
        (!options.dhchap_ctrlr_key_path.empty() || options.host.concatenates)) {
        return "--dhchap-ctrlr-key and --concat need --dhchap-key";
    }
    if (options.host.concatenates && !texts.tls_psk.empty()) {
        return "--concat makes a key of its own, and does not go with --tls-psk";
    }
    HostKeyFiles keys(options.dhchap_key_path, options.dhchap_ctrlr_key_path);
    const auto secrets = keys.read_secrets();
    if (!secrets) {
        return "--dhchap-key, --dhchap-ctrlr-key: " + std::string(describe(secrets.error().code)) +
               " (regular files of ours with mode 0600 and a secret like DHHC-1:00:...: are "
               "needed)";
    }
    return {};
}

/// What CLI11 can't check by itself. Returns what is wrong, or nothing.
std::string finish(PerfOptions& options, const Texts& texts) {
    const std::optional<uint64_t> io_bytes = parse_size(texts.io_size);
    if (!io_bytes || *io_bytes < 512 || *io_bytes > (1U << 20U)) {
        return "--io-size: a size from 512 to 1m is needed, not \"" + texts.io_size + "\"";
    }
    options.io_bytes = static_cast<uint32_t>(*io_bytes);
    if (!texts.range.empty() &&
        !parse_range(texts.range, options.range_first_bytes, options.range_bytes)) {
        return "--range: SIZE or OFFSET+SIZE is needed, not \"" + texts.range + "\"";
    }
    options.is_random = options.pattern.starts_with("rand");
    const bool is_mixed = options.pattern.ends_with("rw");
    if (texts.mix != 0 && !is_mixed) {
        return "--mix makes sense with --rw randrw or rw only";
    }
    options.read_percent = is_mixed ? (texts.mix == 0 ? 50 : texts.mix)
                                    : (options.pattern.ends_with("read") ? 100 : 0);
    std::string problem;
    if (!texts.cores.empty()) {
        Result<std::vector<uint32_t>> cores = parse_core_list(texts.cores, problem);
        if (!cores) {
            return "--cores: " + problem;
        }
        options.cores = *cores;
    }
    Result<SocketAddress> address = SocketAddress::parse(options.address, options.port);
    if (!address) {
        return "-a: \"" + options.address + "\" is no numeric IPv4 or IPv6 address";
    }
    options.host.address = *address;
    if (!nvmf::is_valid_nqn(options.host.subsystem_nqn)) {
        return "-n: \"" + options.host.subsystem_nqn + "\" is no NVMe qualified name";
    }
    const HostName host = texts.host_nqn.empty() ? find_host_name() : host_name_of(texts.host_nqn);
    if (!nvmf::is_valid_nqn(host.nqn)) {
        return "--hostnqn: \"" + host.nqn + "\" is no NVMe qualified name";
    }
    options.host.host_nqn = host.nqn;
    options.host.host_id = host.id;
    options.host.command_timeout_ns =
        static_cast<uint64_t>(texts.timeout_seconds * static_cast<double>(kNsPerSecond));
    if (problem = use_dhchap(options, texts); !problem.empty() || texts.tls_psk.empty()) {
        return problem;
    }
    return use_tls(options.host, texts);
}

}  // namespace

std::optional<uint64_t> parse_size(const std::string& text) {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    std::string unit(rest, end);
    for (char& c : unit) {
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (unit.ends_with("ib")) {
        unit.resize(unit.size() - 2);
    }
    constexpr std::string_view kUnits = "kmgt";
    uint32_t shift = 0;
    if (!unit.empty()) {
        const size_t index = kUnits.find(unit);
        if (unit.size() != 1 || index == std::string_view::npos) {
            return std::nullopt;
        }
        shift = static_cast<uint32_t>(10 * (index + 1));
    }
    if (value > (UINT64_MAX >> shift)) {
        return std::nullopt;
    }
    return value << shift;
}

bool parse_range(const std::string& text, uint64_t& first_bytes, uint64_t& bytes) {
    const size_t plus = text.find('+');
    const std::string first = plus == std::string::npos ? "0" : text.substr(0, plus);
    const std::string length = plus == std::string::npos ? text : text.substr(plus + 1);
    const std::optional<uint64_t> from = parse_size(first);
    const std::optional<uint64_t> count = parse_size(length);
    if (!from || !count || *count == 0 || *from > UINT64_MAX - *count) {
        return false;
    }
    first_bytes = *from;
    bytes = *count;
    return true;
}

std::optional<PerfOptions> parse_command_line(int argc, char** argv, int& exit_code) {
    CLI::App app{"basalt-perf: puts load on an NVMe/TCP target and measures it", "basalt-perf"};
    app.footer(kExamples);
    PerfOptions options;
    Texts texts;
    declare_connection(app, options, texts);
    declare_workload(app, options, texts);
    declare_process(app, options, texts);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        exit_code = app.exit(error);
        return std::nullopt;
    }
    const std::string problem = finish(options, texts);
    if (!problem.empty()) {
        std::fprintf(stderr, "basalt-perf: %s\n", problem.c_str());
        exit_code = 2;
        return std::nullopt;
    }
    return options;
}

}  // namespace basalt::perf
