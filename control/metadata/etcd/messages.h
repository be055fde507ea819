#pragma once

#include <string>
#include <string_view>

#include "control/metadata/etcd/etcd.pb.h"
#include "control/metadata/types.h"

namespace basalt::metadata::etcd {

/// The end of the range of keys that begin with `prefix`, as etcd's range_end wants it
/// (rpc.proto, RangeRequest).
[[nodiscard]] std::string end_of_prefix(std::string prefix);

/// Keys are below `root` there.
[[nodiscard]] metadata::KeyValue from_etcd(const KeyValue& entry, std::string_view root);
[[nodiscard]] RangeRequest to_range(const ListRequest& request, std::string_view root);
[[nodiscard]] TxnRequest to_txn(const Transaction& transaction, std::string_view root);
/// All changes after `after`.
[[nodiscard]] WatchRequest to_watch(std::string_view prefix, Revision after, std::string_view root);
[[nodiscard]] std::vector<WatchEvent> from_etcd(const WatchResponse& response,
                                                Revision after,
                                                std::string_view root);

}  // namespace basalt::metadata::etcd
