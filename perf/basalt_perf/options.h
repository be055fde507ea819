#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nvmf/initiator/options.h"
#include "reactor/limits.h"

namespace basalt::perf {

/// What the command line asks for.
struct PerfOptions {
    nvmf::HostOptions host;
    std::string address = "127.0.0.1";
    uint16_t port = nvmf::kIoPort;
    uint32_t nsid = 0;  ///< 0: the first there is.
    uint32_t queue_depth = 128;
    uint32_t io_bytes = 4096;
    std::string pattern = "randread";
    uint32_t read_percent = 100;
    bool is_random = true;
    uint32_t connections = 1;
    double seconds = 10;
    double warmup_seconds = 1;
    std::vector<uint32_t> cores;  ///< Empty: the last processor there is.
    bool is_adaptive = false;
    uint32_t idle_us = kIdleBeforeSleepNs / 1000;  ///< With is_adaptive: before it sleeps.
    bool verifies = false;
    bool only_identifies = false;
    bool is_idle = false;
    bool shows_progress = false;
    uint64_t seed = 0;
    uint64_t range_first_bytes = 0;
    uint64_t range_bytes = 0;           ///< 0: to the end of the namespace.
    std::string json_path;              ///< Empty: none; "-": standard output.
    std::string dhchap_key_path;        ///< Of the host's secret; empty: none.
    std::string dhchap_ctrlr_key_path;  ///< Of the controller's; empty: it need not prove itself.
};

/// Reads the command line. Returns none after it has printed help, the version or what is wrong;
/// `exit_code` is then the program's.
[[nodiscard]] std::optional<PerfOptions> parse_command_line(int argc, char** argv, int& exit_code);

/// "4096", "4k", "128KiB", "1g": bytes, with binary multiples. None if it is something else.
[[nodiscard]] std::optional<uint64_t> parse_size(const std::string& text);

/// "64m" is the first 64 MiB, "1g+64m" the 64 MiB from 1 GiB on. False if it is something else.
[[nodiscard]] bool parse_range(const std::string& text, uint64_t& first_bytes, uint64_t& bytes);

}  // namespace basalt::perf
