#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nvmf/initiator/host_controller.h"
#include "perf/basalt_perf/host_keys.h"
#include "perf/basalt_perf/options.h"
#include "perf/load/load_queue.h"
#include "reactor/threads.h"

namespace basalt::perf {

/// What a run found out.
struct SessionResult {
    std::string problem;  ///< Why there is no result; empty: there is one.
    nvme_id_ctrl controller{};
    uint16_t controller_id = 0;
    uint32_t transfer_bytes_max = 0;
    uint32_t queue_entries_max = 0;
    std::vector<nvmf::HostNamespace> namespaces;
    uint32_t queue_slots = 0;  ///< I/Os that the target takes at a time on a connection.
    LoadCounters counters;
    double seconds = 0;
    bool was_interrupted = false;
};

/// A whole run: connects, loads all cores, collects. Runs as a sequence on the control reactor and
/// visits the others. Owner: main. Core: the control reactor's, but for CoreLoad.
class Session {
  public:
    /// `threads` outlives the session. `interrupted` is set by a signal: the load then ends early.
    Session(const PerfOptions& options,
            ReactorThreads& threads,
            const std::atomic<bool>& interrupted);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    /// Does all of it. When it ends nothing of it is left on any reactor.
    [[nodiscard]] Task<void> run();

    [[nodiscard]] SessionResult& result() { return *result_; }

  private:
    struct CoreLoad;
    struct Snapshot {
        uint64_t ios = 0;
        uint64_t errors = 0;
    };

    using Visit = Task<void> (*)(Reactor& there, CoreLoad& load);

    [[nodiscard]] Task<bool> identify();
    /// Decides what each connection does. False if that makes no sense: see the problem.
    [[nodiscard]] bool plan();
    void plan_connection(uint32_t index, uint64_t units);
    [[nodiscard]] Task<bool> connect_all();
    [[nodiscard]] Task<void> load();
    [[nodiscard]] Task<void> run_phase(LoadPhase phase);
    [[nodiscard]] Task<void> watch();
    [[nodiscard]] Task<void> stay_idle();
    [[nodiscard]] Task<void> on_all_cores(Visit there);
    [[nodiscard]] Task<void> visit_core(CoreLoad& load, Visit there);
    [[nodiscard]] Task<Snapshot> snapshot();
    void show_progress(const Snapshot& before, const Snapshot& now, double seconds);
    [[nodiscard]] std::string explain(Error error, const char* doing) const;

    static Task<void> connect_there(Reactor& there, CoreLoad& load);
    static Task<void> run_there(Reactor& there, CoreLoad& load);
    static Task<void> stop_there(Reactor& there, CoreLoad& load);
    static Task<void> snapshot_there(Reactor& there, CoreLoad& load);
    static Task<void> close_there(Reactor& there, CoreLoad& load);

    PerfOptions options_;
    ReactorThreads& threads_;
    const std::atomic<bool>& interrupted_;
    HostKeyFiles keys_;
    nvmf::SystemAuthRandom random_;
    nvmf::HostAuthenticator authenticator_;
    std::unique_ptr<nvmf::HostController> controller_;
    std::vector<std::unique_ptr<CoreLoad>> cores_;
    std::unique_ptr<SessionResult> result_;
    bool is_phase_over_ = false;
};

}  // namespace basalt::perf
