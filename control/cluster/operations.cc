#include "control/cluster/operations.h"

#include <utility>

#include "control/cluster/keys.h"

namespace basalt::cluster {
namespace {

using metadata::Change;
using metadata::KeyValue;
using metadata::Outcome;
using metadata::Transaction;

template <typename Record>
Change put_change(std::string key, const Record& record) {
    return {.key = std::move(key), .value = record.SerializeAsString(), .lease = {}};
}

/// A record that may not be there: of version 0 then.
template <typename Record>
Task<Result<Versioned<Record>>> get_or_none(MetadataStore& store, std::string key) {
    Result<Versioned<Record>> found = co_await get_record<Record>(store, std::move(key));
    if (!found && found.error().code == Errc::kNotFound) {
        co_return Versioned<Record>{};
    }
    co_return found;
}

/// The number that the next one gets; what is there counts it up.
Task<Result<Versioned<Counter>>> next_number(MetadataStore& store, std::string key) {
    Result<Versioned<Counter>> counter = co_await get_or_none<Counter>(store, std::move(key));
    if (counter && counter->record.next() == 0) {
        counter->record.set_next(1);
    }
    co_return counter;
}

void count_up(Transaction& transaction, std::string_view key, const Versioned<Counter>& counter) {
    Counter after;
    after.set_next(counter.record.next() + 1);
    transaction.conditions.push_back({std::string(key), counter.version});
    transaction.changes.push_back(put_change(std::string(key), after));
}

}  // namespace

Task<Result<Uuid>> open_cluster(MetadataStore& store, Uuid fresh, uint64_t now_ns) {
    for (int i = 0; i < kTriesMax; ++i) {
        const Result<Versioned<Cluster>> known =
            co_await get_or_none<Cluster>(store, std::string(kClusterKey));
        if (!known) {
            co_return known.error();
        }
        if (known->version != Revision()) {
            const Uuid uuid = to_uuid(known->record.uuid());
            if (uuid.is_nil()) {
                co_return Errc::kDataCorrupt;
            }
            co_return uuid;
        }
        Cluster cluster;
        cluster.set_uuid(to_field(fresh));
        cluster.set_created_ns(now_ns);
        const Result<Revision> made =
            co_await put_record(store, std::string(kClusterKey), std::move(cluster), Revision());
        if (!made && made.error().code != Errc::kCompareMismatch) {
            co_return made.error();
        }
    }
    co_return Errc::kTryAgain;
}

Task<Result<Versioned<Node>>> register_node(MetadataStore& store, Node node) {
    const Uuid uuid = to_uuid(node.uuid());
    if (uuid.is_nil() || !is_name(node.host()) || !is_name(node.rack()) ||
        !is_name(node.datacenter())) {
        co_return Errc::kInvalidArgument;
    }
    for (int i = 0; i < kTriesMax; ++i) {
        Result<Versioned<Node>> known = co_await get_or_none<Node>(store, key_of(kNodes, uuid));
        if (!known || known->version != Revision()) {
            co_return known;
        }
        const Result<Revision> made =
            co_await put_record(store, key_of(kNodes, uuid), node, Revision());
        if (!made && made.error().code != Errc::kCompareMismatch) {
            co_return made.error();
        }
    }
    co_return Errc::kTryAgain;
}

Task<Result<Versioned<Drive>>> add_drive(MetadataStore& store, Drive drive) {
    const Uuid uuid = to_uuid(drive.uuid());
    if (uuid.is_nil() || drive.capacity_bytes() == 0) {
        co_return Errc::kInvalidArgument;
    }
    const std::string node_key = key_of(kNodes, to_uuid(drive.node()));
    for (int i = 0; i < kTriesMax; ++i) {
        Result<Versioned<Drive>> known = co_await get_or_none<Drive>(store, key_of(kDrives, uuid));
        if (!known || known->version != Revision()) {
            if (known && known->record.node() != drive.node()) {
                co_return Errc::kExists;
            }
            co_return known;
        }
        const Result<Versioned<Node>> node = co_await get_record<Node>(store, node_key);
        if (!node) {
            co_return node.error();
        }
        const Result<Versioned<Counter>> counter =
            co_await next_number(store, std::string(kNextDrive));
        if (!counter) {
            co_return counter.error();
        }
        drive.set_number(static_cast<uint32_t>(counter->record.next()));
        Transaction transaction;
        transaction.conditions.push_back({key_of(kDrives, uuid), Revision()});
        transaction.conditions.push_back({node_key, node->version});
        transaction.changes.push_back(put_change(key_of(kDrives, uuid), drive));
        count_up(transaction, kNextDrive, *counter);
        const Result<Outcome> outcome = co_await store.commit(std::move(transaction));
        if (!outcome) {
            co_return outcome.error();
        }
    }
    co_return Errc::kTryAgain;
}

Task<Result<replication::Epoch>> claim_head(MetadataStore& store,
                                            Uuid volume,
                                            Uuid node,
                                            metadata::LeaseId lease) {
    const std::string volume_key = key_of(kVolumes, volume);
    const std::string lease_key = key_of(kHeadLeases, volume);
    for (int i = 0; i < kTriesMax; ++i) {
        const Result<Versioned<Volume>> served = co_await get_record<Volume>(store, volume_key);
        if (!served || served->record.state() != Volume::READY) {
            co_return served ? Error(Errc::kNotFound) : served.error();
        }
        const Result<KeyValue> holder = co_await store.get(lease_key);
        if (!holder && holder.error().code != Errc::kNotFound) {
            co_return holder.error();
        }
        if (holder && holder->lease != lease) {
            co_return Errc::kBusy;
        }
        const Result<Versioned<Head>> head =
            co_await get_or_none<Head>(store, key_of(kHeads, volume));
        if (!head) {
            co_return head.error();
        }
        Head next;
        next.set_volume(to_field(volume));
        next.set_node(to_field(node));
        next.set_epoch(head->record.epoch() + 1);
        Transaction transaction;
        transaction.conditions.push_back({volume_key, served->version});
        transaction.conditions.push_back({lease_key, holder ? holder->modified : Revision()});
        transaction.conditions.push_back({key_of(kHeads, volume), head->version});
        transaction.changes.push_back(put_change(key_of(kHeads, volume), next));
        transaction.changes.push_back({.key = lease_key, .value = to_field(node), .lease = lease});
        const Result<Outcome> outcome = co_await store.commit(std::move(transaction));
        if (!outcome) {
            co_return outcome.error();
        }
        if (outcome->is_applied) {
            co_return replication::Epoch(next.epoch());
        }
    }
    co_return Errc::kTryAgain;
}

}  // namespace basalt::cluster
