#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/metadata/etcd/link.h"
#include "control/metadata/store.h"

namespace basalt::metadata {

/// What a member says of itself and its cluster. A value.
struct EtcdHealth {
    /// As long as one is raised, etcd takes nothing that needs space (kNoSpace), or nothing at all.
    struct Alarm {
        enum class Kind : uint8_t { kNoSpace, kCorrupt };
        uint64_t member = 0;
        Kind kind = Kind::kNoSpace;
    };
    std::string version;
    uint64_t member = 0;
    uint64_t leader = 0;
    uint64_t size_bytes = 0;         ///< Of its file, which counts against its quota ...
    uint64_t size_in_use_bytes = 0;  ///< ... and what a defragmentation would leave of it.
    std::vector<Alarm> alarms;
};

/// The metadata in an etcd cluster, shared by all control processes: etcd 3.4's v3 API over gRPC.
/// Of several endpoints one is used until it fails. What may be done twice is tried at the others,
/// too; a commit only if it was certainly not done, else the caller hears kTimedOut and looks.
///
/// Owner: the process. Core: the control thread's, whose loop calls process_ready(). Destroyed with
/// no call under way and no watch.
class EtcdStore final : public MetadataStore {
  public:
    /// Connects when it is called. Errors: kInvalidArgument: no endpoints or too many, an empty
    /// one, a certificate without its key, timeouts of 0.
    [[nodiscard]] static Result<std::unique_ptr<EtcdStore>> make(Reactor& here,
                                                                 const etcd::EtcdOptions& options);
    EtcdStore(const EtcdStore&) = delete;
    EtcdStore& operator=(const EtcdStore&) = delete;
    ~EtcdStore() override;

    /// Readable when process_ready() has something to do. Level triggered.
    [[nodiscard]] int poll_fd() { return link_.inbox().event_fd(); }
    void process_ready() { link_.inbox().process(); }

    [[nodiscard]] Task<Result<KeyValue>> get(std::string key) override;
    [[nodiscard]] Task<Result<Page>> list(ListRequest request) override;
    [[nodiscard]] Task<Result<Outcome>> commit(Transaction transaction) override;
    [[nodiscard]] Task<Result<LeaseId>> grant(uint64_t ttl_ns) override;
    [[nodiscard]] Task<Status> keep_alive(LeaseId lease) override;
    [[nodiscard]] Task<Status> revoke(LeaseId lease) override;
    void watch(WatchUser& user, std::string prefix, Revision after) override;
    void unwatch(WatchUser& user) override;
    /// All of the etcd's changes, other users' too.
    [[nodiscard]] Task<Status> forget(Revision until) override;

    [[nodiscard]] Task<Result<EtcdHealth>> health();

  private:
    class Watch;

    EtcdStore(Reactor& here, const etcd::EtcdOptions& options);

    const std::string root_;
    etcd::EtcdLink link_;
    std::vector<std::unique_ptr<Watch>> watches_;
};

}  // namespace basalt::metadata
