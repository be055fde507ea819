#pragma once

#include <optional>
#include <string>

#include <google/protobuf/message.h>

#include "rpc/error.h"

namespace basalt::rpc {

/// Checks a request against the rules that options.proto lets its fields state: required, min, max,
/// format, only_default. Returns the first field that breaks its rule as kInvalidParams with the
/// field's path ("listen_address.traddr") and what it may be, or nothing. Nested messages and lists
/// of them are checked too. A required number or bool without presence can't be told from 0 here;
/// the JSON decoder checks that its key is there.
[[nodiscard]] std::optional<RpcError> check_rules(const google::protobuf::Message& message);

/// kInvalidParams about one parameter: "parameter 'block_size': must be …".
[[nodiscard]] RpcError parameter_error(const std::string& path, const std::string& what);

}  // namespace basalt::rpc
