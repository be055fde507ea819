// Each thing that the simulated network does to connections, one at a time.
#include <gtest/gtest.h>

#include "test/reactor/sim/echo.h"

namespace basalt::sim {
namespace {

constexpr uint16_t kPort = 4420;

/// A server node and a client node, and what the tests do with them.
class NetworkTest : public testing::Test {
  protected:
    explicit NetworkTest(const FaultOptions& faults = calm())
        : world_(7, faults),
          server_node_(world_.add_node()),
          client_node_(world_.add_node()),
          server_reactor_(world_.add_reactor(server_node_)),
          client_reactor_(world_.add_reactor(client_node_)) {}
    ~NetworkTest() override { world_.power_off(); }

    void start_server() {
        server_ = std::make_unique<EchoServer>(
            server_reactor_, std::vector<Reactor*>{&server_reactor_}, server_address());
    }
    EchoClient& start_client(uint64_t bytes, uint32_t user_timeout_ms = 1000) {
        clients_.push_back(std::make_unique<EchoClient>(client_reactor_, clients_.size(), bytes));
        clients_.back()->connect(server_address(), user_timeout_ms);
        return *clients_.back();
    }
    bool run_until_closed(const EchoClient& client, uint64_t limit_ns = 100 * kNsPerSecond) {
        return world_.run_until([&] { return client.is_closed; }, limit_ns);
    }
    void run_until_half_way(const EchoClient& client) {
        ASSERT_TRUE(world_.run_until([&] { return client.received > 5000; }, kNsPerSecond));
    }
    SocketAddress server_address() const { return World::address(server_node_, kPort); }

    World world_;
    NodeId server_node_;
    NodeId client_node_;
    Reactor& server_reactor_;
    Reactor& client_reactor_;
    std::unique_ptr<EchoServer> server_;
    std::vector<std::unique_ptr<EchoClient>> clients_;
};

TEST_F(NetworkTest, ConnectingWhereNobodyListensIsRefused) {
    EchoClient& client = start_client(10);
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_FALSE(client.is_connected);
    EXPECT_EQ(client.close_reason.code, Errc::kConnectionRefused);
}

TEST_F(NetworkTest, ConnectingToAnUnknownAddressIsUnreachableAtOnce) {
    EchoClient client(client_reactor_, 0, 10);
    const auto socket = client_reactor_.network().connect(
        SocketAddress::parse("192.0.2.1", kPort).value(), SocketOptions{}, client);
    ASSERT_FALSE(socket);
    EXPECT_EQ(socket.error().code, Errc::kUnreachable);
}

TEST_F(NetworkTest, TwoListenersOnOneAddressConflict) {
    start_server();
    const auto again = server_reactor_.network().listen(server_address(), *server_);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::kAddressInUse);
    const SocketAddress any = SocketAddress::parse("0.0.0.0", kPort).value();
    EXPECT_FALSE(server_reactor_.network().listen(any, *server_));
    const SocketAddress elsewhere = World::address(client_node_, kPort);
    EXPECT_EQ(server_reactor_.network().listen(elsewhere, *server_).error().code,
              Errc::kUnreachable);
}

TEST_F(NetworkTest, PortZeroGetsARealPort) {
    start_server();
    const auto listener =
        server_reactor_.network().listen(World::address(server_node_, 0), *server_);
    ASSERT_TRUE(listener);
    EXPECT_NE(listener.value()->local_address().port(), 0);
}

TEST_F(NetworkTest, WildcardsLoopbackAndIpv6LeadToTheListener) {
    start_server();
    const auto any6 =
        server_reactor_.network().listen(SocketAddress::parse("::", kPort).value(), *server_);
    const auto any4 = server_reactor_.network().listen(
        SocketAddress::parse("0.0.0.0", kPort + 1).value(), *server_);
    ASSERT_TRUE(any6 && any4);
    EchoClient local(server_reactor_, 1, 100);
    local.connect(SocketAddress::parse("127.0.0.1", kPort + 1).value());
    EchoClient far(client_reactor_, 2, 100);
    far.connect(World::address_ipv6(server_node_, kPort));
    EXPECT_TRUE(run_until_closed(local));
    EXPECT_TRUE(run_until_closed(far));
    EXPECT_TRUE(local.has_all());
    EXPECT_TRUE(far.has_all());
}

TEST_F(NetworkTest, AListenerThatIsDestroyedRefuses) {
    start_server();
    server_.reset();
    EchoClient& client = start_client(10);
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_EQ(client.close_reason.code, Errc::kConnectionRefused);
}

TEST_F(NetworkTest, ADiscardedConnectionIsClosedForTheClient) {
    struct Discarder final : ListenHandler {
        explicit Discarder(Reactor& reactor) : reactor_(reactor) {}
        void on_accept(AcceptedSocket accepted) override { reactor_.network().discard(accepted); }
        Reactor& reactor_;
    } discarder(server_reactor_);
    const auto listener = server_reactor_.network().listen(server_address(), discarder);
    EchoClient& client = start_client(10);
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_EQ(client.close_reason.code, Errc::kConnectionClosed);
    EXPECT_EQ(world_.network().connection_count(), 0U);
}

TEST_F(NetworkTest, ClosingTellsBothSidesOnce) {
    start_server();
    EchoClient& client = start_client(100);
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_EQ(client.close_reason.code, Errc::kCancelled);
    world_.run_for(kNsPerMs);
    ASSERT_EQ(server_->sessions.size(), 1U);
    EXPECT_TRUE(server_->sessions[0]->is_closed);
    EXPECT_EQ(world_.network().connection_count(), 0U);
}

TEST_F(NetworkTest, ACutResetsTheConnectionHalfWay) {
    start_server();
    EchoClient& client = start_client(1'000'000);
    run_until_half_way(client);
    EXPECT_TRUE(world_.network().cut_connection(0));
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_EQ(client.close_reason.error_number, ECONNRESET);
    EXPECT_FALSE(client.has_all());
    EXPECT_FALSE(client.is_wrong);
    world_.run_for(kNsPerMs);
    EXPECT_TRUE(server_->sessions[0]->is_closed);
}

TEST_F(NetworkTest, CuttingANodeResetsAllItsConnections) {
    start_server();
    EchoClient& first = start_client(1'000'000);
    EchoClient& second = start_client(1'000'000);
    run_until_half_way(first);
    run_until_half_way(second);
    world_.network().cut_connections(client_node_);
    EXPECT_TRUE(run_until_closed(first));
    EXPECT_TRUE(run_until_closed(second));
    EXPECT_FALSE(first.has_all() || second.has_all());
}

TEST_F(NetworkTest, AHealedPartitionOnlyDelays) {
    start_server();
    EchoClient& client = start_client(100'000);
    run_until_half_way(client);
    world_.partition_both_ways(server_node_, client_node_);
    world_.run_for(kNsPerMs);
    const uint64_t received = client.received;
    world_.run_for(500 * kNsPerMs);
    EXPECT_EQ(client.received, received);
    world_.heal_both_ways(server_node_, client_node_);
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_TRUE(client.has_all());
}

TEST_F(NetworkTest, APartitionEndsInTheUserTimeoutOnBothSides) {
    start_server();
    EchoClient& client = start_client(1'000'000, 1000);
    run_until_half_way(client);
    world_.partition_both_ways(server_node_, client_node_);
    const uint64_t start_ns = world_.now_ns();
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_EQ(client.close_reason.code, Errc::kTimedOut);
    EXPECT_GE(world_.now_ns() - start_ns, kNsPerSecond);
    EXPECT_LT(world_.now_ns() - start_ns, kNsPerSecond + kNsPerMs);
    EXPECT_FALSE(server_->sessions[0]->is_closed);
    world_.network().heal_all();
    world_.run_for(kNsPerMs);
    EXPECT_TRUE(server_->sessions[0]->is_closed);
}

TEST_F(NetworkTest, AOneWayPartitionStopsOnlyThatWay) {
    start_server();
    EchoClient& client = start_client(100, 0);
    client.closes_at_end = false;
    ASSERT_TRUE(world_.run_until([&] { return client.has_all(); }, kNsPerSecond));
    world_.network().partition(server_node_, client_node_);
    client.close();
    world_.run_for(kNsPerMs);
    EXPECT_TRUE(server_->sessions[0]->is_closed);

    EchoClient& deaf = start_client(100, 0);
    world_.run_for(100 * kNsPerSecond);
    EXPECT_EQ(server_->accepts, 2U);
    EXPECT_FALSE(deaf.is_connected);
}

TEST_F(NetworkTest, ConnectingIntoAPartitionTimesOut) {
    start_server();
    world_.network().partition(client_node_, server_node_);
    EchoClient& client = start_client(100, 2000);
    ASSERT_TRUE(run_until_closed(client));
    EXPECT_FALSE(client.is_connected);
    EXPECT_EQ(client.close_reason.code, Errc::kTimedOut);
}

TEST_F(NetworkTest, ASmallWindowDelaysOnSentUntilThePeerReads) {
    struct Deaf final : SocketHandler, ListenHandler {
        explicit Deaf(Reactor& reactor) : reactor_(reactor) {}
        void on_accept(AcceptedSocket accepted) override {
            socket = reactor_.network().adopt(accepted, SocketOptions{}, *this).value();
        }
        size_t on_receive(std::span<const std::byte> data) override {
            received += reads ? data.size() : 0;
            return reads ? data.size() : 0;
        }
        void on_sent() override {}
        void on_closed(Error) override { socket.reset(); }
        Reactor& reactor_;
        std::unique_ptr<Socket> socket;
        bool reads = false;
        size_t received = 0;
    } deaf(server_reactor_);
    struct Talker final : SocketHandler {
        void on_connected() override { is_connected = true; }
        size_t on_receive(std::span<const std::byte> data) override { return data.size(); }
        void on_sent() override { is_sent = true; }
        void on_closed(Error) override {}
        bool is_connected = false;
        bool is_sent = false;
    } talker;
    world_.faults().send_window_bytes = 4096;
    const auto listener = server_reactor_.network().listen(server_address(), deaf);
    const auto socket =
        client_reactor_.network().connect(server_address(), SocketOptions{}, talker);
    world_.run_for(kNsPerMs);
    ASSERT_TRUE(talker.is_connected);
    std::vector<std::byte> data(10'000);
    const iovec piece{data.data(), data.size()};
    socket.value()->send({&piece, 1});
    world_.run_for(kNsPerSecond);
    EXPECT_FALSE(talker.is_sent);
    deaf.reads = true;
    deaf.socket->resume_receive();
    world_.run_for(kNsPerSecond);
    EXPECT_TRUE(talker.is_sent);
    EXPECT_EQ(deaf.received, data.size());
    world_.power_off();
}

TEST_F(NetworkTest, SendingTwiceAtOnceIsCaught) {
    start_server();
    EchoClient& client = start_client(1'000'000);
    ASSERT_TRUE(world_.run_until([&] { return client.is_connected; }, kNsPerSecond));
    std::byte byte{};
    const iovec piece{&byte, 1};
    EXPECT_DEATH(client.socket().send({&piece, 1}), "is_sending");
}

TEST_F(NetworkTest, DestroyingAnOpenSocketIsCaught) {
    start_server();
    EchoClient handler(client_reactor_, 0, 10);
    EXPECT_DEATH(
        {
            auto socket = client_reactor_.network().connect(server_address(), {}, handler);
            socket.value().reset();
        },
        "fabric_ == nullptr");
}

TEST_F(NetworkTest, APowerLossIsSilentUntilTheNodeIsBack) {
    start_server();
    EchoClient& client = start_client(1'000'000, 0);
    run_until_half_way(client);
    ASSERT_TRUE(client.is_connected);
    world_.crash_node(server_node_);
    server_.reset();
    world_.run_for(100 * kNsPerSecond);
    EXPECT_FALSE(client.is_closed);
    world_.restart_node(server_node_);
    world_.run_for(kNsPerMs);
    EXPECT_EQ(client.close_reason.error_number, ECONNRESET);

    Reactor& reborn = world_.add_reactor(server_node_);
    EXPECT_EQ(reborn.core(), CoreId(0));
    server_ =
        std::make_unique<EchoServer>(reborn, std::vector<Reactor*>{&reborn}, server_address());
    EchoClient& again = start_client(5000);
    EXPECT_TRUE(run_until_closed(again));
    EXPECT_TRUE(again.has_all());
}

TEST_F(NetworkTest, AKilledProcessResetsItsPeersAtOnce) {
    start_server();
    EchoClient& client = start_client(1'000'000, 0);
    run_until_half_way(client);
    world_.crash_node(server_node_, Crash::kProcess);
    server_.reset();
    world_.run_for(kNsPerMs);
    EXPECT_TRUE(client.is_closed);
    EchoClient& refused = start_client(10);
    ASSERT_TRUE(run_until_closed(refused));
    EXPECT_EQ(refused.close_reason.code, Errc::kConnectionRefused);
}

TEST_F(NetworkTest, EachNetworkFaultHappensWhenItsRateIsHigh) {
    start_server();
    world_.faults().connect_refused_ppm = 1'000'000;
    EchoClient& refused = start_client(10);
    ASSERT_TRUE(run_until_closed(refused));
    EXPECT_EQ(refused.close_reason.code, Errc::kConnectionRefused);

    world_.faults() = calm();
    world_.faults().connection_cut_ppm = 1'000'000;
    EchoClient& cut = start_client(10'000);
    ASSERT_TRUE(run_until_closed(cut));
    EXPECT_EQ(cut.close_reason.code, Errc::kConnectionClosed);

    world_.faults() = calm();
    world_.faults().segment_loss_ppm = 500'000;
    const uint64_t start_ns = world_.now_ns();
    EchoClient& lossy = start_client(10'000);
    ASSERT_TRUE(run_until_closed(lossy));
    EXPECT_TRUE(lossy.has_all());
    EXPECT_GT(world_.now_ns() - start_ns, kRetransmitNs);

    world_.faults() = calm();
    world_.faults().partition_ppm = 1'000'000;
    world_.faults().partition_ns_max = 10 * kNsPerSecond;
    EchoClient& parted = start_client(100'000, 500);
    ASSERT_TRUE(run_until_closed(parted));
    EXPECT_EQ(parted.close_reason.code, Errc::kTimedOut);
}

TEST_F(NetworkTest, ASegmentThatIsAlwaysLostGetsThroughInTheEnd) {
    start_server();
    world_.faults().segment_loss_ppm = 1'000'000;
    EchoClient& client = start_client(1);
    ASSERT_TRUE(run_until_closed(client, 300 * kNsPerSecond));
    EXPECT_TRUE(client.has_all());
}

TEST_F(NetworkTest, PortsAreUsedAgainWhenAllHaveBeen) {
    for (int i = 0; i < 33'000; ++i) {
        EchoClient& client = start_client(1);
        EXPECT_GE(client.socket().local_address().port(), 32'768);
        ASSERT_TRUE(run_until_closed(client));
        clients_.clear();
    }
}

TEST_F(NetworkTest, SplittingOffersSingleBytesAndWholeSegments) {
    struct Meter final : SocketHandler, ListenHandler {
        explicit Meter(Reactor& reactor) : reactor_(reactor) {}
        void on_accept(AcceptedSocket accepted) override {
            socket = reactor_.network().adopt(accepted, SocketOptions{}, *this).value();
        }
        size_t on_receive(std::span<const std::byte> data) override {
            least = std::min(least, data.size());
            most = std::max(most, data.size());
            return data.size();
        }
        void on_sent() override {}
        void on_closed(Error) override { socket.reset(); }
        Reactor& reactor_;
        std::unique_ptr<Socket> socket;
        size_t least = SIZE_MAX;
        size_t most = 0;
    } meter(server_reactor_);
    world_.faults().segment_split_ppm = 500'000;
    const auto listener = server_reactor_.network().listen(server_address(), meter);
    start_client(500'000);
    world_.run_for(kNsPerSecond);
    EXPECT_EQ(meter.least, 1U);
    EXPECT_GT(meter.most, 4000U);
    world_.power_off();
}

}  // namespace
}  // namespace basalt::sim
