#include "nvmf/wire/nqn.h"

#include <algorithm>
#include <cstdint>

#include "nvmf/wire/limits.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

// In both forms any other character stands for itself.
constexpr std::string_view kNqnForm = "nqn.dddd-dd.a";  // d: a digit; a: a letter or digit.
constexpr std::string_view kUuidForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";  // x: hexadecimal.

constexpr bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

constexpr bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

constexpr bool is_alphanumeric(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// "nqn.yyyy-mm." and the first character of the domain.
bool has_nqn_form(std::string_view nqn) {
    if (nqn.size() < kNqnForm.size()) {
        return false;
    }
    for (size_t i = 0; i < kNqnForm.size(); ++i) {
        const bool good = kNqnForm[i] == 'd'   ? is_digit(nqn[i])
                          : kNqnForm[i] == 'a' ? is_alphanumeric(nqn[i])
                                               : nqn[i] == kNqnForm[i];
        if (!good) {
            return false;
        }
    }
    const int month = (nqn[9] - '0') * 10 + (nqn[10] - '0');
    return month >= 1 && month <= 12;
}

bool is_uuid(std::string_view text) {
    if (text.size() != kUuidForm.size()) {
        return false;
    }
    for (size_t i = 0; i < kUuidForm.size(); ++i) {
        if (kUuidForm[i] == 'x' ? !is_hex(text[i]) : text[i] != '-') {
            return false;
        }
    }
    return true;
}

/// The length in bytes of the well-formed UTF-8 sequence that `text` begins with; 0 if it is none,
/// an overlong form, a surrogate, beyond U+10FFFF or a control character.
size_t utf8_sequence_bytes(std::string_view text) {
    const auto first = static_cast<uint8_t>(text.front());
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    size_t bytes = 0;
    uint32_t code = 0;
    uint32_t code_min = 0;
    if ((first & 0xe0U) == 0xc0) {
        bytes = 2, code = first & 0x1fU, code_min = 0x80;
    } else if ((first & 0xf0U) == 0xe0) {
        bytes = 3, code = first & 0x0fU, code_min = 0x800;
    } else if ((first & 0xf8U) == 0xf0) {
        bytes = 4, code = first & 0x07U, code_min = 0x10000;
    }
    if (bytes == 0 || text.size() < bytes) {
        return 0;
    }
    for (size_t i = 1; i < bytes; ++i) {
        const auto next = static_cast<uint8_t>(text[i]);
        if ((next & 0xc0U) != 0x80) {
            return 0;
        }
        code = (code << 6U) | (next & 0x3fU);
    }
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool control = code < 0xa0;
    return code < code_min || code > 0x10ffff || surrogate || control ? 0 : bytes;
}

bool is_printable_utf8(std::string_view text) {
    while (!text.empty()) {
        const size_t bytes = utf8_sequence_bytes(text);
        if (bytes == 0) {
            return false;
        }
        text.remove_prefix(bytes);
    }
    return true;
}

}  // namespace

bool is_valid_nqn(std::string_view nqn) {
    if (nqn.size() > kNqnBytesMax || !has_nqn_form(nqn) || !is_printable_utf8(nqn)) {
        return false;
    }
    return !nqn.starts_with(kUuidNqnPrefix) || is_uuid(nqn.substr(kUuidNqnPrefix.size()));
}

Result<std::string_view> read_nqn_field(std::span<const char> field) {
    BASALT_ASSERT(field.size() == kNqnFieldBytes);
    const auto end = std::find(field.begin(), field.end(), '\0');
    const std::string_view nqn(field.data(), static_cast<size_t>(end - field.begin()));
    if (end == field.end() || !is_valid_nqn(nqn)) {
        return Errc::kInvalidArgument;
    }
    return nqn;
}

void write_nqn_field(std::span<char> field, std::string_view nqn) {
    BASALT_ASSERT(field.size() == kNqnFieldBytes);
    BASALT_ASSERT(is_valid_nqn(nqn));
    const auto rest = std::copy(nqn.begin(), nqn.end(), field.begin());
    std::fill(rest, field.end(), '\0');
}

}  // namespace basalt::nvmf
