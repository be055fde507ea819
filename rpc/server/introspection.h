#pragma once

#include <string>

#include <google/protobuf/descriptor.h>

#include "rpc/proto/app.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {

/// Answers rpc_get_methods: names, or descriptions with the comments of the .proto files, from
/// which scripts/rpc.py builds its subcommands and their help.
///
/// Life: made by main once the table is filled or before; it adds its own handler. Owner: main, for
/// as long as the table lives. Thread: the control thread.
class Introspection {
  public:
    /// Adds the handler to `table`, which outlives this.
    explicit Introspection(MethodTable& table);
    Introspection(const Introspection&) = delete;
    Introspection& operator=(const Introspection&) = delete;

    void rpc_get_methods(const v1::RpcGetMethodsRequest& request,
                         Reply<v1::RpcGetMethodsResponse> reply);

    /// What a method is for and what it takes, as rpc_get_methods tells it.
    [[nodiscard]] v1::MethodDescription describe(const Method& method) const;

  private:
    const MethodTable& table_;
    // The same descriptors as the linked ones, but with comments, which generated code leaves out.
    google::protobuf::DescriptorPool commented_;
};

}  // namespace basalt::rpc
