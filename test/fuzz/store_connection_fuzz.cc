// What a store may say to a head: well formed, bent, or rubbish, at any time. What must hold: no
// fault, links keep their promises (FakeUser looks), all memory comes back, and the head itself
// stays within the protocol (RawPeer looks).
//
// The input: a byte of options, then steps, each a byte that says what and what else it needs.

#include <memory>

#include "reactor/base/log.h"
#include "reactor/sim/world.h"
#include "replication/link/tcp_link.h"
#include "test/fuzz/fuzz_input.h"
#include "test/fuzz/fuzz_target.h"
#include "test/replication/link/fakes.h"
#include "test/replication/link/raw_peer.h"

namespace basalt::replication::testing {
namespace {

constexpr uint32_t kStepsMax = 100;
constexpr uint16_t kPort = 4500;
constexpr uint64_t kBlocks = 512;
constexpr BlockBuffers::Counts kBuffers{.small = 4, .large = 2};

enum class Step : uint8_t { kSend, kAnswer, kBent, kRaw, kReset, kWait, kClose, kHello, kCount };

class Bench {
  public:
    explicit Bench(FuzzInput& input) : input_(input) {
        options_.drive.bytes.fill(1);
        peer_.listen(options_.address);
        connection_ = std::make_unique<StoreConnection>(head_, pool_.buffers, options_);
        for (uint32_t i = 0; i < 2; ++i) {
            links_[i] = std::make_unique<TcpLink>(
                *connection_,
                TcpLinkOptions{
                    .volume = i, .blocks = kBlocks, .window_entries_max = 600, .messages_max = 16});
            links_[i]->start(users_[i], i);
        }
        connection_->start();
        world_.run_until([&] { return peer_.is_open; }, kNsPerSecond);
        if (input.u8() != 0) {
            hello();
        }
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
    ~Bench() {
        for (auto& link : links_) {
            link->stop();
            link.reset();
        }
        bool is_stopped = false;
        connection_->stop([](void* flag) { *static_cast<bool*>(flag) = true; }, &is_stopped);
        BASALT_ASSERT(world_.run_until([&] { return is_stopped; }, 10 * kNsPerSecond));
        connection_.reset();
        peer_.close();
        peer_.stop_listening();
        world_.run_for(kNsPerSecond);
        BASALT_ASSERT(pool_.buffers.free_count(1) == kBuffers.small);
        BASALT_ASSERT(pool_.buffers.free_count(kRangeBlocksMax) == kBuffers.large);
    }

    void step() {
        const uint8_t what = input_.u8();
        const uint32_t link = what / 8 % 2;
        switch (static_cast<Step>(what % static_cast<uint8_t>(Step::kCount))) {
            case Step::kSend: send(link); break;
            case Step::kAnswer: say(answer()); break;
            case Step::kBent: {
                ByteVector frame = answer();
                if (!frame.empty()) {
                    frame[input_.u16() % frame.size()] ^= std::byte{input_.u8()};
                }
                say(frame);
                break;
            }
            case Step::kRaw: {
                const auto bytes = input_.bytes(input_.u8());
                say(ByteVector(bytes.begin(), bytes.end()));
                break;
            }
            case Step::kReset: links_[link]->reset(); break;
            case Step::kWait: world_.run_for(input_.u8() * kNsPerMs * 20); break;
            case Step::kClose: peer_.close(); break;
            case Step::kHello: hello(); break;
            case Step::kCount: break;
        }
        world_.run_for(kNsPerMs / 4);
    }

  private:
    void say(const ByteVector& bytes) {
        if (peer_.is_open && !bytes.empty()) {
            peer_.send(bytes);
        }
    }
    void hello() {
        wire::Hello hello;
        hello.drive = options_.drive;
        say(frame_of({.opcode = wire::Opcode::kHello,
                      .is_answer = true,
                      .credits = static_cast<uint16_t>(input_.u8() % 16U)},
                     hello));
        world_.run_for(kNsPerMs);
        take_frames();
    }
    void send(uint32_t link) {
        const auto kind = static_cast<MessageKind>(input_.u8() % 10U);
        Message message{.kind = kind,
                        .epoch = Epoch(1),
                        .tenure = Epoch(1),
                        .session = static_cast<uint32_t>(users_[link].ups),
                        .id = ++ids_};
        const bool is_data = kind == MessageKind::kWrite || kind == MessageKind::kCopy;
        const bool is_read = kind == MessageKind::kRead || kind == MessageKind::kCopyRead;
        if (is_data || is_read) {
            message.range = {input_.u8(), 1 + input_.u8() % kRangeBlocksMax};
        }
        if (kind == MessageKind::kSettle || kind == MessageKind::kJoined) {
            dirty_.clear_all();
            dirty_.set_run(input_.u8(), input_.u8());
            message.dirty = &dirty_;
        }
        BlockRef data;
        if (is_data) {
            data = pool_.buffers.try_take(message.range.count);
            if (!data.is_valid()) {
                return;
            }
            seal(data);
        }
        users_[link].send(*links_[link], message, data);
    }
    void take_frames() {
        while (auto frame = peer_.take_frame()) {
            const bool is_question = !frame->header.is_answer &&
                                     frame->header.opcode != wire::Opcode::kHello &&
                                     frame->header.opcode != wire::Opcode::kTrimWindow;
            if (is_question) {
                asked_.push_back(std::move(*frame));
            }
        }
    }
    /// To one of the last questions; sound more often than not.
    ByteVector answer() {
        take_frames();
        if (asked_.empty()) {
            return {};
        }
        const size_t at = input_.u8() % asked_.size();
        const RawPeer::Received question = std::move(asked_[at]);
        asked_.erase(asked_.begin() + static_cast<ptrdiff_t>(at));
        wire::Header header = question.header;
        header.is_answer = true;
        header.credits = 1;
        const uint8_t how = input_.u8();
        header.status = how > 220 ? Errc::kNoSpace : Errc::kOk;
        wire::AnswerFields fields{.fence = Epoch(1),
                                  .blocks = how % 16 == 0 ? kBlocks + 1 : kBlocks,
                                  .entries = input_.u8() * 3U};
        const auto request = wire::decode_request(question.frame);
        if (!request || header.opcode == wire::Opcode::kPing) {
            return frame_of(header, fields);
        }
        if (is_read(header.opcode) && header.status == Errc::kOk) {
            const uint32_t blocks = how == 200 ? 1 : request->range.count;
            return data_frame_of(header, fields, ByteVector(size_t{blocks} * kBlockBytes));
        }
        if (request->is_part || header.status != Errc::kOk) {
            return frame_of(header, fields);
        }
        return page(header, fields);
    }
    ByteVector page(const wire::Header& header, const wire::AnswerFields& fields) {
        ByteVector list(wire::kListBytesMax);
        if (header.opcode == wire::Opcode::kWindow) {
            std::vector<WindowEntry> entries(input_.u8());
            for (WindowEntry& entry : entries) {
                entry = {{Epoch(1), 1}, {input_.u8() * 3U, 4}};
            }
            list.resize(wire::encode_window(entries, list));
        } else if (header.opcode == wire::Opcode::kDirtyBitmap) {
            BlockBitmap dirty(input_.u8() == 0 ? 600 : kBlocks);
            dirty.set_run(input_.u8(), input_.u8());
            uint64_t from = 0;
            list.resize(wire::encode_dirty(dirty, from, list));
        } else {
            list.clear();
        }
        return frame_of(header, fields, list, list.size());
    }

    FuzzInput& input_;
    sim::World world_{1};
    Reactor& store_ = world_.add_reactor(world_.add_node());
    Reactor& head_ = world_.add_reactor(world_.add_node());
    StoreOptions options_{.address = sim::World::address(sim::NodeId(0), kPort)};
    Pool pool_{kBuffers};
    RawPeer peer_{store_};
    std::array<FakeUser, 2> users_;
    std::unique_ptr<StoreConnection> connection_;
    std::array<std::unique_ptr<TcpLink>, 2> links_;
    std::vector<RawPeer::Received> asked_;
    BlockBitmap dirty_{kBlocks};
    uint64_t ids_ = 0;
};

}  // namespace
}  // namespace basalt::replication::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt;
    Log::set_level(LogLevel::kOff);
    FuzzInput input(data, size);
    replication::testing::Bench bench(input);
    for (uint32_t i = 0; i < replication::testing::kStepsMax && !input.is_empty(); ++i) {
        bench.step();
    }
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using basalt::replication::testing::Step;
    const auto step = [](Step what) { return static_cast<uint8_t>(what); };
    std::vector<std::vector<uint8_t>> seeds;
    for (uint8_t kind = 0; kind < 10; ++kind) {
        std::vector<uint8_t> seed{1, 8};
        for (uint8_t i = 0; i < 3; ++i) {
            seed.insert(seed.end(), {step(Step::kSend), kind, 3, 4});
            seed.insert(seed.end(), {step(Step::kAnswer), 0, 1, 2, 6, 8, 8, 8, 8, 8, 8});
            seed.insert(seed.end(), {step(Step::kAnswer), 0, 1, 2, 3, 9, 9});
            seed.insert(seed.end(), {step(Step::kWait), 1});
        }
        seeds.push_back(seed);
    }
    return seeds;
}
