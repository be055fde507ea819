#include <utility>

#include "control/cluster/keys.h"
#include "control/cluster/operations.h"
#include "control/metadata/limits.h"

namespace basalt::cluster {
namespace {

using metadata::KeyValue;
using metadata::Transaction;

// Room that a transaction's first part needs besides chunk groups: records, names, counters.
constexpr size_t kOtherItems = 8;
constexpr size_t kOtherBytes = 16'384;

/// Adds the chunk groups from `group` on that fit into the transaction; the next group.
uint32_t add_groups(Transaction& transaction, const VolumePlan& plan, uint32_t group) {
    const Uuid uuid = to_uuid(plan.volume.uuid());
    size_t bytes = kOtherBytes;
    for (; group < plan.chunks.groups(); ++group) {
        std::string value = plan.chunks.to_record(group, 1).SerializeAsString();
        std::string key = key_of_chunks(uuid, group);
        bytes += key.size() + value.size();
        if (transaction.changes.size() + kOtherItems > metadata::kTransactionItemsMax ||
            bytes > metadata::kTransactionBytesMax) {
            break;
        }
        transaction.changes.push_back(
            {.key = std::move(key), .value = std::move(value), .lease = {}});
    }
    return group;
}

metadata::Change put_volume(const Volume& volume) {
    return {.key = key_of(kVolumes, to_uuid(volume.uuid())),
            .value = volume.SerializeAsString(),
            .lease = {}};
}

/// The volume that a name or request belongs to; version 0: to none.
Task<Result<Versioned<Volume>>> find_by(MetadataStore& store, std::string key) {
    const Result<KeyValue> named = co_await store.get(std::move(key));
    if (!named && named.error().code == Errc::kNotFound) {
        co_return Versioned<Volume>{};
    }
    if (!named) {
        co_return named.error();
    }
    co_return co_await get_record<Volume>(store, key_of(kVolumes, to_uuid(named->value)));
}

/// Whether a volume that is there is what is wanted.
bool is_wanted(const Volume& volume, const VolumeWish& wish) {
    if (!wish.request_id.empty() && volume.request_id() == wish.request_id) {
        return true;
    }
    Result<Volume> wanted = to_volume(wish, to_uuid(volume.uuid()));
    if (!wanted || volume.request_id() != wish.request_id) {
        return false;
    }
    wanted->set_number(volume.number());
    wanted->set_state(volume.state());
    wanted->set_placement_version(volume.placement_version());
    *wanted->mutable_replica_drives() = volume.replica_drives();
    wanted->set_map_node(volume.map_node());
    wanted->set_map_file(volume.map_file());
    return wanted->SerializeAsString() == volume.SerializeAsString();
}

/// Puts the groups from `group` on there, and the volume, ready then. Its record is written with
/// each part: whoever goes on with a creation that he takes for broken off ends the other's.
Task<Result<Versioned<Volume>>> complete(MetadataStore& store,
                                         VolumePlan plan,
                                         uint32_t group,
                                         Revision version) {
    do {
        Transaction part;
        part.conditions.push_back({key_of(kVolumes, to_uuid(plan.volume.uuid())), version});
        group = add_groups(part, plan, group);
        plan.volume.set_state(group == plan.chunks.groups() ? Volume::READY : Volume::CREATING);
        part.changes.push_back(put_volume(plan.volume));
        const Result<Revision> done = co_await commit_all(store, std::move(part));
        if (!done) {
            co_return done.error();
        }
        version = *done;
    } while (group < plan.chunks.groups());
    co_return Versioned<Volume>{.record = std::move(plan.volume), .version = version};
}

/// A volume that is not there yet. Errors: as complete()'s.
Task<Result<Versioned<Volume>>> begin(MetadataStore& store, VolumePlan plan) {
    Result<Versioned<Counter>> counter =
        co_await get_record<Counter>(store, std::string(kNextVolume));
    if (!counter && counter.error().code != Errc::kNotFound) {
        co_return counter.error();
    }
    const uint64_t number = counter ? counter->record.next() : 1;
    Counter after;
    after.set_next(number + 1);
    plan.volume.set_number(number);
    const std::string uuid = plan.volume.uuid();
    Transaction first;
    const uint32_t group = add_groups(first, plan, 0);
    const bool is_all = group == plan.chunks.groups();
    plan.volume.set_state(is_all ? Volume::READY : Volume::CREATING);
    first.conditions.push_back({key_of(kVolumes, to_uuid(uuid)), Revision()});
    first.conditions.push_back({key_of(kVolumeNames, plan.volume.name()), Revision()});
    first.conditions.push_back({std::string(kNextVolume), counter ? counter->version : Revision()});
    first.changes.insert(first.changes.begin(), put_volume(plan.volume));
    first.changes.push_back(
        {.key = key_of(kVolumeNames, plan.volume.name()), .value = uuid, .lease = {}});
    first.changes.push_back(
        {.key = std::string(kNextVolume), .value = after.SerializeAsString(), .lease = {}});
    if (!plan.volume.request_id().empty()) {
        const std::string key = key_of(kRequests, plan.volume.request_id());
        first.conditions.push_back({key, Revision()});
        first.changes.push_back({.key = key, .value = uuid, .lease = {}});
    }
    const Result<Revision> begun = co_await commit_all(store, std::move(first));
    if (!begun) {
        co_return begun.error();
    }
    if (is_all) {
        co_return Versioned<Volume>{.record = std::move(plan.volume), .version = *begun};
    }
    co_return co_await complete(store, std::move(plan), group, *begun);
}

}  // namespace

Task<Result<Versioned<Volume>>> create_volume(MetadataStore& store,
                                              const ClusterView& view,
                                              VolumeWish wish,
                                              Uuid fresh) {
    const Result<Volume> volume = to_volume(wish, fresh);
    if (!volume) {
        co_return volume.error();
    }
    for (int i = 0; i < kTriesMax; ++i) {
        Result<Versioned<Volume>> known = Versioned<Volume>{};
        if (!wish.request_id.empty()) {
            known = co_await find_by(store, key_of(kRequests, wish.request_id));
        }
        if (known && known->version == Revision()) {
            known = co_await find_by(store, key_of(kVolumeNames, wish.name));
        }
        if (!known && known.error().code == Errc::kNotFound) {
            continue;  // Deleted since its name was read.
        }
        if (!known) {
            co_return known;
        }
        const bool is_there = known->version != Revision();
        if (is_there && !is_wanted(known->record, wish)) {
            co_return Errc::kExists;
        }
        if (is_there && known->record.state() != Volume::CREATING) {
            co_return known;
        }
        Result<VolumePlan> plan = plan_volume(view, is_there ? known->record : *volume);
        if (!plan) {
            co_return plan.error();
        }
        Result<Versioned<Volume>> made = Errc::kCompareMismatch;
        if (is_there) {
            made = co_await complete(store, std::move(*plan), 0, known->version);
        } else {
            made = co_await begin(store, std::move(*plan));
        }
        if (made || made.error().code != Errc::kCompareMismatch) {
            co_return made;
        }
    }
    co_return Errc::kTryAgain;
}

}  // namespace basalt::cluster
