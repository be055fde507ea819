#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "control/metadata/types.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::metadata {

/// Somebody who is told what changes below a prefix. Calls come from the poll loop, never from
/// inside a call of the store, in the order of revisions, all changes of one revision together.
class WatchUser {
  public:
    virtual ~WatchUser() = default;

    virtual void changed(std::span<const WatchEvent> events) = 0;
    /// What happened meanwhile is not known any more: list, and watch from there. The last call.
    virtual void lost() = 0;
};

/// Where the cluster's state is: keys in order, transactions with conditions, leases, watches.
/// Linearizable: what a call returns is what was so at some moment between call and answer, and
/// nothing that was answered is ever undone. The semantics are those of etcd's v3 API ("etcd API
/// guarantees", etcd 3.4), of which this is the part that is used.
///
/// Owner: the process. Core: the control thread's, for everything.
///
/// Errors of all calls: kInvalidArgument: outside of limits.h; kIo, kNoSpace: the store can't
/// write (an embedded one takes nothing more until it is opened anew, which shows whether what was
/// being changed is there); kTimedOut: no answer, and the outcome is not known; kUnreachable:
/// nobody answers, and nothing was done; kTryAgain: it has too much to do; kPermissionDenied: it
/// does not let us; kDataCorrupt: it says that it is damaged.
class MetadataStore {
  public:
    virtual ~MetadataStore() = default;

    /// Errors: kNotFound.
    [[nodiscard]] virtual Task<Result<KeyValue>> get(std::string key) = 0;

    /// Errors: kOutOfRange: what was so at `request.at` is not known (any more): begin anew.
    [[nodiscard]] virtual Task<Result<Page>> list(ListRequest request) = 0;

    /// Durable when it is answered. Errors: kNotFound: the conditions hold, and a change names a
    /// lease that has ended.
    [[nodiscard]] virtual Task<Result<Outcome>> commit(Transaction transaction) = 0;

    /// A lease that ends `ttl_ns` after it was last kept alive, or later, never earlier; its keys
    /// are deleted then. Whoever relies on having it counts from before the call that kept it.
    /// (etcd counts in whole seconds, and makes short ones longer: 2 s with its own settings.)
    [[nodiscard]] virtual Task<Result<LeaseId>> grant(uint64_t ttl_ns) = 0;
    /// Errors: kNotFound: it has ended.
    [[nodiscard]] virtual Task<Status> keep_alive(LeaseId lease) = 0;
    /// Ends it now. Errors: kNotFound.
    [[nodiscard]] virtual Task<Status> revoke(LeaseId lease) = 0;

    /// Tells `user` all changes of keys with that prefix whose revision is higher than `after`.
    /// `user` does not watch yet, and lives until unwatch() or lost().
    /// A store that loses its peer goes on by itself where it was, at another one.
    virtual void watch(WatchUser& user, std::string prefix, Revision after) = 0;
    virtual void unwatch(WatchUser& user) = 0;

    /// Changes up to `until` may be forgotten: watches that begin before it are lost, lists as of
    /// before it not answered. What is so now stays. Errors: kOutOfRange: it is not there yet.
    [[nodiscard]] virtual Task<Status> forget(Revision until) = 0;
};

}  // namespace basalt::metadata
