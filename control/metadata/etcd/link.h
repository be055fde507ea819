#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <google/protobuf/message_lite.h>

#include "control/metadata/etcd/inbox.h"
#include "control/metadata/etcd/limits.h"
#include "control/metadata/etcd/verdict.h"
#include "reactor/base/result.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::metadata::etcd {

/// Contents of PEM files. A value.
struct TlsOptions {
    std::string authority{};    ///< Who signed the members' certificates; empty: the system's.
    std::string certificate{};  ///< Ours, where members ask for one; empty: none.
    std::string key{};          ///< Its private key.
};

/// How to reach an etcd cluster. A value.
struct EtcdOptions {
    std::vector<std::string> endpoints{};  ///< "HOST:PORT" or "[ADDRESS]:PORT" of its members.
    bool has_tls = false;
    TlsOptions tls{};
    /// What all keys begin with there, so that several clusters may share an etcd.
    std::string root = "basalt/";
    uint64_t attempt_timeout_ns = kAttemptTimeoutNs;
    uint64_t call_timeout_ns = kCallTimeoutNs;
};

/// Whether a call may be made again when nobody knows what became of it.
enum class Repeat : uint8_t { kSafe, kOnlyIfRefused };

/// Connections to the members of an etcd cluster, one of which is used until it fails.
///
/// gRPC's own threads do the work; their results come through the Inbox to the control thread.
/// Owner: EtcdStore. Core: the control thread's.
class EtcdLink {
  public:
    /// Makes connections when they are needed. `options` have endpoints.
    EtcdLink(Reactor& here, const EtcdOptions& options);
    EtcdLink(const EtcdLink&) = delete;
    EtcdLink& operator=(const EtcdLink&) = delete;
    ~EtcdLink();  ///< Waits for gRPC's threads to let go of what was cancelled.

    /// One call with one answer, by one endpoint after the other while that can help. `method` is
    /// static; request and response live in the caller's frame. Errors: judge()'s.
    [[nodiscard]] Task<Status> call(const char* method,
                                    const google::protobuf::MessageLite& request,
                                    google::protobuf::MessageLite& response,
                                    Repeat repeat);

    [[nodiscard]] size_t current() const { return current_; }
    /// Endpoint `index` has failed: the next one is used, if it is the current one.
    void leave(size_t index, std::string_view why);
    /// It has answered.
    void praise(size_t index);

    [[nodiscard]] Inbox& inbox() { return inbox_; }
    [[nodiscard]] Reactor& reactor() { return here_; }
    class Endpoint;
    [[nodiscard]] Endpoint& endpoint(size_t index) { return *endpoints_[index]; }

  private:
    class Call;

    Reactor& here_;
    const EtcdOptions options_;
    Inbox inbox_;
    std::vector<std::unique_ptr<Endpoint>> endpoints_;
    size_t current_ = 0;
};

}  // namespace basalt::metadata::etcd
