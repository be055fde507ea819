#include "control/cluster/cluster_view.h"

#include <charconv>
#include <utility>

#include "control/metadata/backup.h"
#include "control/metadata/limits.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::cluster {
namespace {

constexpr int kCutsMax = 10;  // Tries to read all at one revision.

/// What has a map of its own; volumes before their chunks.
constexpr std::string_view kPrefixes[] = {
    kNodes, kDrives, kVolumes, kAttachments, kHeads, kTasks, kSettings, kChunks};

/// The UUID that a key of this prefix begins with; nil if there is none.
Uuid uuid_in(std::string_view key, std::string_view prefix) {
    constexpr size_t kUuidText = 36;
    const Result<Uuid> uuid = Uuid::parse(key.substr(prefix.size(), kUuidText));
    return uuid ? *uuid : Uuid{};
}

template <typename Record>
Status put_into(ClusterView::Records<Record>& records,
                const metadata::KeyValue& entry,
                std::string_view prefix) {
    BASALT_TRY(Versioned<Record> record, to_record<Record>(entry));
    const Uuid uuid = uuid_in(entry.key, prefix);
    if (uuid.is_nil() || entry.key != key_of(prefix, uuid)) {
        return Errc::kDataCorrupt;
    }
    records.insert_or_assign(uuid, std::move(record));
    return kOk;
}

bool is_sound(const Volume& volume) {
    return volume.replicas() > 0 && volume.replicas() <= kReplicasMax &&
           volume.chunk_bytes() >= kChunkBytesMin && volume.chunk_bytes() <= kChunkBytesMax &&
           volume.size_bytes() > 0 &&
           chunk_count(volume.size_bytes(), volume.chunk_bytes()) <= kVolumeChunksMax;
}

}  // namespace

ClusterView::~ClusterView() {
    BASALT_ASSERT(!is_current_);
}

void ClusterView::stop() {
    if (is_current_) {
        store_.unwatch(*this);
        is_current_ = false;
    }
}

Task<Status> ClusterView::load() {
    stop();
    const Result<metadata::KeyValue> import = co_await store_.get(metadata::kImportKey);
    if (import || import.error().code != Errc::kNotFound) {
        co_return import ? Error(Errc::kBusy) : import.error();
    }
    for (int i = 0; i < kCutsMax; ++i) {
        All all;
        Result<Revision> at = Revision();
        for (const std::string_view prefix : kPrefixes) {
            if (at) {
                at = co_await read(all, std::string(prefix), *at);
            }
        }
        if (at) {
            records_ = std::move(all);
            revision_ = *at;
            is_current_ = true;
            store_.watch(*this, "", revision_);
            co_return kOk;
        }
        if (at.error().code != Errc::kOutOfRange) {
            co_return at.error();
        }
    }
    co_return Errc::kTryAgain;
}

/// All keys of the prefix as they were at `at` (0: as they are); which revision that is.
Task<Result<Revision>> ClusterView::read(All& all, std::string prefix, Revision at) {
    metadata::ListRequest request{
        .prefix = std::move(prefix), .after = "", .limit = metadata::kPageKeysMax, .at = at};
    while (true) {
        const Result<metadata::Page> page = co_await store_.list(request);
        if (!page) {
            co_return page.error();
        }
        for (const metadata::KeyValue& one : page->keys) {
            if (const Status sound = all.put(one); !sound) {
                BASALT_LOG(kError, "cluster", "the record of {} makes no sense", one.key);
                co_return sound.error();
            }
        }
        request.at = page->revision;
        if (!page->has_more) {
            co_return page->revision;
        }
        request.after = page->keys.back().key;
    }
}

void ClusterView::changed(std::span<const metadata::WatchEvent> events) {
    for (const metadata::WatchEvent& one : events) {
        if (!one.now) {
            records_.erase(one.key);
        } else if (const Status sound = records_.put(*one.now); !sound) {
            // What is known is of before it; load() will say so, too.
            BASALT_LOG(kError, "cluster", "the record of {} makes no sense", one.key);
            stop();
            return;
        }
    }
    revision_ = events.back().revision;
}

Status ClusterView::All::put(const metadata::KeyValue& entry) {
    if (entry.key.starts_with(kNodes)) {
        return put_into(nodes, entry, kNodes);
    }
    if (entry.key.starts_with(kDrives)) {
        return put_into(drives, entry, kDrives);
    }
    if (entry.key.starts_with(kVolumes)) {
        return put_volume(entry);
    }
    if (entry.key.starts_with(kAttachments)) {
        return put_into(attachments, entry, kAttachments);
    }
    if (entry.key.starts_with(kHeads)) {
        return put_into(heads, entry, kHeads);
    }
    if (entry.key.starts_with(kSettings)) {
        return put_setting(entry);
    }
    if (entry.key.starts_with(kTasks)) {
        return put_into(tasks, entry, kTasks);
    }
    return entry.key.starts_with(kChunks) ? put_chunks(entry) : kOk;
}

Status ClusterView::All::put_volume(const metadata::KeyValue& entry) {
    BASALT_CHECK(put_into(volumes, entry, kVolumes));
    const Uuid uuid = uuid_in(entry.key, kVolumes);
    const Volume& volume = volumes.at(uuid).record;
    if (!is_sound(volume)) {
        volumes.erase(uuid);
        return Errc::kDataCorrupt;
    }
    const uint64_t count = chunk_count(volume.size_bytes(), volume.chunk_bytes());
    const auto found = chunks.find(uuid);
    if (found == chunks.end() || found->second.replicas() != volume.replicas()) {
        chunks.insert_or_assign(uuid, ChunkMap(count, volume.replicas()));
    } else if (found->second.chunks() != count) {
        found->second = found->second.resized(count);
    }
    return kOk;
}

Status ClusterView::All::put_setting(const metadata::KeyValue& entry) {
    BASALT_TRY(Versioned<Setting> setting, to_record<Setting>(entry));
    settings.insert_or_assign(entry.key.substr(kSettings.size()), std::move(setting.record));
    return kOk;
}

Status ClusterView::All::put_chunks(const metadata::KeyValue& entry) {
    const Uuid volume = uuid_in(entry.key, kChunks);
    const auto found = chunks.find(volume);
    if (found == chunks.end()) {
        return kOk;  // What a volume that is being deleted has left.
    }
    BASALT_TRY(const Versioned<ChunkGroup> group, to_record<ChunkGroup>(entry));
    const size_t at = entry.key.rfind('/') + 1;
    uint32_t index = 0;
    std::from_chars(entry.key.data() + at, entry.key.data() + entry.key.size(), index, 16);
    if (entry.key != key_of_chunks(volume, index)) {
        return Errc::kDataCorrupt;
    }
    return found->second.take(index, group.record);
}

void ClusterView::All::erase(std::string_view key) {
    if (key.starts_with(kNodes)) {
        nodes.erase(uuid_in(key, kNodes));
    } else if (key.starts_with(kDrives)) {
        drives.erase(uuid_in(key, kDrives));
    } else if (key.starts_with(kVolumes)) {
        chunks.erase(uuid_in(key, kVolumes));
        volumes.erase(uuid_in(key, kVolumes));
    } else if (key.starts_with(kAttachments)) {
        attachments.erase(uuid_in(key, kAttachments));
    } else if (key.starts_with(kSettings)) {
        settings.erase(std::string(key.substr(kSettings.size())));
    } else if (key.starts_with(kHeads)) {
        heads.erase(uuid_in(key, kHeads));
    } else if (key.starts_with(kTasks)) {
        tasks.erase(uuid_in(key, kTasks));
    }
}

const ChunkMap* ClusterView::chunks(const Uuid& volume) const {
    const auto found = records_.chunks.find(volume);
    return found == records_.chunks.end() ? nullptr : &found->second;
}

Result<placement::Topology> ClusterView::topology() const {
    std::vector<placement::DriveDescription> drives;
    drives.reserve(records_.drives.size());
    for (const auto& [uuid, drive] : records_.drives) {
        const auto node = records_.nodes.find(to_uuid(drive.record.node()));
        if (node == records_.nodes.end()) {
            continue;  // Nobody could reach it.
        }
        const Node& on = node->second.record;
        const bool is_usable = on.state() == Node::ACTIVE && on.health() == Node::UP &&
                               drive.record.state() == Drive::ONLINE;
        drives.push_back({.drive = uuid,
                          .datacenter = on.datacenter(),
                          .rack = on.rack(),
                          .host = on.host(),
                          .weight = is_usable ? drive.record.capacity_bytes() >> 20U : 0});
    }
    return placement::Topology::make(drives);
}

}  // namespace basalt::cluster
