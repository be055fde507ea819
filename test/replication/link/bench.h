#pragma once

#include <memory>
#include <vector>

#include "reactor/sim/world.h"
#include "replication/link/replica_server.h"
#include "replication/link/tcp_link.h"
#include "test/replication/link/fakes.h"

namespace basalt::replication::testing {

/// A head's core and a store's, and the network between them: one server with replicas of the
/// volumes 1, 2, ..., and one connection with a link to each.
class Bench {
  public:
    static constexpr uint16_t kPort = 4500;

    struct Options {
        uint64_t seed = 1;
        sim::FaultOptions faults = sim::calm();
        uint32_t volumes = 2;
        uint64_t blocks = 4096;
        uint32_t messages_max = kLinkMessagesMax;
        BlockBuffers::Counts head_buffers{.small = 64, .large = 32};
        BlockBuffers::Counts store_buffers{.small = 64, .large = 32};
        ReplicaServerOptions server{};
    };

    Bench() : Bench(Options{}) {}
    explicit Bench(const Options& options)
        : world_(options.seed, options.faults),
          head_node_(world_.add_node()),
          store_node_(world_.add_node()),
          head_(world_.add_reactor(head_node_)),
          store_(world_.add_reactor(store_node_)),
          head_pool_(options.head_buffers),
          store_pool_(options.store_buffers) {
        drive_.bytes.fill(0xd1);
        cluster_.bytes.fill(0xc1);
        directory_.drive = drive_;
        for (uint32_t i = 0; i < options.volumes; ++i) {
            ports_.push_back(std::make_unique<FakePort>(
                store_, store_pool_.buffers, small_settings(options.blocks)));
            directory_.ports[i + 1] = ports_.back().get();
        }
        ReplicaServerOptions server = options.server;
        server.address = address();
        server.cluster = cluster_;
        server_ = std::make_unique<ReplicaServer>(store_, directory_, server);
        BASALT_ASSERT(server_->listen().has_value());
        connection_ = std::make_unique<StoreConnection>(head_, head_pool_.buffers, store_options());
        users_.resize(options.volumes);
        for (uint32_t i = 0; i < options.volumes; ++i) {
            links_.push_back(
                std::make_unique<TcpLink>(*connection_,
                                          TcpLinkOptions{.volume = i + 1,
                                                         .blocks = options.blocks,
                                                         .messages_max = options.messages_max}));
        }
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
    ~Bench() { end(); }

    /// All of it stops, and everything is given back.
    void end() {
        if (connection_ == nullptr) {
            return;
        }
        world_.faults() = sim::calm();
        world_.network().heal_all();
        for (const auto& link : links_) {
            link->stop();
        }
        links_.clear();
        bool is_stopped = false;
        const auto set = [](void* flag) { *static_cast<bool*>(flag) = true; };
        if (is_started_) {
            connection_->stop(set, &is_stopped);
            BASALT_ASSERT(world_.run_until([&] { return is_stopped; }, 60 * kNsPerSecond));
        }
        connection_.reset();
        bool is_server_stopped = false;
        server_->stop(set, &is_server_stopped);
        BASALT_ASSERT(world_.run_until([&] { return is_server_stopped; }, 60 * kNsPerSecond));
        server_.reset();
        ports_.clear();
        world_.run_for(kNsPerSecond);
    }

    void start() {
        is_started_ = true;
        connection_->start();
        for (uint32_t i = 0; i < links_.size(); ++i) {
            links_[i]->start(users_[i], i);
        }
    }
    [[nodiscard]] bool start_and_wait() {
        start();
        return world_.run_until(
            [this] {
                return std::all_of(
                    users_.begin(), users_.end(), [](const FakeUser& user) { return user.is_up; });
            },
            10 * kNsPerSecond);
    }

    [[nodiscard]] SocketAddress address() const { return sim::World::address(store_node_, kPort); }
    [[nodiscard]] StoreOptions store_options() const {
        return {.address = address(), .cluster = cluster_, .drive = drive_};
    }

    [[nodiscard]] Message write(uint64_t first, uint32_t count) {
        const uint64_t id = ++ids_;
        return {.kind = MessageKind::kWrite,
                .epoch = Epoch(1),
                .tenure = Epoch(1),
                .session = 1,
                .id = id,
                .number = {Epoch(1), id},
                .range = {first, count}};
    }
    [[nodiscard]] Message read(uint64_t first, uint32_t count) {
        Message message = write(first, count);
        message.kind = MessageKind::kRead;
        message.number = {};
        return message;
    }
    /// Data of blocks that know their numbers; none if there is no memory.
    [[nodiscard]] BlockRef data(BlockRange range, uint64_t seed) {
        BlockRef out = head_pool_.buffers.try_take(range.count);
        for (uint32_t i = 0; out.is_valid() && i < range.count; ++i) {
            fill_block(
                out.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes), range.first + i, seed);
        }
        if (out.is_valid()) {
            seal(out);
        }
        return out;
    }
    void send_write(uint32_t volume, const Message& message) {
        const BlockRef bytes = data(message.range, message.id);
        BASALT_ASSERT(bytes.is_valid());
        users_[volume].send(*links_[volume], message, bytes);
    }

    sim::World world_;
    sim::NodeId head_node_;
    sim::NodeId store_node_;
    Reactor& head_;
    Reactor& store_;
    Pool head_pool_;
    Pool store_pool_;
    bdev::Uuid drive_{};
    bdev::Uuid cluster_{};
    FakeDirectory directory_;
    std::vector<std::unique_ptr<FakePort>> ports_;
    std::unique_ptr<ReplicaServer> server_;
    std::unique_ptr<StoreConnection> connection_;
    std::deque<FakeUser> users_;
    std::vector<std::unique_ptr<TcpLink>> links_;
    uint64_t ids_ = 0;
    bool is_started_ = false;
};

}  // namespace basalt::replication::testing
