#include "control/handlers/convert.h"

#include <variant>

namespace basalt::control {

namespace {

// -1 for what is no hexadecimal digit.
int digit_value(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

}  // namespace

std::string to_hex(std::span<const uint8_t> bytes) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string text;
    for (const uint8_t byte : bytes) {
        text += kDigits[byte >> 4U];
        text += kDigits[byte & 15U];
    }
    return text;
}

Status from_hex(std::string_view text, std::span<uint8_t> out) {
    if (text.size() != out.size() * 2) {
        return Errc::kInvalidArgument;
    }
    for (size_t i = 0; i < out.size(); ++i) {
        const int high = digit_value(text[2 * i]);
        const int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return Errc::kInvalidArgument;
        }
        out[i] = static_cast<uint8_t>(high * 16 + low);
    }
    return kOk;
}

std::string to_base64(std::span<const uint8_t> bytes) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        const size_t left = bytes.size() - i;
        const uint32_t group = (uint32_t{bytes[i]} << 16U) |
                               (left > 1 ? uint32_t{bytes[i + 1]} << 8U : 0U) |
                               (left > 2 ? uint32_t{bytes[i + 2]} : 0U);
        text += kDigits[group >> 18U];
        text += kDigits[(group >> 12U) & 63U];
        text += left > 1 ? kDigits[(group >> 6U) & 63U] : '=';
        text += left > 2 ? kDigits[group & 63U] : '=';
    }
    return text;
}

nlohmann::json to_json(const bdev::BdevConfig& config) {
    nlohmann::json params = nlohmann::json::object();
    for (const bdev::BdevConfig::Parameter& parameter : config.parameters) {
        std::visit([&](const auto& value) { params[parameter.name] = value; }, parameter.value);
    }
    return params;
}

}  // namespace basalt::control
