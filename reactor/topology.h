#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "reactor/base/result.h"

namespace basalt {

/// A hardware thread as the operating system numbers it.
struct Processor {
    uint32_t os_index = 0;
    int32_t numa_node = 0;
};

/// Reads a set of processors: a list ("0,2-3", also in brackets as SPDK writes it) or a mask
/// ("0x5"). The result is sorted. Errors, explained in `problem`: kInvalidArgument.
[[nodiscard]] Result<std::vector<uint32_t>> parse_core_list(std::string_view text,
                                                            std::string& problem);

/// The processors that this process may use, with their NUMA nodes, found by hwloc. A value.
class Topology {
  public:
    /// Errors, explained in `problem`: kNotSupported.
    [[nodiscard]] static Result<Topology> load(std::string& problem);

    explicit Topology(std::vector<Processor> processors) : processors_(std::move(processors)) {}

    [[nodiscard]] const std::vector<Processor>& processors() const { return processors_; }

    /// The processors named by `os_indices`, in that order. Errors, explained in `problem`:
    /// kInvalidArgument for one that is not there or that this process may not use.
    [[nodiscard]] Result<std::vector<Processor>> select(const std::vector<uint32_t>& os_indices,
                                                        std::string& problem) const;

  private:
    std::vector<Processor> processors_;
};

/// Pins the calling thread to `processor`, and prefers memory of its NUMA node from now on. Errors:
/// kInvalidArgument.
[[nodiscard]] Status pin_this_thread(const Processor& processor);

}  // namespace basalt
