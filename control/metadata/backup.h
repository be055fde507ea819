#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/metadata/store.h"

namespace basalt::metadata {

/// While a store has this key an import into it is not complete: nobody else uses it.
inline constexpr const char* kImportKey = "import";

/// A key and its value in a backup. Points into it.
struct BackupEntry {
    std::string_view key;
    std::string_view value;

    bool operator==(const BackupEntry&) const = default;
};

/// A backup: all keys of a store at one revision, but those with a lease, which belong to
/// processes that live. Little-endian:
///
///   16 bytes  "BASALT METADATA\n"
///   u32       version: 1
///   u32       0
///   u64       number of entries
///   entries   in the order of their keys: u32 bytes of the key, u32 bytes of the value, both
///   u64       XXH3 (64 bits) of all before
///
/// Errors: kNotSupported: of a newer version; kInvalidArgument: not a backup; kDataCorrupt: its
/// checksum is wrong, or it was cut short, or what is in it makes no sense.
[[nodiscard]] Result<std::vector<BackupEntry>> read_backup(std::string_view backup);

/// `store` lives until it is done. Errors: the store's; kBusy: an import is not complete;
/// kTryAgain: it changes faster than it can be read.
[[nodiscard]] Task<Result<std::string>> export_metadata(MetadataStore& store);

/// Puts all of a backup into a store without keys, and compares it then. One that was broken off,
/// for whatever reason, goes on when it is called again with the same backup; until it is complete
/// the store has kImportKey. Revisions are new ones. `store` lives until it is done.
/// Errors: the store's and read_backup()'s; kExists: the store has keys; kBusy: an import of
/// another backup has begun, or somebody else imports just now; kDataCorrupt: it is not what was
/// put there.
[[nodiscard]] Task<Status> import_metadata(MetadataStore& store, std::string backup);

/// Both: as when an embedded store gives way to an etcd. Nobody else uses `from` meanwhile.
[[nodiscard]] Task<Status> move_metadata(MetadataStore& from, MetadataStore& to);

}  // namespace basalt::metadata
