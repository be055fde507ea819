#include "rpc/server/json_rpc_server.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/limits.h"

namespace basalt::rpc {

namespace {

// What an epoll event is about: the wake-up, a listener by index, or from kFirstConnection a
// client.
constexpr uint32_t kReadable = EPOLLIN;
constexpr uint64_t kWakeKey = 0;
constexpr uint64_t kFirstListener = 1;
constexpr uint64_t kFirstConnection = 1000;

bool watch(int epoll_fd, int operation, int fd, uint32_t events, uint64_t key) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = key;
    return ::epoll_ctl(epoll_fd, operation, fd, &event) == 0;
}

}  // namespace

Result<std::unique_ptr<JsonRpcServer>> JsonRpcServer::create(const MethodTable& table) {
    const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        return Error::from_errno(errno);
    }
    const int wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0 || !watch(epoll_fd, EPOLL_CTL_ADD, wake_fd, EPOLLIN, kWakeKey)) {
        const Error error = Error::from_errno(errno);
        ::close(wake_fd);
        ::close(epoll_fd);
        return error;
    }
    return std::unique_ptr<JsonRpcServer>(new JsonRpcServer(table, epoll_fd, wake_fd));
}

JsonRpcServer::JsonRpcServer(const MethodTable& table, int epoll_fd, int wake_fd)
    : table_(table),
      epoll_fd_(epoll_fd),
      wake_fd_(wake_fd),
      spare_fd_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      next_id_(kFirstConnection) {}

JsonRpcServer::~JsonRpcServer() {
    connections_.clear();
    listeners_.clear();
    ::close(spare_fd_);
    ::close(wake_fd_);
    ::close(epoll_fd_);
}

Status JsonRpcServer::listen_unix(const std::string& path) {
    BASALT_TRY(Listener listener, Listener::open_unix(path));
    return add_listener(std::move(listener));
}

Status JsonRpcServer::listen_tcp(const std::string& address, uint16_t port) {
    BASALT_TRY(Listener listener, Listener::open_tcp(address, port));
    return add_listener(std::move(listener));
}

Status JsonRpcServer::add_listener(Listener listener) {
    const uint64_t key = kFirstListener + listeners_.size();
    BASALT_ASSERT(key < kFirstConnection);
    if (!watch(epoll_fd_, EPOLL_CTL_ADD, listener.fd(), is_watching_ ? kReadable : 0, key)) {
        return Error::from_errno(errno);
    }
    listeners_.push_back(std::move(listener));
    return kOk;
}

uint16_t JsonRpcServer::tcp_port() const {
    for (const Listener& listener : listeners_) {
        if (const uint16_t port = listener.port(); port != 0) {
            return port;
        }
    }
    return 0;
}

void JsonRpcServer::stop_listening() {
    listeners_.clear();
}

bool JsonRpcServer::is_idle() const {
    return std::all_of(connections_.begin(), connections_.end(), [](const auto& entry) {
        return entry.second.connection->is_idle();
    });
}

void JsonRpcServer::wake(JsonConnection& connection) {
    woken_fds_.push_back(connection.fd());
    const uint64_t one = 1;
    // Can fail only if it is readable already, which is all that is wanted.
    static_cast<void>(!::write(wake_fd_, &one, sizeof(one)));
}

void JsonRpcServer::process_ready() {
    constexpr int kEventsMax = 64;
    std::array<epoll_event, kEventsMax> events{};
    const int count = ::epoll_wait(epoll_fd_, events.data(), kEventsMax, 0);
    for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        if (event.data.u64 >= kFirstConnection) {
            serve(event.data.u64, event.events);
        } else if (event.data.u64 >= kFirstListener) {
            accept_from(event.data.u64 - kFirstListener);
        } else {
            uint64_t ignored = 0;
            static_cast<void>(!::read(wake_fd_, &ignored, sizeof(ignored)));
        }
    }
    // The list may grow while it is worked off; what is added has written to the eventfd again.
    const std::vector<int> woken = std::exchange(woken_fds_, {});
    for (const int fd : woken) {
        const auto it =
            std::find_if(connections_.begin(), connections_.end(), [fd](const auto& entry) {
                return entry.second.connection->fd() == fd;
            });
        if (it != connections_.end()) {
            serve(it->first, 0);
        }
    }
}

void JsonRpcServer::accept_from(size_t listener_index) {
    if (listener_index >= listeners_.size()) {
        return;
    }
    const int listen_fd = listeners_[listener_index].fd();
    if (connections_.size() >= kConnectionsMax && !make_room()) {
        watch_listeners(false);
        return;
    }
    const int fd = ::accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            // Turn the client away rather than be woken for it for ever.
            ::close(spare_fd_);
            ::close(::accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC));
            spare_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        return;
    }
    const uint64_t id = next_id_++;
    if (!watch(epoll_fd_, EPOLL_CTL_ADD, fd, EPOLLIN, id)) {
        ::close(fd);
        return;
    }
    Client client;
    client.connection = std::make_unique<JsonConnection>(id, fd, table_, *this);
    client.armed_events = EPOLLIN;
    client.last_active = ++activity_;
    connections_.emplace(id, std::move(client));
}

// Closes the connection that is of least use: one that only drains, else the one that has been
// silent longest. Never one that is owed an answer.
bool JsonRpcServer::make_room() {
    const auto rank = [](const Client& client) {
        const bool is_open = client.connection->state() == JsonConnection::State::kOpen;
        return std::pair(is_open, client.last_active);
    };
    auto victim = connections_.end();
    for (auto it = connections_.begin(); it != connections_.end(); ++it) {
        if (it->second.connection->is_idle() &&
            (victim == connections_.end() || rank(it->second) < rank(victim->second))) {
            victim = it;
        }
    }
    if (victim == connections_.end()) {
        return false;
    }
    connections_.erase(victim);
    return true;
}

void JsonRpcServer::serve(uint64_t id, uint32_t events) {
    const auto it = connections_.find(id);
    if (it == connections_.end()) {
        return;
    }
    Client& client = it->second;
    JsonConnection& connection = *client.connection;
    client.last_active = ++activity_;
    connection.on_ready(events);
    if (connection.state() == JsonConnection::State::kDead) {
        connections_.erase(it);
    } else if (const uint32_t wanted = connection.wanted_events(); wanted != client.armed_events) {
        client.armed_events = wanted;
        watch(epoll_fd_, EPOLL_CTL_MOD, connection.fd(), wanted, id);
    }
    if (!is_watching_) {
        watch_listeners(true);  // There may be room again; if not, the next accept finds out.
    }
}

void JsonRpcServer::watch_listeners(bool should_watch) {
    is_watching_ = should_watch;
    for (size_t i = 0; i < listeners_.size(); ++i) {
        watch(epoll_fd_,
              EPOLL_CTL_MOD,
              listeners_[i].fd(),
              should_watch ? kReadable : 0,
              kFirstListener + i);
    }
}

}  // namespace basalt::rpc
