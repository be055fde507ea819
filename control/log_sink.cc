#include "control/log_sink.h"

#include <exception>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace basalt::control {

namespace {

// Set once, before there are other threads. Never destroyed: threads log until the process ends.
spdlog::logger* logger = nullptr;
bool is_json = false;

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::kTrace: return spdlog::level::trace;
        case LogLevel::kDebug: return spdlog::level::debug;
        case LogLevel::kInfo: return spdlog::level::info;
        case LogLevel::kWarn: return spdlog::level::warn;
        case LogLevel::kError: return spdlog::level::err;
        case LogLevel::kOff: break;
    }
    return spdlog::level::off;
}

// Text as a JSON string; what a peer sent need not be UTF-8.
std::string quoted(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// The library's own failures (no memory, a broken pipe) end here: there is nowhere to report them.
void sink(LogLevel level, std::string_view room, std::string_view text) try {
    if (is_json) {
        logger->log(to_spdlog(level), R"("room":{},"message":{})", quoted(room), quoted(text));
    } else {
        logger->log(to_spdlog(level), "{}: {}", room, text);
    }
} catch (const std::exception&) {
}

}  // namespace

void start_logging(const LogConfig& config) {
    is_json = config.is_json;
    spdlog::sink_ptr target;
    if (config.is_json) {
        // tidy: allow(banned): spdlog shares its sinks between loggers.
        target = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
        // tidy: allow(banned): spdlog shares its sinks between loggers.
        target = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
    }
    target->set_pattern(config.is_json
                            ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","thread":%t,%v})"
                            : "%Y-%m-%d %H:%M:%S.%e %^%-7l%$ %v");
    logger = std::make_unique<spdlog::logger>("basalt", std::move(target)).release();
    logger->set_level(spdlog::level::trace);  // Log::level() has decided already.
    logger->flush_on(spdlog::level::trace);
    Log::set_sink(&sink);
    Log::set_level(config.level);
}

}  // namespace basalt::control
