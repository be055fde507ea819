#pragma once

#include <string>
#include <utility>

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include "control/metadata/etcd/etcd.pb.h"
#include "control/metadata/etcd/link.h"

namespace basalt::metadata::etcd {

/// A member's address, and its connection. Owner: EtcdLink. Core: the control thread's.
class EtcdLink::Endpoint {
  public:
    template <typename Channel>
    Endpoint(std::string host_and_port, const Channel& channel)
        : name(std::move(host_and_port)), calls(channel), watches(channel) {}

    const std::string name;
    bool has_failed = false;  ///< Since it last answered: said once.
    grpc::TemplatedGenericStub<google::protobuf::MessageLite, google::protobuf::MessageLite> calls;
    grpc::TemplatedGenericStub<WatchRequest, WatchResponse> watches;
};

}  // namespace basalt::metadata::etcd
