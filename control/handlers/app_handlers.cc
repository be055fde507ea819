#include "control/handlers/app_handlers.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>

#include <unistd.h>

#include "control/handlers/processor_times.h"
#include "control/version.h"
#include "reactor/base/log.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcError;

// What a reactor says of itself.
struct ReactorFacts {
    ReactorCounters counters;
    uint64_t thread_id = 0;
};

Task<void> collect(Reactor& there, ReactorFacts& facts) {
    facts.counters = there.counters();
    facts.thread_id = static_cast<uint64_t>(gettid());
    co_return;
}

// "5" for processors 0 and 2: a mask in hexadecimal without prefix, as SPDK writes it.
std::string cpu_mask(uint32_t processor) {
    std::string mask(processor / 4 + 1, '0');
    mask[0] = "1248"[processor % 4];
    return mask;
}

// Whether "SIGTERM", "term" or "15" asks for an orderly end.
bool means_stop(std::string name) {
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
        return static_cast<char>(std::toupper(c));
    });
    if (name.starts_with("SIG")) {
        name.erase(0, 3);
    }
    constexpr std::array<std::string_view, 8> kSignals{
        "TERM", "15", "INT", "2", "QUIT", "3", "HUP", "1"};
    return std::find(kSignals.begin(), kSignals.end(), name) != kSignals.end();
}

// Where the API's words and ours meet; the API's NOTICE is our info.
struct LevelName {
    v1::LogLevel api;
    LogLevel ours;
};
constexpr std::array<LevelName, 6> kLevels{{{v1::LOG_LEVEL_DISABLED, LogLevel::kOff},
                                            {v1::LOG_LEVEL_ERROR, LogLevel::kError},
                                            {v1::LOG_LEVEL_WARNING, LogLevel::kWarn},
                                            {v1::LOG_LEVEL_INFO, LogLevel::kInfo},
                                            {v1::LOG_LEVEL_NOTICE, LogLevel::kInfo},
                                            {v1::LOG_LEVEL_DEBUG, LogLevel::kDebug}}};

// As SPDK calls them.
constexpr const char* kStaticScheduler = "static";
constexpr const char* kDynamicScheduler = "dynamic";

LogLevel from_api(v1::LogLevel level) {
    for (const LevelName& each : kLevels) {
        if (each.api == level) {
            return each.ours;
        }
    }
    return LogLevel::kInfo;
}

v1::LogLevel to_api(LogLevel level) {
    for (const LevelName& each : kLevels) {
        if (each.ours == level) {
            return each.api;
        }
    }
    return v1::LOG_LEVEL_DEBUG;  // Our trace, which the API does not know.
}

}  // namespace

AppHandlers::AppHandlers(Context& context, Stopper& stopper)
    : context_(context), stopper_(stopper), started_ns_(context.control().clock().now_ns()) {}

void AppHandlers::add_to(rpc::MethodTable& table) {
    table.add("spdk_get_version", *this, &AppHandlers::get_version);
    table.add("spdk_kill_instance", *this, &AppHandlers::kill_instance);
    table.add("framework_get_reactors", *this, &AppHandlers::get_reactors);
    table.add("thread_get_stats", *this, &AppHandlers::get_thread_stats);
    table.add("framework_set_scheduler", *this, &AppHandlers::set_scheduler);
    table.add("framework_get_scheduler", *this, &AppHandlers::get_scheduler);
    table.add("framework_wait_init", *this, &AppHandlers::wait_init);
    table.add("log_set_level", *this, &AppHandlers::set_log_level);
    table.add("log_get_level", *this, &AppHandlers::get_log_level);
}

void AppHandlers::get_version(const v1::SpdkGetVersionRequest& /*request*/,
                              Reply<v1::SpdkGetVersionResponse> reply) {
    v1::SpdkGetVersionResponse& result = reply.result();
    result.set_version(version_text());
    result.mutable_fields()->set_major(version().major);
    result.mutable_fields()->set_minor(version().minor);
    result.mutable_fields()->set_patch(version().patch);
    reply.send();
}

void AppHandlers::kill_instance(const v1::SpdkKillInstanceRequest& request, Reply<v1::Done> reply) {
    if (!means_stop(request.sig_name())) {
        reply.fail(RpcError(-EINVAL,
                            "sig_name: '" + request.sig_name() +
                                "' does not stop the daemon; SIGTERM, SIGINT, SIGQUIT and SIGHUP "
                                "do"));
        return;
    }
    reply.send();
    stopper_.request_stop();
}

void AppHandlers::get_reactors(const v1::FrameworkGetReactorsRequest& /*request*/,
                               Reply<v1::FrameworkGetReactorsResponse> reply) {
    read_reactors(std::move(reply)).detach();
}

Task<void> AppHandlers::read_reactors(Reply<v1::FrameworkGetReactorsResponse> reply) {
    const RunningCall running(context_);
    v1::FrameworkGetReactorsResponse& result = reply.result();
    result.set_tick_rate(kTicksPerSecond);
    result.set_pid(static_cast<uint64_t>(getpid()));
    for (uint32_t i = 0; i < context_.threads.count(); ++i) {
        const CoreId core(i);
        ReactorFacts facts;
        visit<ReactorFacts> there(context_.control(), core, facts, &collect);
        co_await there;
        const ReactorCounters& counters = facts.counters;
        const Processor& processor = context_.threads.processor(core);
        v1::FrameworkGetReactorsResponse::Reactor& out = *result.add_reactors();
        out.set_lcore(processor.os_index);
        out.set_numa_id(processor.numa_node);
        out.set_tid(facts.thread_id);
        out.set_busy(counters.busy_ns);
        out.set_idle(counters.idle_ns + counters.sleep_ns);
        // More asleep than polling in vain: it waits to be woken whenever it has nothing to do.
        out.set_in_interrupt(counters.sleep_ns > counters.idle_ns);
        if (const auto times = read_processor_times(processor.os_index)) {
            out.set_irq(times->interrupts);
            out.set_sys(times->system);
            out.set_usr(times->user);
        }
        if (const auto mhz = read_processor_mhz(processor.os_index)) {
            out.set_core_freq(*mhz);
        }
        out.set_polls(counters.polls);
        out.set_messages(counters.messages_received);
        out.set_ios(counters.ios);
        out.set_sleeps(counters.sleeps);
        auto& thread = *out.add_lw_threads();
        thread.set_name(thread_name_of(core));
        thread.set_id(thread_id_of(core));
        thread.set_cpumask(cpu_mask(processor.os_index));
        thread.set_elapsed(context_.control().clock().now_ns() - started_ns_);
    }
    reply.send();
}

void AppHandlers::set_scheduler(const v1::FrameworkSetSchedulerRequest& request,
                                Reply<v1::Done> reply) {
    if (request.name() != kStaticScheduler && request.name() != kDynamicScheduler) {
        reply.fail(RpcError(
            -EINVAL, "name: '" + request.name() + "'; the schedulers are static and dynamic"));
        return;
    }
    context_.target.set_balancing(request.name() == kDynamicScheduler);
    reply.send();
}

void AppHandlers::get_scheduler(const v1::FrameworkGetSchedulerRequest& /*request*/,
                                Reply<v1::FrameworkGetSchedulerResponse> reply) {
    const bool is_dynamic = context_.target.is_balancing();
    reply.result().set_scheduler_name(is_dynamic ? kDynamicScheduler : kStaticScheduler);
    reply.result().set_scheduler_period(is_dynamic ? nvmf::kBalancePeriodNs / 1000 : 0);
    reply.send();
}

void AppHandlers::get_thread_stats(const v1::ThreadGetStatsRequest& /*request*/,
                                   Reply<v1::ThreadGetStatsResponse> reply) {
    read_threads(std::move(reply)).detach();
}

Task<void> AppHandlers::read_threads(Reply<v1::ThreadGetStatsResponse> reply) {
    const RunningCall running(context_);
    v1::ThreadGetStatsResponse& result = reply.result();
    result.set_tick_rate(kTicksPerSecond);
    for (uint32_t i = 0; i <= context_.threads.count(); ++i) {
        const CoreId core(i);
        const bool is_control = core == context_.threads.control_core();
        ReactorFacts facts;
        visit<ReactorFacts> there(context_.control(), core, facts, &collect);
        co_await there;
        v1::ThreadGetStatsResponse::Thread& out = *result.add_threads();
        out.set_name(is_control ? "basalt-control" : thread_name_of(core));
        out.set_id(thread_id_of(core));
        if (!is_control) {
            out.set_cpumask(cpu_mask(context_.threads.processor(core).os_index));
        }
        out.set_busy(facts.counters.busy_ns);
        out.set_idle(facts.counters.idle_ns + facts.counters.sleep_ns);
    }
    reply.send();
}

void AppHandlers::wait_init(const v1::FrameworkWaitInitRequest& /*request*/,
                            Reply<v1::Done> reply) {
    reply.send();  // The API is served when all that the configuration says is there.
}

void AppHandlers::set_log_level(const v1::LogSetLevelRequest& request, Reply<v1::Done> reply) {
    Log::set_level(from_api(request.level()));
    reply.send();
}

void AppHandlers::get_log_level(const v1::LogGetLevelRequest& /*request*/,
                                Reply<v1::LogGetLevelResponse> reply) {
    reply.result().set_level(to_api(Log::level()));
    reply.send();
}

}  // namespace basalt::control
