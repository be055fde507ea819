// basalt-perf: an NVMe/TCP load generator with its own initiator. perf/README.md says how to use
// it.

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "bdev/core/uuid.h"
#include "perf/basalt_perf/options.h"
#include "perf/basalt_perf/report.h"
#include "perf/basalt_perf/session.h"
#include "reactor/base/log.h"
#include "reactor/memory.h"
#include "reactor/threads.h"
#include "reactor/topology.h"
#include "reactor/uring_services.h"

namespace {

using namespace basalt;
using namespace basalt::perf;

// The one thing that a signal handler may touch.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_interrupt(int /*signal*/) {
    // A second one means it: the default action ends the process.
    if (interrupted.exchange(true)) {
        std::signal(SIGINT, SIG_DFL);
    }
}

int fail(const std::string& problem) {
    fmt::print(stderr, "basalt-perf: {}\n", problem);
    return 1;
}

Result<std::vector<Processor>> choose_processors(const PerfOptions& options, std::string& problem) {
    Result<Topology> topology = Topology::load(problem);
    if (!topology) {
        return topology.error();
    }
    if (options.cores.empty()) {
        // Away from core 0, where a target on this machine is likely to be.
        return std::vector<Processor>{topology->processors().back()};
    }
    return topology->select(options.cores, problem);
}

bool write_json(const PerfOptions& options, const SessionResult& result) {
    const std::string text = result_as_json(options, result);
    if (options.json_path == "-") {
        std::fputs(text.c_str(), stdout);
        return std::fflush(stdout) == 0;
    }
    std::FILE* file = std::fopen(options.json_path.c_str(), "w");
    if (file == nullptr) {
        return false;
    }
    const bool is_written = std::fputs(text.c_str(), file) >= 0;
    return std::fclose(file) == 0 && is_written;
}

int report(const PerfOptions& options, const SessionResult& result) {
    if (!options.json_path.empty() && !options.only_identifies && !write_json(options, result)) {
        return fail(fmt::format("can't write {}", options.json_path));
    }
    if (!result.problem.empty()) {
        return fail(result.problem);
    }
    const std::string text = options.only_identifies ? describe_identity(options, result)
                                                     : describe_result(options, result);
    // Whoever wants JSON on standard output wants nothing else there.
    std::fputs(text.c_str(), options.json_path == "-" ? stderr : stdout);
    return is_clean(result) ? 0 : 1;
}

int run(PerfOptions options) {
    if (options.seed == 0) {
        const bdev::Uuid random = bdev::Uuid::make_random();
        for (size_t i = 0; i < sizeof(options.seed); ++i) {
            options.seed = (options.seed << 8U) | random.bytes[i];
        }
    }
    std::string problem;
    Result<std::vector<Processor>> processors = choose_processors(options, problem);
    if (!processors) {
        return fail(problem);
    }
    const MemoryOptions memory_options{.hugepages = 0, .ordinary_bytes = uint64_t{64} << 20U};
    Result<HugeMemory*> memory = HugeMemory::init(memory_options, problem);
    if (!memory) {
        return fail(problem);
    }
    UringServices services(UringOptions{});
    const ReactorThreadsOptions thread_options{
        .processors = *processors,
        .mode = options.is_adaptive || options.is_idle ? PollMode::kAdaptive : PollMode::kBusy,
        .idle_before_sleep_ns = options.idle_us * kNsPerUs};
    auto threads = ReactorThreads::start(thread_options, **memory, services, problem);
    if (!threads) {
        return fail(problem);
    }
    std::signal(SIGINT, on_interrupt);
    std::signal(SIGTERM, on_interrupt);
    Session session(options, **threads, interrupted);
    Task<void> running = session.run();
    (*threads)->run_control();
    (*threads)->stop();
    BASALT_ASSERT(running.is_done());
    return report(options, session.result());
}

}  // namespace

int main(int argc, char** argv) {
    int exit_code = 0;
    std::optional<PerfOptions> options = parse_command_line(argc, argv, exit_code);
    if (!options) {
        return exit_code;
    }
    Log::set_level(LogLevel::kWarn);
    return run(std::move(*options));
}
