#include "replication/node/replicated_volumes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "replication/head/replica_bdev.h"

namespace basalt::replication {

Task<Status> ReplicatedVolumes::create(ReplicatedVolumeOptions options, std::string& problem) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const ReplicaBdevOptions device{.name = options.name, .uuid = options.uuid};
    // Before anything is begun. Another one may not come in between.
    Result<bdev::Reservation> reserved = home_.registry.reserve(device.name, device.uuid);
    if (!reserved) {
        problem = "a device of that name or UUID";
        co_return reserved.error();
    }
    Task<Result<std::unique_ptr<ReplicatedVolume>>> opening =
        ReplicatedVolume::open(home_, std::move(options), problem);
    Result<std::unique_ptr<ReplicatedVolume>> volume = co_await opening;
    if (!volume) {
        co_return volume.error();
    }
    reserved->release();
    const Result<bdev::Device*> added =
        home_.registry.add(std::make_unique<ReplicaBdev>(device, (*volume)->head()));
    if (!added) {
        problem = "its device";
        Task<void> closing = close(std::move(*volume));
        co_await closing;
        co_return added.error();
    }
    volumes_.push_back(std::move(*volume));
    co_return kOk;
}

Task<void> ReplicatedVolumes::close(std::unique_ptr<ReplicatedVolume> volume) {
    co_await volume->close();
}

ReplicatedVolume* ReplicatedVolumes::find_own(std::string_view name) const {
    const auto found = std::find_if(volumes_.begin(), volumes_.end(), [name](const auto& one) {
        return one->options().name == name;
    });
    return found == volumes_.end() ? nullptr : found->get();
}

const ReplicatedVolume* ReplicatedVolumes::find(std::string_view name) const {
    return find_own(name);
}

Task<Status> ReplicatedVolumes::remove(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const auto found = std::find_if(volumes_.begin(), volumes_.end(), [&name](const auto& one) {
        return one->options().name == name;
    });
    if (found == volumes_.end()) {
        co_return Errc::kNotFound;
    }
    bdev::Device* device = home_.registry.find(name);
    BASALT_ASSERT(device != nullptr);
    if (!device->user().empty() || device->open_channels() > 0) {
        co_return Errc::kBusy;
    }
    co_await device->limits().clear(home_.control);
    const Status removed = home_.registry.remove(name);
    if (!removed) {
        co_return removed;
    }
    std::unique_ptr<ReplicatedVolume> volume = std::move(*found);
    volumes_.erase(found);
    Task<void> closing = close(std::move(volume));
    co_await closing;
    co_return kOk;
}

Task<Status> ReplicatedVolumes::take_over(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const auto found = std::find_if(volumes_.begin(), volumes_.end(), [&name](const auto& one) {
        return one->options().name == name;
    });
    if (found == volumes_.end()) {
        co_return Errc::kNotFound;
    }
    co_await (*found)->take_over();
    co_return kOk;
}

Task<Status> ReplicatedVolumes::replace(std::string name, uint32_t index, ReplicaPlace place) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const auto found = std::find_if(volumes_.begin(), volumes_.end(), [&name](const auto& one) {
        return one->options().name == name;
    });
    if (found == volumes_.end() || index >= (*found)->options().replicas.size()) {
        co_return Errc::kNotFound;
    }
    const std::vector<ReplicaPlace>& replicas = (*found)->options().replicas;
    for (uint32_t i = 0; i < replicas.size(); ++i) {
        if (i != index && replicas[i].drive == place.drive) {
            co_return Errc::kExists;
        }
    }
    const Status replaced = co_await (*found)->replace(index, place);
    co_return replaced;
}

Task<std::vector<ReplicatedVolumeReport>> ReplicatedVolumes::report(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    std::vector<ReplicatedVolumeReport> reports;
    for (const auto& volume : volumes_) {
        if (!name.empty() && volume->options().name != name) {
            continue;
        }
        ReplicatedVolumeReport report{.options = volume->options(), .is_local = {}};
        for (uint32_t i = 0; i < report.options.replicas.size(); ++i) {
            report.is_local.push_back(volume->is_local(i));
        }
        report.head = co_await volume->statistics();
        report.role = volume->role();
        reports.push_back(std::move(report));
    }
    co_return std::move(reports);
}

Task<Status> ReplicatedVolumes::start_scrub(std::string name, uint64_t bytes_per_second) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicatedVolume* volume = find_own(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    const Status started = co_await volume->start_scrub(bytes_per_second);
    co_return started;
}

Task<Status> ReplicatedVolumes::stop_scrub(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicatedVolume* volume = find_own(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    co_await volume->stop_scrub();
    co_return kOk;
}

Task<Result<ReplicaScrubReport>> ReplicatedVolumes::scrub_report(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicatedVolume* volume = find_own(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    ReplicaScrubReport report = co_await volume->scrub_report();
    co_return Result<ReplicaScrubReport>(std::move(report));
}

/// A volume that is closed waits for what has been begun.
template <typename Outcome>
Task<Outcome> ReplicatedVolumes::on_lines(std::string name,
                                          std::string snapshot,
                                          Task<Outcome> (VolumeLines::*what)(std::string)) {
    co_await changes_.acquire();
    std::optional<AsyncMutex::Turn> turn(std::in_place, changes_);
    ReplicatedVolume* volume = find_own(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    Task<Outcome> begun = (volume->lines().*what)(std::move(snapshot));
    turn.reset();
    Outcome outcome = co_await begun;
    co_return outcome;
}

Task<Result<OpNumber>> ReplicatedVolumes::snapshot(std::string name, std::string snapshot) {
    return on_lines(std::move(name), std::move(snapshot), &VolumeLines::draw);
}

Task<Status> ReplicatedVolumes::delete_snapshot(std::string name, std::string snapshot) {
    return on_lines(std::move(name), std::move(snapshot), &VolumeLines::remove);
}

Task<Result<std::vector<LineRecord>>> ReplicatedVolumes::snapshots(std::string name) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    ReplicatedVolume* volume = find_own(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    Result<std::vector<LineRecord>> found = co_await volume->lines().list();
    co_return std::move(found);
}

Task<void> ReplicatedVolumes::give_up() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    for (const auto& volume : volumes_) {
        co_await volume->give_up();
    }
}

Task<void> ReplicatedVolumes::shut_down() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    while (!volumes_.empty()) {
        std::unique_ptr<ReplicatedVolume> volume = std::move(volumes_.back());
        volumes_.pop_back();
        const Status removed = home_.registry.remove(volume->options().name);
        BASALT_ASSERT(removed.has_value());  // Its users have been shut down before.
        Task<void> closing = close(std::move(volume));
        co_await closing;
    }
}

}  // namespace basalt::replication
