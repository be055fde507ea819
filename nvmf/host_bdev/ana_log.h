#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nvmf/host_bdev/path_selector.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// One group of an ANA log (NVMe Base Specification, Asymmetric Namespace Access log page).
struct AnaGroup {
    uint32_t group = 0;
    PathAccess access = PathAccess::kNone;
    std::vector<uint32_t> namespaces{};  ///< Its namespaces' numbers.
};

/// Reads a log, which may be longer than it says. Errors: kProtocol (it ends too early, or has a
/// state that does not exist).
[[nodiscard]] Result<std::vector<AnaGroup>> parse_ana_log(std::span<const std::byte> log);

/// Where a log comes from.
class AnaLogSource {
  public:
    virtual ~AnaLogSource() = default;
    /// Fills `piece`, which lives until the end, with what the log has from `offset` on. A log of a
    /// new moment each time.
    [[nodiscard]] virtual Task<Status> read(uint64_t offset, std::span<std::byte> piece) = 0;
};

/// Reads a log of `bytes_max` at most, in pieces of `piece_max` at most, both multiples of 4, and
/// nothing behind its end. `source` lives until the end. Errors: those of the source and of
/// parse_ana_log(); kTryAgain: it has changed from one piece to the next, kAnaLogAttempts times.
[[nodiscard]] Task<Result<std::vector<AnaGroup>>> read_ana_log(AnaLogSource& source,
                                                               uint64_t bytes_max,
                                                               uint64_t piece_max);

}  // namespace basalt::nvmf
