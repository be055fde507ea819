// basalt-store-perf: measures the store without a network. perf/README.md says what came of it.

#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "perf/store/lab.h"
#include "perf/store/scenarios.h"
#include "reactor/base/log.h"
#include "reactor/memory.h"
#include "reactor/threads.h"
#include "reactor/topology.h"
#include "reactor/uring_services.h"

namespace {

using namespace basalt;
using namespace basalt::perf;

using Scenario = Task<void> (*)(Lab& lab, ScenarioOptions options);

Task<void> run_on_control(ReactorThreads& threads, Scenario scenario, ScenarioOptions options) {
    // From here on inside the control reactor's loop, which stop() below can end only then.
    co_await sleep_for(threads.control(), 0);
    {
        Lab lab(threads);
        co_await scenario(lab, options);
    }
    threads.control().stop();
}

int fail(const std::string& problem) {
    fmt::print(stderr, "basalt-store-perf: {}\n", problem);
    return 1;
}

int run(Scenario scenario, const ScenarioOptions& options) {
    std::string problem;
    Result<Topology> topology = Topology::load(problem);
    if (!topology) {
        return fail(problem);
    }
    const MemoryOptions memory_options{.hugepages = 0, .ordinary_bytes = uint64_t{64} << 20U};
    Result<HugeMemory*> memory = HugeMemory::init(memory_options, problem);
    if (!memory) {
        return fail(problem);
    }
    UringServices services(UringOptions{});
    const ReactorThreadsOptions thread_options{.processors = {topology->processors().back()},
                                               .mode = PollMode::kAdaptive};
    auto threads = ReactorThreads::start(thread_options, **memory, services, problem);
    if (!threads) {
        return fail(problem);
    }
    Task<void> running = run_on_control(**threads, scenario, options);
    (*threads)->run_control();
    (*threads)->stop();
    BASALT_ASSERT(running.is_done());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app(
        "Measures Basalt's store without a network: one table for each subcommand.\n"
        "Example: basalt-store-perf plain --folder /srv --rounds 7");
    app.require_subcommand(1);
    ScenarioOptions options;
    Scenario scenario = nullptr;
    const auto add = [&](const char* name, const char* what, Scenario run) {
        CLI::App* command = app.add_subcommand(name, what);
        command->add_option("--rounds", options.rounds, "of what is compared; medians are printed")
            ->check(CLI::Range(1, 1000))
            ->capture_default_str();
        command->add_option("--seconds", options.seconds, "of each load")
            ->check(CLI::Range(0.01, 3600.0))
            ->capture_default_str();
        command->add_option("--cache-pages", options.cache_pages, "of 4 KiB, for the mapping")
            ->check(CLI::Range(256U, 1U << 28U))
            ->capture_default_str();
        command->callback([&scenario, run] { scenario = run; });
        return command;
    };
    const auto add_folder = [&](CLI::App* command) {
        command->add_option("--folder", options.folder, "where files are made, and removed again")
            ->check(CLI::ExistingDirectory)
            ->capture_default_str();
    };
    add_folder(add("plain",
                   "4 KiB on a file: the store and a bare io_uring loop; 3 GiB of disk",
                   &compare_with_plain));
    add("snapshots", "what snapshots cost, on memory; 4 GiB of it", &measure_snapshots);
    CLI::App* stalls = add("stalls",
                           "the slowest writes under snapshots and checkpoints, on memory; "
                           "4 GiB of it",
                           &measure_stalls);
    stalls->add_flag("--untouched",
                     options.is_untouched,
                     "memory that was never used: each first write there is a page fault");
    CLI::App* scale =
        add("scale", "memory and opening of a large pool in a sparse file", &measure_scale);
    add_folder(scale);
    scale->add_option("--pool-bytes", options.pool_bytes, "such as 1TiB")
        ->transform(CLI::AsSizeValue(false))
        ->capture_default_str();
    scale->add_option("--mapped-percent", options.mapped_percent, "of the volume that is written")
        ->check(CLI::Range(1, 90))
        ->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    Log::set_level(LogLevel::kWarn);
    return run(scenario, options);
}
