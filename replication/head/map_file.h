#pragma once

#include <optional>
#include <string>

#include "replication/head/map_record.h"
#include "replication/head/slot_file.h"

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

    /// Waits until no other process has the file, makes it if it is missing, and gives the newest
    /// record; none if there never was one. Open only if it succeeds. Errors: those of
    /// FileSystem::open() but for kBusy, and of reading; kDataCorrupt: what is there can't be
    /// trusted; kCancelled: give_up().
    [[nodiscard]] Task<Result<std::optional<MapRecord>>> lock();
    /// Until it is durable, in one slot and then in the other: nobody may be told otherwise, and
    /// what a failed write left is not known. False: give_up().
    [[nodiscard]] Task<bool> write(MapRecord record);
    void unlock() { file_.unlock(); }

    /// Ends waiting.
    void give_up() { file_.give_up(); }
    [[nodiscard]] const std::string& path() const { return file_.path(); }

  private:
    SlotFile file_;
};

}  // namespace basalt::replication
