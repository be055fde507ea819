#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reactor/async_mutex.h"
#include "reactor/io/storage.h"
#include "reactor/task.h"
#include "replication/head/head.h"
#include "replication/head/line_file.h"

namespace basalt::replication {

/// The snapshots of a replicated volume: draws, lists and deletes them, and sees to it that no
/// replica keeps one that was deleted. The list is in a file that the volume's heads share
/// (lines.md); only the head that serves changes it.
///
///   draw(): written down -> drawn at a quorum -> written down
///   remove(): written down -> [each replica, when it counts] -> forgotten
///
/// Life: set_serving(), draw() …, close(). Owner: ReplicatedVolume. Core: the control thread; the
/// head is visited on its own.
class VolumeLines {
  public:
    /// All outlive it; `head` until close() has ended.
    VolumeLines(
        Reactor& control, FileSystem& files, std::string path, bdev::Uuid volume, Head& head);
    VolumeLines(const VolumeLines&) = delete;
    VolumeLines& operator=(const VolumeLines&) = delete;
    ~VolumeLines();

    /// Takes a snapshot: a cut of what hosts were told, at a quorum. Waits while replicas are too
    /// few. Errors of both: kBusy: this head is not open; kInvalidArgument: the name, or the list
    /// is another volume's; kCancelled: close(); those of LineFile. Of this: kExists; kNoSpace:
    /// there are as many as can be; kStaleEpoch: another head has the volume, and there is none.
    [[nodiscard]] Task<Result<OpNumber>> draw(std::string name);
    /// Deletes it, in the background. Errors: also kNotFound.
    [[nodiscard]] Task<Status> remove(std::string name);
    /// Errors: those of LineFile.
    [[nodiscard]] Task<Result<std::vector<LineRecord>>> list();

    /// Whether the head is the one that serves: then it goes on with what was being deleted.
    void set_serving(bool serves);
    /// A snapshot is being drawn, for which a head that gives up does not wait.
    [[nodiscard]] bool is_drawing() const { return is_drawing_; }
    /// Nothing new is begun from now on.
    void begin_closing();
    /// Ends all. What is being drawn is waited for.
    [[nodiscard]] Task<void> close();

  private:
    struct Order;

    [[nodiscard]] Task<Result<LineList>> load(bool may_create);
    [[nodiscard]] Task<Result<LineList>> load_open();
    [[nodiscard]] Task<Status> save(LineList list);
    [[nodiscard]] Task<Status> begin_drawing(std::string name, OpNumber newest);
    [[nodiscard]] Task<Status> end_drawing(std::string name, OpNumber number);
    void tidy_later();
    [[nodiscard]] Task<void> tidy();
    [[nodiscard]] Task<Result<OpNumber>> next_to_drop(OpNumber after);
    [[nodiscard]] Task<bool> drop(OpNumber number);
    [[nodiscard]] Task<void> forget(OpNumber number);
    [[nodiscard]] Task<void> visit_head(Order& order, Task<void> (*run)(Reactor&, Order&));

    // On the head's core.
    static Task<void> look_there(Reactor& there, Order& order);
    static Task<void> draw_there(Reactor& there, Order& order);
    static Task<void> drop_there(Reactor& there, Order& order);

    Reactor& control_;
    FileSystem& files_;
    const std::string path_;
    const bdev::Uuid volume_;
    Head& head_;
    const CoreId head_core_;
    LineFile file_;
    AsyncMutex turn_;       // Of a change of the list; whoever looks at it opens the file anew.
    AsyncMutex tidy_turn_;  // Held by tidy().
    bool serves_ = false;
    bool is_drawing_ = false;
    bool is_tidying_ = false;
    bool is_closing_ = false;
};

}  // namespace basalt::replication
