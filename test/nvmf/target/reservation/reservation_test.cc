// The rules of reservations, NVMe Base Specification 2.0, 8.19: who may do what, and what follows.
#include "nvmf/target/reservation/reservation.h"

#include <gtest/gtest.h>

#include "nvmf/target/limits.h"
#include "nvmf/target/reservation/reservation_view.h"

namespace basalt::nvmf {
namespace {

using Type = ReservationType;
using Action = ReservationAction;

constexpr HostId kAda{1};
constexpr HostId kBob{2};
constexpr HostId kCyd{3};
constexpr HostId kDan{4};

constexpr std::array kTypes{Type::kWriteExclusive,
                            Type::kExclusiveAccess,
                            Type::kWriteExclusiveRegistrantsOnly,
                            Type::kExclusiveAccessRegistrantsOnly,
                            Type::kWriteExclusiveAllRegistrants,
                            Type::kExclusiveAccessAllRegistrants};

constexpr uint64_t key_of(const HostId& host) {
    return 0x100U + host[0];
}

NvmeStatus plain(NvmeStatus status) {
    status.dnr = false;
    return status;
}

/// A reservation, with the commands in short.
class Bench {
  public:
    explicit Bench(bool can_persist = true) : reservation(can_persist) {}

    ReservationOutcome apply(const ReservationEvent& event) {
        const ReservationState before = reservation.state();
        ReservationOutcome outcome = reservation.apply(event);
        if (!outcome.status.ok()) {
            EXPECT_EQ(reservation.state(), before);
            EXPECT_TRUE(outcome.notices.empty());
        }
        return outcome;
    }
    ReservationOutcome act(Action action,
                           const HostId& host,
                           Type type = Type::kNone,
                           uint64_t other_key = 0) {
        return apply({.action = action,
                      .host = host,
                      .current_key = key_of(host),
                      .other_key = other_key,
                      .type = type});
    }
    void add(const HostId& host) {
        EXPECT_TRUE(act(Action::kRegister, host, Type::kNone, key_of(host)).status.ok());
    }
    /// Ada holds `type`; Bob and Cyd are registered, Dan is not.
    static Bench with(Type type) {
        Bench bench;
        bench.add(kAda);
        bench.add(kBob);
        bench.add(kCyd);
        EXPECT_TRUE(bench.act(Action::kAcquire, kAda, type).status.ok());
        return bench;
    }
    const ReservationState& state() const { return reservation.state(); }

    Reservation reservation;
};

std::vector<ReservationNotice> to(NoticeType type, std::initializer_list<HostId> hosts) {
    std::vector<ReservationNotice> notices;
    for (const HostId& host : hosts) {
        notices.push_back({host, type});
    }
    return notices;
}

// --- Access ------------------------------------------------------------------------------------

struct Rights {
    bool holder_reads, holder_writes, registrant_reads, registrant_writes, other_reads,
        other_writes;
};

TEST(ReservationView, EachTypeLetsThroughWhatTheTableOfTheSpecificationSays) {
    // "Command Behavior in the Presence of a Reservation", by type.
    constexpr std::array kTable{Rights{true, true, true, false, true, false},
                                Rights{true, true, false, false, false, false},
                                Rights{true, true, true, true, true, false},
                                Rights{true, true, true, true, false, false},
                                Rights{true, true, true, true, true, false},
                                Rights{true, true, true, true, false, false}};
    for (size_t i = 0; i < kTypes.size(); ++i) {
        SCOPED_TRACE("type " + std::to_string(i + 1));
        const Bench bench = Bench::with(kTypes[i]);
        const ReservationView view(bench.state());
        const Rights& rights = kTable[i];
        EXPECT_TRUE(view.is_reserved());
        EXPECT_EQ(view.allows(kAda, IoAccess::kRead), rights.holder_reads);
        EXPECT_EQ(view.allows(kAda, IoAccess::kWrite), rights.holder_writes);
        for (const HostId& registrant : {kBob, kCyd}) {
            EXPECT_EQ(view.allows(registrant, IoAccess::kRead), rights.registrant_reads);
            EXPECT_EQ(view.allows(registrant, IoAccess::kWrite), rights.registrant_writes);
        }
        EXPECT_EQ(view.allows(kDan, IoAccess::kRead), rights.other_reads);
        EXPECT_EQ(view.allows(kDan, IoAccess::kWrite), rights.other_writes);
    }
}

TEST(ReservationView, RegistrationsAloneKeepNobodyOut) {
    Bench bench;
    bench.add(kAda);
    const ReservationView view(bench.state());
    EXPECT_FALSE(view.is_reserved());
    EXPECT_TRUE(view.allows(kDan, IoAccess::kWrite));
    EXPECT_EQ(view, ReservationView());
}

// --- Register ----------------------------------------------------------------------------------

TEST(Reservation, RegisteringTwiceWithTheSameKeyIsNoMistake) {
    Bench bench;
    bench.add(kAda);
    bench.add(kAda);
    EXPECT_EQ(bench.state().registrants.size(), 1U);
    EXPECT_EQ(bench.state().generation, 2U);
    EXPECT_EQ(plain(bench.act(Action::kRegister, kAda, Type::kNone, 0x77).status),
              status::kReservationConflict);
    EXPECT_EQ(bench.state().generation, 2U);
}

TEST(Reservation, AKeyOfZeroCantBeRegistered) {
    Bench bench;
    EXPECT_EQ(plain(bench.act(Action::kRegister, kAda).status), status::kInvalidField);
    bench.add(kAda);
    EXPECT_EQ(plain(bench.act(Action::kReplaceKey, kAda).status), status::kInvalidField);
}

TEST(Reservation, ThereIsABoundOnRegistrants) {
    Bench bench;
    HostId host{1};
    for (uint32_t i = 0; i < kRegistrantsMax; ++i) {
        host[1] = static_cast<uint8_t>(i);
        bench.add(host);
    }
    EXPECT_EQ(plain(bench.act(Action::kRegister, kBob, Type::kNone, 5).status),
              status::kInternalError);
    EXPECT_TRUE(bench.act(Action::kUnregister, host).status.ok());
    bench.add(kBob);
}

TEST(Reservation, AKeyIsReplacedByWhoKnowsItOrIgnoresIt) {
    Bench bench = Bench::with(Type::kWriteExclusive);
    EXPECT_TRUE(bench.act(Action::kReplaceKey, kAda, Type::kNone, 0x55).status.ok());
    EXPECT_EQ(bench.state().find(kAda)->key, 0x55U);
    EXPECT_TRUE(bench.state().is_holder(kAda));
    EXPECT_EQ(plain(bench.act(Action::kReplaceKey, kAda, Type::kNone, 0x66).status),
              status::kReservationConflict);
    EXPECT_TRUE(bench
                    .apply({.action = Action::kReplaceKey,
                            .host = kAda,
                            .current_key = 0xbad,
                            .other_key = 0x66,
                            .ignores_key = true})
                    .status.ok());
    EXPECT_EQ(bench.state().find(kAda)->key, 0x66U);
}

TEST(Reservation, AStrangerReplacesNothingButMayRegisterSoIfItIgnoresTheKey) {
    Bench bench;
    EXPECT_EQ(plain(bench.act(Action::kReplaceKey, kAda, Type::kNone, 1).status),
              status::kReservationConflict);
    EXPECT_TRUE(
        bench
            .apply(
                {.action = Action::kReplaceKey, .host = kAda, .other_key = 1, .ignores_key = true})
            .status.ok());
    EXPECT_TRUE(bench.state().is_registered(kAda));
}

TEST(Reservation, UnregisteringNeedsTheKey) {
    Bench bench;
    bench.add(kAda);
    EXPECT_EQ(
        plain(bench.apply({.action = Action::kUnregister, .host = kAda, .current_key = 9}).status),
        status::kReservationConflict);
    EXPECT_EQ(plain(bench.act(Action::kUnregister, kBob).status), status::kReservationConflict);
    EXPECT_TRUE(bench.apply({.action = Action::kUnregister, .host = kAda, .ignores_key = true})
                    .status.ok());
    EXPECT_TRUE(bench.state().registrants.empty());
}

TEST(Reservation, AHolderThatUnregistersReleasesAndOtherRegistrantsHearIt) {
    for (const Type type : kTypes) {
        SCOPED_TRACE("type " + std::to_string(static_cast<int>(type)));
        Bench bench = Bench::with(type);
        const ReservationOutcome outcome = bench.act(Action::kUnregister, kAda);
        EXPECT_TRUE(outcome.status.ok());
        if (is_all_registrants(type)) {
            // The others hold it on.
            EXPECT_EQ(bench.state().type, type);
            EXPECT_TRUE(bench.state().is_holder(kBob));
            EXPECT_TRUE(outcome.notices.empty());
            EXPECT_TRUE(bench.act(Action::kUnregister, kBob).status.ok());
            EXPECT_TRUE(bench.act(Action::kUnregister, kCyd).status.ok());
        } else {
            EXPECT_EQ(outcome.notices,
                      is_holder_only(type) ? to(NoticeType::kReservationReleased, {})
                                           : to(NoticeType::kReservationReleased, {kBob, kCyd}));
        }
        EXPECT_EQ(bench.state().type, Type::kNone);
    }
}

TEST(Reservation, ARegistrantThatIsNoHolderLeavesTheReservationAlone) {
    for (const Type type : kTypes) {
        Bench bench = Bench::with(type);
        EXPECT_TRUE(bench.act(Action::kUnregister, kBob).status.ok());
        EXPECT_EQ(bench.state().type, type);
        EXPECT_TRUE(bench.state().is_holder(kAda));
        EXPECT_FALSE(bench.state().is_holder(kBob));
    }
}

// --- Acquire and release -----------------------------------------------------------------------

TEST(Reservation, OnlyARegistrantWithItsKeyAcquires) {
    Bench bench;
    EXPECT_EQ(plain(bench.act(Action::kAcquire, kAda, Type::kWriteExclusive).status),
              status::kReservationConflict);
    bench.add(kAda);
    EXPECT_EQ(plain(bench
                        .apply({.action = Action::kAcquire,
                                .host = kAda,
                                .current_key = 1,
                                .type = Type::kWriteExclusive})
                        .status),
              status::kReservationConflict);
    EXPECT_TRUE(bench.act(Action::kAcquire, kAda, Type::kWriteExclusive).status.ok());
    EXPECT_EQ(bench.state().generation, 1U);
}

TEST(Reservation, AcquiringNeedsATypeThatExistsAndAcceptsNoIgnoredKey) {
    Bench bench;
    bench.add(kAda);
    for (const uint8_t type : {uint8_t{0}, uint8_t{7}, uint8_t{255}}) {
        EXPECT_EQ(plain(bench.act(Action::kAcquire, kAda, static_cast<Type>(type)).status),
                  status::kInvalidField);
    }
    for (const Action action : {Action::kAcquire, Action::kPreempt, Action::kRelease}) {
        EXPECT_EQ(plain(bench
                            .apply({.action = action,
                                    .host = kAda,
                                    .current_key = key_of(kAda),
                                    .ignores_key = true,
                                    .type = Type::kWriteExclusive})
                            .status),
                  status::kInvalidField);
    }
}

TEST(Reservation, WhatIsHeldIsAcquiredAgainOnlyByAHolderAndWithTheSameType) {
    for (const Type type : kTypes) {
        SCOPED_TRACE("type " + std::to_string(static_cast<int>(type)));
        Bench bench = Bench::with(type);
        EXPECT_TRUE(bench.act(Action::kAcquire, kAda, type).status.ok());
        const NvmeStatus by_another = bench.act(Action::kAcquire, kBob, type).status;
        EXPECT_EQ(by_another.ok(), is_all_registrants(type));
        for (const Type wanted : kTypes) {
            EXPECT_EQ(bench.act(Action::kAcquire, kAda, wanted).status.ok(), wanted == type);
        }
        EXPECT_EQ(bench.state().type, type);
    }
}

TEST(Reservation, ReleaseEndsItForTheHolderAndDoesNothingForOthers) {
    for (const Type type : kTypes) {
        SCOPED_TRACE("type " + std::to_string(static_cast<int>(type)));
        Bench bench = Bench::with(type);
        EXPECT_EQ(plain(bench.act(Action::kRelease, kDan, type).status),
                  status::kReservationConflict);
        if (!is_all_registrants(type)) {
            EXPECT_TRUE(bench.act(Action::kRelease, kBob, type).status.ok());
            EXPECT_TRUE(bench.state().is_holder(kAda));
        }
        const Type other =
            type == Type::kWriteExclusive ? Type::kExclusiveAccess : Type::kWriteExclusive;
        EXPECT_EQ(plain(bench.act(Action::kRelease, kAda, other).status), status::kInvalidField);
        const ReservationOutcome outcome = bench.act(Action::kRelease, kAda, type);
        EXPECT_TRUE(outcome.status.ok());
        EXPECT_EQ(bench.state().type, Type::kNone);
        EXPECT_EQ(bench.state().registrants.size(), 3U);
        EXPECT_EQ(outcome.notices,
                  is_holder_only(type) ? to(NoticeType::kReservationReleased, {})
                                       : to(NoticeType::kReservationReleased, {kBob, kCyd}));
        EXPECT_TRUE(bench.act(Action::kRelease, kAda, type).status.ok());
    }
}

TEST(Reservation, ClearEndsAllRegistrationsAndTellsTheOthers) {
    Bench bench = Bench::with(Type::kExclusiveAccess);
    EXPECT_EQ(plain(bench.act(Action::kClear, kDan).status), status::kReservationConflict);
    const uint32_t generation = bench.state().generation;
    const ReservationOutcome outcome = bench.act(Action::kClear, kBob);
    EXPECT_TRUE(outcome.status.ok());
    EXPECT_EQ(outcome.notices, to(NoticeType::kReservationPreempted, {kAda, kCyd}));
    EXPECT_TRUE(bench.state().registrants.empty());
    EXPECT_EQ(bench.state().type, Type::kNone);
    EXPECT_EQ(bench.state().generation, generation + 1);
}

// --- Preempt -----------------------------------------------------------------------------------

TEST(Reservation, PreemptingTheHolderTakesItsReservation) {
    for (const Type type : kTypes) {
        for (const Type wanted : kTypes) {
            if (is_all_registrants(type)) {
                continue;
            }
            Bench bench = Bench::with(type);
            const uint32_t generation = bench.state().generation;
            const ReservationOutcome outcome =
                bench.act(Action::kPreemptAndAbort, kBob, wanted, key_of(kAda));
            EXPECT_TRUE(outcome.status.ok());
            EXPECT_EQ(bench.state().type, wanted);
            EXPECT_TRUE(bench.state().is_holder(kBob));
            EXPECT_FALSE(bench.state().is_registered(kAda));
            EXPECT_TRUE(bench.state().is_registered(kCyd));
            EXPECT_EQ(outcome.aborted, std::vector{kAda});
            auto notices = to(NoticeType::kRegistrationPreempted, {kAda});
            if (type != wanted) {
                notices.push_back({kCyd, NoticeType::kReservationReleased});
            }
            EXPECT_EQ(outcome.notices, notices);
            EXPECT_EQ(bench.state().generation, generation + 1);
        }
    }
}

TEST(Reservation, PreemptingAllRegistrantsTakesItFromAllWithAKeyOfZero) {
    for (const Type type :
         {Type::kWriteExclusiveAllRegistrants, Type::kExclusiveAccessAllRegistrants}) {
        Bench bench = Bench::with(type);
        const ReservationOutcome outcome = bench.act(Action::kPreempt, kBob, Type::kWriteExclusive);
        EXPECT_TRUE(outcome.status.ok());
        EXPECT_EQ(bench.state().type, Type::kWriteExclusive);
        EXPECT_EQ(bench.state().registrants.size(), 1U);
        EXPECT_TRUE(bench.state().is_holder(kBob));
        EXPECT_EQ(outcome.notices, to(NoticeType::kRegistrationPreempted, {kAda, kCyd}));
        EXPECT_TRUE(outcome.aborted.empty()) << "a plain Preempt aborts nothing";
    }
}

TEST(Reservation, PreemptingAnotherKeyRemovesRegistrationsAndNotTheReservation) {
    for (const Type type : kTypes) {
        Bench bench = Bench::with(type);
        const ReservationOutcome outcome =
            bench.act(Action::kPreemptAndAbort, kBob, Type::kExclusiveAccess, key_of(kCyd));
        EXPECT_TRUE(outcome.status.ok());
        EXPECT_EQ(bench.state().type, type);
        EXPECT_TRUE(bench.state().is_holder(kAda));
        EXPECT_FALSE(bench.state().is_registered(kCyd));
        EXPECT_EQ(outcome.notices, to(NoticeType::kRegistrationPreempted, {kCyd}));
        EXPECT_EQ(outcome.aborted, std::vector{kCyd});
    }
}

TEST(Reservation, AHolderMayPreemptAnotherAndStaysTheHolder) {
    Bench bench = Bench::with(Type::kExclusiveAccess);
    EXPECT_TRUE(bench.act(Action::kPreempt, kAda, Type::kWriteExclusive, key_of(kCyd)).status.ok());
    EXPECT_EQ(bench.state().type, Type::kExclusiveAccess);
    EXPECT_TRUE(bench.state().is_holder(kAda));
    EXPECT_FALSE(bench.state().is_registered(kCyd));
}

TEST(Reservation, AHolderThatPreemptsItselfChangesTheType) {
    Bench bench = Bench::with(Type::kWriteExclusiveRegistrantsOnly);
    const ReservationOutcome outcome =
        bench.act(Action::kPreempt, kAda, Type::kExclusiveAccess, key_of(kAda));
    EXPECT_TRUE(outcome.status.ok());
    EXPECT_EQ(bench.state().type, Type::kExclusiveAccess);
    EXPECT_EQ(bench.state().registrants.size(), 3U);
    EXPECT_EQ(outcome.notices, to(NoticeType::kReservationReleased, {kBob, kCyd}));
}

TEST(Reservation, PreemptWithoutAReservationRemovesRegistrationsOnly) {
    Bench bench;
    bench.add(kAda);
    bench.add(kBob);
    EXPECT_TRUE(bench.act(Action::kPreempt, kAda, Type::kNone, key_of(kBob)).status.ok());
    EXPECT_FALSE(bench.state().is_registered(kBob));
    EXPECT_EQ(bench.state().type, Type::kNone);
}

TEST(Reservation, PreemptingAKeyThatNobodyHasIsAConflict) {
    for (const Type type : kTypes) {
        Bench bench = Bench::with(type);
        EXPECT_EQ(plain(bench.act(Action::kPreempt, kBob, type, 0xdead).status),
                  status::kReservationConflict);
        EXPECT_EQ(plain(bench.act(Action::kPreempt, kDan, type, key_of(kAda)).status),
                  status::kReservationConflict);
        if (!is_all_registrants(type)) {
            EXPECT_EQ(plain(bench.act(Action::kPreempt, kBob, type, 0).status),
                      status::kInvalidField);
        }
        // Taking it over needs a type.
        const uint64_t whom = is_all_registrants(type) ? 0 : key_of(kAda);
        EXPECT_EQ(plain(bench.act(Action::kPreempt, kBob, Type::kNone, whom).status),
                  status::kInvalidField);
    }
}

TEST(Reservation, ASharedKeyGoesWithAllWhoHaveIt) {
    Bench bench;
    bench.add(kAda);
    for (const HostId& host : {kBob, kCyd}) {
        EXPECT_TRUE(bench.act(Action::kRegister, host, Type::kNone, 0x42).status.ok());
    }
    EXPECT_TRUE(bench
                    .apply({.action = Action::kAcquire,
                            .host = kBob,
                            .current_key = 0x42,
                            .type = Type::kWriteExclusive})
                    .status.ok());
    const ReservationOutcome outcome =
        bench.act(Action::kPreemptAndAbort, kAda, Type::kWriteExclusive, 0x42);
    EXPECT_EQ(outcome.aborted, (std::vector{kBob, kCyd}));
    EXPECT_EQ(bench.state().registrants.size(), 1U);
}

// --- Persistence and masks ---------------------------------------------------------------------

TEST(Reservation, PersistenceIsChangedByRegisterAndByTheFeature) {
    Bench bench;
    EXPECT_TRUE(bench
                    .apply({.action = Action::kRegister,
                            .host = kAda,
                            .other_key = 1,
                            .persistence = PersistenceChange::kPersist})
                    .status.ok());
    EXPECT_TRUE(bench.state().persists);
    bench.add(kBob);
    EXPECT_TRUE(bench.state().persists);
    EXPECT_TRUE(
        bench.apply({.action = Action::kSetPersistence, .persistence = PersistenceChange::kForget})
            .status.ok());
    EXPECT_FALSE(bench.state().persists);
    EXPECT_EQ(plain(bench
                        .apply({.action = Action::kRegister,
                                .host = kCyd,
                                .other_key = 1,
                                .persistence = PersistenceChange::kReserved})
                        .status),
              status::kInvalidField);
}

TEST(Reservation, ARefusedRegisterDoesNotChangePersistence) {
    Bench bench;
    bench.add(kAda);
    EXPECT_FALSE(bench
                     .apply({.action = Action::kRegister,
                             .host = kAda,
                             .other_key = 0x99,
                             .persistence = PersistenceChange::kPersist})
                     .status.ok());
    EXPECT_FALSE(bench.state().persists);
}

TEST(Reservation, WhatCantBeKeptIsNotPromised) {
    Bench bench(false);
    EXPECT_EQ(plain(bench
                        .apply({.action = Action::kRegister,
                                .host = kAda,
                                .other_key = 1,
                                .persistence = PersistenceChange::kPersist})
                        .status),
              status::kInvalidField);
    EXPECT_EQ(plain(bench
                        .apply({.action = Action::kSetPersistence,
                                .persistence = PersistenceChange::kPersist})
                        .status),
              status::kInvalidField);
}

TEST(Reservation, AMaskedNoticeIsNotSent) {
    Bench bench = Bench::with(Type::kWriteExclusiveRegistrantsOnly);
    EXPECT_TRUE(
        bench.apply({.action = Action::kSetNoticeMask, .notices_masked = 1U << 1U}).status.ok());
    EXPECT_TRUE(bench.act(Action::kPreempt, kAda, Type::kNone, key_of(kCyd)).notices.empty());
    EXPECT_EQ(bench.act(Action::kRelease, kAda, Type::kWriteExclusiveRegistrantsOnly).notices,
              to(NoticeType::kReservationReleased, {kBob}));
}

}  // namespace
}  // namespace basalt::nvmf
