#pragma once

#include <string>

#include "replication/head/line_list.h"
#include "replication/head/slot_file.h"

namespace basalt::replication {

/// The file in which the list of a volume's snapshots is kept (lines.md), beside its map and shared
/// by the same processes: it is locked while one of them looks at it or changes it.
///
///   lock() -> write() … -> unlock()
///
/// Owner: VolumeLines. Core: control.
class LineFile {
  public:
    /// `control` and `files` outlive it.
    LineFile(Reactor& control, FileSystem& files, std::string path, bdev::Uuid volume);

    /// Waits until no other process has the file, and gives the newest list; an empty one if it is
    /// missing, which is made if `may_create`. Errors: those of SlotFile; kInvalidArgument: it is
    /// another volume's. Open only if it succeeds.
    [[nodiscard]] Task<Result<LineList>> lock(bool may_create);
    /// The next list, until it is durable. False: give_up().
    [[nodiscard]] Task<bool> write(LineList list);
    void unlock() { file_.unlock(); }

    /// Ends waiting.
    void give_up() { file_.give_up(); }

  private:
    SlotFile file_;
    const bdev::Uuid volume_;
};

}  // namespace basalt::replication
