#include "nvmf/target/connection.h"
#include "nvmf/target/io_commands.h"
#include "nvmf/target/poll_group.h"

// Aborting a command of this queue: NVMe Base Specification, "Abort command". What no device has
// yet ends with Command Abort Requested; what a device has ends by itself.

namespace basalt::nvmf {

Request* Connection::find_outstanding(CommandId command) {
    for (Request* at = requests_.front(); at != nullptr; at = requests_.next(*at)) {
        if (at->state() != Request::State::kResponding && at->sqe.cid() == command) {
            return at;
        }
    }
    return nullptr;
}

void Connection::abort(AbortWaiter& waiter) {
    const bool is_here = is_live() && move_.state != ConnectionMove::State::kLeaving;
    if (is_here && requests_.mark_to_abort(waiter.command())) {
        aborts_.push_back(waiter);
        begin_set_aside();
        return;
    }
    Request* request = is_here ? find_outstanding(waiter.command()) : nullptr;
    if (request == nullptr) {
        waiter.answer(false);
        return;
    }
    switch (request->state()) {
        case Request::State::kFree:
        case Request::State::kResponding: waiter.answer(false); return;
        case Request::State::kExecuting:
            if (!stop_io_command(*request)) {
                waiter.answer(false);
                return;
            }
            if (request->state() != Request::State::kExecuting) {
                waiter.answer(true);
                return;
            }
            break;
        case Request::State::kAwaitingPartner:
            if (half_pair != nullptr && half_pair == request->fused) {
                half_pair->partner_missing(status::kAbortRequested);
                waiter.answer(true);
                return;
            }
            break;
        case Request::State::kThrottled:
            request->io.lane->forget(request->io);
            complete(*request, status::kAbortRequested);
            waiter.answer(true);
            return;
        case Request::State::kNeedsBuffer:
            leave_line(*request);
            complete(*request, status::kAbortRequested);
            waiter.answer(true);
            return;
        case Request::State::kAwaitingData:
            if (request->link.is_linked()) {
                RequestList::remove(*request);  // Its R2T has not gone out: no data will come.
                complete(*request, status::kAbortRequested);
                waiter.answer(true);
                return;
            }
            break;
        case Request::State::kReceiving: break;
    }
    // The host is sending, and a host that hears of a command's end while it sends its data may
    // take that badly: the command ends when its bytes are there.
    request->is_abort_wanted = true;
    aborts_.push_back(waiter);
}

void Connection::forget_abort(AbortWaiter& waiter) {
    AbortList::remove(waiter);
    for (AbortWaiter* at = aborts_.front(); at != nullptr; at = aborts_.next(*at)) {
        if (at->command() == waiter.command()) {
            return;
        }
    }
    requests_.unmark_to_abort(waiter.command());
    if (Request* request = find_outstanding(waiter.command())) {
        request->is_abort_wanted = false;
    }
}

void Connection::finish_abort(Request& request) {
    const CommandId command = request.sqe.cid();
    complete(request, status::kAbortRequested);
    answer_aborts([command](const AbortWaiter& waiter) { return waiter.command() == command; },
                  true);
}

void Connection::abandon_aborts() {
    answer_aborts([](const AbortWaiter&) { return true; }, false);
}

template <typename Predicate>
void Connection::answer_aborts(Predicate predicate, bool was_aborted) {
    for (AbortWaiter* at = aborts_.front(); at != nullptr;) {
        AbortWaiter& waiter = *at;
        at = aborts_.next(waiter);
        if (predicate(waiter)) {
            AbortList::remove(waiter);
            waiter.answer(was_aborted);
        }
    }
}

}  // namespace basalt::nvmf
