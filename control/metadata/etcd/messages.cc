#include "control/metadata/etcd/messages.h"

#include <algorithm>

namespace basalt::metadata::etcd {
namespace {

std::string below(std::string_view root, std::string_view key) {
    return std::string(root).append(key);
}

Revision to_revision(int64_t revision) {
    return Revision(static_cast<uint64_t>(revision));
}

int64_t from_revision(Revision revision) {
    return static_cast<int64_t>(revision.raw());
}

}  // namespace

std::string end_of_prefix(std::string prefix) {
    while (!prefix.empty() && prefix.back() == '\xff') {
        prefix.pop_back();
    }
    if (prefix.empty()) {
        return std::string(1, '\0');  // All that is after the first key.
    }
    prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
    return prefix;
}

metadata::KeyValue from_etcd(const KeyValue& entry, std::string_view root) {
    return {.key = entry.key().substr(std::min(root.size(), entry.key().size())),
            .value = entry.value(),
            .created = to_revision(entry.create_revision()),
            .modified = to_revision(entry.mod_revision()),
            .lease = LeaseId(static_cast<uint64_t>(entry.lease()))};
}

RangeRequest to_range(const ListRequest& request, std::string_view root) {
    RangeRequest range;
    if (request.after < request.prefix) {
        range.set_key(below(root, request.prefix));
    } else {
        range.set_key(below(root, request.after) + '\0');
    }
    range.set_range_end(end_of_prefix(below(root, request.prefix)));
    range.set_limit(request.limit);
    range.set_revision(from_revision(request.at));
    return range;
}

TxnRequest to_txn(const Transaction& transaction, std::string_view root) {
    TxnRequest txn;
    for (const Condition& one : transaction.conditions) {
        Compare& compare = *txn.add_compare();
        compare.set_target(Compare::MOD);
        compare.set_key(below(root, one.key));
        compare.set_mod_revision(from_revision(one.modified));
    }
    for (const Change& one : transaction.changes) {
        RequestOp& op = *txn.add_success();
        if (one.value.has_value()) {
            PutRequest& put = *op.mutable_request_put();
            put.set_key(below(root, one.key));
            put.set_value(*one.value);
            put.set_lease(static_cast<int64_t>(one.lease.raw()));
        } else {
            op.mutable_request_delete_range()->set_key(below(root, one.key));
        }
    }
    if (transaction.changes.empty()) {
        // A transaction without a linearizable operation is judged by what one member knows
        // (etcd 3.4, etcdserver/v3_server.go, isTxnSerializable()).
        for (auto* ops : {txn.mutable_success(), txn.mutable_failure()}) {
            RangeRequest& range = *ops->Add()->mutable_request_range();
            range.set_key(below(root, "-"));
            range.set_count_only(true);
        }
    }
    return txn;
}

WatchRequest to_watch(std::string_view prefix, Revision after, std::string_view root) {
    WatchRequest request;
    WatchCreateRequest& create = *request.mutable_create_request();
    create.set_key(below(root, prefix));
    create.set_range_end(end_of_prefix(below(root, prefix)));
    // From `after` itself, which is known already: a watch from the revision up to which etcd has
    // compacted is let through, and misses the deletions of just that one.
    create.set_start_revision(std::max<int64_t>(from_revision(after), 1));
    create.set_progress_notify(true);
    return request;
}

std::vector<WatchEvent> from_etcd(const WatchResponse& response,
                                  Revision after,
                                  std::string_view root) {
    std::vector<WatchEvent> events;
    for (const Event& one : response.events()) {
        metadata::KeyValue entry = from_etcd(one.kv(), root);
        if (entry.modified <= after) {
            continue;
        }
        WatchEvent& event = events.emplace_back();
        event.revision = entry.modified;
        event.key = entry.key;
        if (one.type() == Event::PUT) {
            event.now = std::move(entry);
        }
    }
    return events;
}

}  // namespace basalt::metadata::etcd
