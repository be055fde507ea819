#pragma once

#include <cstdint>
#include <memory>

#include "reactor/base/intrusive_list.h"
#include "reactor/io/clock.h"
#include "reactor/io/io_driver.h"
#include "reactor/io/uring_buffers.h"
#include "reactor/io/uring_features.h"
#include "reactor/io/uring_network.h"
#include "reactor/io/uring_ring.h"
#include "reactor/io/uring_storage.h"
#include "reactor/msg/waker.h"

namespace basalt {

/// Hears that a descriptor of somebody else's library wants attention. Owner: its user, until
/// UringDriver::unwatch().
class FdWatcher {
  public:
    virtual ~FdWatcher() = default;
    /// `events` are poll(2)'s. Called in every turn in which the descriptor is ready (level
    /// triggered), from the poll loop. May unwatch.
    virtual void on_ready(uint32_t events) = 0;
};

struct UringOptions {
    UringFeatures
        allowed;  ///< Features switched off here are not used even if the kernel has them.
    UringRing::Options ring;
    UringBuffers::Options buffers;
};

/// The real outside world of one reactor: one io_uring for its sockets, files and wake-ups.
///
/// Life: create() on any thread; then listen, connect and register_memory may be called, which only
/// queue; the first poll() or wait() binds the ring to its thread (see UringRing), and all calls
/// but wake() come from that thread from then on. Destroyed when nothing uses it and the thread has
/// left its loop, on any thread.
///
/// Owner: ReactorThreads, or a test.
class UringDriver final : public IoDriver, public Waker {
  public:
    /// `probed` is what UringFeatures::probe() said. Errors: those of UringRing and UringBuffers.
    [[nodiscard]] static Result<std::unique_ptr<UringDriver>> create(Clock& clock,
                                                                     const UringOptions& options,
                                                                     const UringFeatures& probed);
    UringDriver(const UringDriver&) = delete;
    UringDriver& operator=(const UringDriver&) = delete;
    ~UringDriver() override;

    uint32_t poll() override;
    void wait(uint64_t deadline_ns) override;
    [[nodiscard]] uint32_t in_flight() const override {
        return network_.in_flight() + storage_.in_flight();
    }
    [[nodiscard]] Network& network() override { return network_; }
    [[nodiscard]] Storage& storage() override { return storage_; }

    /// Ends the present wait(), or the next if there is none. The only call for other threads.
    void wake() override;

    /// Calls `watcher` while `fd` is ready for reading. One watcher a descriptor.
    void watch(int fd, FdWatcher& watcher);
    /// Ends that: `watcher` is not called any more.
    void unwatch(FdWatcher& watcher);

    [[nodiscard]] const UringFeatures& features() const { return features_; }
    [[nodiscard]] const UringCounters& counters() const { return ring_->counters(); }
    [[nodiscard]] uint32_t socket_count() const { return network_.socket_count(); }

  private:
    struct WakeOp : UringOp {
        explicit WakeOp(UringDriver& owner) : UringOp(&UringDriver::on_wake), driver(owner) {}
        UringDriver& driver;
    };
    struct WatchOp : UringOp {
        WatchOp(UringDriver& owner, int watched, FdWatcher& to)
            : UringOp(&UringDriver::on_watch), driver(owner), fd(watched), watcher(&to) {}
        UringDriver& driver;
        const int fd;
        FdWatcher* watcher;  // Null when unwatched: waits for its last completion.
        ListLink link;
    };

    UringDriver(Clock& clock,
                const UringFeatures& features,
                std::unique_ptr<UringRing> ring,
                std::unique_ptr<UringBuffers> buffers,
                int wake_fd);

    void handle(uint64_t user_data, UringCompletion completion);
    void arm_wake();
    void arm_watch(WatchOp& watch);
    static void on_wake(UringOp& op, UringCompletion completion);
    static void on_watch(UringOp& op, UringCompletion completion);

    Clock& clock_;
    const UringFeatures features_;
    std::unique_ptr<UringRing> ring_;
    std::unique_ptr<UringBuffers> buffers_;
    UringNetwork network_;
    UringStorage storage_;
    IntrusiveList<WatchOp, &WatchOp::link> watches_;
    WakeOp wake_;
    const int wake_fd_;
};

}  // namespace basalt
