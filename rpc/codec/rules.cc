#include "rpc/codec/rules.h"

#include <algorithm>
#include <cctype>

#include "rpc/proto/options.pb.h"

namespace basalt::rpc {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

using Broken = std::optional<RpcError>;

Broken check_message(const Message& message, const std::string& prefix);

bool is_hex(const std::string& text) {
    return text.size() % 2 == 0 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
               return std::isxdigit(c) != 0;
           });
}

bool is_uuid(const std::string& text) {
    if (text.size() != 36) {
        return false;
    }
    for (size_t i = 0; i < text.size(); ++i) {
        const bool is_dash_place = i == 8 || i == 13 || i == 18 || i == 23;
        const auto c = static_cast<unsigned char>(text[i]);
        if (is_dash_place ? c != '-' : std::isxdigit(c) == 0) {
            return false;
        }
    }
    return true;
}

Broken check_string(const std::string& value,
                    const v1::Rules& rules,
                    const std::string& path,
                    bool is_present) {
    if (rules.required() && value.empty()) {
        return parameter_error(path, "is required and must not be empty");
    }
    if (rules.only_default() && !value.empty()) {
        return parameter_error(path, "is not supported by this daemon; leave it out");
    }
    if (!is_present) {
        return std::nullopt;
    }
    if (rules.format() == v1::Rules::FORMAT_UUID && !is_uuid(value)) {
        return parameter_error(path, "must be a UUID like 01234567-89ab-cdef-0123-456789abcdef");
    }
    if (rules.format() == v1::Rules::FORMAT_HEX && (value.empty() || !is_hex(value))) {
        return parameter_error(path, "must be an even number of hexadecimal digits");
    }
    return std::nullopt;
}

std::string range_text(const v1::Rules& rules) {
    if (!rules.has_max()) {
        return "must be at least " + std::to_string(rules.min());
    }
    if (!rules.has_min()) {
        return "must be at most " + std::to_string(rules.max());
    }
    return "must be from " + std::to_string(rules.min()) + " to " + std::to_string(rules.max());
}

// `negative` numbers come as their value, others as magnitude, so that both 64-bit types fit.
Broken check_number(int64_t negative,
                    uint64_t magnitude,
                    const v1::Rules& rules,
                    const std::string& path) {
    if (rules.only_default() && (negative < 0 || magnitude != 0)) {
        return parameter_error(path, "is not supported by this daemon; leave it out or 0");
    }
    const bool below = negative < 0
                           ? negative < rules.min()
                           : rules.min() > 0 && magnitude < static_cast<uint64_t>(rules.min());
    const bool above = negative >= 0 && magnitude > rules.max();
    if ((rules.has_min() && below) || (rules.has_max() && above)) {
        return parameter_error(path, range_text(rules));
    }
    return std::nullopt;
}

Broken check_signed(int64_t value, const v1::Rules& rules, const std::string& path) {
    return value < 0 ? check_number(value, 0, rules, path)
                     : check_number(0, static_cast<uint64_t>(value), rules, path);
}

Broken check_scalar(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const v1::Rules& rules = field.options().GetExtension(v1::rules);
    const Reflection& reflection = *message.GetReflection();
    const bool is_present = reflection.HasField(message, &field);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        return check_string(reflection.GetString(message, &field), rules, path, is_present);
    }
    if (!is_present && !rules.required()) {
        return std::nullopt;
    }
    switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_INT32:
            return check_signed(reflection.GetInt32(message, &field), rules, path);
        case FieldDescriptor::CPPTYPE_INT64:
            return check_signed(reflection.GetInt64(message, &field), rules, path);
        case FieldDescriptor::CPPTYPE_UINT32:
            return check_number(0, reflection.GetUInt32(message, &field), rules, path);
        case FieldDescriptor::CPPTYPE_UINT64:
            return check_number(0, reflection.GetUInt64(message, &field), rules, path);
        case FieldDescriptor::CPPTYPE_BOOL:
            return check_number(0, reflection.GetBool(message, &field) ? 1 : 0, rules, path);
        case FieldDescriptor::CPPTYPE_ENUM:
            // An open enum of proto3: a gRPC client may send a number that has no name.
            if (field.enum_type()->FindValueByNumber(reflection.GetEnumValue(message, &field)) ==
                nullptr) {
                return parameter_error(path, "has a value that does not exist");
            }
            return std::nullopt;
        case FieldDescriptor::CPPTYPE_DOUBLE:
        case FieldDescriptor::CPPTYPE_FLOAT:
        case FieldDescriptor::CPPTYPE_STRING:
        case FieldDescriptor::CPPTYPE_MESSAGE: return std::nullopt;
    }
    return std::nullopt;
}

Broken check_field(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field.is_map()) {
        return std::nullopt;
    }
    if (field.is_repeated()) {
        const int count = is_message ? reflection.FieldSize(message, &field) : 0;
        for (int i = 0; i < count; ++i) {
            const std::string item = path + "[" + std::to_string(i) + "].";
            if (auto broken =
                    check_message(reflection.GetRepeatedMessage(message, &field, i), item)) {
                return broken;
            }
        }
        return std::nullopt;
    }
    if (!is_message) {
        return check_scalar(message, field, path);
    }
    if (reflection.HasField(message, &field)) {
        return check_message(reflection.GetMessage(message, &field), path + ".");
    }
    if (field.options().GetExtension(v1::rules).required()) {
        return parameter_error(path, "is required");
    }
    return std::nullopt;
}

Broken check_message(const Message& message, const std::string& prefix) {
    const auto* type = message.GetDescriptor();
    // Free-form JSON (Struct, Value, ListValue) has no rules and may nest.
    if (type->file()->package() == "google.protobuf") {
        return std::nullopt;
    }
    for (int i = 0; i < type->field_count(); ++i) {
        const FieldDescriptor& field = *type->field(i);
        if (auto broken = check_field(message, field, prefix + field.name())) {
            return broken;
        }
    }
    return std::nullopt;
}

}  // namespace

RpcError parameter_error(const std::string& path, const std::string& what) {
    return RpcError(RpcCode::kInvalidParams, "parameter '" + path + "' " + what);
}

std::optional<RpcError> check_rules(const Message& message) {
    return check_message(message, "");
}

}  // namespace basalt::rpc
