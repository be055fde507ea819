#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

/// Where a stream is to go on, said by who receives it to who sends it:
/// "SNAPSHOT-UUID/BASE-UUID/BLOCK". A value.
struct ResumeToken {
    Uuid snapshot;
    Uuid base;  ///< Nil: none.
    uint64_t block = 0;

    [[nodiscard]] std::string to_string() const;
    /// Errors: kInvalidArgument.
    [[nodiscard]] static Result<ResumeToken> parse(std::string_view text);

    bool operator==(const ResumeToken&) const = default;
};

}  // namespace basalt::bdev::store
