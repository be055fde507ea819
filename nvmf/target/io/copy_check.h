#pragma once

#include <cstdint>

#include "bdev/core/bdev.h"
#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// What one Copy may take, in the fields of Identify Namespace (NVM Command Set Specification).
struct CopyLimits {
    uint16_t range_blocks = 0;  ///< MSSRL.
    uint32_t blocks = 0;        ///< MCL.
    uint8_t ranges_0based = 0;  ///< MSRC.
};
[[nodiscard]] CopyLimits copy_limits(const bdev::BdevInfo& info);

/// Descriptor formats that Copy knows, a bit each (OCFS): 0, within a namespace, and 2, with a
/// source namespace in each range, which a host has to enable (Host Behavior Support, CDFE).
inline constexpr uint16_t kCopyFormats = 1U << 0U | 1U << 2U;

/// One source range of a Copy whose data is there.
struct CopySource {
    Nsid nsid;
    uint64_t first = 0;
    uint64_t count = 0;
    bool is_fast_only = false;  ///< FCO: copied without moving data, or not at all.
};
[[nodiscard]] CopySource copy_source(const Request& request, uint32_t index);
/// Of all its ranges.
[[nodiscard]] uint64_t copy_blocks(const Request& request);

/// Judges a Copy before its ranges are there: their number and format, the data's length.
[[nodiscard]] NvmeStatus check_copy(const Request& request, const bdev::BdevInfo& info);

/// Judges a Copy with its ranges: limits, namespaces and what they allow, ends, overlap with the
/// destination. `bad_index` is set to the first range that is wrong, if one is.
[[nodiscard]] NvmeStatus check_copy_ranges(Request& request, uint32_t& bad_index);

}  // namespace basalt::nvmf
