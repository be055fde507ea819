#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "control/metadata/etcd/inbox.h"
#include "control/plane/node_api.h"
#include "rpc/server/method_table.h"

namespace basalt::cluster {

/// Calls other daemons by gRPC: a connection each, made when it is needed. gRPC's own threads do
/// the work; their results come through the Inbox to the control thread, whose loop calls
/// process_ready(). No TLS.
///
/// Owner: the daemon. Core: the control thread's. Destroyed with no call under way.
class GrpcNodes final : public NodeApi {
  public:
    /// `table` names the methods, and outlives it.
    explicit GrpcNodes(const rpc::MethodTable& table);
    GrpcNodes(const GrpcNodes&) = delete;
    GrpcNodes& operator=(const GrpcNodes&) = delete;
    ~GrpcNodes() override;

    [[nodiscard]] Task<std::optional<rpc::RpcError>> call(std::string address,
                                                          std::string method,
                                                          const google::protobuf::Message& request,
                                                          google::protobuf::Message& response,
                                                          uint64_t timeout_ns) override;

    /// What is under way ends with -ECANCELED, and so does all that comes.
    void cancel();

    /// Readable when process_ready() has something to do. Level triggered.
    [[nodiscard]] int poll_fd() { return inbox_.event_fd(); }
    void process_ready() { inbox_.process(); }

  private:
    class Call;
    struct Channel;

    [[nodiscard]] Channel& channel(const std::string& address);

    const rpc::MethodTable& table_;
    metadata::etcd::Inbox inbox_;
    std::map<std::string, std::unique_ptr<Channel>> channels_;
    std::set<Call*> calls_;
    bool is_cancelled_ = false;
};

}  // namespace basalt::cluster
