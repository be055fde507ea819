#pragma once

#include <optional>
#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/struct.pb.h>
#include <nlohmann/json.hpp>

#include "rpc/error.h"

namespace basalt::rpc {

/// JSON that came in. Keys are looked up in a tree, so hostile input stays cheap.
using Json = nlohmann::json;
/// JSON that goes out, with its keys in the order of the .proto file.
using OrderedJson = nlohmann::ordered_json;

/// Fills `message` from a params object (or null: no params). Strict: an unknown key, a value of
/// the wrong type, a number out of the field's range, an enum word that does not exist or a missing
/// required key is kInvalidParams and names the parameter; `message` is then half filled. 64-bit
/// integers are JSON numbers. The other rules are check_rules' work.
[[nodiscard]] std::optional<RpcError> decode_params(const Json& params,
                                                    google::protobuf::Message& message);

/// The JSON-RPC result of a response: unwrapped as the method's options say, `true` for a message
/// without fields. Fields without presence always appear, `optional` ones and messages only if set,
/// lists always unless omit_empty.
[[nodiscard]] OrderedJson encode_result(const google::protobuf::MethodDescriptor& method,
                                        const google::protobuf::Message& response);

/// A message as a JSON object, by the rules of encode_result without unwrapping.
[[nodiscard]] OrderedJson encode_message(const google::protobuf::Message& message);

/// Free-form JSON in a message. Numbers travel as doubles: integers are exact up to 2^53.
void to_struct(const Json& object, google::protobuf::Struct& out);
[[nodiscard]] google::protobuf::Value to_value(const Json& json);
[[nodiscard]] OrderedJson from_struct(const google::protobuf::Struct& object);
[[nodiscard]] OrderedJson from_value(const google::protobuf::Value& value);

/// The word that stands for an enum value in JSON: its `text` option, or its name in lower case
/// without the enum's prefix ("RESET_MODE_ALL" -> "all").
[[nodiscard]] std::string enum_text(const google::protobuf::EnumValueDescriptor& value);

}  // namespace basalt::rpc
