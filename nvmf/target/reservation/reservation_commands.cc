#include "nvmf/target/reservation/reservation_commands.h"

#include <algorithm>
#include <memory>

#include "nvmf/target/connection.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/reservation/reservation_codec.h"
#include "nvmf/target/reservation/reservation_home.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

constexpr uint32_t kNoticeMaskBits =
    NVME_FEAT_RESV_NOTIFY_REGPRE | NVME_FEAT_RESV_NOTIFY_RESREL | NVME_FEAT_RESV_NOTIFY_RESPRE;
constexpr uint32_t kPersistBit = 1;

using CallEnd = void (*)(Request& request, const ReservationCall& answer);

/// A call that knows what to do with its answer. Rare, so allocated one by one.
struct OwnedCall : ReservationCall {
    CallEnd end = nullptr;
};

/// Sends a call to the home of the request's namespace, of which the request holds a use; `end`
/// runs here with the answer.
void send_call(Request& request,
               ReservationCall::Kind kind,
               const ReservationEvent& event,
               CallEnd end) {
    auto call = std::make_unique<OwnedCall>();
    PollGroup& group = request.connection().group();
    ReservationHome& home = *request.target_namespace->config().reservations;
    call->origin = &group;
    call->request = &request;
    call->kind = kind;
    call->event = event;
    call->end = end;
    call->home = &home;
    call->set_run([](Event& arrived, Reactor&) {
        auto& self = static_cast<OwnedCall&>(arrived);
        self.set_run([](Event& returned, Reactor&) {
            const std::unique_ptr<OwnedCall> owned(&static_cast<OwnedCall&>(returned));
            owned->end(*owned->request, *owned);
        });
        self.home->take(self);
    });
    group.reactor().post(home.core(), *call.release());
}

void let_go(Request& request) {
    request.target_namespace->release();
    request.target_namespace = nullptr;
}

void finish(Request& request, NvmeStatus outcome) {
    let_go(request);
    request.connection().complete(request, outcome);
}

/// The namespace that the command names, if its host may see it.
Namespace* find_visible(const Request& request) {
    const ControllerLink& link = request.connection().link;
    const Nsid nsid = request.sqe.nsid();
    return link.access.is_visible(nsid) ? link.subsystem->find_namespace(nsid) : nullptr;
}

bool has_host_id(const HostId& host) {
    return std::any_of(host.begin(), host.end(), [](uint8_t byte) { return byte != 0; });
}

}  // namespace

// --- Who may ----------------------------------------------------------------------------------

bool is_allowed_slow(const Request& request, const Namespace& target, IoAccess access) {
    return target.reservation().allows(request.connection().link.host_id, access);
}

// --- The commands -----------------------------------------------------------------------------

NvmeStatus check_reservation_command(Request& request) {
    const uint64_t bytes = reservation_data_bytes(request.sqe);
    if (bytes > request.connection().group().options().io_bytes_max) {
        return status::kInvalidField.with_dnr();
    }
    if (request.data_bytes < bytes) {
        return status::kDataSglLengthInvalid.with_dnr();
    }
    request.data_bytes = static_cast<uint32_t>(bytes);
    if (request.sqe.opcode == nvme_cmd_resv_report) {
        return check_report(request.sqe);
    }
    // Without an identifier a host can't be told from another one.
    return has_host_id(request.connection().link.host_id)
               ? status::kSuccess
               : status::kHostIdInconsistentFormat.with_dnr();
}

void execute_reservation_command(Request& request) {
    request.target_namespace->acquire();
    ReservationEvent event;
    if (request.sqe.opcode == nvme_cmd_resv_report) {
        send_call(request,
                  ReservationCall::Kind::kRead,
                  event,
                  [](Request& reported, const ReservationCall& answer) {
                      encode_report(answer.state, reported.payload());
                      finish(reported, status::kSuccess);
                  });
        return;
    }
    event.host = request.connection().link.host_id;
    const NvmeStatus decoded = decode_reservation(request.sqe, request.payload(), event);
    if (!decoded.ok()) {
        finish(request, decoded);
        return;
    }
    send_call(
        request,
        ReservationCall::Kind::kChange,
        event,
        [](Request& changed, const ReservationCall& answer) { finish(changed, answer.status); });
}

// --- The features -----------------------------------------------------------------------------

namespace {

void set_next_namespace(Request& request);

void namespace_set(Request& request, const ReservationCall& answer) {
    let_go(request);
    if (!answer.status.ok() || request.sqe.nsid() != kNsidAll) {
        request.connection().complete(request, answer.status);
        return;
    }
    set_next_namespace(request);
}

/// Sends the request's setting to the home of its namespace.
void set_one(Request& request) {
    const FeaturesView command(request.sqe);
    ReservationEvent event;
    if (command.fid() == NVME_FEAT_FID_RESV_MASK) {
        event.action = ReservationAction::kSetNoticeMask;
        event.notices_masked = static_cast<uint8_t>(command.value());
    } else {
        event.action = ReservationAction::kSetPersistence;
        event.persistence = (command.value() & kPersistBit) != 0 ? PersistenceChange::kPersist
                                                                 : PersistenceChange::kForget;
    }
    send_call(request, ReservationCall::Kind::kChange, event, &namespace_set);
}

/// Set Features for all namespaces goes through those that can, one after the other; `scratch` is
/// the next one's index.
void set_next_namespace(Request& request) {
    auto& namespaces = request.connection().link.subsystem->namespaces();
    const bool needs_store = FeaturesView(request.sqe).fid() == NVME_FEAT_FID_RESV_PERSIST;
    while (request.scratch < namespaces.size()) {
        Namespace* next = namespaces[request.scratch++].get();
        if (next != nullptr && request.connection().link.access.is_visible(next->config().nsid) &&
            (!needs_store || next->config().reservations->can_persist())) {
            request.target_namespace = next;
            next->acquire();
            set_one(request);
            return;
        }
    }
    request.connection().complete(request, status::kSuccess);
}

void feature_read(Request& request, const ReservationCall& answer) {
    const bool is_mask = FeaturesView(request.sqe).fid() == NVME_FEAT_FID_RESV_MASK;
    request.cqe.dw0.set(is_mask                 ? answer.state.notices_masked
                        : answer.state.persists ? kPersistBit
                                                : 0U);
    finish(request, status::kSuccess);
}

/// Get Features; 0 is the default of both.
NvmeStatus get_feature(Request& request, bool wants_default) {
    // An identifier for all namespaces names no value.
    if (request.sqe.nsid() == kNsidAll) {
        return status::kInvalidField.with_dnr();
    }
    Namespace* found = find_visible(request);
    if (found == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    if (!wants_default) {
        request.target_namespace = found;
        found->acquire();
        request.completes_later = true;
        send_call(request, ReservationCall::Kind::kRead, ReservationEvent{}, &feature_read);
    }
    return status::kSuccess;
}

NvmeStatus set_feature(Request& request, uint32_t known_bits) {
    if ((FeaturesView(request.sqe).value() & ~known_bits) != 0) {
        return status::kInvalidField.with_dnr();
    }
    Namespace* found = nullptr;
    if (request.sqe.nsid() != kNsidAll) {
        found = find_visible(request);
        if (found == nullptr) {
            return status::kInvalidNamespace.with_dnr();
        }
    }
    request.completes_later = true;
    if (found == nullptr) {
        set_next_namespace(request);
        return status::kSuccess;
    }
    request.target_namespace = found;
    found->acquire();
    set_one(request);
    return status::kSuccess;
}

}  // namespace

NvmeStatus get_reservation_notice_mask(Request& request, bool wants_default) {
    return get_feature(request, wants_default);
}

NvmeStatus set_reservation_notice_mask(Request& request) {
    return set_feature(request, kNoticeMaskBits);
}

NvmeStatus get_reservation_persistence(Request& request, bool wants_default) {
    return get_feature(request, wants_default);
}

NvmeStatus set_reservation_persistence(Request& request) {
    return set_feature(request, kPersistBit);
}

// --- The log ----------------------------------------------------------------------------------

NvmeStatus write_reservation_notices(Request& request, PageWindow& page) {
    const GetLogPageView command(request.sqe);
    Controller& controller = *request.connection().link.controller;
    ReservationNoticeLog& log = controller.reservation_notices;
    page.add(log.oldest());
    if (page.is_missed()) {
        return status::kSuccess;  // It fails for that reason.
    }
    // Who reads a page in pieces gets pieces of the same one.
    if (!log.is_empty() && command.offset() + command.length_bytes() >= page.size()) {
        log.pop();
    }
    if (!command.rae()) {
        controller.rearm(AsyncEvent::kReservationNotice);
        if (!log.is_empty()) {
            controller.raise(AsyncEvent::kReservationNotice);
        }
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
