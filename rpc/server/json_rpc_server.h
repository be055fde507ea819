#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "reactor/base/result.h"
#include "rpc/server/json_connection.h"
#include "rpc/server/listener.h"

namespace basalt::rpc {

/// Where SPDK's habits would look for us.
inline constexpr const char* kDefaultSocketPath = "/var/tmp/basalt.sock";

/// Serves the MethodTable as JSON-RPC 2.0 over a Unix socket and, if asked, loopback TCP.
///
/// Life: made, told where to listen, then driven by the control thread, which waits until poll_fd()
/// is readable and calls process_ready(). Owner: main. Thread: the control thread. Never blocks;
/// one slow client does not hold up another. Destroying it closes all connections; calls still in
/// progress are orphaned.
class JsonRpcServer final : public ConnectionWaker {
  public:
    /// `table` is filled and outlives the server. Errors: the system call's.
    [[nodiscard]] static Result<std::unique_ptr<JsonRpcServer>> create(const MethodTable& table);
    JsonRpcServer(const JsonRpcServer&) = delete;
    JsonRpcServer& operator=(const JsonRpcServer&) = delete;
    ~JsonRpcServer() override;

    /// Errors as Listener::open_unix and Listener::open_tcp.
    [[nodiscard]] Status listen_unix(const std::string& path);
    [[nodiscard]] Status listen_tcp(const std::string& address, uint16_t port);

    /// The port of the first TCP listener; 0 if there is none.
    [[nodiscard]] uint16_t tcp_port() const;

    /// Readable when process_ready() has something to do. Level triggered.
    [[nodiscard]] int poll_fd() const { return epoll_fd_; }

    /// Accepts, reads, calls handlers and writes, as far as that goes without waiting. Bounded
    /// work.
    void process_ready();

    /// Closes the listeners. Connections stay until their clients close them or the server goes.
    void stop_listening();

    [[nodiscard]] size_t connection_count() const { return connections_.size(); }
    /// True if no client waits for an answer.
    [[nodiscard]] bool is_idle() const;

  private:
    struct Client {
        std::unique_ptr<JsonConnection> connection;
        uint32_t armed_events = 0;
        uint64_t last_active = 0;  // Value of activity_ when it last did something.
    };

    JsonRpcServer(const MethodTable& table, int epoll_fd, int wake_fd);

    void wake(JsonConnection& connection) override;
    [[nodiscard]] Status add_listener(Listener listener);
    void accept_from(size_t listener_index);
    [[nodiscard]] bool make_room();
    void serve(uint64_t id, uint32_t events);
    void watch_listeners(bool watch);

    const MethodTable& table_;
    int epoll_fd_;
    int wake_fd_;
    int spare_fd_ = -1;  // Closed and reopened to turn clients away when file descriptors run out.
    bool is_watching_ = true;
    uint64_t next_id_;
    uint64_t activity_ = 0;
    std::vector<Listener> listeners_;
    std::map<uint64_t, Client> connections_;
    std::vector<int> woken_fds_;
};

}  // namespace basalt::rpc
