#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/cluster/cluster.pb.h"
#include "control/cluster/limits.h"
#include "control/metadata/store.h"

namespace basalt::cluster {

using metadata::MetadataStore;
using metadata::Revision;

/// A record, and which version of it: what a change of it is made on. A value.
template <typename Record>
struct Versioned {
    Record record;
    Revision version;
};

/// Some records of a prefix, in the order of their keys. A value.
template <typename Record>
struct RecordPage {
    std::vector<Versioned<Record>> records;
    std::string next;  ///< Where the next page begins (`after` of list()); empty: this is the last.
};

/// Errors: kDataCorrupt.
template <typename Record>
[[nodiscard]] Result<Versioned<Record>> to_record(const metadata::KeyValue& entry) {
    Versioned<Record> found{.record = {}, .version = entry.modified};
    if (!found.record.ParseFromString(entry.value)) {
        return Errc::kDataCorrupt;
    }
    return found;
}

/// Errors: the store's; kNotFound; kDataCorrupt.
template <typename Record>
[[nodiscard]] Task<Result<Versioned<Record>>> get_record(MetadataStore& store, std::string key) {
    const Result<metadata::KeyValue> entry = co_await store.get(std::move(key));
    if (!entry) {
        co_return entry.error();
    }
    co_return to_record<Record>(*entry);
}

/// `limit`: 1 to metadata::kPageKeysMax. Errors: the store's; kDataCorrupt.
template <typename Record>
[[nodiscard]] Task<Result<RecordPage<Record>>> list_records(MetadataStore& store,
                                                            std::string prefix,
                                                            std::string after,
                                                            uint32_t limit) {
    metadata::ListRequest request{
        .prefix = std::move(prefix), .after = std::move(after), .limit = limit, .at = {}};
    const Result<metadata::Page> page = co_await store.list(std::move(request));
    if (!page) {
        co_return page.error();
    }
    RecordPage<Record> records;
    for (const metadata::KeyValue& one : page->keys) {
        Result<Versioned<Record>> record = to_record<Record>(one);
        if (!record) {
            co_return record.error();
        }
        records.records.push_back(std::move(*record));
    }
    if (page->has_more && !page->keys.empty()) {
        records.next = page->keys.back().key;
    }
    co_return records;
}

/// Makes all of a transaction, or nothing; its revision. Errors: the store's; kCompareMismatch: one
/// of its conditions does not hold.
[[nodiscard]] inline Task<Result<Revision>> commit_all(MetadataStore& store,
                                                       metadata::Transaction transaction) {
    const Result<metadata::Outcome> outcome = co_await store.commit(std::move(transaction));
    if (!outcome) {
        co_return outcome.error();
    }
    if (!outcome->is_applied) {
        co_return Errc::kCompareMismatch;
    }
    co_return outcome->revision;
}

/// Puts a record there if it is still of `version` (0: not there yet); its new version.
/// Errors: the store's; kCompareMismatch: it is of another version, nothing was done.
template <typename Record>
[[nodiscard]] Task<Result<Revision>> put_record(MetadataStore& store,
                                                std::string key,
                                                Record record,
                                                Revision version) {
    metadata::Transaction transaction;
    transaction.conditions.push_back({key, version});
    transaction.changes.push_back(
        {.key = std::move(key), .value = record.SerializeAsString(), .lease = {}});
    co_return co_await commit_all(store, std::move(transaction));
}

/// Changes a record that is there, as it is when its turn comes; what it is then. `version`: only
/// if it is still of that one (0: of any). Errors: the store's; kNotFound; kDataCorrupt;
/// `change`'s; kCompareMismatch: it is of another version; kTryAgain: others were faster, too
/// often.
template <typename Record>
[[nodiscard]] Task<Result<Versioned<Record>>> update_record(
    MetadataStore& store,
    std::string key,
    Revision version,
    std::function<Status(Record& record)> change) {
    for (int i = 0; i < kTriesMax; ++i) {
        Result<Versioned<Record>> known = co_await get_record<Record>(store, key);
        if (!known) {
            co_return known;
        }
        if (version != Revision() && known->version != version) {
            co_return Errc::kCompareMismatch;
        }
        const std::string before = known->record.SerializeAsString();
        const Status changed = change(known->record);
        if (!changed) {
            co_return changed.error();
        }
        if (known->record.SerializeAsString() == before) {
            co_return known;
        }
        const Result<Revision> put = co_await put_record(store, key, known->record, known->version);
        if (put) {
            known->version = *put;
            co_return known;
        }
        if (put.error().code != Errc::kCompareMismatch) {
            co_return put.error();
        }
    }
    co_return version == Revision() ? Errc::kTryAgain : Errc::kCompareMismatch;
}

}  // namespace basalt::cluster
