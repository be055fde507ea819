#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reactor/base/strong_int.h"

namespace basalt::metadata {

/// Counts the transactions that changed something. 0: before the first.
using Revision = StrongInt<struct RevisionTag, uint64_t>;

/// 0: none.
using LeaseId = StrongInt<struct LeaseIdTag, uint64_t>;

/// A key with its value. A value.
struct KeyValue {
    std::string key;
    std::string value;
    Revision created;   ///< By which it came to be; since it was last deleted.
    Revision modified;  ///< By which it got this value.
    LeaseId lease;      ///< With whose end it goes.

    bool operator==(const KeyValue&) const = default;
};

/// Holds if `key` was last modified by `modified`; with 0, if it isn't there. A value.
struct Condition {
    std::string key;
    Revision modified;
};

/// Gives `key` a value, or deletes it (which it need not exist for). A value.
struct Change {
    std::string key;
    std::optional<std::string> value;  ///< None: delete.
    LeaseId lease;
};

/// All of it or nothing, at one revision. A value.
struct Transaction {
    std::vector<Condition> conditions;
    std::vector<Change> changes;  ///< No key twice.
};

/// What became of a transaction. A value.
struct Outcome {
    bool is_applied = false;  ///< All conditions held.
    Revision revision;        ///< Of the store, after it.
};

/// A change that a watch is told. A value.
struct WatchEvent {
    Revision revision;
    std::string key;
    std::optional<KeyValue> now;  ///< None: deleted, or its lease has ended.
};

/// The keys with `prefix` that are after `after`. A value.
struct ListRequest {
    std::string prefix;
    std::string after;   ///< The last key of the page before; empty: from the first.
    uint32_t limit = 0;  ///< 1 to kPageKeysMax.
    Revision at;         ///< As they were then, the page before's for a cut; 0: as they are.
};

/// Some keys of a prefix, in order. A value.
struct Page {
    std::vector<KeyValue> keys;
    bool has_more = false;  ///< Ask again after the last of them.
    Revision revision;      ///< Of the store for which this is so.
};

}  // namespace basalt::metadata
