#include "control/handlers/processor_times.h"

#include <fstream>
#include <sstream>
#include <string>

namespace basalt::control {

std::optional<ProcessorTimes> read_processor_times(uint32_t processor) {
    // proc(5), /proc/stat: "cpuN user nice system idle iowait irq softirq …".
    std::ifstream stat("/proc/stat");
    const std::string wanted = "cpu" + std::to_string(processor);
    for (std::string line; std::getline(stat, line);) {
        std::istringstream words(line);
        std::string name;
        uint64_t user = 0;
        uint64_t nice = 0;
        uint64_t system = 0;
        uint64_t idle = 0;
        uint64_t io_wait = 0;
        uint64_t irq = 0;
        uint64_t soft_irq = 0;
        words >> name;
        if (name == wanted &&
            words >> user >> nice >> system >> idle >> io_wait >> irq >> soft_irq) {
            return ProcessorTimes{
                .user = user + nice, .system = system, .interrupts = irq + soft_irq};
        }
    }
    return std::nullopt;
}

std::optional<uint32_t> read_processor_mhz(uint32_t processor) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(processor) +
                       "/cpufreq/scaling_cur_freq");
    uint32_t khz = 0;
    return file >> khz ? std::optional<uint32_t>(khz / 1000) : std::nullopt;
}

}  // namespace basalt::control
