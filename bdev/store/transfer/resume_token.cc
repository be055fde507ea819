#include "bdev/store/transfer/resume_token.h"

#include <charconv>

#include <fmt/format.h>

namespace basalt::bdev::store {

std::string ResumeToken::to_string() const {
    return fmt::format("{}/{}/{}", snapshot.to_string(), base.to_string(), block);
}

Result<ResumeToken> ResumeToken::parse(std::string_view text) {
    const size_t first = text.find('/');
    const size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
    if (second == std::string_view::npos) {
        return Errc::kInvalidArgument;
    }
    ResumeToken token;
    BASALT_TRY(token.snapshot, Uuid::parse(text.substr(0, first)));
    BASALT_TRY(token.base, Uuid::parse(text.substr(first + 1, second - first - 1)));
    const std::string_view number = text.substr(second + 1);
    const char* const end = number.data() + number.size();
    const auto [at, problem] = std::from_chars(number.data(), end, token.block);
    if (problem != std::errc() || at != end) {
        return Errc::kInvalidArgument;
    }
    return token;
}

}  // namespace basalt::bdev::store
