// Free-form JSON (google.protobuf.Struct and Value) and enum words.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "rpc/codec/json_codec.h"
#include "rpc/proto/options.pb.h"

namespace basalt::rpc {

using google::protobuf::Struct;
using google::protobuf::Value;

namespace {

// The largest integer up to which a double holds every integer: 2^53.
constexpr double kExactIntegerMax = 9007199254740992.0;

}  // namespace

Value to_value(const Json& json) {
    Value value;
    switch (json.type()) {
        case Json::value_t::object: to_struct(json, *value.mutable_struct_value()); break;
        case Json::value_t::array: {
            auto* list = value.mutable_list_value();
            for (const Json& item : json) {
                *list->add_values() = to_value(item);
            }
            break;
        }
        case Json::value_t::string: value.set_string_value(json.get<std::string>()); break;
        case Json::value_t::boolean: value.set_bool_value(json.get<bool>()); break;
        case Json::value_t::number_integer:
        case Json::value_t::number_unsigned:
        case Json::value_t::number_float: value.set_number_value(json.get<double>()); break;
        case Json::value_t::null:
        case Json::value_t::binary:
        case Json::value_t::discarded: value.set_null_value(google::protobuf::NULL_VALUE); break;
    }
    return value;
}

void to_struct(const Json& object, Struct& out) {
    out.Clear();
    for (const auto& [key, item] : object.items()) {
        (*out.mutable_fields())[key] = to_value(item);
    }
}

OrderedJson from_value(const Value& value) {
    switch (value.kind_case()) {
        case Value::kStructValue: return from_struct(value.struct_value());
        case Value::kListValue: {
            OrderedJson list = OrderedJson::array();
            for (const Value& item : value.list_value().values()) {
                list.push_back(from_value(item));
            }
            return list;
        }
        case Value::kStringValue: return value.string_value();
        case Value::kBoolValue: return value.bool_value();
        case Value::kNumberValue: {
            const double number = value.number_value();
            if (std::fabs(number) <= kExactIntegerMax && std::trunc(number) == number) {
                return static_cast<int64_t>(number);
            }
            return number;
        }
        case Value::kNullValue:
        case Value::KIND_NOT_SET: return nullptr;
    }
    return nullptr;
}

OrderedJson from_struct(const Struct& object) {
    // By key: the message's own order is arbitrary and would differ from run to run.
    std::map<std::string, const Value*> sorted;
    for (const auto& [key, value] : object.fields()) {
        sorted.emplace(key, &value);
    }
    OrderedJson out = OrderedJson::object();
    for (const auto& [key, value] : sorted) {
        out[key] = from_value(*value);
    }
    return out;
}

std::string enum_text(const google::protobuf::EnumValueDescriptor& value) {
    const std::string& text = value.options().GetExtension(v1::text);
    if (!text.empty()) {
        return text;
    }
    // The prefix is the enum's name in UPPER_SNAKE; both are compared without underscores.
    std::string name = value.name();
    size_t matched = 0;
    size_t at = 0;
    for (const std::string& type = value.type()->name(); at < name.size() && matched < type.size();
         ++at) {
        if (name[at] == '_') {
            continue;
        }
        if (std::toupper(static_cast<unsigned char>(type[matched])) != name[at]) {
            break;
        }
        ++matched;
    }
    if (matched == value.type()->name().size() && at < name.size() && name[at] == '_') {
        name.erase(0, at + 1);
    }
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
    });
    return name;
}

}  // namespace basalt::rpc
