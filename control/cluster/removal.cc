#include <algorithm>
#include <utility>

#include "control/cluster/operations.h"
#include "control/metadata/limits.h"

namespace basalt::cluster {
namespace {

using metadata::Transaction;

void erase(Transaction& transaction, std::string key, Revision version) {
    transaction.conditions.push_back({key, version});
    transaction.changes.push_back({.key = std::move(key), .value = std::nullopt, .lease = {}});
}

}  // namespace

std::vector<Uuid> volumes_on(const ClusterView& view, const std::vector<uint32_t>& drives) {
    std::vector<Uuid> volumes;
    for (const auto& [uuid, volume] : view.volumes()) {
        const std::vector<uint32_t> used = drives_of(view, uuid);
        if (std::ranges::find_first_of(used, drives) != used.end()) {
            volumes.push_back(uuid);
        }
    }
    return volumes;
}

std::vector<uint32_t> drives_of(const ClusterView& view, const Uuid& volume) {
    const ChunkMap* map = view.chunks(volume);
    std::vector<bool> is_used;  // By number: a volume has many chunks, and few drives.
    for (uint64_t chunk = 0; map != nullptr && chunk < map->chunks(); ++chunk) {
        for (const uint32_t number : map->drives(chunk)) {
            if (number >= is_used.size()) {
                is_used.resize(size_t{number} + 1);
            }
            is_used[number] = true;
        }
    }
    std::vector<uint32_t> drives;
    for (uint32_t number = 1; number < is_used.size(); ++number) {
        if (is_used[number]) {
            drives.push_back(number);
        }
    }
    return drives;
}

Task<Result<Revision>> remove_node(MetadataStore& store,
                                   const ClusterView& view,
                                   Uuid node,
                                   Revision version) {
    const auto known = view.nodes().find(node);
    if (known == view.nodes().end()) {
        co_return Errc::kNotFound;
    }
    Transaction transaction;
    erase(
        transaction, key_of(kNodes, node), version == Revision() ? known->second.version : version);
    std::vector<uint32_t> numbers;
    for (const auto& [uuid, drive] : view.drives()) {
        if (to_uuid(drive.record.node()) == node) {
            numbers.push_back(drive.record.number());
            erase(transaction, key_of(kDrives, uuid), drive.version);
        }
    }
    bool is_used = !volumes_on(view, numbers).empty();
    for (const auto& [uuid, attachment] : view.attachments()) {
        is_used = is_used || to_uuid(attachment.record.node()) == node;
    }
    if (is_used) {
        co_return Errc::kBusy;
    }
    if (transaction.changes.size() > metadata::kTransactionItemsMax) {
        co_return Errc::kOutOfRange;
    }
    co_return co_await commit_all(store, std::move(transaction));
}

Task<Result<Revision>> remove_drive(MetadataStore& store,
                                    const ClusterView& view,
                                    Uuid drive,
                                    Revision version) {
    const auto known = view.drives().find(drive);
    if (known == view.drives().end()) {
        co_return Errc::kNotFound;
    }
    if (!volumes_on(view, {known->second.record.number()}).empty()) {
        co_return Errc::kBusy;
    }
    Transaction transaction;
    erase(transaction,
          key_of(kDrives, drive),
          version == Revision() ? known->second.version : version);
    co_return co_await commit_all(store, std::move(transaction));
}

}  // namespace basalt::cluster
