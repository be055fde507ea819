#pragma once

#include <array>
#include <optional>
#include <string>

#include "reactor/io/storage.h"
#include "reactor/reactor.h"
#include "reactor/task.h"
#include "replication/head/map_record.h"

namespace basalt::replication {

/// The file in which a volume's map is kept (format.md), which authorities of several processes may
/// share: it is open, and so locked, only while one of them looks at it or changes it.
///
///   lock() -> write() … -> unlock()
///
/// Owner: a StaticAuthority, which makes one change at a time. Core: control.
class MapFile {
  public:
    /// `control` and `files` outlive it.
    MapFile(Reactor& control, FileSystem& files, std::string path);
    MapFile(const MapFile&) = delete;
    MapFile& operator=(const MapFile&) = delete;
    ~MapFile();

    /// Waits until no other process has the file, makes it if it is missing, and gives the newest
    /// record; none if there never was one. Open only if it succeeds. Errors: those of
    /// FileSystem::open() but for kBusy, and of reading; kDataCorrupt: what is there can't be
    /// trusted; kCancelled: give_up().
    [[nodiscard]] Task<Result<std::optional<MapRecord>>> lock();
    /// Until it is durable, in one slot and then in the other: nobody may be told otherwise, and
    /// what a failed write left is not known. False: give_up().
    [[nodiscard]] Task<bool> write(MapRecord record);
    void unlock();

    /// Ends waiting.
    void give_up() { is_given_up_ = true; }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    struct alignas(4096) Slot {
        std::array<std::byte, kMapSlotBytes> bytes;
    };

    [[nodiscard]] Task<Status> open(uint64_t& size_bytes);
    [[nodiscard]] Task<Result<std::optional<MapRecord>>> read(uint64_t size_bytes);

    Reactor& control_;
    FileSystem& files_;
    const std::string path_;
    FileHandle file_{};
    Slot slot_{};
    bool is_given_up_ = false;
};

}  // namespace basalt::replication
