#include "reactor/base/log.h"

#include <algorithm>
#include <cstdio>

namespace basalt {

namespace {

void write_to_stderr(LogLevel level, std::string_view room, std::string_view text) {
    constexpr std::array<const char*, 6> kNames{
        "trace", "debug", "info", "warning", "error", "off"};
    std::fprintf(stderr,
                 "%s %.*s: %.*s\n",
                 kNames[static_cast<size_t>(level)],
                 static_cast<int>(room.size()),
                 room.data(),
                 static_cast<int>(text.size()),
                 text.data());
}

}  // namespace

std::atomic<LogLevel> Log::level_{LogLevel::kInfo};
std::atomic<LogSink> Log::sink_{&write_to_stderr};

void Log::set_sink(LogSink sink) {
    sink_.store(sink != nullptr ? sink : &write_to_stderr, std::memory_order_release);
}

void Log::write_text(LogLevel level, std::string_view room, std::string_view text) {
    // Peers choose a part of the text: it must not end the line nor steer the reader's terminal.
    std::array<char, kTextBytesMax> line{};
    const auto is_control = [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    };
    std::replace_copy_if(text.begin(), text.end(), line.begin(), is_control, '?');
    sink_.load(std::memory_order_acquire)(level, room, {line.data(), text.size()});
}

}  // namespace basalt
