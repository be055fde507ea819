#include "perf/basalt_perf/session.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <unistd.h>

#include "nvmf/wire/status.h"

namespace basalt::perf {

namespace {

constexpr uint64_t kWatchNs = 100 * kNsPerMs;
constexpr size_t kBufferAlignment = 4096;
/// The range that --verify takes by default: what can be filled and read back in some seconds.
constexpr uint64_t kVerifyRangeBytes = uint64_t{256} << 20U;

struct FreeDeleter {
    void operator()(std::byte* memory) const { std::free(memory); }
};

}  // namespace

/// What one core does. Touched by that core alone while a visit or a phase is under way.
struct Session::CoreLoad {
    struct Plan {
        nvmf::HostQueueOptions queue;
        LoadOptions load;
    };

    CoreId core;
    std::vector<Plan> plans;
    std::vector<std::unique_ptr<LoadQueue>> queues;
    std::unique_ptr<std::byte, FreeDeleter> buffers;
    std::unique_ptr<LoadCounters> counters = std::make_unique<LoadCounters>();
    Status connected;
    LoadPhase phase = LoadPhase::kTimed;
    uint64_t warmup_ns = 0;
    uint64_t measured_ns = 0;
    Snapshot snapshot;
};

Session::Session(const PerfOptions& options,
                 ReactorThreads& threads,
                 const std::atomic<bool>& interrupted)
    : options_(options),
      threads_(threads),
      interrupted_(interrupted),
      keys_(options.dhchap_key_path, options.dhchap_ctrlr_key_path),
      authenticator_(threads.control(), keys_, random_),
      result_(std::make_unique<SessionResult>()) {
    options_.host.authenticator = options.dhchap_key_path.empty() ? nullptr : &authenticator_;
}

Session::~Session() = default;

std::string Session::explain(Error error, const char* doing) const {
    const std::string where = options_.host.address.to_string();
    const auto status = nvmf::NvmeStatus::from_raw(error.detail);
    if (error.detail != 0 && status.is(nvmf::status::kConnectInvalidParameters)) {
        return fmt::format(
            "{} does not have {} (or refuses our parameters)", where, options_.host.subsystem_nqn);
    }
    if (error.detail != 0 && status.is(nvmf::status::kConnectInvalidHost)) {
        return fmt::format("{} does not allow host {}", where, options_.host.host_nqn);
    }
    if (error.code == Errc::kConnectionRefused) {
        return fmt::format("nothing listens on {}; is basaltd running?", where);
    }
    if (error.code == Errc::kPermissionDenied && !options_.host.tls.identity.empty()) {
        return fmt::format(
            "{} refuses the TLS key or identity of host {}", where, options_.host.host_nqn);
    }
    if (error.code == Errc::kPermissionDenied) {
        return fmt::format(
            "{} and host {} have not proved to each other who they are (the log above "
            "says more)",
            where,
            options_.host.host_nqn);
    }
    if (error.code == Errc::kUnreachable) {
        return fmt::format("no way leads to {}", where);
    }
    if (error.code == Errc::kConnectionClosed && controller_->id() == nvmf::kControllerIdAny) {
        return fmt::format("{} hangs up at once; {}",
                           where,
                           options_.host.tls.identity.empty() ? "it may want TLS (--tls-psk)"
                                                              : "it may not speak TLS");
    }
    if (error.code == Errc::kTimedOut) {
        return fmt::format("no answer from {} while {}", where, doing);
    }
    if (error.code == Errc::kProtocol && !options_.host.tls.identity.empty()) {
        return fmt::format(
            "{} refuses TLS, or does not speak it or NVMe/TCP as it should (the log "
            "above says more)",
            where);
    }
    if (error.code == Errc::kProtocol) {
        return fmt::format(
            "{} does not speak NVMe/TCP as it should ({}; the log above says more)", where, doing);
    }
    if (error.detail != 0) {
        return fmt::format("{}: the target answered status type {:x}h code {:02x}h: {}",
                           doing,
                           status.sct,
                           status.sc,
                           basalt::describe(error.code));
    }
    return fmt::format("{}: {}", doing, basalt::describe(error.code));
}

// --- The sequence ----------------------------------------------------------------------------

Task<void> Session::run() {
    // From here on inside the control reactor's loop, which stop() below can end only then.
    co_await sleep_for(threads_.control(), 0);
    controller_ =
        std::make_unique<nvmf::HostController>(threads_.control(), options_.host, nullptr);
    const Status connected = co_await controller_->connect();
    if (!connected) {
        result_->problem = explain(connected.error(), "connecting");
    } else {
        const bool identified = co_await identify();
        if (identified && !options_.only_identifies && plan()) {
            const bool ready = co_await connect_all();
            if (ready && options_.is_idle) {
                co_await stay_idle();
            } else if (ready) {
                co_await load();
            }
            co_await on_all_cores(&Session::close_there);
        }
        co_await controller_->end();
    }
    controller_.reset();
    threads_.control().stop();
}

Task<bool> Session::identify() {
    result_->controller = controller_->identity();
    result_->controller_id = controller_->id().raw();
    result_->transfer_bytes_max = controller_->transfer_bytes_max();
    result_->queue_entries_max = controller_->queue_entries_max();
    if (controller_->is_discovery()) {
        if (!options_.only_identifies) {
            result_->problem = "this is a discovery controller: it has no namespaces";
        }
        co_return options_.only_identifies;
    }
    const Result<std::vector<nvmf::Nsid>> list = co_await controller_->list_namespaces();
    if (!list) {
        result_->problem = explain(list.error(), "listing the namespaces");
        co_return false;
    }
    for (const nvmf::Nsid nsid : *list) {
        if (!options_.only_identifies && options_.nsid != 0 && nsid.raw() != options_.nsid) {
            continue;
        }
        const Result<nvmf::HostNamespace> found = co_await controller_->identify_namespace(nsid);
        if (found) {
            result_->namespaces.push_back(*found);
        } else {
            result_->problem = explain(found.error(), "identifying a namespace");
            co_return false;
        }
    }
    if (result_->namespaces.empty() && !options_.only_identifies) {
        result_->problem = options_.nsid == 0
                               ? "the subsystem has no namespace"
                               : fmt::format("the subsystem has no namespace {}", options_.nsid);
        co_return false;
    }
    co_return true;
}

bool Session::plan() {
    const nvmf::HostNamespace& ns = result_->namespaces.front();
    std::string& problem = result_->problem;
    if (options_.io_bytes % ns.block_bytes != 0) {
        problem = fmt::format("--io-size is no multiple of the block size, {}", ns.block_bytes);
        return false;
    }
    if (options_.io_bytes > result_->transfer_bytes_max) {
        problem = fmt::format("--io-size is more than the target moves at once, {} bytes",
                              result_->transfer_bytes_max);
        return false;
    }
    const uint64_t total_bytes = ns.block_count * ns.block_bytes;
    uint64_t bytes = options_.range_bytes;
    if (bytes == 0) {
        bytes = total_bytes - std::min(total_bytes, options_.range_first_bytes);
        bytes = options_.verifies ? std::min(bytes, kVerifyRangeBytes) : bytes;
    }
    if (options_.range_first_bytes % ns.block_bytes != 0 ||
        options_.range_first_bytes + bytes > total_bytes) {
        problem = fmt::format("--range is not in the namespace's {} bytes", total_bytes);
        return false;
    }
    const uint64_t units = bytes / options_.io_bytes;
    if (units < options_.connections) {
        problem = "the range is too small: each connection needs room for one I/O at least";
        return false;
    }
    for (uint32_t core = 0; core < threads_.count(); ++core) {
        cores_.push_back(std::make_unique<CoreLoad>());
        cores_.back()->core = CoreId(core);
        cores_.back()->warmup_ns =
            static_cast<uint64_t>(options_.warmup_seconds * static_cast<double>(kNsPerSecond));
        cores_.back()->measured_ns =
            static_cast<uint64_t>(options_.seconds * static_cast<double>(kNsPerSecond));
    }
    for (uint32_t i = 0; i < options_.connections; ++i) {
        plan_connection(i, units);
    }
    return true;
}

void Session::plan_connection(uint32_t index, uint64_t units) {
    const nvmf::HostNamespace& ns = result_->namespaces.front();
    // Who verifies or goes in order has a part of the range of its own.
    const bool shares = options_.is_random && !options_.verifies;
    const uint64_t first_unit = shares ? 0 : units * index / options_.connections;
    const uint64_t end_unit = shares ? units : units * (index + 1) / options_.connections;
    const uint64_t first_block =
        (options_.range_first_bytes + first_unit * options_.io_bytes) / ns.block_bytes;
    CoreLoad::Plan plan{
        .queue = controller_->io_queue_options(nvmf::QueueId(static_cast<uint16_t>(index + 1)),
                                               options_.queue_depth + 1),
        .load = {.workload = {.unit_count = end_unit - first_unit,
                              .read_percent = options_.read_percent,
                              .is_random = options_.is_random,
                              .verifies = options_.verifies,
                              .queue_depth = options_.queue_depth,
                              .seed = options_.seed + index},
                 .nsid = ns.nsid,
                 .block_bytes = ns.block_bytes,
                 .io_bytes = options_.io_bytes,
                 .first = Lba(first_block),
                 .run_seed = options_.seed}};
    result_->queue_slots = plan.queue.entries - 1;
    cores_[index % cores_.size()]->plans.push_back(std::move(plan));
}

Task<bool> Session::connect_all() {
    const Result<uint32_t> granted = co_await controller_->set_io_queue_count(options_.connections);
    if (!granted) {
        result_->problem = explain(granted.error(), "asking for queues");
        co_return false;
    }
    if (*granted < options_.connections) {
        result_->problem =
            fmt::format("the target grants {} I/O queues, not {}", *granted, options_.connections);
        co_return false;
    }
    co_await on_all_cores(&Session::connect_there);
    for (const auto& load : cores_) {
        if (!load->connected) {
            result_->problem = explain(load->connected.error(), "connecting an I/O queue");
            co_return false;
        }
    }
    co_return true;
}

Task<void> Session::load() {
    if (options_.verifies && options_.read_percent > 0) {
        co_await run_phase(LoadPhase::kFill);
    }
    co_await run_phase(LoadPhase::kTimed);
    if (options_.verifies) {
        co_await run_phase(LoadPhase::kCheck);
    }
    for (const auto& load : cores_) {
        result_->counters.add(*load->counters);
    }
    result_->was_interrupted = interrupted_.load();
}

Task<void> Session::run_phase(LoadPhase phase) {
    if (interrupted_.load()) {
        co_return;
    }
    for (const auto& load : cores_) {
        load->phase = phase;
    }
    is_phase_over_ = false;
    const uint64_t start_ns = threads_.control().clock().now_ns();
    Task<void> watching = watch();
    co_await on_all_cores(&Session::run_there);
    is_phase_over_ = true;
    if (phase == LoadPhase::kTimed) {
        const uint64_t passed_ns = threads_.control().clock().now_ns() - start_ns;
        const double passed = static_cast<double>(passed_ns) / static_cast<double>(kNsPerSecond);
        // An interrupted run measured for less; any other ends by the clock, and then drains.
        result_->seconds = std::clamp(passed - options_.warmup_seconds, 1e-9, options_.seconds);
    }
    co_await watching;
}

Task<void> Session::stay_idle() {
    const uint64_t end_ns =
        threads_.control().clock().now_ns() +
        static_cast<uint64_t>(options_.seconds * static_cast<double>(kNsPerSecond));
    while (threads_.control().clock().now_ns() < end_ns && !interrupted_.load()) {
        co_await sleep_for(threads_.control(), kWatchNs);
    }
    result_->seconds = options_.seconds;
}

// --- Progress and interruption ---------------------------------------------------------------

Task<void> Session::watch() {
    const bool shows = options_.shows_progress || ::isatty(STDERR_FILENO) == 1;
    Snapshot before;
    uint64_t shown_ns = threads_.control().clock().now_ns();
    bool was_stopped = false;
    while (!is_phase_over_) {
        co_await sleep_for(threads_.control(), kWatchNs);
        if (interrupted_.load() && !was_stopped) {
            was_stopped = true;
            co_await on_all_cores(&Session::stop_there);
        }
        const uint64_t now_ns = threads_.control().clock().now_ns();
        if (shows && !is_phase_over_ && now_ns - shown_ns >= kNsPerSecond) {
            const Snapshot now = co_await snapshot();
            show_progress(
                before,
                now,
                static_cast<double>(now_ns - shown_ns) / static_cast<double>(kNsPerSecond));
            before = now;
            shown_ns = now_ns;
        }
    }
}

void Session::show_progress(const Snapshot& before, const Snapshot& now, double seconds) {
    const bool is_terminal = ::isatty(STDERR_FILENO) == 1 && !options_.shows_progress;
    const double iops = static_cast<double>(now.ios - before.ios) / seconds;
    const double mib = iops * options_.io_bytes / (1 << 20);
    const char* phase = "";
    switch (cores_.front()->phase) {
        case LoadPhase::kFill: phase = "filling"; break;
        case LoadPhase::kTimed: phase = "loading"; break;
        case LoadPhase::kCheck: phase = "reading back"; break;
    }
    fmt::print(stderr,
               "{}{}: {:.0f} IOPS, {:.1f} MiB/s, {} errors{}",
               is_terminal ? "\r\x1b[K" : "",
               phase,
               iops,
               mib,
               now.errors,
               is_terminal ? "" : "\n");
    std::fflush(stderr);
}

Task<Session::Snapshot> Session::snapshot() {
    co_await on_all_cores(&Session::snapshot_there);
    Snapshot sum;
    for (const auto& load : cores_) {
        sum.ios += load->snapshot.ios;
        sum.errors += load->snapshot.errors;
    }
    co_return sum;
}

// --- On the cores ----------------------------------------------------------------------------

Task<void> Session::visit_core(CoreLoad& load, Visit there) {
    co_await visit<CoreLoad>(threads_.control(), load.core, load, there);
}

Task<void> Session::on_all_cores(Visit there) {
    std::vector<Task<void>> visits;
    visits.reserve(cores_.size());
    for (const auto& load : cores_) {
        visits.push_back(visit_core(*load, there));
    }
    for (Task<void>& one : visits) {
        co_await one;
    }
}

Task<void> Session::connect_there(Reactor& there, CoreLoad& load) {
    size_t bytes = kBufferAlignment;
    for (const CoreLoad::Plan& plan : load.plans) {
        bytes += size_t{plan.load.workload.queue_depth} * plan.load.io_bytes;
    }
    bytes = (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    load.buffers.reset(static_cast<std::byte*>(std::aligned_alloc(kBufferAlignment, bytes)));
    if (load.buffers == nullptr) {
        load.connected = Errc::kNoMemory;
        co_return;
    }
    std::byte* at = load.buffers.get();
    for (const CoreLoad::Plan& plan : load.plans) {
        const size_t queue_bytes = size_t{plan.load.workload.queue_depth} * plan.load.io_bytes;
        auto queue = std::make_unique<LoadQueue>(
            there, plan.queue, plan.load, std::span(at, queue_bytes), *load.counters);
        at += queue_bytes;
        const Status connected = co_await queue->connect();
        if (!connected) {
            load.connected = connected;
            co_return;
        }
        load.queues.push_back(std::move(queue));
    }
}

Task<void> Session::run_there(Reactor& there, CoreLoad& load) {
    uint64_t measure_from_ns = UINT64_MAX;
    uint64_t end_ns = UINT64_MAX;
    if (load.phase == LoadPhase::kTimed) {
        measure_from_ns = there.clock().now_ns() + load.warmup_ns;
        end_ns = measure_from_ns + load.measured_ns;
    }
    std::vector<Task<void>> runs;
    runs.reserve(load.queues.size());
    for (const auto& queue : load.queues) {
        runs.push_back(queue->run(load.phase, measure_from_ns, end_ns));
    }
    for (Task<void>& one : runs) {
        co_await one;
    }
}

Task<void> Session::stop_there(Reactor& /*there*/, CoreLoad& load) {
    for (const auto& queue : load.queues) {
        queue->stop();
    }
    co_return;
}

Task<void> Session::snapshot_there(Reactor& /*there*/, CoreLoad& load) {
    load.snapshot = Snapshot{};
    for (const auto& queue : load.queues) {
        load.snapshot.ios += queue->completed();
    }
    load.snapshot.errors = load.counters->errors;
    co_return;
}

Task<void> Session::close_there(Reactor& /*there*/, CoreLoad& load) {
    for (const auto& queue : load.queues) {
        co_await queue->close();
    }
    load.queues.clear();
    load.buffers.reset();
}

}  // namespace basalt::perf
