#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "nvmf/host_bdev/limits.h"
#include "nvmf/host_bdev/retry_rules.h"
#include "nvmf/initiator/host_queue.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// The place of a channel among those of its core. The base of RemoteChannel, so that CorePaths
/// knows no more of it than this.
class PathUser {
  public:
    PathUser() = default;
    PathUser(const PathUser&) = delete;
    PathUser& operator=(const PathUser&) = delete;
    virtual ~PathUser() = default;
    /// A path has come, or a fence was lifted, or rules have changed: what waited may go on.
    virtual void on_paths_changed() = 0;

    ListLink link;
};

/// What the cores tell about a subsystem's paths. Calls come on the control thread.
class CorePathsUser {
  public:
    virtual ~CorePathsUser() = default;
    /// The path's I/O queue of some core has ended, and nobody had asked for that. `epoch` is that
    /// of the connect; it may have been dealt with already.
    virtual void on_queue_lost(uint32_t path, uint32_t epoch, Error reason) = 0;
    /// A command was refused because of its namespace's ANA state.
    virtual void on_ana_hint(uint32_t path) = 0;
};

/// How to connect one I/O queue, beside its options.
struct PathConnect {
    HostQueueOptions queue;
    uint32_t path = 0;
    uint32_t epoch = 0;  ///< Counts the associations of the path, from 1.
    uint32_t transfer_bytes_max = 0;
    RetryDelays retry_delays{};
};

/// The paths of one subsystem as one core has them: an I/O queue pair for each, shared by the
/// channels of all its namespaces on this core.
///
/// A command whose connection ended without an answer may still be with the old controller. Until
/// the control thread says that it can't be executed any more (lift_fence), is_fenced() keeps
/// commands that change data from being sent again.
///
/// Owner: the RemoteSubsystem, on the control thread, which makes it and destroys it after
/// retire(). Core: all but the constructor runs on `here`'s.
class CorePaths {
  public:
    /// `here` outlives it; `user` lives on `control`.
    CorePaths(Reactor& here, CoreId control, CorePathsUser& user);
    CorePaths(const CorePaths&) = delete;
    CorePaths& operator=(const CorePaths&) = delete;
    ~CorePaths();

    /// Connects the path's queue; there is none. Errors: those of HostQueue::connect().
    [[nodiscard]] Task<Status> connect(const PathConnect& options);
    /// Ends the path's queue, if there is one. Its commands are judged by their channels.
    [[nodiscard]] Task<void> drop(uint32_t path);
    /// Proves the path's queue again. Errors: those of HostQueue::authenticate_again().
    [[nodiscard]] Task<Status> authenticate(uint32_t path);
    /// No command of the path's associations up to `epoch` can be executed any more.
    void lift_fence(uint32_t path, uint32_t epoch);
    /// Drops all, and waits until nothing of this is on its way between cores.
    [[nodiscard]] Task<void> retire();

    void add(PathUser& channel) { channels_.push_back(channel); }
    static void remove(PathUser& channel) { PathUsers::remove(channel); }
    /// Lets all channels look again for what can go on now.
    void kick();

    /// The path's queue, if it is live; else null.
    [[nodiscard]] HostQueue* live_queue(uint32_t path) const {
        HostQueue* queue = paths_[path].queue.get();
        return queue != nullptr && queue->is_live() && paths_[path].is_up ? queue : nullptr;
    }
    [[nodiscard]] uint32_t epoch(uint32_t path) const { return paths_[path].epoch; }
    [[nodiscard]] bool is_fenced(uint32_t path, uint32_t epoch) const {
        return paths_[path].fenced_epoch >= epoch;
    }
    [[nodiscard]] uint32_t transfer_bytes_max(uint32_t path) const {
        return paths_[path].transfer_bytes_max;
    }
    [[nodiscard]] const RetryDelays& retry_delays(uint32_t path) const {
        return paths_[path].retry_delays;
    }
    /// Commands that channels have given to the path.
    [[nodiscard]] uint32_t& in_flight(uint32_t path) { return paths_[path].in_flight; }

    void report_ana(uint32_t path);

    [[nodiscard]] Reactor& here() { return here_; }

  private:
    struct Path {
        CorePaths* owner = nullptr;
        uint32_t index = 0;
        std::unique_ptr<HostQueue> queue;
        uint32_t epoch = 0;
        uint32_t fenced_epoch = 0;
        uint32_t in_flight = 0;
        uint32_t transfer_bytes_max = 0;
        RetryDelays retry_delays{};
        bool is_up = false;  // Connected, and nobody has asked for its end.
    };
    // What is to be said about a path.
    struct News {
        uint32_t lost_epoch = 0;  // 0: nothing.
        Error lost_reason;
        bool has_ana_hint = false;
    };
    using PathUsers = IntrusiveList<PathUser, &PathUser::link>;
    using NewsOfAll = std::array<News, kPathsMax>;

    /// Carries news to the control thread and comes back empty. One, so that no core can flood the
    /// control thread: what happens meanwhile waits here.
    struct Notice : Event {
        CorePaths* owner = nullptr;
        NewsOfAll news{};
    };

    void tell();
    static void on_queue_closed(void* path, Error reason);
    static void deliver(Event& event, Reactor& control);
    static void returned(Event& event, Reactor& here);

    Reactor& here_;
    const CoreId control_;
    CorePathsUser& user_;
    std::array<Path, kPathsMax> paths_;
    PathUsers channels_;
    Notice notice_;
    NewsOfAll waiting_news_{};
    bool has_waiting_news_ = false;
    bool is_notice_away_ = false;
};

}  // namespace basalt::nvmf
