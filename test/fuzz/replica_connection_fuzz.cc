// What a head may say to a store: well formed, bent, or rubbish, at any time. What must hold: no
// fault, what a replica is given is within its bounds, and all memory comes back.
//
// The input: a byte of options, then steps, each a byte that says what and what else it needs.

#include <memory>

#include "reactor/base/log.h"
#include "reactor/sim/world.h"
#include "replication/link/replica_server.h"
#include "test/fuzz/fuzz_input.h"
#include "test/fuzz/fuzz_target.h"
#include "test/replication/link/fakes.h"
#include "test/replication/link/raw_peer.h"

namespace basalt::replication::testing {
namespace {

constexpr uint32_t kStepsMax = 100;
constexpr uint16_t kPort = 4500;
constexpr BlockBuffers::Counts kBuffers{.small = 2, .large = 2};

enum class Step : uint8_t {
    kRequest,
    kBent,
    kRaw,
    kPart,
    kWait,
    kHold,
    kStopReading,
    kLeave,
    kCount
};

class Bench {
  public:
    explicit Bench(FuzzInput& input) : input_(input) {
        directory_.drive.bytes.fill(1);
        for (uint32_t i = 0; i < 2; ++i) {
            ports_[i] = std::make_unique<FakePort>(store_, pool_.buffers, settings());
            directory_.ports[i] = ports_[i].get();
        }
        BASALT_ASSERT(server_.listen().has_value());
        peer_.connect(address());
        const bool says_hello = input.u8() != 0;
        if (says_hello) {
            wire::Hello hello;
            hello.drive = directory_.drive;
            peer_.send(frame_of({.opcode = wire::Opcode::kHello}, hello));
            BASALT_ASSERT(world_.run_until([&] { return !peer_.received.empty(); }, kNsPerSecond));
        }
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
    ~Bench() {
        peer_.close();
        for (auto& port : ports_) {
            port->release();
        }
        BASALT_ASSERT(world_.run_until(
            [&] { return !peer_.is_open && server_.connection_count() == 0; }, 10 * kNsPerSecond));
        world_.run_for(10 * kNsPerMs);
        for (const auto& port : ports_) {
            check(*port);
        }
        BASALT_ASSERT(pool_.buffers.free_count(1) == kBuffers.small);
        BASALT_ASSERT(pool_.buffers.free_count(kRangeBlocksMax) == kBuffers.large);
    }

    void step() {
        const uint8_t what = input_.u8();
        switch (static_cast<Step>(what % static_cast<uint8_t>(Step::kCount))) {
            case Step::kRequest: peer_.send(request()); break;
            case Step::kPart: peer_.send(part()); break;
            case Step::kBent: {
                ByteVector frame = request();
                frame[input_.u16() % frame.size()] ^= std::byte{input_.u8()};
                peer_.send(frame);
                break;
            }
            case Step::kRaw: {
                const auto bytes = input_.bytes(input_.u8());
                peer_.send(ByteVector(bytes.begin(), bytes.end()));
                break;
            }
            case Step::kWait: world_.run_for(input_.u8() * kNsPerMs * 20); break;
            case Step::kHold: {
                FakePort& port = *ports_[what / 8 % 2];
                port.is_holding = !port.is_holding;
                if (!port.is_holding) {
                    port.release();
                }
                break;
            }
            case Step::kStopReading: peer_.is_reading = false; break;
            case Step::kLeave: ports_[what / 8 % 2]->leave(); break;
            case Step::kCount: break;
        }
        world_.run_for(kNsPerMs / 4);
    }

  private:
    static Settings settings() {
        Settings settings = small_settings(512);
        settings.window_ops = 4;
        return settings;
    }
    static SocketAddress address() { return sim::World::address(sim::NodeId(0), kPort); }
    wire::RequestFields fields() {
        wire::RequestFields fields{.volume = input_.u8() % 3U,
                                   .epoch = Epoch(input_.u8()),
                                   .tenure = Epoch(input_.u8() % 4U),
                                   .session = input_.u8() % 2U};
        const uint8_t flags = input_.u8();
        fields.is_exact = (flags & 1U) != 0;
        fields.is_part = (flags & 2U) != 0;
        fields.is_replica_away = (flags & 4U) != 0;
        return fields;
    }
    ByteVector request() {
        const wire::Header header{.opcode = wire::Opcode(1 + input_.u8() % wire::kOpcodeLast),
                                  .id = input_.u8()};
        wire::RequestFields about = fields();
        about.range = {input_.u16() % 600U, input_.u8() % (kRangeBlocksMax + 1)};
        about.as_of.count = input_.u8() % 8U;
        about.number = {Epoch(1), input_.u8()};
        // Most of the time what belongs to it.
        uint32_t blocks = about.range.count;
        const bool carries =
            header.opcode == wire::Opcode::kWrite || header.opcode == wire::Opcode::kCopyRange;
        blocks = carries ? blocks : 0;
        if (input_.u8() > 240) {
            blocks = input_.u8() % 4;
        }
        if (header.opcode == wire::Opcode::kHello) {
            return frame_of(header, wire::Hello{});
        }
        return data_frame_of(header, about, ByteVector(size_t{blocks} * kBlockBytes));
    }
    ByteVector part() {
        const bool is_window = input_.u8() % 2 == 0;
        wire::RequestFields about = fields();
        about.is_part = true;
        ByteVector page(wire::kListBytesMax);
        if (is_window) {
            std::vector<WindowEntry> entries(input_.u8() % 40);
            for (WindowEntry& entry : entries) {
                entry = {{Epoch(1), input_.u8()}, {input_.u16() % 600U, input_.u8() % 66U}};
            }
            about.as_of.count = input_.u8() % 40U;
            page.resize(wire::encode_window(entries, page));
        } else {
            BlockBitmap dirty(input_.u8() % 4 == 0 ? 600 : 512);
            dirty.set_run(input_.u8(), input_.u8());
            uint64_t from = 0;
            about.range.first = input_.u8() % 2 * 8U;
            page.resize(wire::encode_dirty(dirty, from, page));
        }
        const wire::Header header{.opcode = is_window ? wire::Opcode::kWindow
                                                      : wire::Opcode::kDirtyBitmap};
        return frame_of(header, about, page, page.size());
    }
    static void check(const FakePort& port) {
        for (const Kept<Message>& taken : port.taken) {
            const Message& message = taken.value;
            BASALT_ASSERT(message.range.count <= kRangeBlocksMax);
            const bool is_data =
                message.kind == MessageKind::kCopy ||
                (message.kind == MessageKind::kWrite && message.write == WriteKind::kData);
            BASALT_ASSERT(taken.bytes.size() ==
                          (is_data ? size_t{message.range.count} * kBlockBytes : 0));
            for (const WindowEntry& entry : taken.window) {
                BASALT_ASSERT(entry.range.end() <= 512);
            }
        }
    }

    FuzzInput& input_;
    sim::World world_{1};
    Reactor& store_ = world_.add_reactor(world_.add_node());
    Reactor& head_ = world_.add_reactor(world_.add_node());
    Pool pool_{kBuffers};
    FakeDirectory directory_;
    std::array<std::unique_ptr<FakePort>, 2> ports_;
    ReplicaServer server_{
        store_, directory_, {.address = address(), .credits = 4, .connections_max = 2}};
    RawPeer peer_{head_};
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
    using basalt::replication::wire::kOpcodeLast;
    const auto step = [](Step what) { return static_cast<uint8_t>(what); };
    std::vector<std::vector<uint8_t>> seeds;
    for (uint8_t opcode = 1; opcode < kOpcodeLast; ++opcode) {
        // A write, a part of each kind, then one of another kind.
        std::vector<uint8_t> seed{1};
        seed.insert(seed.end(), {step(Step::kRequest), 2, 7, 1, 1, 1, 1, 0, 3, 0, 5, 0, 9, 0});
        seed.insert(seed.end(), {step(Step::kPart), 0, 1, 1, 1, 1, 1, 2});
        seed.insert(seed.end(), {1, 3, 0, 4, 2, 9, 0, 1, 0});
        seed.insert(seed.end(), {step(Step::kPart), 1, 1, 1, 1, 1, 1, 1, 20, 30, 0});
        seed.insert(seed.end(), {step(Step::kRequest), opcode, 8, 1, 1, 1, 1, 2, 4, 0, 2, 0, 1, 0});
        seed.insert(seed.end(), {step(Step::kWait), 3});
        seeds.push_back(seed);
    }
    return seeds;
}
