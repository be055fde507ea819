#include "nvmf/target/reservation/reservation.h"

#include <algorithm>

#include "nvmf/target/limits.h"

namespace basalt::nvmf {

namespace {

constexpr NvmeStatus kConflict = status::kReservationConflict.with_dnr();
constexpr NvmeStatus kInvalid = status::kInvalidField.with_dnr();

bool is_register(ReservationAction action) {
    return action == ReservationAction::kRegister || action == ReservationAction::kUnregister ||
           action == ReservationAction::kReplaceKey;
}

bool is_preempt(ReservationAction action) {
    return action == ReservationAction::kPreempt || action == ReservationAction::kPreemptAndAbort;
}

}  // namespace

ReservationOutcome Reservation::apply(const ReservationEvent& event) {
    ReservationOutcome outcome;
    if (is_register(event.action) || event.action == ReservationAction::kSetPersistence) {
        if (event.persistence == PersistenceChange::kReserved ||
            (event.persistence == PersistenceChange::kPersist && !can_persist_)) {
            outcome.status = kInvalid;
            return outcome;
        }
    } else if (event.ignores_key) {
        outcome.status = kInvalid;  // Acquire and Release know it no more (RESCAP bit 7).
        return outcome;
    }
    ReservationState before = state_;
    outcome.status = perform(event, outcome);
    if (!outcome.status.ok()) {
        state_ = std::move(before);
        outcome.notices.clear();
        outcome.aborted.clear();
        return outcome;
    }
    if (is_register(event.action) || is_preempt(event.action) ||
        event.action == ReservationAction::kClear) {
        ++state_.generation;
    }
    if (event.persistence != PersistenceChange::kNone) {
        state_.persists = event.persistence == PersistenceChange::kPersist;
    }
    if (event.action != ReservationAction::kPreemptAndAbort) {
        outcome.aborted.clear();
    }
    return outcome;
}

NvmeStatus Reservation::perform(const ReservationEvent& event, ReservationOutcome& outcome) {
    switch (event.action) {
        case ReservationAction::kRegister: return register_key(event);
        case ReservationAction::kUnregister: return unregister(event, outcome);
        case ReservationAction::kReplaceKey: return replace_key(event);
        case ReservationAction::kAcquire: return acquire(event);
        case ReservationAction::kPreempt:
        case ReservationAction::kPreemptAndAbort: return preempt(event, outcome);
        case ReservationAction::kRelease: return release(event, outcome);
        case ReservationAction::kClear: return clear(event, outcome);
        case ReservationAction::kSetPersistence: return status::kSuccess;
        case ReservationAction::kSetNoticeMask:
            state_.notices_masked = event.notices_masked;
            return status::kSuccess;
    }
    return kInvalid;
}

// --- Registrations -----------------------------------------------------------------------------

bool Reservation::has_key(const ReservationEvent& event) const {
    const Registrant* registrant = state_.find(event.host);
    return registrant != nullptr && (event.ignores_key || registrant->key == event.current_key);
}

NvmeStatus Reservation::add_registrant(const HostId& host, uint64_t key) {
    if (state_.registrants.size() == kRegistrantsMax) {
        return status::kInternalError.with_dnr();
    }
    state_.registrants.push_back({host, key});
    return status::kSuccess;
}

NvmeStatus Reservation::register_key(const ReservationEvent& event) {
    if (event.other_key == 0) {
        return kInvalid;
    }
    if (const Registrant* registrant = state_.find(event.host)) {
        // Once more with the same key is no mistake.
        return registrant->key == event.other_key ? status::kSuccess : kConflict;
    }
    return add_registrant(event.host, event.other_key);
}

NvmeStatus Reservation::unregister(const ReservationEvent& event, ReservationOutcome& outcome) {
    if (!has_key(event)) {
        return kConflict;
    }
    const ReservationType type = state_.type;
    remove(event, outcome, [&](const Registrant& registrant) {
        return registrant.host == event.host;
    });
    if (type != state_.type && !is_holder_only(type)) {
        tell_others(event, NoticeType::kReservationReleased, outcome);
    }
    return status::kSuccess;
}

NvmeStatus Reservation::replace_key(const ReservationEvent& event) {
    if (event.other_key == 0) {
        return kInvalid;
    }
    const auto registrant = std::find_if(state_.registrants.begin(),
                                         state_.registrants.end(),
                                         [&](const Registrant& r) { return r.host == event.host; });
    if (registrant == state_.registrants.end()) {
        // There is no key to ignore, and none that stands in the way.
        return event.ignores_key ? add_registrant(event.host, event.other_key) : kConflict;
    }
    if (!has_key(event)) {
        return kConflict;
    }
    registrant->key = event.other_key;
    return status::kSuccess;
}

template <typename Matches>
size_t Reservation::remove(const ReservationEvent& event,
                           ReservationOutcome& outcome,
                           Matches matches) {
    const size_t count = std::erase_if(state_.registrants, [&](const Registrant& registrant) {
        if (!matches(registrant)) {
            return false;
        }
        if (registrant.host != event.host) {
            outcome.aborted.push_back(registrant.host);
        }
        return true;
    });
    const bool has_holder = is_all_registrants(state_.type) ? !state_.registrants.empty()
                                                            : state_.is_registered(state_.holder);
    if (!has_holder) {
        drop_reservation();
    }
    return count;
}

void Reservation::drop_reservation() {
    state_.type = ReservationType::kNone;
    state_.holder = {};
}

// --- The reservation ---------------------------------------------------------------------------

NvmeStatus Reservation::acquire(const ReservationEvent& event) {
    if (!is_reservation(event.type)) {
        return kInvalid;
    }
    if (!has_key(event)) {
        return kConflict;
    }
    if (state_.type != ReservationType::kNone) {
        const bool has_it = state_.is_holder(event.host) && state_.type == event.type;
        return has_it ? status::kSuccess : kConflict;
    }
    state_.type = event.type;
    state_.holder = is_all_registrants(event.type) ? HostId{} : event.host;
    return status::kSuccess;
}

NvmeStatus Reservation::preempt(const ReservationEvent& event, ReservationOutcome& outcome) {
    if (!has_key(event)) {
        return kConflict;
    }
    const bool has_reservation = state_.type != ReservationType::kNone;
    const bool is_all = is_all_registrants(state_.type);
    const uint64_t preempted = event.other_key;
    const auto* holder = has_reservation && !is_all ? state_.find(state_.holder) : nullptr;
    if (has_reservation &&
        (is_all ? preempted == 0 : holder != nullptr && holder->key == preempted)) {
        return take_over(event, outcome);
    }
    if (preempted == 0) {
        return has_reservation ? kInvalid : kConflict;
    }
    // The reservation stays; only registrations go.
    const size_t count = remove(
        event, outcome, [&](const Registrant& registrant) { return registrant.key == preempted; });
    if (count == 0) {
        return kConflict;
    }
    for (const HostId& host : outcome.aborted) {
        tell(host, NoticeType::kRegistrationPreempted, outcome);
    }
    return status::kSuccess;
}

NvmeStatus Reservation::take_over(const ReservationEvent& event, ReservationOutcome& outcome) {
    if (!is_reservation(event.type)) {
        return kInvalid;
    }
    const ReservationType type = state_.type;
    const bool is_all = is_all_registrants(type);
    // The issuer keeps its own registration, also when it preempts itself to change the type.
    remove(event, outcome, [&](const Registrant& registrant) {
        return registrant.host != event.host && (is_all || registrant.key == event.other_key);
    });
    state_.type = event.type;
    state_.holder = is_all_registrants(event.type) ? HostId{} : event.host;
    for (const HostId& host : outcome.aborted) {
        tell(host, NoticeType::kRegistrationPreempted, outcome);
    }
    if (type != event.type) {
        tell_others(event, NoticeType::kReservationReleased, outcome);
    }
    return status::kSuccess;
}

NvmeStatus Reservation::release(const ReservationEvent& event, ReservationOutcome& outcome) {
    if (!has_key(event)) {
        return kConflict;
    }
    if (!state_.is_holder(event.host)) {
        return status::kSuccess;  // Nothing to release is no mistake.
    }
    if (state_.type != event.type) {
        return kInvalid;
    }
    drop_reservation();
    if (!is_holder_only(event.type)) {
        tell_others(event, NoticeType::kReservationReleased, outcome);
    }
    return status::kSuccess;
}

NvmeStatus Reservation::clear(const ReservationEvent& event, ReservationOutcome& outcome) {
    if (!has_key(event)) {
        return kConflict;
    }
    tell_others(event, NoticeType::kReservationPreempted, outcome);
    state_.registrants.clear();
    drop_reservation();
    return status::kSuccess;
}

// --- Notices -----------------------------------------------------------------------------------

void Reservation::tell_others(const ReservationEvent& event,
                              NoticeType type,
                              ReservationOutcome& outcome) {
    for (const Registrant& registrant : state_.registrants) {
        if (registrant.host != event.host) {
            tell(registrant.host, type, outcome);
        }
    }
}

void Reservation::tell(const HostId& host, NoticeType type, ReservationOutcome& outcome) const {
    if ((state_.notices_masked & (1U << static_cast<uint8_t>(type))) == 0) {
        outcome.notices.push_back({host, type});
    }
}

}  // namespace basalt::nvmf
