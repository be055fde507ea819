#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "bdev/core/bdev.h"
#include "bdev/core/per_core.h"
#include "bdev/leaf/nvme_identity.h"
#include "nvmf/host_bdev/core_paths.h"
#include "nvmf/host_bdev/path_selector.h"
#include "nvmf/wire/ids.h"

namespace basalt::nvmf {

/// What a core knows about a namespace beyond its paths' queues. A value, published core by core.
struct NamespaceTable {
    std::array<PathAccess, kPathsMax> access{};
    PathRules rules;
    int32_t retries_max = kRetriesDefault;
    bool is_gone = false;    ///< No controller has it any more: everything fails.
    bool fails_now = false;  ///< There is no hope for a path: what can't be sent fails.
};

/// What the channels of one namespace share. Lives in the RemoteBdev.
struct RemoteShared {
    Nsid nsid;
    uint32_t block_bytes = 0;
    bool has_volatile_cache = false;
    bool zeroes_may_deallocate = false;
    std::atomic<bool> has_lost_writes{false};  ///< As in bdev::FileBdev: a flush has failed.
    bdev::PerCore<NamespaceTable> tables;
    bdev::PerCore<std::unique_ptr<CorePaths>>* paths = nullptr;
};

/// A namespace of a subsystem on somebody else's target: the leaf "nvmf". Its size and format are
/// those of when it was found; a namespace that changes them is another device.
///
/// Owner: BdevRegistry. The subsystem's CorePaths outlive its channels.
class RemoteBdev final : public bdev::Bdev {
  public:
    /// `paths` outlives all channels. Errors: kNotSupported (block size, metadata, no blocks).
    [[nodiscard]] static Result<std::unique_ptr<RemoteBdev>> make(
        const std::string& name,
        const bdev::Uuid& uuid,
        const bdev::NvmeIdentity& identity,
        bdev::PerCore<std::unique_ptr<CorePaths>>& paths);

    [[nodiscard]] const bdev::BdevInfo& info() const override { return info_; }
    [[nodiscard]] Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override;

    /// For all cores, before any has seen the device.
    void set_table(const NamespaceTable& table) { shared_.tables.fill(table); }
    /// For `here`'s core, on it. CorePaths::kick() follows.
    void set_table_on(const Reactor& here, const NamespaceTable& table) {
        shared_.tables.on(here) = table;
    }

  private:
    RemoteBdev() = default;

    bdev::BdevInfo info_;
    RemoteShared shared_;
};

}  // namespace basalt::nvmf
