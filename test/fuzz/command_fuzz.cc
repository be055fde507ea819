// Any submission queue entry, on the admin queue and on an I/O queue of the real target, in
// capsules that are whole. What must hold: no fault, each command is answered once, or its
// connection ends, or it waits for an event; another host's I/O goes on; nothing is left when the
// host has gone.
//
// The input: commands, each as Command::take() reads it.

#include <string>

#include "nvmf/wire/command.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"
#include "test/fuzz/fuzz_input.h"
#include "test/fuzz/fuzz_target.h"
#include "test/fuzz/target_bench.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kCommandsMax = 64;
constexpr uint32_t kQueueEntries = 32;

constexpr uint8_t kOnAdminQueue = 1U << 0U;
constexpr uint8_t kInCapsule = 1U << 1U;
constexpr uint8_t kAnySgl = 1U << 2U;
constexpr uint8_t kThenWait = 1U << 3U;
constexpr uint8_t kAnyNsid = 1U << 4U;
constexpr uint8_t kNoPsdt = 1U << 5U;

struct Command {
    Sqe sqe;
    Bytes payload;
    uint8_t options = 0;

    static Command take(FuzzInput& input, CommandId cid) {
        Command command;
        command.options = input.u8();
        const uint8_t opcode = input.u8();
        const uint8_t flags = input.u8();
        Sqe& sqe = command.sqe;
        const uint32_t nsid = (command.options & kAnyNsid) != 0
                                  ? input.u32()
                                  : input.below(TargetBench::kNamespaces + 2);
        sqe = make_command(opcode, cid, Nsid(nsid));
        sqe.flags = (command.options & kNoPsdt) != 0
                        ? flags
                        : static_cast<uint8_t>(sqe.flags | (flags & 3U));
        sqe.cdw10.set(input.u32());
        sqe.cdw11.set(input.u32());
        sqe.cdw12.set(input.u32());
        sqe.cdw13.set(input.u16());
        sqe.cdw14.set(input.u16());
        sqe.cdw15.set(input.u16());
        command.take_data(input);
        return command;
    }

  private:
    void take_data(FuzzInput& input) {
        const uint32_t bytes = input.u16() * 4U;
        const auto prefix = input.bytes(input.u8());
        if ((options & kInCapsule) != 0) {
            const bool is_admin = (options & kOnAdminQueue) != 0;
            payload.assign(std::min<size_t>(bytes, is_admin ? 8192 : 4096), std::byte{0});
            set_in_capsule_data(sqe, static_cast<uint32_t>(payload.size()));
            std::copy_n(prefix.begin(), std::min(prefix.size(), payload.size()), payload.begin());
        } else {
            set_transport_data(sqe, bytes);
        }
        if ((options & kAnySgl) != 0) {
            sqe.sgl1.identifier = input.u8();
            sqe.sgl1.address.set(input.u32());
            sqe.sgl1.length_bytes.set(input.u32());
        }
    }
};

class Session {
  public:
    explicit Session(TargetBench& bench) : bench_(bench) {
        admin_.push_ic_req(false, false);
        admin_.push_connect(kAdminQueueId, kControllerIdAny);
        constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);
        submit(admin_, make_property_set(CommandId(0xfffe), NVME_REG_CC, kEnable));
        bench_.run_for(10 * kNsPerMs);
        const ControllerId cntlid(static_cast<uint16_t>(admin_.answers.at(0).dw0.get()));
        io_.push_ic_req(false, false);
        io_.push_connect(QueueId(1), cntlid);
        bench_.run_for(10 * kNsPerMs);
        BASALT_ASSERT(io_.answers.size() == 1);
    }

    void run(const Command& command) {
        const bool is_admin = (command.options & kOnAdminQueue) != 0;
        RawHost& queue = is_admin ? admin_ : io_;
        if (queue.outstanding() + 1 >= kQueueEntries) {
            bench_.run_for(kNsPerSecond);
        }
        if (queue.outstanding() + 1 >= kQueueEntries) {
            return;
        }
        if (is_admin && command.sqe.opcode == nvme_admin_async_event) {
            events_.insert(command.sqe.cid().raw());
        }
        submit(queue, command.sqe, command.payload);
        if ((command.options & kThenWait) != 0) {
            bench_.run_for(60 * kNsPerMs);
            send_what_is_asked_for(queue);
        }
    }

    /// All that can be answered is.
    void finish() {
        uint32_t quiet_rounds = 0;
        while (quiet_rounds < 4) {
            quiet_rounds = admin_.r2ts.empty() && io_.r2ts.empty() ? quiet_rounds + 1 : 0;
            send_what_is_asked_for(admin_);
            send_what_is_asked_for(io_);
            bench_.run_for(kFusedPartnerTimeoutNs);
        }
        BASALT_ASSERT(admin_.strays == 0);
        BASALT_ASSERT(io_.strays == 0);
        BASALT_ASSERT(io_.is_closed || io_.outstanding() == 0);
        for (const uint16_t cid : admin_.expected()) {
            BASALT_ASSERT(admin_.is_closed || events_.count(cid) != 0);
        }
    }

  private:
    void submit(RawHost& queue, const Sqe& sqe, std::span<const std::byte> payload = {}) {
        if (!queue.is_closed) {
            queue.expect(sqe.cid());
            queue.push_capsule(sqe, payload);
        }
    }
    static void send_what_is_asked_for(RawHost& queue) {
        for (; !queue.r2ts.empty(); queue.r2ts.pop_front()) {
            const R2t& r2t = queue.r2ts.front();
            const uint32_t bytes = r2t.length_bytes.get();
            BASALT_ASSERT(bytes <= kMaxH2cDataBytesDefault);
            queue.push_h2c_data({.cid = CommandId(r2t.command_id.get()),
                                 .tag = TransferTag(r2t.transfer_tag.get()),
                                 .offset = r2t.offset.get(),
                                 .length_bytes = bytes,
                                 .last = true},
                                Bytes(bytes));
        }
    }

    TargetBench& bench_;
    RawHost admin_{bench_.world()};
    RawHost io_{bench_.world()};
    std::set<uint16_t> events_;
};

void append(std::vector<uint8_t>& out, std::initializer_list<uint32_t> bytes) {
    for (const uint32_t byte : bytes) {
        out.push_back(static_cast<uint8_t>(byte));
    }
}

/// One command as take() reads it: of one block at 8, or of `dwords`' low bytes.
std::vector<uint8_t> encoded(uint8_t options,
                             uint8_t opcode,
                             uint8_t fuse,
                             std::array<uint32_t, 3> dwords,
                             uint32_t data_bytes,
                             const std::vector<uint8_t>& payload = {}) {
    std::vector<uint8_t> out;
    append(out, {options, opcode, fuse, 1});
    for (const uint32_t dword : dwords) {
        append(out, {dword, dword >> 8U, dword >> 16U, dword >> 24U});
    }
    append(out, {0, 0, 0, 0, 0, 0, data_bytes / 4, data_bytes / 1024});
    append(out, {static_cast<uint32_t>(payload.size())});
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
}

}  // namespace
}  // namespace basalt::nvmf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt;
    using namespace basalt::nvmf;
    Log::set_level(LogLevel::kOff);
    FuzzInput input(data, size);
    TargetBench bench;
    {
        Session session(bench);
        for (uint16_t i = 1; i <= kCommandsMax && !input.is_empty(); ++i) {
            session.run(Command::take(input, CommandId(i)));
        }
        session.finish();
        bench.check_good_host();
    }
    bench.run_for(kNsPerSecond);
    bench.check_good_host();
    bench.check_only_good_host();
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using namespace basalt::nvmf;
    std::vector<std::vector<uint8_t>> seeds;
    constexpr uint8_t kTransfers[] = {0x00, 0x01, 0x02, 0x05, 0x08, 0x0c, 0x19};
    constexpr uint8_t kReservations[] = {0x0d, 0x0e, 0x11, 0x15};
    constexpr uint32_t kLogs[] = {1, 2, 3, 4, 5, 12, 18, 19, 0x80};
    constexpr uint32_t kCns[] = {0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x13, 0x1c, 0x1f};
    for (const uint8_t opcode : kTransfers) {
        for (const uint8_t options : {uint8_t{0}, kInCapsule, kThenWait}) {
            seeds.push_back(encoded(options, opcode, 0, {8, 0, 0}, 512));
        }
    }
    seeds.push_back(encoded(kInCapsule, 0x09, 0, {0, 4, 0}, 16, {0, 0, 0, 0, 1, 0, 0, 0, 4}));
    for (const uint8_t opcode : kReservations) {
        seeds.push_back(encoded(kInCapsule, opcode, 0, {0, 0, 0}, 16, {1, 0, 0, 0, 0, 0, 0, 0, 2}));
        seeds.push_back(encoded(0, opcode, 0, {8, 0, 0}, 64));
    }
    auto fused = encoded(kInCapsule, 0x05, 1, {8, 0, 0}, 512);
    const auto second = encoded(kInCapsule | kThenWait, 0x01, 2, {8, 0, 0}, 512);
    fused.insert(fused.end(), second.begin(), second.end());
    seeds.push_back(fused);
    for (const uint32_t lid : kLogs) {
        seeds.push_back(encoded(kOnAdminQueue, 0x02, 0, {lid | (127U << 16U), 0, 0}, 512));
    }
    for (const uint32_t cns : kCns) {
        seeds.push_back(encoded(kOnAdminQueue, 0x06, 0, {cns, 0, 0}, 4096));
    }
    for (uint32_t feature = 1; feature < 0x1e; ++feature) {
        seeds.push_back(encoded(kOnAdminQueue, 0x09, 0, {feature, 1, 0}, 0));
        seeds.push_back(encoded(kOnAdminQueue, 0x0a, 0, {feature, 0, 0}, 0));
    }
    seeds.push_back(encoded(kOnAdminQueue, 0x08, 0, {1 | (1U << 16U), 0, 0}, 0));
    seeds.push_back(encoded(kOnAdminQueue, 0x0c, 0, {0, 0, 0}, 0));
    return seeds;
}
