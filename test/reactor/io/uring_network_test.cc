#include "reactor/io/uring_network.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/allocation_counter.h"
#include "test/reactor/io/uring_test_support.h"

namespace basalt {
namespace {

using test::Peer;
using test::Tickets;

SocketAddress loopback(uint16_t port, bool is_ipv6 = false) {
    return *SocketAddress::parse(is_ipv6 ? "::1" : "127.0.0.1", port);
}

size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
}

/// Two drivers, as if on two cores: clients on one, the listener and its connections on the other.
class UringNetworkTest : public testing::TestWithParam<test::Kernel> {
  protected:
    void SetUp() override {
        options_.allowed = GetParam().allowed;
        client_ = test::make_driver(options_);
        server_ = test::make_driver(options_);
        ASSERT_TRUE(client_ && server_);
        drivers_ = {client_.get(), server_.get()};
    }

    void TearDown() override {
        listener_.reset();
        for (const auto& peer : peers_) {
            if (peer->socket) {
                peer->socket->close();
            }
        }
        EXPECT_TRUE(
            poll([this] { return client_->socket_count() == 0 && server_->socket_count() == 0; }));
        EXPECT_EQ(client_->in_flight(), 0U);
        EXPECT_EQ(server_->in_flight(), 0U);
    }

    template <typename IsDone>
    bool poll(IsDone is_done) {
        return test::poll_until(drivers_, is_done);
    }

    template <typename IsDone>
    bool poll_client(IsDone is_done) {
        return test::poll_until(std::span(drivers_).first(1), is_done);
    }

    void listen(bool is_ipv6 = false) {
        auto listener = server_->network().listen(loopback(0, is_ipv6), tickets_);
        ASSERT_TRUE(listener) << describe(listener.error().code);
        listener_ = std::move(*listener);
        is_ipv6_ = is_ipv6;
    }

    Peer& add_peer() { return *peers_.emplace_back(std::make_unique<Peer>()); }

    /// A connected pair: `first` the client's end, `second` the server's.
    std::pair<Peer*, Peer*> connect() { return connect(add_peer()); }
    std::pair<Peer*, Peer*> connect(Peer& near) {
        Peer& far = add_peer();
        auto socket = client_->network().connect(
            loopback(listener_->local_address().port(), is_ipv6_), SocketOptions(), near);
        EXPECT_TRUE(socket);
        near.socket = std::move(*socket);
        EXPECT_TRUE(poll([&] { return near.is_connected && !tickets_.tickets.empty(); }));
        auto adopted = server_->network().adopt(tickets_.tickets.front(), SocketOptions(), far);
        tickets_.tickets.erase(tickets_.tickets.begin());
        EXPECT_TRUE(adopted);
        far.socket = std::move(*adopted);
        return {&near, &far};
    }

    UringOptions options_;
    std::unique_ptr<UringDriver> client_;
    std::unique_ptr<UringDriver> server_;
    std::array<UringDriver*, 2> drivers_{};
    Tickets tickets_;
    std::unique_ptr<Listener> listener_;
    bool is_ipv6_ = false;
    std::vector<std::unique_ptr<Peer>> peers_;
};

INSTANTIATE_TEST_SUITE_P(Kernels,
                         UringNetworkTest,
                         testing::ValuesIn(test::kernels()),
                         test::kernel_name);

TEST_P(UringNetworkTest, EchoesOverIpv4) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->is_echo = true;
    for (const size_t count : {1U, 72U, 4096U, 40000U, 1000000U}) {
        near->send_stream(count);
        ASSERT_TRUE(poll([&] { return near->received == near->sent && !near->is_sending; }));
    }
    EXPECT_TRUE(near->is_in_order);
    EXPECT_TRUE(far->is_in_order);
}

TEST_P(UringNetworkTest, EchoesOverIpv6) {
    listen(true);
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->is_echo = true;
    near->send_stream(300000);
    ASSERT_TRUE(poll([&] { return near->received == near->sent; }));
    EXPECT_TRUE(near->is_in_order);
    EXPECT_TRUE(near->socket->peer_address().is_loopback());
    EXPECT_EQ(near->socket->peer_address(), far->socket->local_address());
    EXPECT_EQ(near->socket->local_address(), far->socket->peer_address());
}

TEST_P(UringNetworkTest, SendsManyPiecesInOrder) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    const auto bytes = test::stream_bytes(0, 3000000);
    std::vector<iovec> pieces;
    size_t position = 0;
    for (size_t i = 0; i + 1 < kSendPiecesMax; ++i) {
        // Empty pieces, too, at the front and between.
        const size_t length = i % 3 == 0 ? 0 : i * 97;
        pieces.push_back({const_cast<std::byte*>(bytes.data()) + position, length});
        position += length;
    }
    pieces.push_back({const_cast<std::byte*>(bytes.data()) + position, bytes.size() - position});
    near->is_sending = true;
    near->socket->send(pieces);
    ASSERT_TRUE(poll([&] { return far->received == bytes.size() && near->sends_done == 1; }));
    EXPECT_TRUE(far->is_in_order);
}

TEST_P(UringNetworkTest, SlowReaderLosesNothingAndLeavesOthersAlone) {
    listen();
    const auto slow_near_and_slow_far = connect();
    Peer* slow_near = slow_near_and_slow_far.first;
    Peer* slow_far = slow_near_and_slow_far.second;
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->is_echo = true;
    slow_far->allowance = 0;
    constexpr size_t kBytes = 24000000;  // More than both TCP windows.
    slow_near->send_stream(kBytes);

    // Others go on while the slow reader takes nothing.
    for (int i = 0; i < 200; ++i) {
        near->send_stream(50000);
        ASSERT_TRUE(poll([&] { return near->received == near->sent && !near->is_sending; }));
    }
    EXPECT_TRUE(near->is_in_order);
    EXPECT_EQ(slow_far->received, 0U);
    EXPECT_EQ(slow_near->sends_done, 0U);  // The window is closed: the sender feels it.

    // The slow reader takes odd amounts, then everything.
    for (uint64_t taken = 1; taken < 300000; taken = taken * 3 + 1) {
        slow_far->allowance = taken;
        slow_far->socket->resume_receive();
        ASSERT_TRUE(poll([&] { return slow_far->allowance == 0; }));
    }
    slow_far->allowance = UINT64_MAX;
    slow_far->socket->resume_receive();
    ASSERT_TRUE(poll([&] { return slow_far->received == kBytes; }));
    EXPECT_TRUE(slow_far->is_in_order);
    EXPECT_TRUE(poll([&] { return slow_near->sends_done == 1; }));
}

TEST_P(UringNetworkTest, KeepsTheOrderOfBytesThatArriveWhileItPauses) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->allowance = 10;
    near->send_stream(100);
    ASSERT_TRUE(poll([&, peer = far] { return peer->received == 10; }));
    // Only the client polls. Without deferred completions its system calls run the server's, too,
    // so these bytes overtake the server's wish to hear of no more.
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(poll_client([peer = near] { return !peer->is_sending; }));
        near->send_stream(100);
    }
    for (int i = 0; i < 100; ++i) {
        server_->poll();
        client_->poll();
    }
    EXPECT_EQ(far->received, 10U);
    far->allowance = UINT64_MAX;
    far->socket->resume_receive();
    ASSERT_TRUE(poll([&, peer = far] { return peer->received == 400; }));
    EXPECT_TRUE(far->is_in_order);
}

TEST_P(UringNetworkTest, APausedSocketStopsReading) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->allowance = 10;
    near->send_stream(100);
    ASSERT_TRUE(poll([&, peer = far] { return peer->received == 10; }));
    for (int i = 0; i < 100; ++i) {
        server_->poll();
    }
    const uint64_t completions = server_->counters().completions;
    for (int i = 0; i < 10; ++i) {
        near->send_stream(100);
        ASSERT_TRUE(poll([peer = near] { return !peer->is_sending; }));
        for (int k = 0; k < 10; ++k) {
            server_->poll();
        }
    }
    EXPECT_EQ(server_->counters().completions, completions);
}

TEST_P(UringNetworkTest, ManyPausedSocketsDoNotStarveOthers) {
    listen();
    std::vector<std::pair<Peer*, Peer*>> paused;
    for (int i = 0; i < 40; ++i) {
        paused.push_back(connect());
        paused.back().second->allowance = 0;
        paused.back().first->send_stream(2000000);
    }
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->is_echo = true;
    for (int i = 0; i < 20; ++i) {
        near->send_stream(50000);
        ASSERT_TRUE(poll([&] { return near->received == near->sent && !near->is_sending; }));
    }
    for (const auto& [from, to] : paused) {
        to->allowance = UINT64_MAX;
        to->socket->resume_receive();
    }
    ASSERT_TRUE(poll([&] {
        return std::all_of(paused.begin(), paused.end(), [](const auto& pair) {
            return pair.second->received == 2000000U;
        });
    }));
    for (const auto& [from, to] : paused) {
        EXPECT_TRUE(to->is_in_order);
    }
}

TEST_P(UringNetworkTest, ReportsThePeersCloseAfterItsLastBytes) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->allowance = 10;
    near->send_stream(100);
    ASSERT_TRUE(poll([&] { return near->sends_done == 1 && far->received == 10; }));
    near->socket->close();
    ASSERT_TRUE(poll([&] { return near->closed.has_value(); }));
    EXPECT_EQ(near->closed->code, Errc::kCancelled);
    for (int i = 0; i < 1000; ++i) {
        server_->poll();
    }
    EXPECT_FALSE(far->closed.has_value());
    far->allowance = UINT64_MAX;
    far->socket->resume_receive();
    ASSERT_TRUE(poll([&] { return far->closed.has_value(); }));
    EXPECT_EQ(far->received, 100U);
    EXPECT_TRUE(far->is_in_order);
    EXPECT_EQ(far->closed->code, Errc::kConnectionClosed);
}

TEST_P(UringNetworkTest, ReportsTheReset) {
    listen();
    Peer& far = add_peer();
    const int raw = socket(AF_INET, SOCK_STREAM, 0);
    const SocketAddress address = loopback(listener_->local_address().port());
    ASSERT_EQ(::connect(raw, address.native(), address.native_size()), 0);
    ASSERT_TRUE(poll([&] { return !tickets_.tickets.empty(); }));
    far.socket = *server_->network().adopt(tickets_.tickets.front(), SocketOptions(), far);
    const linger abortive{.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(setsockopt(raw, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive)), 0);
    server_->poll();
    close(raw);
    ASSERT_TRUE(poll([&] { return far.closed.has_value(); }));
    EXPECT_EQ(far.closed->code, Errc::kConnectionClosed);
    EXPECT_EQ(far.closed->error_number, ECONNRESET);
}

TEST_P(UringNetworkTest, ReportsThatNobodyListens) {
    listen();
    const uint16_t port = listener_->local_address().port();
    listener_.reset();
    ASSERT_TRUE(poll([&] { return server_->poll() == 0; }));
    Peer& near = add_peer();
    near.socket = *client_->network().connect(loopback(port), SocketOptions(), near);
    ASSERT_TRUE(poll([&] { return near.closed.has_value(); }));
    EXPECT_EQ(near.closed->code, Errc::kConnectionRefused);
    EXPECT_FALSE(near.is_connected);
}

TEST_P(UringNetworkTest, ClosesWhileConnecting) {
    // 198.51.100.0/24 is for documentation (RFC 5737): nobody answers, or the route is missing.
    Peer& near = add_peer();
    auto socket = client_->network().connect(
        *SocketAddress::parse("198.51.100.1", 4420), SocketOptions(), near);
    ASSERT_TRUE(socket);
    near.socket = std::move(*socket);
    client_->poll();
    near.socket->close();
    ASSERT_TRUE(poll([&] { return near.closed.has_value(); }));
    EXPECT_FALSE(near.is_connected);
}

TEST_P(UringNetworkTest, ClosesWhileASendIsBlocked) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->allowance = 0;
    near->send_stream(24000000);
    ASSERT_TRUE(poll([&] { return client_->poll() == 0 && server_->poll() == 0; }));
    EXPECT_EQ(near->sends_done, 0U);
    near->socket->close();
    near->socket->close();  // Again does nothing.
    EXPECT_FALSE(near->closed.has_value()) << "called inside close()";
    ASSERT_TRUE(poll([&] { return near->closed.has_value(); }));
    EXPECT_EQ(near->closed->code, Errc::kCancelled);
    EXPECT_EQ(near->sends_done, 0U);
}

TEST_P(UringNetworkTest, FailsABlockedSendWhenThePeerResets) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->allowance = 0;
    near->send_stream(24000000);
    ASSERT_TRUE(poll([&] { return client_->poll() == 0 && server_->poll() == 0; }));
    far->socket->close();  // With bytes unread: TCP answers with a reset.
    ASSERT_TRUE(poll([&] { return near->closed.has_value() && far->closed.has_value(); }));
    EXPECT_EQ(near->closed->code, Errc::kConnectionClosed);
}

TEST_P(UringNetworkTest, RefusesAnAddressInUse) {
    listen();
    auto second = server_->network().listen(loopback(listener_->local_address().port()), tickets_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::kAddressInUse);
}

TEST_P(UringNetworkTest, RefusesAnAddressThatIsNotOurs) {
    auto listener =
        server_->network().listen(*SocketAddress::parse("198.51.100.1", 4420), tickets_);
    ASSERT_FALSE(listener);
    EXPECT_EQ(listener.error().code, Errc::kUnreachable);
}

TEST_P(UringNetworkTest, ListensAgainOnThePortOfAListenerThatIsGone) {
    listen();
    const SocketAddress address = listener_->local_address();
    connect();
    listener_.reset();
    auto again = server_->network().listen(address, tickets_);
    ASSERT_TRUE(again) << describe(again.error().code);
    listener_ = std::move(*again);
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    near->send_stream(10);
    EXPECT_TRUE(poll([&, pair = far] { return pair->received == 10; }));
}

TEST_P(UringNetworkTest, DiscardsAConnectionThatNobodyWants) {
    listen();
    Peer& near = add_peer();
    near.socket = *client_->network().connect(listener_->local_address(), SocketOptions(), near);
    ASSERT_TRUE(poll([&] { return !tickets_.tickets.empty(); }));
    server_->network().discard(tickets_.tickets.front());
    ASSERT_TRUE(poll([&] { return near.closed.has_value(); }));
    EXPECT_EQ(near.closed->code, Errc::kConnectionClosed);
}

TEST_P(UringNetworkTest, AdoptsOnAnotherCore) {
    listen();
    auto third = test::make_driver(options_);
    Peer near;
    Peer far;
    near.socket = *client_->network().connect(listener_->local_address(), SocketOptions(), near);
    ASSERT_TRUE(poll([&] { return near.is_connected && !tickets_.tickets.empty(); }));
    near.send_stream(5000);
    far.is_echo = true;
    far.socket = *third->network().adopt(tickets_.tickets.front(), SocketOptions(), far);
    ASSERT_TRUE(poll([&] {
        third->poll();
        return near.received == 5000;
    }));
    near.socket->close();
    ASSERT_TRUE(poll([&] {
        third->poll();
        return near.closed.has_value() && far.closed.has_value();
    }));
}

TEST_P(UringNetworkTest, TellsTheKernelHowLongAPeerMayBeSilent) {
    listen();
    Peer& near = add_peer();
    near.socket = *client_->network().connect(listener_->local_address(), SocketOptions(), near);
    ASSERT_TRUE(poll([&] { return near.is_connected && !tickets_.tickets.empty(); }));
    const auto fd = static_cast<int>(tickets_.tickets.front().ticket);
    Peer& far = add_peer();
    far.socket = *server_->network().adopt(
        tickets_.tickets.front(), SocketOptions{.user_timeout_ms = 12'345}, far);
    const auto option = [&](int name) {
        int value = -1;
        socklen_t size = sizeof(value);
        EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, name, &value, &size), 0);
        return value;
    };
    EXPECT_EQ(option(TCP_USER_TIMEOUT), 12'345);
    EXPECT_EQ(option(TCP_NODELAY), 1);
}

// --- From core to core ---------------------------------------------------------------------------

TEST_P(UringNetworkTest, AReleasedConnectionGoesOnAtItsNextByteOnAnotherCore) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    std::array<UringDriver*, 2> homes{client_.get(), server_.get()};
    uint64_t allowance = 1000;
    for (size_t move = 0; move < 20; ++move) {
        SCOPED_TRACE(move);
        far->allowance = allowance - far->received;
        if (!near->is_sending) {
            near->send_stream(200'000);
        }
        const uint64_t received = far->received;
        ASSERT_TRUE(poll([&] { return far->received > received && far->allowance == 0; }));
        if (move % 2 == 0) {
            for (int turn = 0; turn < 100; ++turn) {
                server_->poll();  // Much arrives that it must hold back.
                client_->poll();
            }
        }
        ASSERT_TRUE(far->socket->release());
        ASSERT_TRUE(poll([&] { return far->released.has_value(); }));
        Peer& next = add_peer();
        next.received = far->received;
        auto adopted = homes[move % 2]->network().adopt(*far->released, SocketOptions(), next);
        ASSERT_TRUE(adopted);
        next.socket = std::move(*adopted);
        next.allowance = 0;
        far = &next;
        allowance += 1 + move * 20'011;
    }
    far->allowance = UINT64_MAX;
    far->socket->resume_receive();
    ASSERT_TRUE(poll([&] { return !near->is_sending && far->received == near->sent; }));
    EXPECT_TRUE(far->is_in_order);
    far->send_stream(5000);
    ASSERT_TRUE(poll([&] { return near->received == 5000; }));
    EXPECT_TRUE(near->is_in_order);
}

TEST_P(UringNetworkTest, AConnectionMayBeClosedWhileItIsReleased) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    ASSERT_TRUE(far->socket->release());
    far->socket->close();
    ASSERT_TRUE(poll([&] { return far->closed.has_value() && near->closed.has_value(); }));
    EXPECT_FALSE(far->released.has_value());
}

TEST_P(UringNetworkTest, AnEndThatComesDuringAReleaseIsTheNextOwnersToHear) {
    listen();
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    near->send_stream(100);
    ASSERT_TRUE(poll([&] { return far->received == 100; }));
    ASSERT_TRUE(far->socket->release());
    near->socket->close();
    ASSERT_TRUE(poll([&] { return far->released.has_value() && near->closed.has_value(); }));
    Peer& next = add_peer();
    auto adopted = client_->network().adopt(*far->released, SocketOptions(), next);
    if (adopted) {
        next.socket = std::move(*adopted);
        ASSERT_TRUE(poll([&] { return next.closed.has_value(); }));
    }
}

TEST_P(UringNetworkTest, OpensAndClosesAThousandSocketsWithoutALeak) {
    listen();
    client_->poll();
    const size_t before = open_descriptors();
    for (int round = 0; round < 10; ++round) {
        std::vector<std::unique_ptr<Peer>> peers;
        for (int i = 0; i < 100; ++i) {
            Peer& near = *peers.emplace_back(std::make_unique<Peer>());
            near.socket =
                *client_->network().connect(listener_->local_address(), SocketOptions(), near);
        }
        ASSERT_TRUE(poll([&] { return tickets_.tickets.size() == 100; }));
        for (const AcceptedSocket& ticket : tickets_.tickets) {
            Peer& far = *peers.emplace_back(std::make_unique<Peer>());
            far.is_echo = true;
            far.socket = *server_->network().adopt(ticket, SocketOptions(), far);
        }
        tickets_.tickets.clear();
        ASSERT_TRUE(poll([&] {
            return std::all_of(peers.begin(), peers.begin() + 100, [](const auto& peer) {
                return peer->is_connected;
            });
        }));
        for (int i = 0; i < 100; ++i) {
            peers[static_cast<size_t>(i)]->send_stream(500);
        }
        ASSERT_TRUE(poll([&] {
            return std::all_of(peers.begin(), peers.begin() + 100, [](const auto& peer) {
                return peer->received == 500;
            });
        }));
        for (int i = 0; i < 100; ++i) {
            peers[static_cast<size_t>(i)]->socket->close();
        }
        ASSERT_TRUE(poll([&] {
            return std::all_of(peers.begin(), peers.end(), [](const auto& peer) {
                return peer->closed.has_value();
            });
        }));
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST_P(UringNetworkTest, TakesNewConnectionsAgainAfterDescriptorsRanOut) {
    listen();  // The kernel notes the limit when the first poll asks it to accept.
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int raw = socket(AF_INET, SOCK_STREAM, 0);
    const rlimit none{.rlim_cur = static_cast<rlim_t>(raw) + 1, .rlim_max = limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const SocketAddress address = listener_->local_address();
    EXPECT_EQ(::connect(raw, address.native(), address.native_size()), 0);
    for (int i = 0; i < 1000; ++i) {
        server_->poll();
    }
    EXPECT_TRUE(tickets_.tickets.empty());
    const uint64_t completions = server_->counters().completions;
    EXPECT_LT(completions, 100U) << "tries again without rest";
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ASSERT_TRUE(poll([&] { return !tickets_.tickets.empty(); }));
    server_->network().discard(tickets_.tickets.front());
    close(raw);
}

TEST_P(UringNetworkTest, GoesOnWhenReceiveBuffersRunOut) {
    options_.buffers = {.buffer_bytes = 4096, .lent_start = 1, .lent_max = 2, .total_count = 8};
    server_ = test::make_driver(options_);
    drivers_[1] = server_.get();
    listen();
    std::vector<std::pair<Peer*, Peer*>> pairs;
    for (int i = 0; i < 10; ++i) {
        pairs.push_back(connect());
        pairs.back().first->send_stream(500000);
    }
    ASSERT_TRUE(poll([&] {
        return std::all_of(pairs.begin(), pairs.end(), [](const auto& pair) {
            return pair.second->received == 500000U;
        });
    }));
    for (const auto& [from, to] : pairs) {
        EXPECT_TRUE(to->is_in_order);
    }
}

/// Sends for ever.
class Flooder : public Peer {
  public:
    void on_sent() override {
        Peer::on_sent();
        if (!is_done) {
            send_stream(1000000);
        }
    }
    bool is_done = false;
};

TEST_P(UringNetworkTest, FloodsDoNotStarveOthers) {
    options_.buffers = {.buffer_bytes = 4096, .lent_start = 1, .lent_max = 2, .total_count = 8};
    server_ = test::make_driver(options_);
    drivers_[1] = server_.get();
    listen();
    std::vector<Flooder*> flooders;
    for (int i = 0; i < 2; ++i) {
        flooders.push_back(
            static_cast<Flooder*>(peers_.emplace_back(std::make_unique<Flooder>()).get()));
        connect(*flooders.back());
        flooders.back()->send_stream(1000000);
    }
    const auto near_and_far = connect();
    Peer* near = near_and_far.first;
    Peer* far = near_and_far.second;
    far->is_echo = true;
    for (int i = 0; i < 300; ++i) {
        near->send_stream(100);
        ASSERT_TRUE(
            poll([&, peer = near] { return peer->received == peer->sent && !peer->is_sending; }));
    }
    for (Flooder* flooder : flooders) {
        flooder->is_done = true;
        EXPECT_GT(flooder->sends_done, 0U);
    }
}

TEST_P(UringNetworkTest, AnIdlePollMakesNoSystemCall) {
    listen();
    connect();
    ASSERT_TRUE(poll([&] { return client_->poll() == 0 && server_->poll() == 0; }));
    const uint64_t before = server_->counters().enters;
    for (int i = 0; i < 1000; ++i) {
        server_->poll();
    }
    EXPECT_EQ(server_->counters().enters, before);
}

/// Counts bytes and answers from memory of its own.
class QuietPeer : public SocketHandler {
  public:
    size_t on_receive(std::span<const std::byte> data) override {
        received += data.size();
        return data.size();
    }
    void on_sent() override {}
    void on_closed(Error /*reason*/) override { is_closed = true; }

    std::unique_ptr<Socket> socket{};
    uint64_t received = 0;
    bool is_closed = false;
};

TEST_P(UringNetworkTest, SendsAndReceivesWithoutAllocating) {
    listen();
    QuietPeer near;
    QuietPeer far;
    near.socket = *client_->network().connect(listener_->local_address(), SocketOptions(), near);
    ASSERT_TRUE(poll([&] { return !tickets_.tickets.empty(); }));
    far.socket = *server_->network().adopt(tickets_.tickets.front(), SocketOptions(), far);
    const std::vector<std::byte> bytes = test::stream_bytes(0, 100000);
    const iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
    const uint64_t before = thread_allocations();
    for (uint64_t round = 1; round <= 100; ++round) {
        near.socket->send({&piece, 1});
        far.socket->send({&piece, 1});
        ASSERT_TRUE(poll([&] {
            return near.received == round * bytes.size() && far.received == near.received &&
                   client_->in_flight() == 0 && server_->in_flight() == 0;
        }));
    }
    EXPECT_EQ(thread_allocations(), before);
    near.socket->close();
    EXPECT_TRUE(poll([&] { return near.is_closed && far.is_closed; }));
}

TEST_P(UringNetworkTest, AllSendsOfATurnGoInOneSystemCall) {
    listen();
    std::vector<std::pair<Peer*, Peer*>> pairs;
    for (int i = 0; i < 20; ++i) {
        pairs.push_back(connect());
    }
    ASSERT_TRUE(poll([&] { return client_->poll() == 0 && server_->poll() == 0; }));
    const UringCounters before = client_->counters();
    for (const auto& [near, far] : pairs) {
        near->send_stream(100);
    }
    client_->poll();
    EXPECT_EQ(client_->counters().enters - before.enters, 1U);
    EXPECT_EQ(client_->counters().submissions - before.submissions, 20U);
    ASSERT_TRUE(poll([&] {
        return std::all_of(pairs.begin(), pairs.end(), [](const auto& pair) {
            return pair.second->received == 100U;
        });
    }));
}

TEST_P(UringNetworkTest, AFullSubmissionQueueIsSubmittedAndLosesNothing) {
    options_.ring.submission_entries = 4;
    client_ = test::make_driver(options_);
    drivers_[0] = client_.get();
    listen();
    std::vector<std::pair<Peer*, Peer*>> pairs;
    for (int i = 0; i < 30; ++i) {
        pairs.push_back(connect());
    }
    for (const auto& [near, far] : pairs) {
        near->send_stream(100);
    }
    ASSERT_TRUE(poll([&] {
        return std::all_of(pairs.begin(), pairs.end(), [](const auto& pair) {
            return pair.second->received == 100U;
        });
    }));
}

TEST_P(UringNetworkTest, ACompletionQueueThatOverflowsLosesNothing) {
    options_.ring = {.submission_entries = 4, .completion_entries = 8};
    options_.buffers = {.buffer_bytes = 512, .lent_start = 1, .lent_max = 256, .total_count = 1024};
    server_ = test::make_driver(options_);
    drivers_[1] = server_.get();
    listen();
    std::vector<std::pair<Peer*, Peer*>> pairs;
    for (int i = 0; i < 30; ++i) {
        pairs.push_back(connect());
        pairs.back().second->is_echo = true;
    }
    for (const auto& [near, far] : pairs) {
        near->send_stream(50000);
    }
    ASSERT_TRUE(poll([&] {
        return std::all_of(pairs.begin(), pairs.end(), [](const auto& pair) {
            return pair.first->received == 50000U;
        });
    }));
    for (const auto& [near, far] : pairs) {
        EXPECT_TRUE(near->is_in_order);
    }
}

}  // namespace
}  // namespace basalt
