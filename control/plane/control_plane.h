#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <string>

#include "control/plane/attachments.h"
#include "control/plane/leadership.h"
#include "control/plane/store_source.h"

namespace basalt::cluster {

/// Who a control process is. A value.
struct ControlPlaneOptions {
    Uuid process{};           ///< Of this process, for the others.
    Uuid cluster{};           ///< That it is to be of; nil: of any.
    uint64_t started_ns = 0;  ///< Wall clock, for a cluster that is new.
};

/// The control role of a process: opens the store of the metadata, as often as it takes; keeps a
/// copy of it; watches the nodes; and, while it is the leader, records who is down and brings about
/// what attachments say. It keeps nothing of its own: all decisions are in the store.
///
/// Life: start(), then Use for each call of the API; begin_stop(), stop(). Owner: the daemon. Core:
/// the control thread's.
class ControlPlane {
  public:
    /// All of it outlives the object.
    ControlPlane(Reactor& here, StoreSource& source, NodeApi& api, ControlPlaneOptions options);
    ControlPlane(const ControlPlane&) = delete;
    ControlPlane& operator=(const ControlPlane&) = delete;
    ~ControlPlane();

    void start();
    /// Nothing new is begun. The calls of `api` that are under way are cancelled after it.
    void begin_stop();
    /// After begin_stop(), and with no Use alive: ends when all is closed.
    [[nodiscard]] Task<void> stop();

    /// While one lives the store stays open. Made only if is_ready().
    class [[nodiscard]] Use {
      public:
        explicit Use(ControlPlane& plane);
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use() { --plane_.users_; }

      private:
        ControlPlane& plane_;
    };

    /// The store was read; parts() and attachments() are there.
    [[nodiscard]] bool is_ready() const { return open_ != nullptr && open_->is_ready; }
    /// Why the store can't be reached; empty: it can.
    [[nodiscard]] const std::string& problem() const { return problem_; }
    [[nodiscard]] const StoreSource& source() const { return source_; }
    [[nodiscard]] bool is_leader() const { return is_ready() && open_->leadership.is_leader(); }

    [[nodiscard]] PlaneParts parts();
    [[nodiscard]] Attachments& attachments();

  private:
    /// What there is while the store is open.
    struct Open {
        Open(Reactor& here, metadata::MetadataStore& from, NodeApi& api, Uuid process)
            : store(from), view(from), watch(here, api), leadership(from, process) {}

        metadata::MetadataStore& store;
        ClusterView view;
        NodeWatch watch;
        Leadership leadership;
        Uuid cluster;
        std::optional<Attachments> attachments;
        bool is_ready = false;
    };
    class Nap;

    [[nodiscard]] Task<void> run();
    [[nodiscard]] Task<Status> open();
    [[nodiscard]] Task<void> serve();
    [[nodiscard]] Task<void> close();
    [[nodiscard]] Task<void> lead();
    [[nodiscard]] Task<void> mend(Uuid volume);
    void look_problem(const Status& status);

    Reactor& here_;
    StoreSource& source_;
    NodeApi& api_;
    const ControlPlaneOptions options_;
    std::unique_ptr<Open> open_;
    std::string problem_ = "it is being opened";
    uint32_t users_ = 0;
    bool is_running_ = false;
    bool is_stopping_ = false;
    Nap* nap_ = nullptr;
};

}  // namespace basalt::cluster
