// Any bytes, cut anywhere, to a PDU receiver of either side. What must hold: no fault, no call out
// of turn, and the same result as for the same bytes in one piece.
//
// The input: one byte of options (side, digests, phase, alignment, backpressure), one byte that the
// cuts come from, then the stream.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nvmf/wire/command_build.h"
#include "nvmf/wire/digest.h"
#include "nvmf/wire/pdu_receiver.h"
#include "reactor/base/assert.h"
#include "test/fuzz/fuzz_target.h"

namespace {

using namespace basalt::nvmf;

constexpr uint8_t kOptionHost = 1U << 0U;
constexpr uint8_t kOptionHeaderDigest = 1U << 1U;
constexpr uint8_t kOptionDataDigest = 1U << 2U;
constexpr uint8_t kOptionAwaitingIc = 1U << 3U;
constexpr uint8_t kOptionAlign16 = 1U << 4U;
constexpr uint8_t kOptionDiscard = 1U << 5U;
constexpr uint8_t kOptionBackpressure = 1U << 6U;

/// Sums up all that it is told, and checks that calls come in their order.
class Witness final : public PduHandler {
  public:
    explicit Witness(uint8_t options) : options_(options) {}

    PayloadPlan on_header(const PduHeader& header) override {
        BASALT_ASSERT(!in_pdu_);
        BASALT_ASSERT(!violated_);
        if ((options_ & kOptionBackpressure) != 0 && !answered_later_) {
            answered_later_ = true;
            return PayloadPlan::later();
        }
        answered_later_ = false;
        in_pdu_ = true;
        sum_.update(header.bytes());
        if ((options_ & kOptionDiscard) != 0) {
            return PayloadPlan::discard();
        }
        data_.assign(header.data_bytes(), std::byte{0});
        const size_t half = data_.size() / 2;
        pieces_ = {{.iov_base = data_.data(), .iov_len = half},
                   {.iov_base = data_.data() + half, .iov_len = data_.size() - half}};
        return PayloadPlan::store(pieces_);
    }

    void on_pdu_complete(DataDigest digest) override {
        BASALT_ASSERT(in_pdu_);
        BASALT_ASSERT(!violated_);
        in_pdu_ = false;
        sum_.update(data_);
        data_.clear();
        add(static_cast<uint32_t>(digest));
    }

    void on_violation(const Violation& violation, std::span<const std::byte> header) override {
        BASALT_ASSERT(!in_pdu_);
        BASALT_ASSERT(!violated_);
        BASALT_ASSERT(static_cast<bool>(violation));
        BASALT_ASSERT(header.size() >= kCommonHeaderBytes);
        violated_ = true;
        add(static_cast<uint32_t>(violation.fes));
        add(violation.fei);
        sum_.update(header);
        if (!violation.close_silently) {
            std::byte out[kPduHeadBytesMax];
            const size_t bytes = encode_term_req(out, Side::kController, violation, header);
            BASALT_ASSERT(bytes <= kTermReqBytesMax);
        }
    }

    [[nodiscard]] bool violated() const { return violated_; }
    [[nodiscard]] uint32_t sum() const { return sum_.value(); }

  private:
    void add(uint32_t value) {
        const Le32 wire(value);
        sum_.update(std::as_bytes(std::span(&wire, 1)));
    }

    uint8_t options_;
    std::vector<std::byte> data_;
    std::vector<iovec> pieces_;
    Crc32c sum_;
    bool in_pdu_ = false;
    bool violated_ = false;
    bool answered_later_ = false;
};

PduRules rules_of(uint8_t options) {
    PduRules rules;
    rules.side = (options & kOptionHost) != 0 ? Side::kHost : Side::kController;
    if ((options & kOptionAwaitingIc) == 0) {
        rules.phase = ConnectionPhase::kEstablished;
        rules.header_digest = (options & kOptionHeaderDigest) != 0;
        rules.data_digest = (options & kOptionDataDigest) != 0;
        rules.data_align_bytes = (options & kOptionAlign16) != 0 ? 16 : 4;
    }
    return rules;
}

/// Feeds `stream` in pieces that `cut_seed` decides (0: one piece) and returns the witness' sum.
uint32_t receive(std::span<const std::byte> stream, uint8_t options, uint32_t cut_seed) {
    Witness witness(options);
    PduReceiver receiver(witness, rules_of(options));
    uint32_t state = cut_seed;
    while (!stream.empty() && !receiver.is_done()) {
        size_t piece_bytes = stream.size();
        if (cut_seed != 0) {
            state = state * 1664525 + 1013904223;
            piece_bytes = std::min<size_t>(piece_bytes, 1 + (state >> 24U) % 40);
        }
        // Its own allocation, so that a read beyond the piece is found.
        const std::vector<std::byte> piece(stream.begin(),
                                           stream.begin() + static_cast<ptrdiff_t>(piece_bytes));
        const size_t taken = receiver.feed(piece);
        BASALT_ASSERT(taken <= piece.size());
        BASALT_ASSERT(taken == piece.size() || receiver.is_waiting() || receiver.is_done());
        stream = stream.subspan(taken);
    }
    if (receiver.is_waiting()) {
        const size_t taken = receiver.feed({});
        BASALT_ASSERT(taken == 0);
    }
    BASALT_ASSERT(receiver.is_done() == witness.violated());
    return witness.sum();
}

using Input = std::vector<uint8_t>;

void append(Input& input, std::span<const std::byte> bytes) {
    for (const std::byte b : bytes) {
        input.push_back(static_cast<uint8_t>(b));
    }
}

void append_pdu(Input& input,
                std::span<const std::byte> head,
                size_t payload_bytes,
                const PduFormat& format) {
    append(input, head);
    const std::vector<std::byte> payload(payload_bytes, std::byte{0x5a});
    append(input, payload);
    if (format.data_digest && payload_bytes != 0) {
        std::byte digest[kDigestBytes];
        append(input, std::span(digest).first(encode_data_digest(digest, crc32c(payload))));
    }
}

Input established_seed(uint8_t options) {
    Input input{options, 7};
    const PduFormat format{.header_digest = (options & kOptionHeaderDigest) != 0,
                           .data_digest = (options & kOptionDataDigest) != 0,
                           .data_align_bytes = rules_of(options).data_align_bytes};
    std::byte out[kPduHeadBytesMax];
    const auto head = [&out](size_t bytes) { return std::span(out).first(bytes); };
    if ((options & kOptionHost) != 0) {
        const R2tFields r2t{
            .cid = CommandId(1), .tag = TransferTag(2), .offset = 0, .length_bytes = 64};
        append_pdu(input, head(encode_r2t(out, r2t, format)), 0, format);
        const C2hDataFields data{.cid = CommandId(1), .offset = 0, .length_bytes = 64};
        append_pdu(input, head(encode_c2h_data(out, data, format)), 64, format);
        append_pdu(input, head(encode_capsule_resp(out, Cqe{}, format)), 0, format);
        return input;
    }
    Sqe write = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    append_pdu(input, head(encode_capsule_cmd(out, write, 0, format)), 0, format);
    set_in_capsule_data(write, 96);
    append_pdu(input, head(encode_capsule_cmd(out, write, 96, format)), 96, format);
    const H2cDataFields data{
        .cid = CommandId(1), .tag = TransferTag(2), .offset = 0, .length_bytes = 64, .last = true};
    append_pdu(input, head(encode_h2c_data(out, data, format)), 64, format);
    return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) {
        return 0;
    }
    const auto stream = std::as_bytes(std::span(data, size)).subspan(2);
    const uint8_t options = data[0];
    const uint32_t whole = receive(stream, options, 0);
    BASALT_ASSERT(receive(stream, options, uint32_t{data[1]} + 1) == whole);
    return 0;
}

std::vector<std::vector<uint8_t>> fuzz_seeds() {
    std::vector<Input> seeds;
    for (unsigned options = 0; options < 128; ++options) {
        if ((options & kOptionAwaitingIc) == 0) {
            seeds.push_back(established_seed(static_cast<uint8_t>(options)));
        }
    }
    std::byte out[kPduHeadBytesMax];
    Input ic_req{kOptionAwaitingIc, 7};
    append(ic_req, std::span(out).first(encode_ic_req(out, {})));
    seeds.push_back(ic_req);
    Input ic_resp{kOptionAwaitingIc | kOptionHost, 7};
    append(ic_resp, std::span(out).first(encode_ic_resp(out, {})));
    seeds.push_back(ic_resp);
    const Violation violation{.fes = Fes::kPduSequenceError, .fei = 0, .close_silently = false};
    for (const Side sender : {Side::kController, Side::kHost}) {
        Input term{sender == Side::kController ? kOptionHost : uint8_t{0}, 7};
        append(term,
               std::span(out).first(
                   encode_term_req(out, sender, violation, std::as_bytes(std::span("offender")))));
        seeds.push_back(term);
    }
    return seeds;
}
