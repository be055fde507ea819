#include <map>

#include "reactor/base/assert.h"
#include "rpc/codec/json_codec.h"
#include "rpc/proto/options.pb.h"

namespace basalt::rpc {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

OrderedJson encode_child(const Message& child) {
    const std::string& type = child.GetDescriptor()->full_name();
    if (type == "google.protobuf.Struct") {
        return from_struct(static_cast<const google::protobuf::Struct&>(child));
    }
    if (type == "google.protobuf.Value") {
        return from_value(static_cast<const google::protobuf::Value&>(child));
    }
    return encode_message(child);
}

OrderedJson encode_item(const Message& message, const FieldDescriptor& field, int index) {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING:
            return reflection.GetRepeatedString(message, &field, index);
        case FieldDescriptor::CPPTYPE_MESSAGE:
            return encode_child(reflection.GetRepeatedMessage(message, &field, index));
        case FieldDescriptor::CPPTYPE_ENUM:
            return enum_text(*reflection.GetRepeatedEnum(message, &field, index));
        case FieldDescriptor::CPPTYPE_BOOL:
            return reflection.GetRepeatedBool(message, &field, index);
        case FieldDescriptor::CPPTYPE_INT32:
            return reflection.GetRepeatedInt32(message, &field, index);
        case FieldDescriptor::CPPTYPE_INT64:
            return reflection.GetRepeatedInt64(message, &field, index);
        case FieldDescriptor::CPPTYPE_UINT32:
            return reflection.GetRepeatedUInt32(message, &field, index);
        case FieldDescriptor::CPPTYPE_UINT64:
            return reflection.GetRepeatedUInt64(message, &field, index);
        case FieldDescriptor::CPPTYPE_DOUBLE:
        case FieldDescriptor::CPPTYPE_FLOAT: break;
    }
    BASALT_ASSERT(!"a response field of a type that the API does not use");
    return nullptr;
}

OrderedJson encode_single(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING: return reflection.GetString(message, &field);
        case FieldDescriptor::CPPTYPE_MESSAGE:
            return encode_child(reflection.GetMessage(message, &field));
        case FieldDescriptor::CPPTYPE_ENUM: return enum_text(*reflection.GetEnum(message, &field));
        case FieldDescriptor::CPPTYPE_BOOL: return reflection.GetBool(message, &field);
        case FieldDescriptor::CPPTYPE_INT32: return reflection.GetInt32(message, &field);
        case FieldDescriptor::CPPTYPE_INT64: return reflection.GetInt64(message, &field);
        case FieldDescriptor::CPPTYPE_UINT32: return reflection.GetUInt32(message, &field);
        case FieldDescriptor::CPPTYPE_UINT64: return reflection.GetUInt64(message, &field);
        case FieldDescriptor::CPPTYPE_DOUBLE: return reflection.GetDouble(message, &field);
        case FieldDescriptor::CPPTYPE_FLOAT: break;
    }
    BASALT_ASSERT(!"a response field of a type that the API does not use");
    return nullptr;
}

// Maps have string keys in this API; sorted, as the message's own order is arbitrary.
OrderedJson encode_map(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    const FieldDescriptor& key = *field.message_type()->map_key();
    const FieldDescriptor& value = *field.message_type()->map_value();
    BASALT_ASSERT(key.cpp_type() == FieldDescriptor::CPPTYPE_STRING);
    std::map<std::string, OrderedJson> sorted;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
        const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
        sorted.emplace(entry.GetReflection()->GetString(entry, &key), encode_single(entry, value));
    }
    OrderedJson out = OrderedJson::object();
    for (auto& [name, item] : sorted) {
        out[name] = std::move(item);
    }
    return out;
}

OrderedJson encode_field(const Message& message, const FieldDescriptor& field) {
    if (field.is_map()) {
        return encode_map(message, field);
    }
    if (!field.is_repeated()) {
        return encode_single(message, field);
    }
    OrderedJson list = OrderedJson::array();
    for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
        list.push_back(encode_item(message, field, i));
    }
    return list;
}

bool is_set(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    return field.is_repeated() ? reflection.FieldSize(message, &field) > 0
                               : reflection.HasField(message, &field);
}

bool appears(const Message& message, const FieldDescriptor& field) {
    if (field.is_repeated()) {
        return is_set(message, field) || !field.options().GetExtension(v1::rules).omit_empty();
    }
    return !field.has_presence() || is_set(message, field);
}

}  // namespace

OrderedJson encode_message(const Message& message) {
    OrderedJson out = OrderedJson::object();
    const auto& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
        const FieldDescriptor& field = *type.field(i);
        if (appears(message, field)) {
            out.emplace(field.name(), encode_field(message, field));
        }
    }
    return out;
}

OrderedJson encode_result(const google::protobuf::MethodDescriptor& method,
                          const Message& response) {
    const auto& type = *response.GetDescriptor();
    if (type.field_count() == 0) {
        return true;
    }
    const auto& options = method.options();
    const int count = options.ExtensionSize(v1::unwrap);
    if (count == 0) {
        return encode_message(response);
    }
    const FieldDescriptor* chosen = nullptr;
    for (int i = 0; i < count && chosen == nullptr; ++i) {
        const FieldDescriptor* field = type.FindFieldByName(options.GetExtension(v1::unwrap, i));
        BASALT_ASSERT(field != nullptr);
        chosen = is_set(response, *field) ? field : nullptr;
    }
    if (chosen == nullptr) {
        chosen = type.FindFieldByName(options.GetExtension(v1::unwrap, 0));
    }
    return encode_field(response, *chosen);
}

}  // namespace basalt::rpc
