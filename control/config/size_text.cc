#include "control/config/size_text.h"

#include <charconv>
#include <cmath>

namespace basalt::control {

namespace {

constexpr double kSizeMax = static_cast<double>(INT64_MAX);

// The factor of "KiB", "M", "" ...; 0 for a unit that does not exist.
double unit_factor(std::string_view unit) {
    if (unit.ends_with("iB")) {
        unit.remove_suffix(2);
        if (unit.empty()) {
            return 0;
        }
    }
    if (unit.empty()) {
        return 1;
    }
    constexpr std::string_view kPrefixes = "KMGT";
    const size_t power = unit.size() == 1 ? kPrefixes.find(unit[0]) : std::string_view::npos;
    return power == std::string_view::npos ? 0
                                           : std::ldexp(1.0, 10 * (static_cast<int>(power) + 1));
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
    double amount = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, amount, std::chars_format::fixed);
    const double factor =
        unit_factor(std::string_view(parsed.ptr, static_cast<size_t>(end - parsed.ptr)));
    if (parsed.ec != std::errc() || factor == 0) {
        return Errc::kInvalidArgument;
    }
    const double bytes = amount * factor;
    // Above 2^53 a double has gaps, but no size that a person writes is in one.
    if (bytes < 1 || bytes >= kSizeMax || bytes != std::floor(bytes)) {
        return Errc::kOutOfRange;
    }
    return static_cast<uint64_t>(bytes);
}

}  // namespace basalt::control
