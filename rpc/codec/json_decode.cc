#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <limits>

#include "reactor/base/assert.h"
#include "rpc/codec/json_codec.h"
#include "rpc/codec/rules.h"
#include "rpc/proto/options.pb.h"

namespace basalt::rpc {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

using Broken = std::optional<RpcError>;

Broken decode_object(const Json& object, Message& message, const std::string& prefix);

// The whole number in `json` as a signed or unsigned 64-bit one, if it is one within [min, max].
// Numbers written with a fraction of zero or an exponent ("4e3") count, as they do for SPDK.
template <typename T>
std::optional<T> whole_number(const Json& json) {
    constexpr auto kMin = std::numeric_limits<T>::min();
    constexpr auto kMax = std::numeric_limits<T>::max();
    if (json.is_number_unsigned()) {
        const auto value = json.get<uint64_t>();
        return value <= static_cast<uint64_t>(kMax) ? std::optional(static_cast<T>(value))
                                                    : std::nullopt;
    }
    if (json.is_number_integer()) {  // Negative: nlohmann keeps others as unsigned.
        const auto value = json.get<int64_t>();
        return value >= static_cast<int64_t>(kMin) &&
                       (value < 0 || static_cast<uint64_t>(value) <= static_cast<uint64_t>(kMax))
                   ? std::optional(static_cast<T>(value))
                   : std::nullopt;
    }
    constexpr double kExactMax = 9007199254740992.0;  // 2^53
    const auto value = json.get<double>();
    if (std::trunc(value) != value || std::fabs(value) > kExactMax ||
        value < static_cast<double>(kMin) || value > static_cast<double>(kMax)) {
        return std::nullopt;
    }
    return static_cast<T>(value);
}

template <typename T>
RpcError number_error(const std::string& path) {
    return parameter_error(path,
                           "must be a whole number from " +
                               std::to_string(std::numeric_limits<T>::min()) + " to " +
                               std::to_string(std::numeric_limits<T>::max()));
}

template <typename T, typename Setter>
Broken decode_number(const Json& json, const std::string& path, const Setter& set) {
    const std::optional<T> value = json.is_number() ? whole_number<T>(json) : std::nullopt;
    if (!value) {
        return number_error<T>(path);
    }
    set(*value);
    return std::nullopt;
}

bool same_word(const std::string& a, const std::string& b) {
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
               return std::tolower(x) == std::tolower(y);
           });
}

template <typename Setter>
Broken decode_enum(const Json& json,
                   const FieldDescriptor& field,
                   const std::string& path,
                   const Setter& set) {
    const auto& type = *field.enum_type();
    std::string words;
    for (int i = 0; i < type.value_count(); ++i) {
        const std::string word = enum_text(*type.value(i));
        if (json.is_string() && same_word(json.get_ref<const std::string&>(), word)) {
            set(type.value(i));
            return std::nullopt;
        }
        words += words.empty() ? word : ", " + word;
    }
    return parameter_error(path, "must be one of: " + words);
}

// Sets a field, or adds to it if it is repeated.
class FieldWriter {
  public:
    FieldWriter(Message& message, const FieldDescriptor& field)
        : message_(message), field_(field), reflection_(*message.GetReflection()) {}

    Broken write(const Json& json, const std::string& path) {
        switch (field_.cpp_type()) {
            case FieldDescriptor::CPPTYPE_STRING:
                if (!json.is_string()) {
                    return parameter_error(path, "must be a string");
                }
                put_string(json.get<std::string>());
                return std::nullopt;
            case FieldDescriptor::CPPTYPE_BOOL:
                if (!json.is_boolean()) {
                    return parameter_error(path, "must be true or false");
                }
                put_bool(json.get<bool>());
                return std::nullopt;
            case FieldDescriptor::CPPTYPE_ENUM:
                return decode_enum(json, field_, path, [this](const EnumValueDescriptor* value) {
                    put_enum(value);
                });
            case FieldDescriptor::CPPTYPE_MESSAGE: return write_message(json, path);
            case FieldDescriptor::CPPTYPE_INT32:
            case FieldDescriptor::CPPTYPE_INT64:
            case FieldDescriptor::CPPTYPE_UINT32:
            case FieldDescriptor::CPPTYPE_UINT64: return write_number(json, path);
            case FieldDescriptor::CPPTYPE_DOUBLE:
            case FieldDescriptor::CPPTYPE_FLOAT: break;
        }
        BASALT_ASSERT(!"a request field of a type that the API does not use");
        return std::nullopt;
    }

  private:
    Broken write_number(const Json& json, const std::string& path) {
        const bool adds = field_.is_repeated();
        if (field_.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
            return decode_number<int32_t>(json, path, [this, adds](int32_t v) {
                adds ? reflection_.AddInt32(&message_, &field_, v)
                     : reflection_.SetInt32(&message_, &field_, v);
            });
        }
        if (field_.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
            return decode_number<int64_t>(json, path, [this, adds](int64_t v) {
                adds ? reflection_.AddInt64(&message_, &field_, v)
                     : reflection_.SetInt64(&message_, &field_, v);
            });
        }
        if (field_.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
            return decode_number<uint32_t>(json, path, [this, adds](uint32_t v) {
                adds ? reflection_.AddUInt32(&message_, &field_, v)
                     : reflection_.SetUInt32(&message_, &field_, v);
            });
        }
        return decode_number<uint64_t>(json, path, [this, adds](uint64_t v) {
            adds ? reflection_.AddUInt64(&message_, &field_, v)
                 : reflection_.SetUInt64(&message_, &field_, v);
        });
    }

    Broken write_message(const Json& json, const std::string& path) {
        const std::string& type = field_.message_type()->full_name();
        if (!json.is_object() && type != "google.protobuf.Value") {
            return parameter_error(path, "must be an object");
        }
        Message* child = field_.is_repeated() ? reflection_.AddMessage(&message_, &field_)
                                              : reflection_.MutableMessage(&message_, &field_);
        if (type == "google.protobuf.Struct") {
            to_struct(json, static_cast<google::protobuf::Struct&>(*child));
            return std::nullopt;
        }
        if (type == "google.protobuf.Value") {
            static_cast<google::protobuf::Value&>(*child) = to_value(json);
            return std::nullopt;
        }
        return decode_object(json, *child, path + ".");
    }

    void put_string(std::string value) {
        field_.is_repeated() ? reflection_.AddString(&message_, &field_, std::move(value))
                             : reflection_.SetString(&message_, &field_, std::move(value));
    }

    void put_bool(bool value) {
        field_.is_repeated() ? reflection_.AddBool(&message_, &field_, value)
                             : reflection_.SetBool(&message_, &field_, value);
    }

    void put_enum(const EnumValueDescriptor* value) {
        field_.is_repeated() ? reflection_.AddEnum(&message_, &field_, value)
                             : reflection_.SetEnum(&message_, &field_, value);
    }

    Message& message_;
    const FieldDescriptor& field_;
    const google::protobuf::Reflection& reflection_;
};

Broken decode_field(const Json& json,
                    Message& message,
                    const FieldDescriptor& field,
                    const std::string& path) {
    BASALT_ASSERT(!field.is_map());
    FieldWriter writer(message, field);
    if (!field.is_repeated()) {
        return writer.write(json, path);
    }
    if (!json.is_array()) {
        return parameter_error(path, "must be an array");
    }
    size_t index = 0;
    for (const Json& item : json) {
        if (auto broken = writer.write(item, path + "[" + std::to_string(index) + "]")) {
            return broken;
        }
        ++index;
    }
    return std::nullopt;
}

RpcError unknown_parameter(const std::string& path, const Descriptor& type) {
    std::string known;
    for (int i = 0; i < type.field_count(); ++i) {
        known += (i == 0 ? "" : ", ") + type.field(i)->name();
    }
    return parameter_error(
        path,
        known.empty() ? "is unknown: there are no parameters" : "is unknown; there are: " + known);
}

Broken decode_object(const Json& object, Message& message, const std::string& prefix) {
    const Descriptor& type = *message.GetDescriptor();
    for (const auto& [key, value] : object.items()) {
        const FieldDescriptor* field = type.FindFieldByName(key);
        if (field == nullptr) {
            return unknown_parameter(prefix + key, type);
        }
        if (auto broken = decode_field(value, message, *field, prefix + key)) {
            return broken;
        }
    }
    for (int i = 0; i < type.field_count(); ++i) {
        const FieldDescriptor& field = *type.field(i);
        if (field.options().GetExtension(v1::rules).required() && !object.contains(field.name())) {
            return parameter_error(prefix + field.name(), "is required");
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<RpcError> decode_params(const Json& params, Message& message) {
    message.Clear();
    if (params.is_null()) {
        return decode_object(Json::object(), message, "");
    }
    if (!params.is_object()) {
        return RpcError(RpcCode::kInvalidParams, "params must be an object: names with values");
    }
    return decode_object(params, message, "");
}

}  // namespace basalt::rpc
