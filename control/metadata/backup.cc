#include "control/metadata/backup.h"

#include <bit>
#include <cstring>
#include <utility>

#include <xxhash.h>

#include "control/metadata/limits.h"

namespace basalt::metadata {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "BASALT METADATA\n";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 16 + 4 + 4 + 8;
constexpr size_t kChecksumBytes = 8;
constexpr int kCutsMax = 10;  // Tries to read all pages at one revision.

template <typename T>
void put(std::string& out, T number) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &number, sizeof(T));
    out.append(bytes, sizeof(T));
}
template <typename T>
T take(std::string_view& in) {
    T number;
    std::memcpy(&number, in.data(), sizeof(T));
    in.remove_prefix(sizeof(T));
    return number;
}

uint64_t checksum(std::string_view bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

Result<BackupEntry> take_entry(std::string_view& in) {
    if (in.size() < 2 * sizeof(uint32_t)) {
        return Errc::kDataCorrupt;
    }
    const auto key_bytes = take<uint32_t>(in);
    const auto value_bytes = take<uint32_t>(in);
    const uint64_t bytes = uint64_t{key_bytes} + value_bytes;
    if (key_bytes == 0 || key_bytes > kKeyBytesMax || bytes > kTransactionBytesMax ||
        bytes > in.size()) {
        return Errc::kDataCorrupt;
    }
    const BackupEntry entry{.key = in.substr(0, key_bytes),
                            .value = in.substr(key_bytes, value_bytes)};
    in.remove_prefix(bytes);
    return entry;
}

std::string make_backup(const std::vector<KeyValue>& keys) {
    std::string backup(kMagic);
    put(backup, kVersion);
    put(backup, uint32_t{0});
    put(backup, uint64_t{keys.size()});
    for (const KeyValue& one : keys) {
        put(backup, static_cast<uint32_t>(one.key.size()));
        put(backup, static_cast<uint32_t>(one.value.size()));
        backup += one.key;
        backup += one.value;
    }
    put(backup, checksum(backup));
    return backup;
}

/// All keys at one revision. Errors: the store's; kOutOfRange: it changed meanwhile.
Task<Result<std::vector<KeyValue>>> read_all(MetadataStore& store) {
    std::vector<KeyValue> keys;
    ListRequest request{.prefix = "", .after = "", .limit = kPageKeysMax, .at = {}};
    while (true) {
        Result<Page> page = co_await store.list(request);
        if (!page) {
            co_return page.error();
        }
        const bool has_more = page->has_more;
        request.at = page->revision;
        request.after = page->keys.empty() ? request.after : page->keys.back().key;
        for (KeyValue& one : page->keys) {
            if (one.lease == LeaseId()) {
                keys.push_back(std::move(one));
            }
        }
        if (!has_more) {
            co_return keys;
        }
    }
}

/// Claims the store for the import of this backup: the revision of kImportKey.
Task<Result<Revision>> begin_import(MetadataStore& store, std::string name) {
    const Result<KeyValue> begun = co_await store.get(kImportKey);
    if (begun && begun->value != name) {
        co_return Errc::kBusy;
    }
    if (!begun && begun.error().code != Errc::kNotFound) {
        co_return begun.error();
    }
    if (!begun) {
        ListRequest any{.prefix = "", .after = "", .limit = 1, .at = {}};
        const Result<Page> page = co_await store.list(std::move(any));
        if (!page) {
            co_return page.error();
        }
        if (!page->keys.empty()) {
            co_return Errc::kExists;
        }
    }
    // Again if it is there already: an importer that was believed dead gets no further.
    Transaction claim;
    claim.conditions.push_back({kImportKey, begun ? begun->modified : Revision()});
    claim.changes.push_back({.key = kImportKey, .value = std::move(name), .lease = {}});
    const Result<Outcome> claimed = co_await store.commit(std::move(claim));
    if (!claimed) {
        co_return claimed.error();
    }
    if (!claimed->is_applied) {
        co_return Errc::kBusy;
    }
    co_return claimed->revision;
}

/// The next entries that fit into a transaction; moves `next` behind them.
Transaction next_part(const std::vector<BackupEntry>& entries, size_t& next, Revision claim) {
    Transaction part;
    part.conditions.push_back({kImportKey, claim});
    size_t bytes = 0;
    for (; next < entries.size() && part.changes.size() < kTransactionItemsMax; ++next) {
        const BackupEntry& one = entries[next];
        bytes += one.key.size() + one.value.size();
        if (bytes > kTransactionBytesMax && !part.changes.empty()) {
            break;
        }
        part.changes.push_back(
            {.key = std::string(one.key), .value = std::string(one.value), .lease = {}});
    }
    return part;
}

bool is_same(const std::vector<KeyValue>& keys, const std::vector<BackupEntry>& entries) {
    size_t at = 0;
    for (const KeyValue& one : keys) {
        if (one.key == kImportKey) {
            continue;
        }
        if (at == entries.size() || one.key != entries[at].key || one.value != entries[at].value) {
            return false;
        }
        ++at;
    }
    return at == entries.size();
}

Task<Status> commit_all(MetadataStore& store, Transaction transaction) {
    const Result<Outcome> done = co_await store.commit(std::move(transaction));
    if (!done) {
        co_return done.error();
    }
    co_return done->is_applied ? kOk : Status(Errc::kBusy);
}

}  // namespace

Result<std::vector<BackupEntry>> read_backup(std::string_view backup) {
    if (backup.size() < kHeaderBytes + kChecksumBytes || !backup.starts_with(kMagic)) {
        return Errc::kInvalidArgument;
    }
    std::string_view in = backup.substr(kMagic.size());
    if (take<uint32_t>(in) != kVersion) {
        return Errc::kNotSupported;
    }
    const bool is_plain = take<uint32_t>(in) == 0;
    const auto count = take<uint64_t>(in);
    std::string_view end = in.substr(in.size() - kChecksumBytes);
    in.remove_suffix(kChecksumBytes);
    backup.remove_suffix(kChecksumBytes);
    if (!is_plain || take<uint64_t>(end) != checksum(backup)) {
        return Errc::kDataCorrupt;
    }
    std::vector<BackupEntry> entries;
    while (!in.empty()) {
        BASALT_TRY(const BackupEntry entry, take_entry(in));
        if (!entries.empty() && entries.back().key >= entry.key) {
            return Errc::kDataCorrupt;
        }
        entries.push_back(entry);
    }
    if (entries.size() != count) {
        return Errc::kDataCorrupt;
    }
    return entries;
}

Task<Result<std::string>> export_metadata(MetadataStore& store) {
    for (int i = 0; i < kCutsMax; ++i) {
        const Result<std::vector<KeyValue>> keys = co_await read_all(store);
        if (keys) {
            for (const KeyValue& one : *keys) {
                if (one.key == kImportKey) {
                    co_return Errc::kBusy;
                }
            }
            co_return make_backup(*keys);
        }
        if (keys.error().code != Errc::kOutOfRange) {
            co_return keys.error();
        }
    }
    co_return Errc::kTryAgain;
}

Task<Status> import_metadata(MetadataStore& store, std::string backup) {
    const Result<std::vector<BackupEntry>> entries = read_backup(backup);
    if (!entries) {
        co_return entries.error();
    }
    std::string name = "backup " + std::to_string(checksum(backup));
    const Result<Revision> claim = co_await begin_import(store, std::move(name));
    if (!claim) {
        co_return claim.error();
    }
    for (size_t next = 0; next < entries->size();) {
        Transaction part = next_part(*entries, next, *claim);
        const Status put_there = co_await commit_all(store, std::move(part));
        if (!put_there) {
            co_return put_there;
        }
    }
    const Result<std::vector<KeyValue>> keys = co_await read_all(store);
    if (!keys) {
        co_return keys.error().code == Errc::kOutOfRange ? Error(Errc::kBusy) : keys.error();
    }
    if (!is_same(*keys, *entries)) {
        co_return Errc::kDataCorrupt;
    }
    Transaction finish;
    finish.conditions.push_back({kImportKey, *claim});
    finish.changes.push_back({.key = kImportKey, .value = {}, .lease = {}});
    co_return co_await commit_all(store, std::move(finish));
}

Task<Status> move_metadata(MetadataStore& from, MetadataStore& to) {
    Result<std::string> backup = co_await export_metadata(from);
    if (!backup) {
        co_return backup.error();
    }
    co_return co_await import_metadata(to, std::move(*backup));
}

}  // namespace basalt::metadata
