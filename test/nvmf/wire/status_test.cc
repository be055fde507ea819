#include "nvmf/wire/status.h"

#include <array>

#include <gtest/gtest.h>

#include "nvmf/wire/spec.h"
#include "nvmf/wire/sqe.h"

namespace basalt::nvmf {
namespace {

struct Expected {
    Errc code;
    uint16_t raw;  // libnvme's constants, so that a wrong number of ours shows.
};

constexpr uint16_t kDnr = NVME_SC_DNR;
constexpr uint16_t kPath = NVME_SCT_PATH << 8;
constexpr uint16_t kMedia = NVME_SCT_MEDIA << 8;

constexpr std::array kExpectedOnRead{
    Expected{Errc::kOk, NVME_SC_SUCCESS},
    Expected{Errc::kInvalidArgument, NVME_SC_INVALID_FIELD | kDnr},
    Expected{Errc::kOutOfRange, NVME_SC_LBA_RANGE | kDnr},
    Expected{Errc::kNotFound, NVME_SC_INVALID_NS | kDnr},
    Expected{Errc::kExists, NVME_SC_INTERNAL | kDnr},
    Expected{Errc::kBusy, NVME_SC_NS_NOT_READY},
    Expected{Errc::kNotSupported, NVME_SC_INVALID_OPCODE | kDnr},
    Expected{Errc::kPermissionDenied, NVME_SC_OP_DENIED | kDnr},
    Expected{Errc::kNoMemory, NVME_SC_CMD_INTERRUPTED},
    Expected{Errc::kNoSpace, NVME_SC_CAP_EXCEEDED | kDnr},
    Expected{Errc::kMediaError, kMedia | NVME_SC_READ_ERROR | kDnr},
    Expected{Errc::kDataCorrupt, kMedia | NVME_SC_READ_ERROR | kDnr},
    Expected{Errc::kCompareMismatch, kMedia | NVME_SC_COMPARE_FAILED | kDnr},
    Expected{Errc::kReadOnly, NVME_SC_NS_WRITE_PROTECTED | kDnr},
    Expected{Errc::kIo, NVME_SC_INTERNAL},
    Expected{Errc::kTimedOut, kPath | NVME_SC_ANA_INTERNAL_PATH_ERROR},
    Expected{Errc::kCancelled, NVME_SC_ABORT_REQ},
    Expected{Errc::kConnectionClosed, kPath | NVME_SC_ANA_INTERNAL_PATH_ERROR},
    Expected{Errc::kConnectionRefused, kPath | NVME_SC_ANA_INTERNAL_PATH_ERROR},
    Expected{Errc::kUnreachable, kPath | NVME_SC_ANA_INTERNAL_PATH_ERROR},
    Expected{Errc::kAddressInUse, NVME_SC_INTERNAL | kDnr},
    Expected{Errc::kProtocol, kPath | NVME_SC_ANA_INTERNAL_PATH_ERROR},
    Expected{Errc::kStaleEpoch, kPath | NVME_SC_ANA_INACCESSIBLE},
    Expected{Errc::kTryAgain, NVME_SC_CMD_INTERRUPTED},
    Expected{Errc::kDeviceGone, NVME_SC_NS_NOT_READY},
};

TEST(Status, HasAnNvmeStatusForEveryErrc) {
    ASSERT_EQ(kExpectedOnRead.size(), kErrcCount);
    for (uint16_t i = 0; i < kErrcCount; ++i) {
        const Expected& expected = kExpectedOnRead[i];
        ASSERT_EQ(static_cast<uint16_t>(expected.code), i) << "one row per Errc, in order";
        EXPECT_EQ(to_nvme_status(Error(expected.code)).raw(), expected.raw)
            << describe(expected.code);
        const bool media =
            expected.code == Errc::kMediaError || expected.code == Errc::kDataCorrupt;
        EXPECT_EQ(to_nvme_status(Error(expected.code), MediaAccess::kWrite).raw(),
                  media ? kMedia | NVME_SC_WRITE_FAULT | kDnr : expected.raw)
            << describe(expected.code);
    }
}

TEST(Status, NeverForbidsARetryThatMaySucceed) {
    for (uint16_t i = 0; i < kErrcCount; ++i) {
        const auto code = static_cast<Errc>(i);
        if (is_retryable(code)) {
            EXPECT_FALSE(to_nvme_status(Error(code)).dnr) << describe(code);
        }
        if (is_data_loss(code)) {
            EXPECT_TRUE(to_nvme_status(Error(code)).dnr) << describe(code);
        }
    }
}

TEST(Status, TravelsThroughAnErrorUnchanged) {
    const NvmeStatus original = status::kReservationConflict.with_dnr();
    const Error error = to_error(original);
    EXPECT_EQ(error.code, Errc::kPermissionDenied);
    EXPECT_EQ(to_nvme_status(error), original);
    EXPECT_EQ(to_nvme_status(error, MediaAccess::kWrite), original);
}

TEST(Status, RoundTripsThroughItsFifteenBits) {
    for (uint32_t raw = 0; raw < 0x8000; ++raw) {
        const auto bits = static_cast<uint16_t>(raw);
        ASSERT_EQ(NvmeStatus::from_raw(bits).raw(), bits);
    }
}

TEST(Status, LiesAboveThePhaseBitInACompletion) {
    Cqe cqe;
    cqe.set_status(status::kTransientTransportError);
    EXPECT_EQ(cqe.status_field.get(), 0x22U << 1U);
    cqe.set_status(status::kCompareFailure.with_dnr());
    EXPECT_EQ(cqe.status_field.get(), (0x4000U | 0x285U) << 1U);
    EXPECT_EQ(cqe.status(), status::kCompareFailure.with_dnr());
}

TEST(Status, IsUnderstoodByTheInitiator) {
    EXPECT_EQ(to_errc(status::kSuccess), Errc::kOk);
    EXPECT_EQ(to_errc(status::kLbaOutOfRange.with_dnr()), Errc::kOutOfRange);
    EXPECT_EQ(to_errc(status::kCompareFailure), Errc::kCompareMismatch);
    EXPECT_EQ(to_errc(status::kTransientTransportError), Errc::kTryAgain);
    EXPECT_EQ(to_errc(status::kCapacityExceeded), Errc::kNoSpace);
    EXPECT_EQ(to_errc(status::kConnectInvalidHost), Errc::kPermissionDenied);
    EXPECT_EQ(to_errc(status::kNamespaceWriteProtected), Errc::kReadOnly);
    EXPECT_EQ(to_errc(NvmeStatus{.sct = 7, .sc = 0x99}), Errc::kIo) << "a vendor's own";
}

TEST(Status, PassesOnNothingOfTheControllerItComesFrom) {
    NvmeStatus theirs = status::kCommandInterrupted.with_dnr();
    theirs.more = true;
    theirs.crd = 2;
    EXPECT_EQ(to_nvme_status(to_error(theirs)), status::kCommandInterrupted.with_dnr());
}

TEST(Status, KeepsItsMeaningFromTargetToInitiator) {
    for (uint16_t i = 0; i < kErrcCount; ++i) {
        const auto code = static_cast<Errc>(i);
        const NvmeStatus status = to_nvme_status(Error(code));
        EXPECT_EQ(status.ok(), code == Errc::kOk);
        EXPECT_EQ(to_errc(status) == Errc::kOk, code == Errc::kOk);
    }
    for (const Errc code : {Errc::kInvalidArgument,
                            Errc::kOutOfRange,
                            Errc::kNotFound,
                            Errc::kNotSupported,
                            Errc::kPermissionDenied,
                            Errc::kNoSpace,
                            Errc::kMediaError,
                            Errc::kCompareMismatch,
                            Errc::kReadOnly,
                            Errc::kIo,
                            Errc::kCancelled,
                            Errc::kStaleEpoch,
                            Errc::kTryAgain}) {
        EXPECT_EQ(to_errc(to_nvme_status(Error(code))), code) << describe(code);
    }
}

}  // namespace
}  // namespace basalt::nvmf
