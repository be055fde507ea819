#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bdev/store/checksum.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"
#include "replication/link/replica_link.h"
#include "replication/link/replica_port.h"

namespace basalt::replication::testing {

using ByteVector = std::vector<std::byte>;

inline Settings small_settings(uint64_t blocks = 4096) {
    Settings settings;
    settings.blocks = blocks;
    return settings;
}

/// Buffers and their memory.
struct Pool {
    explicit Pool(BlockBuffers::Counts counts)
        : region(BlockBuffers::region_bytes(counts)), buffers(region, counts) {}

    ByteVector region;
    BlockBuffers buffers;
};

/// A block that says what it is: its own number, and a seed from which the rest follows.
inline void fill_block(std::span<std::byte> block, uint64_t number, uint64_t seed) {
    std::memcpy(block.data(), &number, sizeof(number));
    std::memcpy(block.data() + sizeof(number), &seed, sizeof(seed));
    for (size_t i = 16; i < block.size(); ++i) {
        block[i] = static_cast<std::byte>((seed >> (i % 8 * 8)) + number + i);
    }
}

/// What fill_block() was told, or 0 if it did not make this block.
inline uint64_t seed_of_block(std::span<const std::byte> block, uint64_t number) {
    uint64_t seed = 0;
    std::memcpy(&seed, block.data() + sizeof(number), sizeof(seed));
    std::array<std::byte, kBlockBytes> expected{};
    fill_block(expected, number, seed);
    return std::equal(block.begin(), block.end(), expected.begin()) ? seed : 0;
}

inline void seal(const BlockRef& data) {
    for (uint32_t i = 0; i < data.blocks(); ++i) {
        data.sums()[i] =
            bdev::store::crc32c(data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes));
    }
}

/// A copy of a message or reply that outlives the call, with what it leads to.
template <typename T>
struct Kept {
    Kept(const T& from, const BlockRef& data_in)
        : value(from), window(from.window.begin(), from.window.end()) {
        if (from.dirty != nullptr) {
            dirty = *from.dirty;
            has_dirty = true;
        }
        if (data_in.is_valid()) {
            bytes.assign(data_in.bytes().begin(), data_in.bytes().end());
        }
        value.window = {};
        value.dirty = nullptr;
    }
    T value;
    std::vector<WindowEntry> window;
    BlockBitmap dirty{};
    bool has_dirty = false;
    ByteVector bytes{};
};

/// A replica that takes everything, stores blocks in memory and answers later.
class FakePort final : public ReplicaPort {
  public:
    FakePort(Reactor& reactor, BlockBuffers& buffers, const Settings& settings)
        : reactor_(reactor), buffers_(buffers), lists_(settings), state_(settings) {
        state_.dirty = BlockBitmap(settings.blocks);
    }
    ~FakePort() override {
        reactor_.stop_timer(timer_);
        leave();
    }

    /// Goes away, and says so.
    void leave() {
        for (const auto& [name, port] : std::exchange(ports_, {})) {
            port->replica_gone(*this, name);
        }
    }

    uint64_t connect(ReplyPort& port) override {
        ports_[++names_] = &port;
        return names_;
    }
    void disconnect(uint64_t connection) override { ports_.erase(connection); }
    void take(uint64_t connection, const Message& message, BlockRef data) override {
        Message named = message;
        named.connection = connection;
        taken.emplace_back(named, data);
        if (message.kind == MessageKind::kTrim) {
            return;
        }
        if (data.is_valid()) {
            for (uint32_t i = 0; i < data.blocks(); ++i) {
                const auto block = data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
                blocks_[message.range.first + i].assign(block.begin(), block.end());
            }
        }
        waiting_.push_back({named, std::move(data)});
        answer_later();
    }
    BlockBuffers& buffers() override { return buffers_; }
    const ReplicaState& state() const override { return state_; }
    MessageLists& lists() override { return lists_; }

    void release() {
        is_holding = false;
        answer_later();
    }
    [[nodiscard]] size_t waiting() const { return waiting_.size(); }
    [[nodiscard]] ReplicaState& state() { return state_; }

    bool is_holding = false;
    bool damages_reads = false;
    Reply answer_with{};  ///< What answers have in all that does not come from the message.
    std::deque<Kept<Message>> taken;

  private:
    struct Asked {
        Message message;
        BlockRef data;
    };

    void answer_later() {
        if (!answer_event_.is_waiting() && !is_holding) {
            reactor_.defer(answer_event_);
        }
    }
    void answer_all() {
        while (!waiting_.empty() && !is_holding) {
            Asked asked = std::move(waiting_.front());
            BlockRef data;
            const bool reads = asked.message.kind == MessageKind::kRead ||
                               asked.message.kind == MessageKind::kCopyRead;
            Reply reply = answer_with;
            if (reads && reply.status == Errc::kOk) {
                data = buffers_.try_take(asked.message.range.count);
                if (!data.is_valid()) {
                    reactor_.start_timer(timer_, kNsPerMs);
                    return;
                }
                read(asked.message.range, data);
                reply.digest = digest_of(data.sums());
            }
            waiting_.pop_front();
            asked.data.reset();
            const bool has_state = asked.message.kind == MessageKind::kFence;
            reply.kind = asked.message.kind;
            reply.session = asked.message.session;
            reply.id = asked.message.id;
            reply.connection = asked.message.connection;
            reply.number = asked.message.number;
            reply.window = has_state && reply.status == Errc::kOk ? state_.window.entries()
                                                                  : decltype(reply.window){};
            reply.dirty =
                (has_state || asked.message.kind == MessageKind::kJoin) && reply.status == Errc::kOk
                    ? &state_.dirty
                    : nullptr;
            const auto port = ports_.find(asked.message.connection);
            if (port != ports_.end()) {
                port->second->reply(reply, std::move(data));
            }
        }
    }
    void read(BlockRange range, const BlockRef& data) {
        for (uint32_t i = 0; i < range.count; ++i) {
            const auto to = data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
            const auto found = blocks_.find(range.first + i);
            if (found == blocks_.end()) {
                fill_block(to, range.first + i, 1);
            } else {
                std::copy(found->second.begin(), found->second.end(), to.begin());
            }
        }
        seal(data);
        if (damages_reads) {
            data.bytes()[5] ^= std::byte{1};
        }
    }

    Reactor& reactor_;
    BlockBuffers& buffers_;
    MessageLists lists_;
    ReplicaState state_;
    std::map<uint64_t, ReplyPort*> ports_;
    uint64_t names_ = 0;
    std::map<uint64_t, ByteVector> blocks_;
    std::deque<Asked> waiting_;
    OwnedEvent<FakePort, &FakePort::answer_all> answer_event_{*this};
    struct Retry : Timer {
        explicit Retry(FakePort& port) {
            set([](Timer&, void* self) { static_cast<FakePort*>(self)->answer_later(); }, &port);
        }
    } timer_{*this};
};

class FakeDirectory final : public ReplicaDirectory {
  public:
    ReplicaPort* find(const bdev::Uuid& wanted, uint64_t volume) override {
        const auto found = ports.find(volume);
        return wanted == drive && found != ports.end() ? found->second : nullptr;
    }
    bool has_drive(const bdev::Uuid& wanted) override { return wanted == drive; }

    bdev::Uuid drive{};
    std::map<uint64_t, ReplicaPort*> ports;
};

/// Hears what a link says, and checks its promises: in the order in which they can be broken.
class FakeUser final : public LinkUser {
  public:
    void link_up(uint32_t /*replica*/) override {
        BASALT_ASSERT(!is_up);
        is_up = true;
        ++ups;
        sent.clear();
    }
    void link_down(uint32_t /*replica*/) override {
        BASALT_ASSERT(is_up);
        is_up = false;
        ++downs;
        sent.clear();
    }
    void link_replied(uint32_t /*replica*/, const Reply& reply, BlockRef data) override {
        BASALT_ASSERT(is_up);
        // Once, and only what was sent since the link is up.
        const auto asked = sent.find(reply.id);
        BASALT_ASSERT(asked != sent.end());
        BASALT_ASSERT(asked->second == reply.session);
        sent.erase(asked);
        replies.emplace_back(reply, data);
    }
    void send(ReplicaLink& link, const Message& message, BlockRef data = {}) {
        if (is_up && message.kind != MessageKind::kTrim) {
            sent[message.id] = message.session;
        }
        link.send(message, std::move(data));
    }

    bool is_up = false;
    int ups = 0;
    int downs = 0;
    std::map<uint64_t, uint32_t> sent;  ///< Ids that are not answered, with their session.
    std::deque<Kept<Reply>> replies;
};

}  // namespace basalt::replication::testing
