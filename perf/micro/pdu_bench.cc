// PDU coding, digests, and the receiver on the streams that a target and a host see.
#include <array>
#include <vector>

#include "nvmf/wire/command_build.h"
#include "nvmf/wire/digest.h"
#include "nvmf/wire/pdu_codec.h"
#include "nvmf/wire/pdu_receiver.h"
#include "perf/micro/path_meter.h"

namespace basalt::perf {
namespace {

using namespace nvmf;
using Bytes = std::vector<std::byte>;

constexpr uint32_t kIoBytes = 4096;
constexpr uint32_t kPdus = 32;  // In one stretch of a stream.

PduFormat format_of(const benchmark::State& state) {
    const bool has_digests = state.range(0) != 0;
    return {.header_digest = has_digests, .data_digest = has_digests};
}

Sqe write_command() {
    Sqe sqe = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    set_range(sqe, Lba(8), BlockCount(1));
    set_in_capsule_data(sqe, kIoBytes);
    return sqe;
}

template <typename Encode>
void encode_loop(benchmark::State& state, Encode encode) {
    std::array<std::byte, kPduHeadBytesMax> out{};
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        benchmark::DoNotOptimize(encode(std::span<std::byte>(out)));
        benchmark::ClobberMemory();
    }
    meter.finish();
}

void BM_EncodeCapsuleCmd(benchmark::State& state) {
    const PduFormat format = format_of(state);
    const Sqe sqe = write_command();
    encode_loop(state, [&](std::span<std::byte> out) {
        return encode_capsule_cmd(out, sqe, kIoBytes, format);
    });
}
BENCHMARK(BM_EncodeCapsuleCmd)->ArgName("digests")->Arg(0)->Arg(1);

void BM_EncodeCapsuleResp(benchmark::State& state) {
    const PduFormat format = format_of(state);
    const Cqe cqe;
    encode_loop(state,
                [&](std::span<std::byte> out) { return encode_capsule_resp(out, cqe, format); });
}
BENCHMARK(BM_EncodeCapsuleResp)->ArgName("digests")->Arg(0)->Arg(1);

void BM_EncodeR2t(benchmark::State& state) {
    const PduFormat format = format_of(state);
    const R2tFields fields{
        .cid = CommandId(1), .tag = TransferTag(2), .offset = 0, .length_bytes = 65536};
    encode_loop(state, [&](std::span<std::byte> out) { return encode_r2t(out, fields, format); });
}
BENCHMARK(BM_EncodeR2t)->ArgName("digests")->Arg(0)->Arg(1);

void BM_EncodeC2hData(benchmark::State& state) {
    const PduFormat format = format_of(state);
    const C2hDataFields fields{.cid = CommandId(1), .length_bytes = kIoBytes, .last = true};
    encode_loop(state,
                [&](std::span<std::byte> out) { return encode_c2h_data(out, fields, format); });
}
BENCHMARK(BM_EncodeC2hData)->ArgName("digests")->Arg(0)->Arg(1);

void BM_EncodeH2cData(benchmark::State& state) {
    const PduFormat format = format_of(state);
    const H2cDataFields fields{.cid = CommandId(1),
                               .tag = TransferTag(2),
                               .offset = 0,
                               .length_bytes = kIoBytes,
                               .last = true};
    encode_loop(state,
                [&](std::span<std::byte> out) { return encode_h2c_data(out, fields, format); });
}
BENCHMARK(BM_EncodeH2cData)->ArgName("digests")->Arg(0)->Arg(1);

/// Checking one header: what "decode" is here, as headers are read where they lie.
void BM_CheckCapsuleHeader(benchmark::State& state) {
    const PduFormat format = format_of(state);
    Bytes pdu(kPduHeadBytesMax);
    encode_capsule_cmd(pdu, write_command(), kIoBytes, format);
    const PduRules rules{.phase = ConnectionPhase::kEstablished,
                         .header_digest = format.header_digest,
                         .data_digest = format.data_digest};
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        PduLayout layout;
        const auto& common = *reinterpret_cast<const CommonHeader*>(pdu.data());
        benchmark::DoNotOptimize(check_common_header(common, rules, layout));
        const std::span<const std::byte> header(pdu.data(), layout.header_total_bytes());
        benchmark::DoNotOptimize(check_header(header, layout));
    }
    meter.finish();
}
BENCHMARK(BM_CheckCapsuleHeader)->ArgName("digests")->Arg(0)->Arg(1);

/// Takes every PDU; data goes to one buffer.
class Sink final : public PduHandler {
  public:
    PayloadPlan on_header(const PduHeader& header) override {
        if (header.data_bytes() == 0) {
            return PayloadPlan::discard();
        }
        piece_ = iovec{buffer_.data(), buffer_.size()};
        return PayloadPlan::store({&piece_, 1});
    }
    void on_pdu_complete(DataDigest /*digest*/) override { ++pdus; }
    void on_violation(const Violation& /*violation*/,
                      std::span<const std::byte> /*header*/) override {
        BASALT_ASSERT(false);
    }

    uint64_t pdus = 0;

  private:
    Bytes buffer_ = Bytes(kIoBytes);
    iovec piece_{};
};

/// kPdus capsules, each with `data_bytes` in it.
Bytes capsule_stream(const PduFormat& format, uint32_t data_bytes) {
    Bytes stream;
    const Bytes payload(data_bytes, std::byte{0x5a});
    for (uint32_t i = 0; i < kPdus; ++i) {
        std::array<std::byte, kPduHeadBytesMax> head{};
        const size_t bytes = encode_capsule_cmd(head, write_command(), data_bytes, format);
        stream.insert(stream.end(), head.begin(), head.begin() + static_cast<ptrdiff_t>(bytes));
        stream.insert(stream.end(), payload.begin(), payload.end());
        if (data_bytes > 0 && format.data_digest) {
            std::array<std::byte, kDigestBytes> digest{};
            encode_data_digest(digest, crc32c(payload));
            stream.insert(stream.end(), digest.begin(), digest.end());
        }
    }
    return stream;
}

void receive_loop(benchmark::State& state, uint32_t data_bytes) {
    const PduFormat format = format_of(state);
    const Bytes stream = capsule_stream(format, data_bytes);
    Sink sink;
    PduReceiver receiver(sink,
                         PduRules{.phase = ConnectionPhase::kEstablished,
                                  .header_digest = format.header_digest,
                                  .data_digest = format.data_digest});
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        benchmark::DoNotOptimize(receiver.feed(stream));
    }
    meter.finish(kPdus);
    state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(stream.size()));
    BASALT_ASSERT(sink.pdus == static_cast<uint64_t>(state.iterations()) * kPdus);
}

void BM_ReceiveCapsules(benchmark::State& state) {
    receive_loop(state, 0);
}
BENCHMARK(BM_ReceiveCapsules)->ArgName("digests")->Arg(0)->Arg(1);

void BM_Receive4KiBWrites(benchmark::State& state) {
    receive_loop(state, kIoBytes);
}
BENCHMARK(BM_Receive4KiBWrites)->ArgName("digests")->Arg(0)->Arg(1);

void BM_Crc32c(benchmark::State& state) {
    const Bytes data(static_cast<size_t>(state.range(0)), std::byte{0xa5});
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        benchmark::DoNotOptimize(crc32c(data));
    }
    meter.finish();
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Crc32c)->ArgName("bytes")->Arg(72)->Arg(4096)->Arg(131072);

}  // namespace
}  // namespace basalt::perf
