#pragma once

#include <string>
#include <utility>

#include "control/handlers/context.h"
#include "control/plane/control_plane.h"
#include "rpc/proto/cluster.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// What the methods of the cluster work on. Owner: the daemon; it outlives them.
struct ClusterContext {
    Context& daemon;
    cluster::ControlPlane* plane = nullptr;  ///< Null: no control role.
};

/// Why no method of the cluster can be answered now; nothing: they can.
[[nodiscard]] std::optional<rpc::RpcError> check_plane(const ClusterContext& context);

/// Methods of the cluster: what each does is a sequence, `run`, which lives as long as its reply,
/// and during which the store stays open.
class ClusterMethods {
  public:
    explicit ClusterMethods(ClusterContext& context) : context_(context) {}
    ClusterMethods(const ClusterMethods&) = delete;
    ClusterMethods& operator=(const ClusterMethods&) = delete;

  protected:
    template <auto kRun, typename Request, typename Response>
    void add(rpc::MethodTable& table,
             const char* name,
             Task<void> (*)(cluster::ControlPlane&, const Request&, rpc::Reply<Response>)) {
        table.add(name, *this, &ClusterMethods::begin<kRun, Request, Response>);
    }

    [[nodiscard]] ClusterContext& context() { return context_; }

  private:
    template <auto kRun, typename Request, typename Response>
    void begin(const Request& request, rpc::Reply<Response> reply) {
        if (const std::optional<rpc::RpcError> refusal = check_plane(context_)) {
            reply.fail(*refusal);
            return;
        }
        run<kRun>(context_, request, std::move(reply)).detach();
    }

    template <auto kRun, typename Request, typename Response>
    static Task<void> run(ClusterContext& context,
                          const Request& request,
                          rpc::Reply<Response> reply) {
        const RunningCall running(context.daemon);
        const cluster::ControlPlane::Use use(*context.plane);
        Task<void> sequence = kRun(*context.plane, request, std::move(reply));
        co_await sequence;
    }

    ClusterContext& context_;
};

/// The node that a request names by UUID or label "name"; answers and returns nil if there is none.
template <typename Response>
[[nodiscard]] cluster::Uuid find_node(const cluster::ClusterView& view,
                                      const std::string& text,
                                      rpc::Reply<Response>& reply) {
    const Result<cluster::Uuid> uuid = cluster::Uuid::parse(text);
    for (const auto& [key, node] : view.nodes()) {
        if (uuid ? key == *uuid : node.record.name() == text && !text.empty()) {
            return key;
        }
    }
    reply.fail(Error(Errc::kNotFound), "node '" + text + "'");
    return {};
}

/// The volume that a request names by UUID or name; answers and returns nil if there is none.
template <typename Response>
[[nodiscard]] cluster::Uuid find_volume(const cluster::ClusterView& view,
                                        const std::string& text,
                                        rpc::Reply<Response>& reply) {
    const Result<cluster::Uuid> uuid = cluster::Uuid::parse(text);
    for (const auto& [key, volume] : view.volumes()) {
        if (uuid ? key == *uuid : volume.record.name() == text) {
            return key;
        }
    }
    reply.fail(Error(Errc::kNotFound), "volume '" + text + "'");
    return {};
}

/// The drive that a request names by UUID; answers and returns nil if there is none.
template <typename Response>
[[nodiscard]] cluster::Uuid find_drive(const cluster::ClusterView& view,
                                       const std::string& text,
                                       rpc::Reply<Response>& reply) {
    const Result<cluster::Uuid> uuid = cluster::Uuid::parse(text);
    if (uuid && view.drives().contains(*uuid)) {
        return *uuid;
    }
    reply.fail(Error(Errc::kNotFound), "drive '" + text + "'");
    return {};
}

/// The version that a request names; 0: any.
template <typename Request>
[[nodiscard]] cluster::Revision version_of(const Request& request) {
    return cluster::Revision(request.has_version() ? request.version() : 0);
}

/// A page of `records`, which are in order: calls `fill(uuid, record)` for `limit` of them at most
/// that come after `after`, and are `wanted(uuid, record)`; where the next page begins.
template <typename Records, typename Wanted, typename Fill>
std::string make_page(
    const Records& records, const std::string& after, uint32_t limit, Wanted wanted, Fill fill) {
    uint32_t count = 0;
    std::string last;
    for (const auto& [uuid, record] : records) {
        std::string text = uuid.to_string();
        if (text <= after || !wanted(uuid, record)) {
            continue;
        }
        if (count == limit) {
            return last;
        }
        fill(uuid, record);
        ++count;
        last = std::move(text);
    }
    return {};
}

/// Of a page, if a request does not say.
inline constexpr uint32_t kPageDefault = 100;

}  // namespace basalt::control
