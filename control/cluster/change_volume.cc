#include <utility>

#include "control/cluster/operations.h"
#include "control/metadata/limits.h"

namespace basalt::cluster {
namespace {

using metadata::Change;
using metadata::KeyValue;
using metadata::Transaction;

Change put_change(std::string key, const Volume& volume) {
    return {.key = std::move(key), .value = volume.SerializeAsString(), .lease = {}};
}

Change erase_change(std::string key) {
    return {.key = std::move(key), .value = std::nullopt, .lease = {}};
}

/// The revision of a key; 0: it is not there.
Task<Result<Revision>> version_of(MetadataStore& store, std::string key) {
    const Result<KeyValue> found = co_await store.get(std::move(key));
    if (found) {
        co_return found->modified;
    }
    if (found.error().code == Errc::kNotFound) {
        co_return Revision();
    }
    co_return found.error();
}

bool is_mismatch(const Result<Revision>& result) {
    return !result && result.error().code == Errc::kCompareMismatch;
}

/// Deletes the chunk groups of a volume that is being deleted, some with each transaction.
Task<Status> erase_chunks(MetadataStore& store, std::string prefix) {
    while (true) {
        metadata::ListRequest request{
            .prefix = prefix, .after = "", .limit = metadata::kTransactionItemsMax / 2, .at = {}};
        const Result<metadata::Page> page = co_await store.list(std::move(request));
        if (!page) {
            co_return page.error();
        }
        if (page->keys.empty()) {
            co_return kOk;
        }
        Transaction transaction;
        for (const KeyValue& one : page->keys) {
            transaction.changes.push_back(erase_change(one.key));
        }
        const Result<Revision> done = co_await commit_all(store, std::move(transaction));
        if (!done) {
            co_return done.error();
        }
    }
}

}  // namespace

Task<Result<Versioned<Volume>>> rename_volume(MetadataStore& store,
                                              Uuid volume,
                                              std::string name,
                                              Revision version) {
    if (!is_name(name)) {
        co_return Errc::kInvalidArgument;
    }
    const std::string key = key_of(kVolumes, volume);
    for (int i = 0; i < kTriesMax; ++i) {
        Result<Versioned<Volume>> known = co_await get_record<Volume>(store, key);
        if (!known || known->record.name() == name) {
            co_return known;  // It may have been done by this very call.
        }
        if (version != Revision() && known->version != version) {
            co_return Errc::kCompareMismatch;
        }
        if (known->record.state() != Volume::READY) {
            co_return Errc::kBusy;
        }
        const Result<Revision> taken = co_await version_of(store, key_of(kVolumeNames, name));
        if (!taken || *taken != Revision()) {
            co_return taken ? Error(Errc::kExists) : taken.error();
        }
        Transaction transaction;
        transaction.conditions.push_back({key, known->version});
        transaction.conditions.push_back({key_of(kVolumeNames, name), Revision()});
        transaction.changes.push_back(erase_change(key_of(kVolumeNames, known->record.name())));
        transaction.changes.push_back(
            {.key = key_of(kVolumeNames, name), .value = known->record.uuid(), .lease = {}});
        known->record.set_name(name);
        transaction.changes.push_back(put_change(key, known->record));
        const Result<Revision> done = co_await commit_all(store, std::move(transaction));
        if (done) {
            known->version = *done;
            co_return known;
        }
        if (!is_mismatch(done)) {
            co_return done.error();
        }
    }
    co_return Errc::kTryAgain;
}

Task<Result<Revision>> put_attachment(MetadataStore& store,
                                      Versioned<Attachment> wish,
                                      Versioned<Volume> volume) {
    const Uuid uuid = to_uuid(volume.record.uuid());
    Transaction transaction;
    transaction.conditions.push_back({key_of(kVolumes, uuid), volume.version});
    transaction.conditions.push_back({key_of(kAttachments, uuid), wish.version});
    transaction.changes.push_back(put_change(key_of(kVolumes, uuid), volume.record));
    transaction.changes.push_back(
        {.key = key_of(kAttachments, uuid), .value = wish.record.SerializeAsString(), .lease = {}});
    co_return co_await commit_all(store, std::move(transaction));
}

Task<Result<Versioned<Volume>>> begin_delete_volume(MetadataStore& store,
                                                    Uuid volume,
                                                    Revision version) {
    const std::string key = key_of(kVolumes, volume);
    for (int i = 0; i < kTriesMax; ++i) {
        Result<Versioned<Volume>> known = co_await get_record<Volume>(store, key);
        if (!known || known->record.state() == Volume::DELETING) {
            co_return known;
        }
        if (version != Revision() && known->version != version) {
            co_return Errc::kCompareMismatch;
        }
        const Result<Revision> attached = co_await version_of(store, key_of(kAttachments, volume));
        if (!attached || *attached != Revision()) {
            co_return attached ? Error(Errc::kBusy) : attached.error();
        }
        Transaction transaction;
        transaction.conditions.push_back({key, known->version});
        transaction.conditions.push_back({key_of(kAttachments, volume), Revision()});
        known->record.set_state(Volume::DELETING);
        transaction.changes.push_back(put_change(key, known->record));
        const Result<Revision> done = co_await commit_all(store, std::move(transaction));
        if (done) {
            known->version = *done;
            co_return known;
        }
        if (!is_mismatch(done)) {
            co_return done.error();
        }
    }
    co_return Errc::kTryAgain;
}

Task<Status> finish_delete_volume(MetadataStore& store, Uuid volume) {
    const std::string key = key_of(kVolumes, volume);
    const Result<Versioned<Volume>> known = co_await get_record<Volume>(store, key);
    if (!known) {
        co_return known.error().code == Errc::kNotFound ? kOk : Status(known.error());
    }
    if (known->record.state() != Volume::DELETING) {
        co_return Errc::kBusy;
    }
    const Status erased = co_await erase_chunks(store, key_of(kChunks, volume) + "/");
    if (!erased) {
        co_return erased;
    }
    // The volume last, and at once with what leads to it.
    Transaction transaction;
    transaction.conditions.push_back({key, known->version});
    transaction.changes.push_back(erase_change(key));
    transaction.changes.push_back(erase_change(key_of(kVolumeNames, known->record.name())));
    transaction.changes.push_back(erase_change(key_of(kHeads, volume)));
    if (!known->record.request_id().empty()) {
        transaction.changes.push_back(erase_change(key_of(kRequests, known->record.request_id())));
    }
    const Result<Revision> done = co_await commit_all(store, std::move(transaction));
    if (!done && !is_mismatch(done)) {
        co_return done.error();
    }
    co_return kOk;  // A mismatch: another call has just done it, for nothing else changes it now.
}

}  // namespace basalt::cluster
