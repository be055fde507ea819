#pragma once

#include <algorithm>
#include <initializer_list>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt {

/// Takes what is logged while it lives, on any thread, instead of standard error. One at a time.
class LogCapture {
  public:
    explicit LogCapture(LogLevel level = LogLevel::kInfo) : level_before_(Log::level()) {
        BASALT_ASSERT(current_ == nullptr);
        current_ = this;
        Log::set_level(level);
        Log::set_sink([](LogLevel at, std::string_view room, std::string_view text) {
            current_->take(at, room, text);
        });
    }
    LogCapture(const LogCapture&) = delete;
    LogCapture& operator=(const LogCapture&) = delete;
    ~LogCapture() {
        Log::set_sink(nullptr);
        Log::set_level(level_before_);
        current_ = nullptr;
    }

    /// How many lines of `level` and `room` contain each of `parts`.
    [[nodiscard]] size_t count(LogLevel level,
                               std::string_view room,
                               std::initializer_list<std::string_view> parts) const {
        const std::lock_guard lock(mutex_);
        return static_cast<size_t>(
            std::count_if(lines_.begin(), lines_.end(), [&](const Line& line) {
                return line.level == level && line.room == room &&
                       std::all_of(parts.begin(), parts.end(), [&](std::string_view part) {
                           return line.text.find(part) != std::string::npos;
                       });
            }));
    }

    /// What was logged, for the message of a test that fails.
    friend std::ostream& operator<<(std::ostream& out, const LogCapture& capture) {
        const std::lock_guard lock(capture.mutex_);
        for (const Line& line : capture.lines_) {
            out << line.room << ": " << line.text << '\n';
        }
        return out;
    }

  private:
    struct Line {
        LogLevel level;
        std::string room;
        std::string text;
    };

    void take(LogLevel level, std::string_view room, std::string_view text) {
        const std::lock_guard lock(mutex_);
        lines_.push_back({level, std::string(room), std::string(text)});
    }

    static inline LogCapture* current_ = nullptr;

    LogLevel level_before_;
    mutable std::mutex mutex_;
    std::vector<Line> lines_;
};

}  // namespace basalt
