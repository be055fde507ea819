// What a controller may say to our host: well formed, bent, or rubbish, at any time. What must
// hold: no fault, each command that was accepted completes exactly once, no byte lands outside its
// memory, and the host itself stays within the protocol as long as the controller does.
//
// The input: a byte of options, then steps, each a byte that says what and what else it needs.

#include <array>
#include <memory>
#include <vector>

#include "nvmf/initiator/host_queue.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"
#include "test/fuzz/fuzz_input.h"
#include "test/fuzz/fuzz_target.h"
#include "test/nvmf/initiator/scripted_peer.h"

namespace basalt::nvmf::testing {
namespace {

constexpr uint32_t kStepsMax = 200;
constexpr uint32_t kCommands = 6;
constexpr uint32_t kEntries = 5;  // Two commands more than slots: some wait for one.
constexpr uint16_t kPort = 4420;

constexpr uint8_t kOptionHeaderDigest = 1U << 0U;
constexpr uint8_t kOptionDataDigest = 1U << 1U;
constexpr uint8_t kOptionRawHandshake = 1U << 2U;
constexpr uint8_t kOptionNoFlowControl = 1U << 3U;
constexpr uint8_t kOptionRefuseConnect = 1U << 4U;

enum class Step : uint8_t {
    kSubmit,
    kRespond,
    kData,
    kR2t,
    kRaw,
    kBent,
    kTerminate,
    kClose,
    kWait,
    kWaitLong,
    kCount,
};

/// A command whose memory is exactly as long as its data.
struct CountedCommand : HostCommand {
    void prepare(FuzzInput& input) {
        constexpr std::array<uint8_t, 4> kOpcodes{
            nvme_cmd_read, nvme_cmd_write, nvme_cmd_compare, nvme_cmd_flush};
        const uint8_t opcode = kOpcodes[input.below(kOpcodes.size())];
        const uint32_t bytes = opcode == nvme_cmd_flush ? 0 : 512 * (1 + input.u8() % 40U);
        memory = std::make_unique<std::byte[]>(bytes);
        sqe = make_command(opcode, CommandId(0), Nsid(1));
        const size_t cut = bytes == 0 ? 0 : input.u16() % bytes;
        list = {iovec{memory.get(), cut}, iovec{memory.get() + cut, bytes - cut}};
        pieces = bytes == 0 ? std::span<const iovec>() : list;
        data_bytes = bytes;
        set_done(
            [](HostCommand& command, void*) {
                auto& self = static_cast<CountedCommand&>(command);
                ++self.completions;
            },
            nullptr);
        ++submissions;
    }

    std::unique_ptr<std::byte[]> memory;
    std::array<iovec, 2> list{};
    uint32_t submissions = 0;
    uint32_t completions = 0;
};

class Bench {
  public:
    Bench(uint8_t options, FuzzInput& input) : input_(input) {
        if ((options & kOptionRawHandshake) != 0) {
            const auto raw = input.bytes(128);
            peer_.answers_ic = !raw.empty();
            peer_.raw_ic_resp.emplace(raw.begin(), raw.end());
            is_sound_ = false;
        }
        peer_.ic.header_digest = (options & kOptionHeaderDigest) != 0;
        peer_.ic.data_digest = (options & kOptionDataDigest) != 0;
        if ((options & kOptionRefuseConnect) != 0) {
            peer_.connect_status = status::kInvalidField;
        }
        HostQueueOptions how;
        how.host.address = sim::World::address(peer_node_, kPort);
        how.host.subsystem_nqn = "nqn.2024-01.io.basalt:test";
        how.host.host_nqn = "nqn.2024-01.io.basalt:host";
        how.host.header_digest = peer_.ic.header_digest;
        how.host.data_digest = peer_.ic.data_digest;
        how.host.disable_sq_flow_control = (options & kOptionNoFlowControl) != 0;
        how.qid = QueueId(1);
        how.cntlid = ControllerId(5);
        how.entries = kEntries;
        how.capsule_data_bytes = 4096;
        queue_ = std::make_unique<HostQueue>(host_, how);
        Task<Result<ControllerId>> connecting = queue_->connect();
        BASALT_ASSERT(world_.run_until([&] { return connecting.is_done(); }, 120 * kNsPerSecond));
        static_cast<void>(connecting.result());
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
    ~Bench() {
        queue_->close(Error(Errc::kCancelled));
        BASALT_ASSERT(world_.run_until([&] { return queue_->phase() == HostQueue::Phase::kClosed; },
                                       120 * kNsPerSecond));
        world_.run_for(kNsPerSecond);
        for (const CountedCommand& command : commands_) {
            BASALT_ASSERT(command.completions == command.submissions);
        }
        BASALT_ASSERT(queue_->outstanding() == 0);
        BASALT_ASSERT(!is_sound_ || !peer_.violation.has_value());
        queue_.reset();
        world_.power_off();
    }

    void step() {
        const uint8_t what = input_.u8();
        switch (static_cast<Step>(what % static_cast<uint8_t>(Step::kCount))) {
            case Step::kSubmit: submit(); return;
            case Step::kRespond: peer_.send(response()); return;
            case Step::kData: peer_.send(data()); return;
            case Step::kR2t: peer_.send(r2t()); return;
            case Step::kRaw: {
                const auto bytes = input_.bytes(input_.u8());
                send_bent(ByteVector(bytes.begin(), bytes.end()));
                return;
            }
            case Step::kBent: {
                ByteVector pdu = what % 3 == 0 ? response() : what % 3 == 1 ? data() : r2t();
                pdu[input_.u16() % pdu.size()] ^= std::byte{input_.u8()};
                send_bent(std::move(pdu));
                return;
            }
            case Step::kTerminate: send_bent(terminate()); return;
            case Step::kClose: peer_.close(); return;
            case Step::kWait: world_.run_for(input_.u8() * kNsPerMs / 8); return;
            case Step::kWaitLong: world_.run_for(input_.u8() * kNsPerSecond / 4); return;
            case Step::kCount: return;
        }
    }

  private:
    void submit() {
        CountedCommand& command = commands_[input_.below(kCommands)];
        if (command.state() != HostCommand::State::kIdle || !queue_->is_live()) {
            return;
        }
        command.prepare(input_);
        BASALT_ASSERT(queue_->submit(command).has_value());
        world_.run_for(kNsPerMs);
    }
    void send_bent(ByteVector bytes) {
        is_sound_ = false;  // Half a PDU, say: from now on the two may misunderstand each other.
        if (!bytes.empty()) {
            peer_.send(std::move(bytes));
        }
    }

    /// Of a command that the peer has seen, lately most of the time; or any.
    CommandId some_cid() {
        const uint8_t which = input_.u8();
        if (which >= 240 || peer_.commands.empty()) {
            return CommandId(input_.u16());
        }
        const size_t back = which % std::min<size_t>(peer_.commands.size(), 8);
        return peer_.commands[peer_.commands.size() - 1 - back].sqe.cid();
    }
    ByteVector response() {
        Cqe cqe;
        cqe.command_id.set(some_cid().raw());
        if (input_.u8() % 4 == 0) {
            cqe.set_status(NvmeStatus::from_raw(input_.u16() & 0x7fffU));
        }
        return encoded([&](std::span<std::byte> out) {
            return encode_capsule_resp(out, cqe, peer_.format());
        });
    }
    ByteVector data() {
        C2hDataFields fields{.cid = some_cid()};
        const uint8_t flags = input_.u8();
        fields.offset = input_.u8() * 512U;
        fields.length_bytes = 4 + input_.below(5120) * 4;
        fields.last = (flags & 1U) != 0;
        fields.success = fields.last && (flags & 2U) != 0;
        ByteVector head = encoded(
            [&](std::span<std::byte> out) { return encode_c2h_data(out, fields, peer_.format()); });
        return with_payload(
            std::move(head), ByteVector(fields.length_bytes, std::byte{0xa5}), peer_.format());
    }
    ByteVector r2t() {
        const R2tFields fields{.cid = some_cid(),
                               .tag = TransferTag(input_.u8()),
                               .offset = input_.u8() * 512U,
                               .length_bytes = 4 + input_.below(5120) * 4};
        return encoded(
            [&](std::span<std::byte> out) { return encode_r2t(out, fields, peer_.format()); });
    }
    ByteVector terminate() {
        const Violation violation{
            .fes = Fes::kPduSequenceError, .fei = input_.u8(), .close_silently = false};
        const auto offender = input_.bytes(24);
        return encoded([&](std::span<std::byte> out) {
            return encode_term_req(out, Side::kController, violation, offender);
        });
    }

    FuzzInput& input_;
    sim::World world_{1};
    sim::NodeId peer_node_ = world_.add_node();
    sim::NodeId host_node_ = world_.add_node();
    Reactor& peer_reactor_ = world_.add_reactor(peer_node_);
    Reactor& host_ = world_.add_reactor(host_node_);
    ScriptedPeer peer_{peer_reactor_, sim::World::address(peer_node_, kPort)};
    std::array<CountedCommand, kCommands> commands_;
    std::unique_ptr<HostQueue> queue_;
    bool is_sound_ = true;
};

}  // namespace
}  // namespace basalt::nvmf::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt;
    Log::set_level(LogLevel::kOff);
    FuzzInput input(data, size);
    const uint8_t options = input.u8();
    nvmf::testing::Bench bench(options, input);
    for (uint32_t i = 0; i < nvmf::testing::kStepsMax && !input.is_empty(); ++i) {
        bench.step();
    }
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using basalt::nvmf::testing::Step;
    const auto step = [](Step what) { return static_cast<uint8_t>(what); };
    std::vector<std::vector<uint8_t>> seeds;
    for (uint8_t options = 0; options < 32; ++options) {
        // A read of 512 bytes and its answer, a large write and its R2T, twice.
        std::vector<uint8_t> seed{options};
        for (uint8_t i = 0; i < 2; ++i) {
            seed.insert(seed.end(), {step(Step::kSubmit), i, 0, 0, 100, 0});
            seed.insert(seed.end(), {step(Step::kData), 0, 1, 0, 127, 0});
            seed.insert(seed.end(), {step(Step::kWait), 20, step(Step::kRespond), 0, 1});
            seed.insert(seed.end(), {step(Step::kSubmit), i, 1, 39, 7, 7, step(Step::kWait), 20});
            seed.insert(seed.end(), {step(Step::kR2t), 0, i, 0, 0xff, 0x13});
            seed.insert(seed.end(), {step(Step::kWait), 20, step(Step::kRespond), 0, 1});
        }
        seeds.push_back(seed);
    }
    return seeds;
}
