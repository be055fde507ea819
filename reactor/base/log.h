#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace basalt {

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

/// Receives each message that passes the level; `room` names where it comes from ("nvmf"). Called
/// on any core: must not block for long. `text` lives until it returns.
using LogSink = void (*)(LogLevel level, std::string_view room, std::string_view text);

/// Where messages go, and which. Until basaltd sets a sink they go to standard error. The one piece
/// of state that all threads share, because every room logs; both parts are single atomics.
class Log {
  public:
    static void set_sink(LogSink sink);
    static void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
    [[nodiscard]] static LogLevel level() { return level_.load(std::memory_order_relaxed); }
    [[nodiscard]] static bool is_on(LogLevel level) { return level >= Log::level(); }

    /// Formats into a buffer on the stack (longer text is cut) and hands it to the sink.
    template <typename... Args>
    static void write(LogLevel level,
                      std::string_view room,
                      fmt::format_string<Args...> format,
                      Args&&... args) {
        std::array<char, kTextBytesMax> text{};
        const auto end =
            fmt::format_to_n(text.data(), text.size(), format, std::forward<Args>(args)...);
        write_text(level, room, {text.data(), std::min(end.size, text.size())});
    }

  private:
    static constexpr size_t kTextBytesMax = 512;

    static void write_text(LogLevel level, std::string_view room, std::string_view text);

    static std::atomic<LogLevel> level_;
    static std::atomic<LogSink> sink_;
};

}  // namespace basalt

/// `BASALT_LOG(kWarn, "nvmf", "connection {} broke the protocol", id);` Arguments are not evaluated
/// when the level is off. For what is rare: never once an I/O.
#define BASALT_LOG(level, room, ...)                                            \
    do {                                                                        \
        if (::basalt::Log::is_on(::basalt::LogLevel::level)) {                  \
            ::basalt::Log::write(::basalt::LogLevel::level, room, __VA_ARGS__); \
        }                                                                       \
    } while (false)
