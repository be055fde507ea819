#include "replication/replica/replicas.h"

#include <utility>

namespace basalt::replication {

Replicas::Replicas(Reactor& here, BlockBuffers& buffers, const Mistakes& mistakes)
    : here_(here), buffers_(buffers), mistakes_(mistakes), changes_(here) {}

Replicas::~Replicas() {
    BASALT_ASSERT(here_.is_abandoned() || open_.empty());
}

Status Replicas::add_drive(ReplicaDrive& drive) {
    return drives_.emplace(drive.uuid(), &drive).second ? kOk : Status(Errc::kExists);
}

Status Replicas::remove_drive(const bdev::Uuid& drive) {
    if (!has_drive(drive)) {
        return Errc::kNotFound;
    }
    for (const auto& [key, service] : open_) {
        if (key.drive == drive) {
            return Errc::kBusy;
        }
    }
    drives_.erase(drive);
    return kOk;
}

ReplicaDrive* Replicas::find_drive(const bdev::Uuid& uuid) const {
    const auto found = drives_.find(uuid);
    return found != drives_.end() ? found->second : nullptr;
}

bool Replicas::has_drive(const bdev::Uuid& drive) {
    return find_drive(drive) != nullptr;
}

ReplicaPort* Replicas::find(const bdev::Uuid& drive, uint64_t volume) {
    const auto found = open_.find({drive, volume});
    return found != open_.end() ? found->second.get() : nullptr;
}

Task<Status> Replicas::create(ReplicaKey key, Settings settings, ReplicaOrigin origin) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicaDrive* drive = find_drive(key.drive);
    if (drive == nullptr) {
        co_return Errc::kNotFound;
    }
    const Status valid = settings.validate();
    if (!valid) {
        co_return valid;
    }
    const Status made = co_await drive->create(key.volume, settings, origin);
    if (!made) {
        co_return made;
    }
    const Status opened = co_await open_now(key);
    co_return opened;
}

Task<Status> Replicas::open(ReplicaKey key) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const Status opened = co_await open_now(key);
    co_return opened;
}

Task<Status> Replicas::open_now(ReplicaKey key) {
    ReplicaDrive* drive = find_drive(key.drive);
    if (drive == nullptr) {
        co_return Errc::kNotFound;
    }
    if (open_.count(key) != 0) {
        co_return Errc::kExists;
    }
    Result<std::unique_ptr<ReplicaStore>> store = co_await drive->open(key.volume);
    if (!store) {
        co_return store.error();
    }
    Task<Result<std::unique_ptr<ReplicaService>>> opening =
        ReplicaService::open(here_, buffers_, std::move(*store), mistakes_);
    Result<std::unique_ptr<ReplicaService>> service = co_await opening;
    if (!service) {
        co_return service.error();
    }
    open_.emplace(key, std::move(*service));
    co_return kOk;
}

Task<Status> Replicas::open_all(bdev::Uuid drive) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicaDrive* at = find_drive(drive);
    if (at == nullptr) {
        co_return Errc::kNotFound;
    }
    Status first = kOk;
    const std::vector<uint64_t> volumes = co_await at->list();
    for (const uint64_t volume : volumes) {
        const ReplicaKey key{drive, volume};
        if (open_.count(key) == 0) {
            const Status opened = co_await open_now(key);
            first = first ? opened : first;
        }
    }
    co_return first;
}

Task<Status> Replicas::close(ReplicaKey key) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const Status closed = co_await close_now(key);
    co_return closed;
}

Task<Status> Replicas::close_now(ReplicaKey key) {
    auto found = open_.extract(key);
    if (found.empty()) {
        co_return Errc::kNotFound;
    }
    // Nobody finds it any more, and its connections are told when all is answered.
    const Status stopped = co_await found.mapped()->stop();
    co_return stopped;
}

Task<Status> Replicas::close_all() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    Status first = kOk;
    while (!open_.empty()) {
        const Status closed = co_await close_now(open_.begin()->first);
        first = first ? closed : first;
    }
    co_return first;
}

Task<Status> Replicas::remove(ReplicaKey key) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicaDrive* drive = find_drive(key.drive);
    if (drive == nullptr) {
        co_return Errc::kNotFound;
    }
    // What could not be tidied up goes anyway.
    const Status closed = co_await close_now(key);
    static_cast<void>(closed);
    const Status removed = co_await drive->remove(key.volume);
    co_return removed;
}

std::vector<ReplicaReport> Replicas::list() const {
    std::vector<ReplicaReport> reports;
    for (const auto& [key, service] : open_) {
        const ReplicaState& state = service->state();
        reports.push_back({.key = key,
                           .marks = static_cast<const ReplicaMarks&>(state),
                           .blocks = service->settings().blocks,
                           .dirty_blocks = state.dirty.count(),
                           .window_entries = static_cast<uint32_t>(state.window.entries().size()),
                           .messages_under_way = service->messages_under_way(),
                           .connections = service->connections(),
                           .counters = service->counters()});
    }
    return reports;
}

}  // namespace basalt::replication
