#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "rpc/codec/framer.h"
#include "rpc/codec/json_codec.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {

class JsonConnection;
class JsonExchange;

/// Told by a connection when it has something to do outside on_ready().
class ConnectionWaker {
  public:
    virtual ~ConnectionWaker() = default;
    /// Have on_ready(0) called on this connection soon, but not from within this call.
    virtual void wake(JsonConnection& connection) = 0;
};

/// One client of the JSON-RPC server: cuts its bytes into requests, has them answered, sends
/// answers.
///
///   kOpen -> kDraining -> kDead     the client closed its side, or the stream broke
///     +---------------------^       the client is gone
///
/// Owner: the server. Thread: the control thread. Answers may come long after the request and in
/// any order. It never blocks; a client that does not read its answers is not read from either.
class JsonConnection {
  public:
    enum class State : uint8_t {
        kOpen,      ///< Reads requests. Moved on by end of file or by a stream that makes no sense.
        kDraining,  ///< Sends what is owed, throws away what still comes; on_ready moves it on.
        kDead,      ///< To be destroyed by the server.
    };

    /// Takes over `fd`, a connected non-blocking socket. `id` names it in the log. `table` and
    /// `waker` outlive the connection.
    JsonConnection(uint64_t id, int fd, const MethodTable& table, ConnectionWaker& waker);
    JsonConnection(const JsonConnection&) = delete;
    JsonConnection& operator=(const JsonConnection&) = delete;
    ~JsonConnection();

    /// Reads, starts calls and writes as far as that goes without waiting; bounded work. `events`
    /// are epoll's, 0 after a wake.
    void on_ready(uint32_t events);

    /// The epoll events that it waits for.
    [[nodiscard]] uint32_t wanted_events() const;

    [[nodiscard]] uint64_t id() const { return id_; }
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] State state() const { return state_; }
    /// True if nothing is owed to the client, so that it can be closed to make room.
    [[nodiscard]] bool is_idle() const { return exchanges_.empty() && unsent_bytes() == 0; }

  private:
    friend class JsonExchange;

    [[nodiscard]] size_t unsent_bytes() const { return output_.size() - sent_bytes_; }
    [[nodiscard]] bool is_paused() const;
    void read_input();
    void start_requests();
    void handle_value(const std::string& text);
    void break_stream(RpcCode code, std::string_view message);
    void write_output();
    void settle(uint32_t events);
    /// `exchange` has all its answers, `text`; destroys it.
    void exchange_done(JsonExchange& exchange, std::string_view text);

    uint64_t id_;
    int fd_;
    const MethodTable& table_;
    ConnectionWaker& waker_;
    State state_ = State::kOpen;
    bool input_ended_ = false;
    bool is_running_ = false;  // Inside on_ready: answers need no wake.
    bool is_shut_ = false;     // Our side of the socket is closed for writing.
    Framer framer_;
    std::string output_;
    size_t sent_bytes_ = 0;  // Of output_, from its beginning.
    std::map<const JsonExchange*, std::unique_ptr<JsonExchange>> exchanges_;
};

}  // namespace basalt::rpc
