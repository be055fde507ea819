#pragma once

#include <cstdint>
#include <optional>

namespace basalt::control {

/// What the kernel counts about a processor since boot, in hundredths of a second.
struct ProcessorTimes {
    uint64_t user = 0;
    uint64_t system = 0;
    uint64_t interrupts = 0;
};

/// From /proc/stat; nothing if that can't be read.
[[nodiscard]] std::optional<ProcessorTimes> read_processor_times(uint32_t processor);

/// The present clock in MHz, if the kernel tells (cpufreq).
[[nodiscard]] std::optional<uint32_t> read_processor_mhz(uint32_t processor);

}  // namespace basalt::control
