#include "nvmf/target/reservation/reservation_home.h"

#include <utility>

#include "nvmf/target/poll_group.h"
#include "nvmf/target/reservation/reservation_visits.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

Reservation make_reservation(bool can_persist, std::optional<ReservationState> restored) {
    return restored ? Reservation(can_persist, std::move(*restored)) : Reservation(can_persist);
}

/// Whether a store must hear of the change: what is not to persist is not told, only that.
bool must_save(const ReservationState& before, const ReservationState& after) {
    if (!after.persists) {
        return before.persists;
    }
    ReservationState same = before;
    same.notices_masked = after.notices_masked;
    return same != after;
}

}  // namespace

ReservationHome::ReservationHome(Reactor& control,
                                 std::span<PollGroup* const> groups,
                                 Place place,
                                 std::unique_ptr<ReservationStore> store,
                                 std::optional<ReservationState> restored)
    : control_(control),
      groups_(groups),
      place_(place),
      store_(std::move(store)),
      reservation_(make_reservation(store_ != nullptr, std::move(restored))),
      first_view_(reservation_.state()),
      versions_(groups.size()) {}

void ReservationHome::take(ReservationCall& call) {
    if (call.kind == ReservationCall::Kind::kRead) {
        // What is under way is not true yet, and Report does not wait for it.
        call.state = reservation_.state();
        send_home(call);
        return;
    }
    if (!is_open_) {
        call.status = status::kNamespaceNotReady;
        send_home(call);
        return;
    }
    change(call).detach();
}

void ReservationHome::send_home(ReservationCall& call) {
    control_.post(call.origin->reactor().core(), call);
}

Task<void> ReservationHome::change(ReservationCall& call) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    Reservation next = reservation_;
    ReservationOutcome outcome = next.apply(call.event);
    call.status = outcome.status;
    if (call.status.ok() && must_save(reservation_.state(), next.state())) {
        auto saving = store_->save(next.state());
        const Status saved = co_await saving;
        if (!saved) {
            BASALT_LOG(kError,
                       "nvmf",
                       "namespace {}: its reservation can't be saved and stays as it was: {}",
                       place_.nsid.raw(),
                       describe(saved.error().code));
            call.status = status::kInternalError;
        }
    }
    if (call.status.ok()) {
        auto view = std::make_unique<const ReservationView>(next.state());
        const ReservationView& current = view_ == nullptr ? first_view_ : *view_;
        // Also an unchanged one divides the commands into those before and those after.
        if (*view != current || !outcome.aborted.empty()) {
            auto published = publish(std::move(view));
            co_await published;
        }
        reservation_ = std::move(next);
        auto ended = await_commands(std::move(outcome.aborted));
        co_await ended;
        auto announced = announce(std::move(outcome.notices));
        co_await announced;
    }
    send_home(call);
}

Task<void> ReservationHome::publish(std::unique_ptr<const ReservationView> view) {
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        InstallReservation install{groups_[i], place_.subsystem, place_.nsid, view.get(), 0};
        visit<InstallReservation> trip(control_, CoreId(i), install, &InstallReservation::run);
        co_await trip;
        versions_[i] = install.version;
    }
    view_ = std::move(view);
}

Task<void> ReservationHome::await_commands(std::vector<HostId> hosts) {
    for (uint32_t i = 0; !hosts.empty() && i < groups_.size(); ++i) {
        AwaitCommands waiting{groups_[i], place_.subsystem, place_.nsid, hosts, versions_[i]};
        visit<AwaitCommands> trip(control_, CoreId(i), waiting, &AwaitCommands::run);
        co_await trip;
    }
}

Task<void> ReservationHome::announce(std::vector<ReservationNotice> notices) {
    for (uint32_t i = 0; !notices.empty() && i < groups_.size(); ++i) {
        AnnounceReservation telling{groups_[i], place_.subsystem, place_.nsid, notices};
        visit<AnnounceReservation> trip(control_, CoreId(i), telling, &AnnounceReservation::run);
        co_await trip;
    }
}

}  // namespace basalt::nvmf
