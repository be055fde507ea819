#include "control/plane/leadership.h"

#include "control/cluster/keys.h"
#include "control/plane/limits.h"
#include "reactor/base/log.h"

namespace basalt::cluster {

using metadata::KeyValue;
using metadata::LeaseId;
using metadata::Outcome;
using metadata::Transaction;

Task<Status> Leadership::tick() {
    if (lease_ != LeaseId()) {
        const Status kept = co_await store_.keep_alive(lease_);
        if (!kept) {
            is_leader_ = false;
            if (kept.error().code != Errc::kNotFound) {
                co_return kept;
            }
            lease_ = LeaseId();
        }
    }
    if (lease_ == LeaseId()) {
        const Result<LeaseId> granted = co_await store_.grant(kLeaderLeaseNs);
        if (!granted) {
            co_return granted.error();
        }
        lease_ = *granted;
    }
    if (is_leader_) {
        co_return kOk;
    }
    co_return co_await stand();
}

Task<Status> Leadership::stand() {
    const std::string key(kLeader);
    const Result<KeyValue> holder = co_await store_.get(key);
    if (holder) {
        // It may have been this process, which did not hear of it.
        is_leader_ = holder->lease == lease_;
        co_return kOk;
    }
    if (holder.error().code != Errc::kNotFound) {
        co_return holder.error();
    }
    Transaction transaction;
    transaction.conditions.push_back({key, metadata::Revision()});
    transaction.changes.push_back({.key = key, .value = to_field(who_), .lease = lease_});
    const Result<Outcome> outcome = co_await store_.commit(std::move(transaction));
    if (!outcome) {
        co_return outcome.error();
    }
    is_leader_ = outcome->is_applied;
    if (is_leader_) {
        BASALT_LOG(kInfo, "cluster", "this control process leads");
    }
    co_return kOk;
}

Task<void> Leadership::resign() {
    is_leader_ = false;
    if (lease_ != LeaseId()) {
        // If it fails the lease ends by itself.
        static_cast<void>(co_await store_.revoke(lease_));
        lease_ = LeaseId();
    }
}

}  // namespace basalt::cluster
