#include "nvmf/wire/pdu_receiver.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"
#include "test/nvmf/wire/wire_testing.h"

namespace basalt::nvmf {
namespace {

using testing::ByteVector;
using testing::encoded;
using testing::established;
using testing::pattern;
using testing::RecordingHandler;
using testing::with_payload;

/// A stream of PDUs for one side, and what the receiver should see of each.
struct Stream {
    ByteVector bytes;
    std::vector<size_t> ends;
    void add(const ByteVector& pdu) {
        bytes.insert(bytes.end(), pdu.begin(), pdu.end());
        ends.push_back(bytes.size());
    }
};

Stream host_to_controller(const PduFormat& format) {
    Stream stream;
    const Sqe flush = make_command(nvme_cmd_flush, CommandId(1), Nsid(1));
    stream.add(encoded([&](auto out) { return encode_capsule_cmd(out, flush, 0, format); }));
    Sqe write = make_command(nvme_cmd_write, CommandId(2), Nsid(1));
    set_in_capsule_data(write, 777);
    const auto in_capsule = pattern(777);
    stream.add(
        with_payload(encoded([&](auto out) { return encode_capsule_cmd(out, write, 777, format); }),
                     in_capsule,
                     format));
    const auto data = pattern(2500, 3);
    const H2cDataFields fields{.cid = CommandId(2),
                               .tag = TransferTag(9),
                               .offset = 4096,
                               .length_bytes = 2500,
                               .last = true};
    stream.add(with_payload(
        encoded([&](auto out) { return encode_h2c_data(out, fields, format); }), data, format));
    return stream;
}

Stream controller_to_host(const PduFormat& format) {
    Stream stream;
    const R2tFields r2t{
        .cid = CommandId(2), .tag = TransferTag(9), .offset = 4096, .length_bytes = 2500};
    stream.add(encoded([&](auto out) { return encode_r2t(out, r2t, format); }));
    const auto data = pattern(1500, 5);
    const C2hDataFields fields{
        .cid = CommandId(3), .offset = 0, .length_bytes = 1500, .last = true, .success = false};
    stream.add(with_payload(
        encoded([&](auto out) { return encode_c2h_data(out, fields, format); }), data, format));
    Cqe cqe;
    cqe.command_id.set(3);
    stream.add(encoded([&](auto out) { return encode_capsule_resp(out, cqe, format); }));
    return stream;
}

std::vector<RecordingHandler::Pdu> receive_whole(const ByteVector& bytes, const PduRules& rules) {
    RecordingHandler handler;
    PduReceiver receiver(handler, rules);
    EXPECT_EQ(receiver.feed(bytes), bytes.size());
    EXPECT_TRUE(receiver.is_between_pdus());
    EXPECT_EQ(handler.violation_count, 0)
        << "fes " << static_cast<int>(handler.violation.fes) << " fei " << handler.violation.fei;
    return handler.pdus;
}

struct Combination {
    Side side;
    bool header_digest;
    bool data_digest;
    uint8_t align;
};

class PduReceiverEveryWay : public ::testing::TestWithParam<Combination> {
  protected:
    PduRules rules() const {
        const auto [side, header_digest, data_digest, align] = GetParam();
        return established(side, header_digest, data_digest, align);
    }
    Stream stream() const {
        const auto [side, header_digest, data_digest, align] = GetParam();
        const PduFormat format{
            .header_digest = header_digest, .data_digest = data_digest, .data_align_bytes = align};
        return side == Side::kController ? host_to_controller(format) : controller_to_host(format);
    }
};

INSTANTIATE_TEST_SUITE_P(Digests,
                         PduReceiverEveryWay,
                         ::testing::Values(Combination{Side::kController, false, false, 4},
                                           Combination{Side::kController, true, false, 4},
                                           Combination{Side::kController, false, true, 4},
                                           Combination{Side::kController, true, true, 4},
                                           Combination{Side::kController, true, true, 128},
                                           Combination{Side::kController, false, false, 64},
                                           Combination{Side::kHost, false, false, 4},
                                           Combination{Side::kHost, true, false, 16},
                                           Combination{Side::kHost, false, true, 4},
                                           Combination{Side::kHost, true, true, 4}));

TEST_P(PduReceiverEveryWay, ReceivesWhatTheEncodersWrite) {
    const auto pdus = receive_whole(stream().bytes, rules());
    ASSERT_EQ(pdus.size(), 3U);
    for (const auto& pdu : pdus) {
        EXPECT_TRUE(pdu.complete);
        const bool digest = rules().data_digest && !pdu.data.empty();
        EXPECT_EQ(pdu.digest, digest ? DataDigest::kMatch : DataDigest::kAbsent);
    }
    if (GetParam().side == Side::kController) {
        EXPECT_EQ(pdus[1].data, pattern(777));
        EXPECT_EQ(pdus[2].data, pattern(2500, 3));
    } else {
        EXPECT_EQ(pdus[1].data, pattern(1500, 5));
    }
}

TEST_P(PduReceiverEveryWay, GivesTheSameResultByteByByte) {
    const Stream all = stream();
    const auto expected = receive_whole(all.bytes, rules());
    RecordingHandler handler;
    PduReceiver receiver(handler, rules());
    for (const std::byte& byte : all.bytes) {
        ASSERT_EQ(receiver.feed({&byte, 1}), 1U);
    }
    EXPECT_EQ(handler.pdus, expected);
    EXPECT_EQ(handler.violation_count, 0);
}

TEST_P(PduReceiverEveryWay, GivesTheSameResultCutAtEveryPosition) {
    const Stream all = stream();
    const auto expected = receive_whole(all.bytes, rules());
    for (size_t cut = 0; cut <= all.bytes.size(); ++cut) {
        // Each half in its own allocation, so that a read beyond it is found.
        const ByteVector first(all.bytes.begin(), all.bytes.begin() + static_cast<ptrdiff_t>(cut));
        const ByteVector second(all.bytes.begin() + static_cast<ptrdiff_t>(cut), all.bytes.end());
        RecordingHandler handler;
        PduReceiver receiver(handler, rules());
        ASSERT_EQ(receiver.feed(first), first.size());
        const auto complete =
            std::count_if(all.ends.begin(), all.ends.end(), [&](size_t end) { return end <= cut; });
        ASSERT_EQ(std::count_if(handler.pdus.begin(),
                                handler.pdus.end(),
                                [](const auto& pdu) { return pdu.complete; }),
                  complete)
            << "cut at " << cut;
        ASSERT_EQ(receiver.feed(second), second.size());
        ASSERT_EQ(handler.pdus, expected) << "cut at " << cut;
    }
}

TEST_P(PduReceiverEveryWay, FindsDamagedDataWithoutGivingUpTheConnection) {
    Stream all = stream();
    // The last data byte of the second PDU, before its digest if it has one.
    const bool digest = GetParam().data_digest;
    all.bytes[all.ends[1] - (digest ? kDigestBytes : 0) - 1] ^= std::byte{1};
    RecordingHandler handler;
    PduReceiver receiver(handler, rules());
    ASSERT_EQ(receiver.feed(all.bytes), all.bytes.size());
    ASSERT_EQ(handler.pdus.size(), 3U);
    EXPECT_EQ(handler.pdus[1].digest, digest ? DataDigest::kMismatch : DataDigest::kAbsent);
    EXPECT_TRUE(handler.pdus[2].complete);
    EXPECT_EQ(handler.violation_count, 0);
}

TEST_P(PduReceiverEveryWay, ChecksTheDigestOfDataThatNobodyWants) {
    const Stream all = stream();
    RecordingHandler handler;
    handler.discard = true;
    PduReceiver receiver(handler, rules());
    ASSERT_EQ(receiver.feed(all.bytes), all.bytes.size());
    ASSERT_EQ(handler.pdus.size(), 3U);
    EXPECT_TRUE(handler.pdus[1].data.empty());
    EXPECT_EQ(handler.pdus[1].digest,
              GetParam().data_digest ? DataDigest::kMatch : DataDigest::kAbsent);
}

TEST_P(PduReceiverEveryWay, TakesDataThatSomebodyElsePutInItsPlace) {
    const Stream all = stream();
    const auto expected = receive_whole(all.bytes, rules());
    for (const size_t step : {size_t{1}, size_t{100}, size_t{5000}}) {
        RecordingHandler handler;
        PduReceiver receiver(handler, rules());
        for (size_t at = 0; at < all.bytes.size();) {
            const std::span<std::byte> wanted = receiver.wanted_data();
            const size_t count =
                std::min({wanted.empty() ? size_t{1} : wanted.size(), step, all.bytes.size() - at});
            const std::span<const std::byte> bytes(&all.bytes[at], count);
            if (wanted.empty()) {
                ASSERT_EQ(receiver.feed(bytes), count);
            } else {
                std::copy(bytes.begin(), bytes.end(), wanted.begin());
                receiver.data_stored(count);
            }
            at += count;
        }
        EXPECT_EQ(handler.pdus, expected);
        EXPECT_TRUE(receiver.wanted_data().empty());
    }
}

TEST_P(PduReceiverEveryWay, WantsNoDataThatIsDiscarded) {
    const Stream all = stream();
    RecordingHandler handler;
    handler.discard = true;
    PduReceiver receiver(handler, rules());
    for (const std::byte& byte : all.bytes) {
        EXPECT_TRUE(receiver.wanted_data().empty());
        ASSERT_EQ(receiver.feed({&byte, 1}), 1U);
    }
}

/// Notes what data is at hand with each header.
class LookingHandler final : public PduHandler {
  public:
    PayloadPlan on_header(const PduHeader& header) override {
        at_hand.push_back(receiver->data_at_hand().size());
        data_bytes.push_back(header.data_bytes());
        if (!receiver->data_at_hand().empty()) {
            first_bytes.push_back(receiver->data_at_hand().front());
        }
        return PayloadPlan::discard();
    }
    void on_pdu_complete(DataDigest) override {}
    void on_violation(const Violation&, std::span<const std::byte>) override {}

    PduReceiver* receiver = nullptr;
    std::vector<size_t> at_hand;
    std::vector<size_t> data_bytes;
    ByteVector first_bytes;
};

TEST_P(PduReceiverEveryWay, ShowsDataThatIsAtHandWhole) {
    const Stream all = stream();
    const auto expected = receive_whole(all.bytes, rules());
    LookingHandler whole;
    PduReceiver receiver(whole, rules());
    whole.receiver = &receiver;
    ASSERT_EQ(receiver.feed(all.bytes), all.bytes.size());
    EXPECT_EQ(whole.at_hand, whole.data_bytes);
    EXPECT_EQ(whole.first_bytes.front(), expected[1].data.front());
    EXPECT_TRUE(receiver.data_at_hand().empty());

    LookingHandler cut;
    PduReceiver cut_receiver(cut, rules());
    cut.receiver = &cut_receiver;
    // Without the last byte of the last PDU with data (its digest's, if it has one).
    const size_t end = all.ends[1] - 1;
    ASSERT_EQ(cut_receiver.feed(std::span(all.bytes).first(end)), end);
    EXPECT_EQ(cut.at_hand[1], 0U);
    EXPECT_GT(cut.data_bytes[1], 0U);
}

TEST_P(PduReceiverEveryWay, WaitsWhenTheHandlerCannotGoOn) {
    const Stream all = stream();
    const auto expected = receive_whole(all.bytes, rules());
    RecordingHandler handler;
    handler.later_answers = 3;
    PduReceiver receiver(handler, rules());
    const size_t taken = receiver.feed(all.bytes);
    EXPECT_LT(taken, all.bytes.size());
    EXPECT_TRUE(receiver.is_waiting());
    EXPECT_FALSE(receiver.is_between_pdus());
    EXPECT_EQ(handler.calls, 1);
    // The memory of the header may be gone by the time the handler can go on.
    const ByteVector rest(all.bytes.begin() + static_cast<ptrdiff_t>(taken), all.bytes.end());
    EXPECT_EQ(receiver.feed({}), 0U);
    EXPECT_EQ(receiver.feed(rest), 0U);
    EXPECT_EQ(handler.calls, 3);
    EXPECT_EQ(receiver.feed(rest), rest.size());
    EXPECT_EQ(handler.pdus, expected);
}

TEST(PduReceiver, CompletesAPduWithoutDataWhenTheWaitEndsWithoutInput) {
    const auto pdu = host_to_controller({}).bytes;
    RecordingHandler handler;
    handler.later_answers = 1;
    PduReceiver receiver(handler, established(Side::kController, false, false));
    ASSERT_EQ(receiver.feed(std::span(pdu).first(72)), 72U);
    ASSERT_TRUE(receiver.is_waiting());
    EXPECT_EQ(receiver.feed({}), 0U);
    ASSERT_EQ(handler.pdus.size(), 1U);
    EXPECT_TRUE(handler.pdus[0].complete);
    EXPECT_TRUE(receiver.is_between_pdus());
}

TEST(PduReceiver, TakesNothingMoreAfterAViolation) {
    ByteVector bytes = host_to_controller({}).bytes;
    bytes[72] = std::byte{0xff};
    RecordingHandler handler;
    PduReceiver receiver(handler, established(Side::kController, false, false));
    EXPECT_LT(receiver.feed(bytes), bytes.size());
    EXPECT_TRUE(receiver.is_done());
    EXPECT_EQ(handler.violation_count, 1);
    EXPECT_EQ(handler.violation_header.size(), kCommonHeaderBytes);
    const int calls = handler.calls;
    EXPECT_EQ(receiver.feed(bytes), 0U);
    EXPECT_EQ(handler.calls, calls);
}

TEST(PduReceiver, ReportsWhatTheHandlerRejectsWithTheWholeHeader) {
    const ByteVector bytes = host_to_controller({}).bytes;
    for (const size_t step : {bytes.size(), size_t{1}}) {
        RecordingHandler handler;
        handler.reject = Fes::kDataTransferOutOfRange;
        PduReceiver receiver(handler, established(Side::kController, false, false));
        for (size_t at = 0; at < bytes.size() && !receiver.is_done(); at += step) {
            static_cast<void>(receiver.feed(std::span(bytes).subspan(at, step)));
        }
        EXPECT_EQ(handler.violation.fes, Fes::kDataTransferOutOfRange);
        EXPECT_EQ(handler.violation.fei, 12U);
        EXPECT_EQ(handler.violation_header, ByteVector(bytes.begin(), bytes.begin() + 72));
    }
}

TEST(PduReceiver, MakesNoCallAfterStop) {
    const ByteVector bytes = host_to_controller({}).bytes;
    RecordingHandler handler;
    PduReceiver receiver(handler, established(Side::kController, false, false));
    handler.receiver_to_stop = &receiver;
    EXPECT_EQ(receiver.feed(bytes), 72U);
    EXPECT_TRUE(receiver.is_done());
    EXPECT_EQ(handler.pdus.size(), 1U);
}

TEST(PduReceiver, MakesNoCallAfterStopFromWithinAHeader) {
    const ByteVector bytes = host_to_controller({}).bytes;
    for (const int later_answers : {0, 1}) {
        for (const Fes reject : {Fes::kNone, Fes::kPduSequenceError}) {
            RecordingHandler handler;
            PduReceiver receiver(handler, established(Side::kController, false, false));
            handler.receiver_to_stop = &receiver;
            handler.stop_at_header = true;
            handler.later_answers = later_answers;
            handler.reject = reject;
            EXPECT_EQ(receiver.feed(bytes), 72U);
            EXPECT_TRUE(receiver.is_done());
            EXPECT_EQ(receiver.feed({}), 0U);
            EXPECT_EQ(handler.calls, 1);
        }
    }
}

/// Establishes the connection when the handshake PDU is complete, as a target does.
class Establisher final : public PduHandler {
  public:
    PayloadPlan on_header(const PduHeader& header) override {
        types.push_back(header.type());
        return PayloadPlan::discard();
    }
    void on_pdu_complete(DataDigest) override {
        receiver->set_rules(established(Side::kController, true, true));
    }
    void on_violation(const Violation&, std::span<const std::byte>) override { ++violations; }

    PduReceiver* receiver = nullptr;
    std::vector<PduType> types;
    int violations = 0;
};

TEST(PduReceiver, AppliesNewRulesToTheVeryNextPdu) {
    ByteVector bytes = encoded([](auto out) { return encode_ic_req(out, {}); });
    const Stream rest = host_to_controller({.header_digest = true, .data_digest = true});
    bytes.insert(bytes.end(), rest.bytes.begin(), rest.bytes.end());
    Establisher handler;
    PduReceiver receiver(handler, PduRules{});
    handler.receiver = &receiver;
    EXPECT_EQ(receiver.feed(bytes), bytes.size());
    EXPECT_EQ(handler.violations, 0);
    EXPECT_EQ(handler.types,
              (std::vector{
                  PduType::kIcReq, PduType::kCapsuleCmd, PduType::kCapsuleCmd, PduType::kH2cData}));
}

TEST(PduReceiver, HandsOverTheHeaderThatATerminateRequestCarries) {
    const Violation violation{.fes = Fes::kInvalidHeaderField, .fei = 3, .close_silently = false};
    const auto offending = pattern(72);
    const auto pdu =
        encoded([&](auto out) { return encode_term_req(out, Side::kHost, violation, offending); });
    RecordingHandler handler;
    PduReceiver receiver(handler, established(Side::kController, true, true));
    EXPECT_EQ(receiver.feed(pdu), pdu.size());
    ASSERT_EQ(handler.pdus.size(), 1U);
    EXPECT_EQ(handler.pdus[0].data, offending);
    const auto& header = *reinterpret_cast<const TermReq*>(handler.pdus[0].header.data());
    EXPECT_EQ(header.fes.get(), 1U);
    EXPECT_EQ(header.fei.get(), 3U);
}

}  // namespace
}  // namespace basalt::nvmf
