#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "reactor/base/result.h"

namespace basalt::metadata::etcd {

/// Something that gRPC's threads have done for the control thread. Owner: whoever waits for it.
class Arrival {
  public:
    virtual ~Arrival() = default;
    /// On the control thread, once for each Inbox::expect(). May destroy itself.
    virtual void arrived() = 0;
};

/// Where gRPC's threads leave what they have done. push() on any thread, all else on the control
/// thread. Owner: EtcdLink.
class Inbox {
  public:
    Inbox();
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;
    ~Inbox();  ///< With nothing under way.

    /// Readable when process() has something to do. Level triggered.
    [[nodiscard]] int event_fd() const { return event_fd_; }

    /// One more push() is to come.
    void expect() { ++expected_; }
    void push(Arrival& arrival);
    void process();
    /// Blocks until all that is expected has come: what was cancelled comes soon.
    void drain();

  private:
    const int event_fd_;
    size_t expected_ = 0;
    std::mutex mutex_;
    std::vector<Arrival*> arrivals_;
};

}  // namespace basalt::metadata::etcd
