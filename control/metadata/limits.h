#pragma once

#include <cstdint>

namespace basalt::metadata {

/// Bytes of a key: a path of names.
inline constexpr uint32_t kKeyBytesMax = 1024;

/// Bytes of what a transaction changes, keys and values. etcd refuses requests of 1.5 MiB
/// (--max-request-bytes), so that there is room for the keys of all conditions.
inline constexpr uint32_t kTransactionBytesMax = 1U << 20U;

/// Conditions, and changes, of a transaction: what etcd takes (--max-txn-ops).
inline constexpr uint32_t kTransactionItemsMax = 128;

/// Keys that one list() answers at most. More come with the next page.
inline constexpr uint32_t kPageKeysMax = 1000;

/// Changes that are remembered for watches. A watch that falls behind further is told to list
/// again.
inline constexpr uint32_t kHistoryMax = 65'536;

/// How long a lease may be. Shorter ones would be kept alive for nothing but that; longer ones are
/// no leases.
inline constexpr uint64_t kLeaseMinNs = 100'000'000;
inline constexpr uint64_t kLeaseMaxNs = 86'400'000'000'000;

}  // namespace basalt::metadata
