#include "reactor/sim/sim_file_system.h"

#include <cerrno>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::sim {

Drive& SimFileSystem::add_drive(const std::string& path, const DriveOptions& options) {
    auto medium = std::make_unique<Medium>();
    medium->path = path;
    medium->drive = std::make_unique<Drive>(timeline_, options);
    media_.push_back(std::move(medium));
    return *media_.back()->drive;
}

NvmeDevice& SimFileSystem::add_nvme(const std::string& path, const NvmeOptions& options) {
    auto medium = std::make_unique<Medium>();
    medium->path = path;
    medium->nvme = std::make_unique<NvmeDevice>(timeline_, options);
    media_.push_back(std::move(medium));
    return *media_.back()->nvme;
}

Result<FileInfo> SimFileSystem::open(const std::string& path, const OpenOptions& options) {
    Medium* found = nullptr;
    for (const std::unique_ptr<Medium>& medium : media_) {
        if (medium->path == path) {
            found = medium.get();
        }
    }
    if (found == nullptr) {
        if (options.create_size_bytes == 0 || options.read_only) {
            return Error::from_errno(ENOENT);
        }
        DriveOptions drive;
        drive.size_bytes = options.create_size_bytes;
        add_drive(path, drive);
        found = media_.back().get();
    }
    if (found->open_id >= 0) {
        return Error::from_errno(EBUSY);
    }
    found->open_id = next_id_++;
    found->is_read_only = options.read_only;
    FileInfo info;
    info.handle = FileHandle{found->open_id};
    if (found->drive != nullptr) {
        info.size_bytes = found->drive->options().size_bytes;
        info.alignment_bytes = found->drive->options().alignment_bytes;
        info.can_punch = true;
    }
    return info;
}

SimFileSystem::Medium* SimFileSystem::find(FileHandle handle) {
    for (const std::unique_ptr<Medium>& medium : media_) {
        if (handle.is_valid() && medium->open_id == handle.id) {
            return medium.get();
        }
    }
    return nullptr;
}

Result<uint64_t> SimFileSystem::size_bytes(FileHandle handle) {
    const Medium* medium = find(handle);
    BASALT_ASSERT(medium != nullptr);
    return medium->drive != nullptr ? medium->drive->options().size_bytes : uint64_t{0};
}

Result<uint64_t> SimFileSystem::allocated_bytes(FileHandle handle) {
    const Medium* medium = find(handle);
    BASALT_ASSERT(medium != nullptr);
    return medium->drive != nullptr ? medium->drive->allocated_bytes() : uint64_t{0};
}

void SimFileSystem::close(FileHandle handle) {
    Medium* medium = find(handle);
    if (medium == nullptr) {
        // Its node has crashed since; a handle that never was open is the caller's bug.
        BASALT_ASSERT(handle.is_valid() && handle.id < next_id_);
        return;
    }
    BASALT_ASSERT(medium->in_flight == 0);
    BASALT_ASSERT(medium->registered == 0);
    medium->open_id = -1;
}

void SimFileSystem::crash(bool lose_power) {
    for (const std::unique_ptr<Medium>& medium : media_) {
        medium->open_id = -1;
        medium->in_flight = 0;
        medium->registered = 0;
        if (lose_power) {
            (medium->drive != nullptr ? *medium->drive : medium->nvme->drive()).lose_power();
        }
    }
}

}  // namespace basalt::sim
