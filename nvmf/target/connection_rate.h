#pragma once

#include <cstdint>

#include "bdev/qos/lane.h"
#include "nvmf/target/request.h"

namespace basalt::nvmf {

/// How the limits of its host hold a connection's commands back. Those whose data comes with them
/// wait in the socket, the others without a buffer, in kThrottled: a host at its limit holds no
/// memory from others.
///
/// Owner and core: its Connection. The lane is link.lane, that of the host on this core.
class ConnectionRate {
  public:
    explicit ConnectionRate(Connection& connection);
    ConnectionRate(const ConnectionRate&) = delete;
    ConnectionRate& operator=(const ConnectionRate&) = delete;

    /// Takes the host's tokens for a capsule with so much data. False: the stream waits.
    [[nodiscard]] bool pay_capsule(const Sqe& sqe, uint32_t bytes);
    /// Whether the capsule that begins is paid for; the next is not.
    [[nodiscard]] bool take_payment();
    /// Takes the host's tokens for a command that is judged. False: it waits.
    [[nodiscard]] bool pay(Request& request);

    /// The connection quiets down to move: what waits without memory waits on the other core.
    void set_throttled_aside();
    /// The stream no longer waits.
    void leave();
    /// Takes what waits out of line and frees it.
    void free_throttled();
    /// Namespaces have left: refuses what waits for its host's rate to use one of them.
    void refuse_orphans();
    /// Lets requests go on that wait for the rate of this namespace's device.
    void hurry(const Namespace& leaving);

    /// The time without that in which the stream was stopped: no host can send data then.
    [[nodiscard]] uint64_t receiving_ns() const;

    /// The Go of lanes of hosts.
    static void granted(bdev::IoRequest& io, void* request);

  private:
    void turn_came();

    Connection& connection_;
    qos::StreamTurn turn_;          // Of the capsule that waits in the receiver.
    bool is_capsule_paid_ = false;  // That capsule, or the next.
    uint64_t stopped_ns_ = 0;       // How long the stream has been stopped, in all.
    uint64_t stopped_since_ns_ = 0;
};

}  // namespace basalt::nvmf
