#pragma once

#include <cstdint>
#include <vector>

#include "nvmf/target/reservation/reservation_state.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// What is asked of a reservation: the actions of the reservation commands, and the two features.
enum class ReservationAction : uint8_t {
    kRegister,
    kUnregister,
    kReplaceKey,
    kAcquire,
    kPreempt,
    kPreemptAndAbort,
    kRelease,
    kClear,
    kSetPersistence,  ///< Feature 83h.
    kSetNoticeMask,   ///< Feature 82h.
};

/// What Register does to Persist Through Power Loss (CPTPL; the values are the wire's).
enum class PersistenceChange : uint8_t { kNone = 0, kReserved = 1, kForget = 2, kPersist = 3 };

/// What a host asks of a reservation. A value.
struct ReservationEvent {
    ReservationAction action = ReservationAction::kRegister;
    HostId host{};
    uint64_t current_key = 0;    ///< CRKEY.
    uint64_t other_key = 0;      ///< NRKEY of Register, PRKEY of Acquire.
    bool ignores_key = false;    ///< IEKEY.
    uint8_t notices_masked = 0;  ///< kSetNoticeMask.
    PersistenceChange persistence = PersistenceChange::kNone;  ///< Register and kSetPersistence.
    ReservationType type = ReservationType::kNone;             ///< Acquire, preempt and release.
};

/// Why a host is told something (the values are the log page's; 1 << value is the mask's bit).
enum class NoticeType : uint8_t {
    kRegistrationPreempted = 1,
    kReservationReleased = 2,
    kReservationPreempted = 3,
};

/// Something to tell all controllers of one host.
struct ReservationNotice {
    HostId host{};
    NoticeType type{};

    bool operator==(const ReservationNotice&) const = default;
};

/// What came of an event.
struct ReservationOutcome {
    NvmeStatus status;
    std::vector<ReservationNotice> notices;
    /// kPreemptAndAbort: the hosts whose commands have to end before it is answered.
    std::vector<HostId> aborted;
};

/// The rules of one namespace's reservation (NVMe Base Specification 2.0, 8.19 "Reservations"): a
/// pure state machine, one event at a time, without I/O or time. A value: who performs an event
/// applies it to a copy and keeps that when all that follows from it has been done.
class Reservation {
  public:
    /// `can_persist`: there is a place that keeps the state through a power loss.
    explicit Reservation(bool can_persist) : can_persist_(can_persist) {}
    /// Goes on from a state that was kept.
    Reservation(bool can_persist, ReservationState restored)
        : can_persist_(can_persist), state_(std::move(restored)) {}

    [[nodiscard]] const ReservationState& state() const { return state_; }
    [[nodiscard]] bool can_persist() const { return can_persist_; }

    /// Performs the event, or refuses it and changes nothing. Status: kReservationConflict: the
    /// host has not the right or the key; kInvalidField: the command makes no sense;
    /// kInternalError: there are kRegistrantsMax registrants.
    [[nodiscard]] ReservationOutcome apply(const ReservationEvent& event);

  private:
    [[nodiscard]] NvmeStatus perform(const ReservationEvent& event, ReservationOutcome& outcome);
    [[nodiscard]] NvmeStatus register_key(const ReservationEvent& event);
    [[nodiscard]] NvmeStatus unregister(const ReservationEvent& event, ReservationOutcome& outcome);
    [[nodiscard]] NvmeStatus replace_key(const ReservationEvent& event);
    [[nodiscard]] NvmeStatus acquire(const ReservationEvent& event);
    [[nodiscard]] NvmeStatus preempt(const ReservationEvent& event, ReservationOutcome& outcome);
    [[nodiscard]] NvmeStatus take_over(const ReservationEvent& event, ReservationOutcome& outcome);
    [[nodiscard]] NvmeStatus release(const ReservationEvent& event, ReservationOutcome& outcome);
    [[nodiscard]] NvmeStatus clear(const ReservationEvent& event, ReservationOutcome& outcome);
    [[nodiscard]] NvmeStatus add_registrant(const HostId& host, uint64_t key);
    [[nodiscard]] bool has_key(const ReservationEvent& event) const;
    /// Removes what `matches`, and the reservation with its last holder. Returns how many.
    template <typename Matches>
    size_t remove(const ReservationEvent& event, ReservationOutcome& outcome, Matches matches);
    void drop_reservation();
    void tell_others(const ReservationEvent& event, NoticeType type, ReservationOutcome& outcome);
    void tell(const HostId& host, NoticeType type, ReservationOutcome& outcome) const;

    bool can_persist_;
    ReservationState state_;
};

}  // namespace basalt::nvmf
