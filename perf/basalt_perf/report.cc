#include "perf/basalt_perf/report.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "nvmf/wire/status.h"

namespace basalt::perf {

namespace {

using nlohmann::ordered_json;

double in_us(uint64_t ns) {
    return static_cast<double>(ns) / static_cast<double>(kNsPerUs);
}

double mean_us(const DirectionCounters& counters) {
    return counters.ios == 0 ? 0
                             : in_us(counters.latency_sum_ns) / static_cast<double>(counters.ios);
}

/// The fixed-size text fields of Identify are padded with blanks.
std::string field(const char* data, size_t size) {
    std::string text(data, std::find(data, data + size, '\0'));
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
}

std::string describe_direction(const char* name,
                               const DirectionCounters& counters,
                               const PerfOptions& options,
                               double seconds) {
    if (counters.ios == 0) {
        return {};
    }
    const double iops = static_cast<double>(counters.ios) / seconds;
    const auto at = [&](uint32_t per_mille) {
        return in_us(counters.histogram.percentile(per_mille));
    };
    return fmt::format(
        "{:<6}{:>11.0f} {:>10.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>10.1f}\n",
        name,
        iops,
        iops * options.io_bytes / (1 << 20),
        mean_us(counters),
        at(500),
        at(900),
        at(990),
        at(999),
        in_us(counters.latency_max_ns));
}

std::string describe_error(Error error) {
    const auto status = nvmf::NvmeStatus::from_raw(error.detail);
    if (error.detail == 0) {
        return std::string(basalt::describe(error.code));
    }
    return fmt::format("{} (NVMe status type {:x}h code {:02x}h)",
                       basalt::describe(error.code),
                       status.sct,
                       status.sc);
}

std::string describe_wrong(const LoadCounters& counters) {
    const BlockStamp& expected = counters.first_expected;
    const BlockStamp& found = counters.first_found;
    std::string text = fmt::format("  first: block {} is {}; generation {} expected",
                                   expected.lba.raw(),
                                   describe(counters.first_wrong),
                                   expected.generation);
    if (counters.first_wrong != BlockVerdict::kCorrupt) {
        text += fmt::format(", found block {} generation {}", found.lba.raw(), found.generation);
    }
    return text + "\n";
}

ordered_json direction_json(const DirectionCounters& counters,
                            const PerfOptions& options,
                            double seconds) {
    const double iops = static_cast<double>(counters.ios) / seconds;
    const auto at = [&](uint32_t per_mille) {
        return in_us(counters.histogram.percentile(per_mille));
    };
    return {{"ios", counters.ios},
            {"iops", iops},
            {"bytes_per_second", iops * options.io_bytes},
            {"latency_us",
             {{"mean", mean_us(counters)},
              {"p50", at(500)},
              {"p90", at(900)},
              {"p99", at(990)},
              {"p99_9", at(999)},
              {"max", in_us(counters.latency_max_ns)}}}};
}

}  // namespace

bool is_clean(const SessionResult& result) {
    return result.problem.empty() && result.counters.errors == 0 &&
           result.counters.blocks_wrong == 0;
}

std::string describe_identity(const PerfOptions& options, const SessionResult& result) {
    const nvme_id_ctrl& id = result.controller;
    std::string text = fmt::format(
        "controller {} of {} at {}\n"
        "  model       {}\n  serial      {}\n  firmware    {}\n"
        "  transfer    up to {} bytes\n  queue       up to {} entries\n",
        result.controller_id,
        options.host.subsystem_nqn,
        options.host.address.to_string(),
        field(id.mn, sizeof(id.mn)),
        field(id.sn, sizeof(id.sn)),
        field(id.fr, sizeof(id.fr)),
        result.transfer_bytes_max,
        result.queue_entries_max);
    for (const nvmf::HostNamespace& ns : result.namespaces) {
        text += fmt::format("namespace {}: {} blocks of {} bytes, {:.1f} GiB\n",
                            ns.nsid.raw(),
                            ns.block_count,
                            ns.block_bytes,
                            static_cast<double>(ns.block_count) * ns.block_bytes / (1 << 30));
    }
    return text;
}

std::string describe_result(const PerfOptions& options, const SessionResult& result) {
    const LoadCounters& counters = result.counters;
    std::string text = fmt::format("{} {}: {}, {} bytes, {} connection{} x depth {}, {:.1f} s{}\n",
                                   options.host.subsystem_nqn,
                                   options.host.address.to_string(),
                                   options.is_idle ? "idle" : options.pattern,
                                   options.io_bytes,
                                   options.connections,
                                   options.connections == 1 ? "" : "s",
                                   options.queue_depth,
                                   result.seconds,
                                   result.was_interrupted ? " (interrupted)" : "");
    if (result.queue_slots < options.queue_depth) {
        text += fmt::format(
            "  the target takes {} I/Os at a time on a connection; the rest waits here\n",
            result.queue_slots);
    }
    if (counters.reads.ios + counters.writes.ios > 0) {
        text += fmt::format("{:<6}{:>11} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}\n",
                            "",
                            "IOPS",
                            "MiB/s",
                            "mean us",
                            "p50",
                            "p90",
                            "p99",
                            "p99.9",
                            "max");
        text += describe_direction("read", counters.reads, options, result.seconds);
        text += describe_direction("write", counters.writes, options, result.seconds);
    }
    if (options.verifies) {
        text += fmt::format(
            "verified {} blocks, {} wrong\n", counters.blocks_checked, counters.blocks_wrong);
        if (counters.blocks_wrong > 0) {
            text += describe_wrong(counters);
            text += fmt::format("  replay the same places and data with --seed {}\n", options.seed);
        }
    }
    if (counters.errors > 0) {
        text += fmt::format("{} I/Os failed; the first: {}\n",
                            counters.errors,
                            describe_error(counters.first_error));
    }
    return text;
}

std::string result_as_json(const PerfOptions& options, const SessionResult& result) {
    const LoadCounters& counters = result.counters;
    const double seconds = std::max(result.seconds, 1e-9);
    const double iops = static_cast<double>(counters.reads.ios + counters.writes.ios) / seconds;
    const ordered_json json = {
        {"target",
         {{"address", options.host.address.to_string()}, {"nqn", options.host.subsystem_nqn}}},
        {"workload",
         {{"rw", options.pattern},
          {"read_percent", options.read_percent},
          {"io_bytes", options.io_bytes},
          {"queue_depth", options.queue_depth},
          {"connections", options.connections},
          {"header_digest", options.host.header_digest},
          {"data_digest", options.host.data_digest},
          {"sq_flow_control", !options.host.disable_sq_flow_control},
          {"adaptive", options.is_adaptive},
          {"seed", options.seed}}},
        {"seconds", result.seconds},
        {"interrupted", result.was_interrupted},
        {"read", direction_json(counters.reads, options, seconds)},
        {"write", direction_json(counters.writes, options, seconds)},
        {"total", {{"iops", iops}, {"bytes_per_second", iops * options.io_bytes}}},
        {"verify",
         {{"enabled", options.verifies},
          {"blocks_checked", counters.blocks_checked},
          {"blocks_wrong", counters.blocks_wrong}}},
        {"errors", counters.errors},
        {"problem", result.problem}};
    return json.dump(2) + "\n";
}

}  // namespace basalt::perf
