#pragma once

#include <string>

#include "control/metadata/store.h"

namespace basalt::cluster {

/// Opens the store of the cluster's metadata, as often as it takes. Owner: whoever wires the
/// process. Core: the control thread's.
class StoreSource {
  public:
    virtual ~StoreSource() = default;

    /// The store, until close(). Errors, explained in `problem`: it can't be opened now.
    [[nodiscard]] virtual Result<metadata::MetadataStore*> open(std::string& problem) = 0;
    /// With no call under way, and no watch. Also if it is not open.
    virtual void close() = 0;

    /// "embedded" or "etcd", and where it is.
    [[nodiscard]] virtual std::string kind() const = 0;
    [[nodiscard]] virtual std::string address() const = 0;
};

}  // namespace basalt::cluster
