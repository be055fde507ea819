// A host that begins as it should (ICReq, Connect, enabling, commands) and then misbehaves, against
// the real target in the simulated world. What must hold: no fault, at most one answer to each
// command, another host's verified I/O goes on meanwhile, and when the host has gone, nothing is
// left of it; the target's end asserts that every buffer has come back.
//
// The input: steps, each a byte that says what and what else it needs.

#include <array>

#include "nvmf/wire/command.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"
#include "test/fuzz/fuzz_input.h"
#include "test/fuzz/fuzz_target.h"
#include "test/fuzz/target_bench.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kStepsMax = 200;
constexpr uint32_t kSlots = 4;  // 0: the admin queue.
constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);

enum class Step : uint8_t {
    kBegin,      // Connection, ICReq, Connect, and Enable on the admin queue.
    kIo,         // A sound I/O command.
    kAdmin,      // A sound admin command.
    kData,       // What the oldest R2T asks for.
    kWrongData,  // Data for an R2T, with a field that is wrong.
    kBent,       // A sound I/O command with a byte of its PDU changed.
    kCut,        // The first part of one.
    kRaw,        // Any bytes.
    kAbort,
    kReset,  // CC written.
    kVanish,
    kReading,  // Stops taking what comes, or goes on.
    kWait,
    kWaitLong,
    kConnectOnly,  // A connection that says nothing.
    kCount,
};

class HostileHost {
  public:
    explicit HostileHost(TargetBench& bench) : bench_(bench) {
        begin(0, 0);
        begin(1, 0);
    }

    void step(FuzzInput& input) {
        const auto what = static_cast<Step>(input.below(static_cast<uint32_t>(Step::kCount)));
        const uint32_t at = input.below(kSlots);
        if (what == Step::kWait) {
            bench_.run_for(input.u8() * 100'000U);
            return;
        }
        if (what == Step::kWaitLong) {
            bench_.run_for(input.below(40) * kNsPerSecond);
            return;
        }
        if (what == Step::kBegin) {
            begin(at, input.u8());
            return;
        }
        if (what == Step::kConnectOnly) {
            slots_[at].emplace(bench_.world());
            return;
        }
        if (slots_[at]) {
            act(what, *slots_[at], input);
        }
    }

    /// It has gone, and no answer came twice.
    void end() {
        for (std::optional<RawHost>& slot : slots_) {
            if (slot) {
                BASALT_ASSERT(slot->answers.size() <= sent_);
                slot.reset();
            }
        }
    }

  private:
    void begin(uint32_t at, uint8_t options) {
        RawHost& host = slots_[at].emplace(bench_.world());
        host.push_ic_req((options & 1U) != 0, (options & 2U) != 0);
        sent_ += 2;
        const bool is_admin = at == 0;
        host.push_connect(QueueId(static_cast<uint16_t>(at)),
                          is_admin ? kControllerIdAny : cntlid_,
                          (options & 4U) != 0,
                          (options & 8U) != 0 ? 4 : 32);
        if ((options & 16U) == 0) {
            bench_.run_for(5 * kNsPerMs);
        }
        if (is_admin) {
            if (!host.answers.empty()) {
                cntlid_ = ControllerId(static_cast<uint16_t>(host.answers[0].dw0.get()));
            }
            host.push_capsule(make_property_set(CommandId(1), NVME_REG_CC, kEnable));
            bench_.run_for(kNsPerMs);
        }
    }

    void act(Step what, RawHost& host, FuzzInput& input) {
        ++sent_;
        switch (what) {
            case Step::kIo: push_io(host, input); return;
            case Step::kAdmin: host.push_capsule(admin_command(input)); return;
            case Step::kData: push_data(host, input, false); return;
            case Step::kWrongData: push_data(host, input, true); return;
            case Step::kBent: {
                Bytes pdu = io_pdu(host, input);
                pdu[input.u16() % pdu.size()] ^= std::byte{input.u8()};
                sent_ += pdu.size() / sizeof(Sqe);  // Its data may look like commands now.
                host.push(std::move(pdu));
                return;
            }
            case Step::kCut: {
                Bytes pdu = io_pdu(host, input);
                pdu.resize(input.u16() % pdu.size());
                host.push(std::move(pdu));
                return;
            }
            case Step::kRaw: {
                const auto bytes = input.bytes(input.u8());
                sent_ += bytes.size();
                host.push(Bytes(bytes.begin(), bytes.end()));
                return;
            }
            case Step::kAbort: {
                Sqe sqe = make_command(nvme_admin_abort_cmd, next_cid(), Nsid(0));
                sqe.cdw10.set(input.below(kSlots) | (uint32_t{input.u8()} << 16U));
                host.push_capsule(sqe);
                return;
            }
            case Step::kReset:
                host.push_capsule(make_property_set(
                    next_cid(), NVME_REG_CC, input.u8() % 3 == 0 ? kEnable : input.u16()));
                return;
            case Step::kVanish: host.vanish(); return;
            case Step::kReading: host.set_reading(input.u8() % 2 == 0); return;
            case Step::kBegin:
            case Step::kWait:
            case Step::kWaitLong:
            case Step::kConnectOnly:
            case Step::kCount: return;
        }
    }

    CommandId next_cid() { return CommandId(next_cid_++ % 64); }

    Sqe io_command(FuzzInput& input, Bytes& payload) {
        constexpr std::array<uint8_t, 8> kOpcodes{nvme_cmd_read,
                                                  nvme_cmd_write,
                                                  nvme_cmd_write,
                                                  nvme_cmd_compare,
                                                  nvme_cmd_write_zeroes,
                                                  nvme_cmd_flush,
                                                  nvme_cmd_dsm,
                                                  nvme_cmd_copy};
        const uint8_t opcode = kOpcodes[input.below(kOpcodes.size())];
        const uint32_t nsid = 1 + input.below(TargetBench::kNamespaces);
        const uint32_t blocks = 1 + input.u8() % 40;
        Sqe sqe = make_command(opcode, next_cid(), Nsid(nsid));
        const uint8_t options = input.u8();
        if (opcode == nvme_cmd_flush) {
            return sqe;
        }
        if (opcode == nvme_cmd_dsm || opcode == nvme_cmd_copy) {
            const uint32_t entry = opcode == nvme_cmd_dsm ? 16 : 32;
            payload.assign(entry, std::byte{0});
            payload[8] = std::byte{input.u8()};
            sqe.cdw11.set(opcode == nvme_cmd_dsm ? 4 : 0);
            set_in_capsule_data(sqe, entry);
            return sqe;
        }
        set_range(sqe, Lba(input.u8()), BlockCount(blocks));
        sqe.flags |= (options & 0xc0U) == 0xc0U ? 1 + (options & 1U) : 0;
        const uint32_t bytes = blocks * (nsid == 2 ? 4096 : TargetWorld::kBlockBytes);
        set_transport_data(sqe, opcode == nvme_cmd_write_zeroes ? 0 : bytes);
        if (sqe.data_direction() == DataDirection::kHostToController && bytes <= 4096 &&
            (options & 1U) != 0 && opcode != nvme_cmd_write_zeroes) {
            payload.assign(bytes, std::byte{options});
            set_in_capsule_data(sqe, bytes);
        }
        return sqe;
    }
    void push_io(RawHost& host, FuzzInput& input) {
        Bytes payload;
        const Sqe sqe = io_command(input, payload);
        host.push_capsule(sqe, payload);
    }
    Bytes io_pdu(const RawHost& host, FuzzInput& input) {
        Bytes payload;
        const Sqe sqe = io_command(input, payload);
        Bytes out;
        ScriptedHost::append(
            out,
            [&](std::span<std::byte> to) {
                return encode_capsule_cmd(
                    to, sqe, static_cast<uint32_t>(payload.size()), host.format);
            },
            payload,
            host.format.data_digest);
        return out;
    }
    Sqe admin_command(FuzzInput& input) {
        const uint8_t parameter = input.u8();
        switch (input.below(5)) {
            case 0: return make_command(nvme_admin_async_event, next_cid(), Nsid(0));
            case 1: return make_identify(next_cid(), parameter, Nsid(parameter % 5));
            case 2: return make_get_log_page(next_cid(), parameter, 0, 4096);
            case 3: return make_set_features(next_cid(), parameter, input.u16());
            default: return make_command(nvme_admin_keep_alive, next_cid(), Nsid(0));
        }
    }

    void push_data(RawHost& host, FuzzInput& input, bool is_wrong) {
        R2t r2t{};
        if (!host.r2ts.empty()) {
            r2t = host.r2ts.front();
            host.r2ts.pop_front();
        } else if (!is_wrong) {
            return;
        }
        H2cDataFields fields{.cid = CommandId(r2t.command_id.get()),
                             .tag = TransferTag(r2t.transfer_tag.get()),
                             .offset = r2t.offset.get(),
                             .length_bytes = r2t.length_bytes.get(),
                             .last = true};
        if (is_wrong) {
            switch (input.below(5)) {
                case 0: fields.cid = CommandId(input.u8()); break;
                case 1: fields.tag = TransferTag(input.u8()); break;
                case 2: fields.offset += input.u8() * 4U; break;
                case 3: fields.length_bytes = input.u16() * 4U; break;
                default: fields.last = false; break;
            }
        }
        fields.length_bytes = std::min<uint32_t>(std::max(fields.length_bytes, 4U), 131072);
        host.push_h2c_data(fields, Bytes(fields.length_bytes, std::byte{0x5a}));
    }

    TargetBench& bench_;
    std::array<std::optional<RawHost>, kSlots> slots_;
    ControllerId cntlid_{1};
    uint32_t next_cid_ = 2;
    uint64_t sent_ = 0;  // Commands at most, whatever they looked like.
};

}  // namespace
}  // namespace basalt::nvmf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt;
    using namespace basalt::nvmf;
    Log::set_level(LogLevel::kOff);
    FuzzInput input(data, size);
    TargetBench bench;
    {
        HostileHost host(bench);
        for (uint32_t i = 0; i < kStepsMax && !input.is_empty(); ++i) {
            host.step(input);
            if (i % 16 == 15) {
                bench.check_good_host();
            }
        }
        host.end();
    }
    bench.check_good_host();
    bench.run_for(60 * kNsPerSecond);
    bench.check_good_host();
    bench.check_only_good_host();
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using basalt::nvmf::Step;
    constexpr auto kSteps = static_cast<uint8_t>(Step::kCount);
    std::vector<std::vector<uint8_t>> seeds;
    uint32_t state = 1;
    const auto next = [&state] {
        state = state * 1664525 + 1013904223;
        return static_cast<uint8_t>(state >> 24U);
    };
    // Each step by itself on the I/O queue, then mixtures.
    for (uint8_t step = 0; step < kSteps; ++step) {
        std::vector<uint8_t> seed;
        for (uint8_t i = 0; i < 4; ++i) {
            seed.insert(seed.end(), {step, 1, i, next(), next(), next()});
        }
        seeds.push_back(seed);
    }
    for (uint32_t i = 0; i < 40; ++i) {
        std::vector<uint8_t> seed(120);
        for (uint8_t& byte : seed) {
            byte = next();
        }
        seeds.push_back(seed);
    }
    return seeds;
}
