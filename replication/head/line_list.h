#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"
#include "replication/core/types.h"

namespace basalt::replication {

/// A snapshot of a replicated volume, or one that is being made or deleted. A value.
struct LineRecord {
    enum class State : uint8_t {
        kDrawing = 1,   ///< Its maker goes on; or, if that one is gone, it is deleted.
        kThere = 2,     ///< A quorum has it.
        kDeleting = 3,  ///< Until no replica has it any more.
    };
    State state = State::kDrawing;
    OpNumber number{};  ///< Of the line; kDrawing: of the newest before it.
    std::string name;

    bool operator==(const LineRecord&) const = default;
};

/// The snapshots of a volume (lines.md). A value.
struct LineList {
    bdev::Uuid volume{};
    uint64_t change = 0;  ///< Counts the lists that were written: the newest has the highest.
    std::vector<LineRecord> lines;  ///< In the order in which they were made.

    bool operator==(const LineList&) const = default;

    /// None of that name: null.
    [[nodiscard]] LineRecord* find(std::string_view name);
    /// What a head that is open, and whose newest line is `newest`, makes of snapshots whose maker
    /// is gone: nobody was told of them, so what there is of them is deleted. Whether there are
    /// any.
    [[nodiscard]] bool resolve(OpNumber newest);
};

inline constexpr size_t kLineNameMax = 63;
inline constexpr size_t kLinesMax = 500;
inline constexpr size_t kLineSlotBytes = 65536;

/// The list has kLinesMax lines at most, with names of 1 to kLineNameMax bytes.
void encode_line_list(const LineList& list, std::span<std::byte, kLineSlotBytes> slot);

/// Errors: kNotFound: the slot was never written; kDataCorrupt: it was torn, or is not one of ours.
[[nodiscard]] Result<LineList> decode_line_list(std::span<const std::byte, kLineSlotBytes> slot);

}  // namespace basalt::replication
