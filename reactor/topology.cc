#include "reactor/topology.h"

#include <algorithm>
#include <charconv>
#include <memory>

#include <hwloc.h>
#include <numa.h>
#include <pthread.h>
#include <sched.h>

namespace basalt {

namespace {

constexpr uint32_t kProcessorIndexMax = CPU_SETSIZE - 1;

Result<std::vector<uint32_t>> fail(std::string& problem,
                                   std::string_view text,
                                   std::string_view why) {
    problem = "'" + std::string(text) + "' is no set of processors: " + std::string(why) +
              " (write a list such as '0,2-3' or a mask such as '0x5')";
    return Errc::kInvalidArgument;
}

Result<std::vector<uint32_t>> parse_mask(std::string_view text, std::string& problem) {
    const std::string_view digits = text.substr(2);
    std::vector<uint32_t> indices;
    for (size_t i = 0; i < digits.size(); ++i) {
        uint32_t digit = 0;
        const char* place = &digits[digits.size() - 1 - i];
        const auto parsed = std::from_chars(place, place + 1, digit, 16);
        if (parsed.ec != std::errc() || parsed.ptr != place + 1) {
            return fail(problem, text, "a mask has hexadecimal digits only");
        }
        for (uint32_t bit = 0; bit < 4; ++bit) {
            if ((digit & (1U << bit)) != 0) {
                indices.push_back(static_cast<uint32_t>(i) * 4 + bit);
            }
        }
    }
    if (indices.empty()) {
        return fail(problem, text, "the mask names no processor");
    }
    if (indices.back() > kProcessorIndexMax) {
        return fail(problem, text, "processor numbers go up to 1023");
    }
    return indices;
}

// One number from the start of `text`, which is moved behind it.
bool take_number(std::string_view& text, uint32_t& number) {
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (parsed.ec != std::errc()) {
        return false;
    }
    text.remove_prefix(static_cast<size_t>(parsed.ptr - text.data()));
    return number <= kProcessorIndexMax;
}

struct TopologyDelete {
    void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};

}  // namespace

Result<std::vector<uint32_t>> parse_core_list(std::string_view text, std::string& problem) {
    const std::string_view whole = text;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        return parse_mask(text, problem);
    }
    if (text.starts_with('[') && text.ends_with(']')) {
        text = text.substr(1, text.size() - 2);
    }
    std::vector<uint32_t> indices;
    while (true) {
        uint32_t first = 0;
        if (!take_number(text, first)) {
            return fail(problem, whole, "expected a processor number from 0 to 1023");
        }
        uint32_t last = first;
        if (text.starts_with('-')) {
            text.remove_prefix(1);
            if (!take_number(text, last)) {
                return fail(problem, whole, "expected a processor number after '-'");
            }
        }
        if (last < first) {
            return fail(problem, whole, "a range goes from the lower number to the higher");
        }
        for (uint32_t index = first; index <= last; ++index) {
            indices.push_back(index);
        }
        if (text.empty()) {
            break;
        }
        if (!text.starts_with(',')) {
            return fail(problem, whole, "expected ',' between processors");
        }
        text.remove_prefix(1);
    }
    std::sort(indices.begin(), indices.end());
    if (std::adjacent_find(indices.begin(), indices.end()) != indices.end()) {
        return fail(problem, whole, "a processor is named twice");
    }
    return indices;
}

Result<Topology> Topology::load(std::string& problem) {
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) != 0) {
        problem = "hwloc does not start";
        return Errc::kNotSupported;
    }
    const std::unique_ptr<hwloc_topology, TopologyDelete> topology(raw);
    // Processors and nodes are all that we want; caches and buses cost start-up time.
    hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
    cpu_set_t allowed;
    if (hwloc_topology_load(raw) != 0 ||
        pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed) != 0) {
        problem = "hwloc can't read the processors of this machine";
        return Errc::kNotSupported;
    }
    std::vector<Processor> processors;
    for (hwloc_obj_t unit = nullptr;
         (unit = hwloc_get_next_obj_by_type(raw, HWLOC_OBJ_PU, unit)) != nullptr;) {
        if (unit->os_index > kProcessorIndexMax || !CPU_ISSET(unit->os_index, &allowed)) {
            continue;
        }
        const int node = unit->nodeset == nullptr ? -1 : hwloc_bitmap_first(unit->nodeset);
        processors.push_back({.os_index = unit->os_index, .numa_node = std::max(node, 0)});
    }
    std::sort(processors.begin(), processors.end(), [](const Processor& a, const Processor& b) {
        return a.os_index < b.os_index;
    });
    return Topology(std::move(processors));
}

Result<std::vector<Processor>> Topology::select(const std::vector<uint32_t>& os_indices,
                                                std::string& problem) const {
    std::vector<Processor> selected;
    for (const uint32_t index : os_indices) {
        const auto found =
            std::find_if(processors_.begin(), processors_.end(), [index](const Processor& each) {
                return each.os_index == index;
            });
        if (found == processors_.end()) {
            problem = "processor " + std::to_string(index) +
                      " is not there or not allowed for this process; allowed are";
            for (const Processor& each : processors_) {
                problem += " " + std::to_string(each.os_index);
            }
            return Errc::kInvalidArgument;
        }
        selected.push_back(*found);
    }
    return selected;
}

Status pin_this_thread(const Processor& processor) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(processor.os_index, &only);
    const int failed = pthread_setaffinity_np(pthread_self(), sizeof(only), &only);
    if (failed != 0) {
        return Error::from_errno(failed);
    }
    if (numa_available() >= 0 && numa_max_node() > 0) {
        numa_set_preferred(processor.numa_node);
    }
    return kOk;
}

}  // namespace basalt
