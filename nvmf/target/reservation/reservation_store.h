#pragma once

#include <optional>

#include "bdev/core/uuid.h"
#include "nvmf/target/reservation/reservation_state.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// What keeps the reservation of one namespace through a power loss (PTPL). FileReservationStore
/// keeps it in a local file; a cluster keeps it where all its targets see it.
///
/// Owner: the namespace's ReservationHome. Core: the control thread's. One sequence at a time.
class ReservationStore {
  public:
    virtual ~ReservationStore() = default;

    /// What was saved last for the namespace `uuid`; nothing if that was not to persist, or there
    /// never was anything. The notice mask is not kept. Errors: kIo; kDataCorrupt: what is there
    /// can't be trusted; kInvalidArgument: it is another namespace's.
    [[nodiscard]] virtual Task<Result<std::optional<ReservationState>>> load(bdev::Uuid uuid) = 0;

    /// Durable when it returns success. After an error either state may be found by load(), never
    /// a mixture. Errors: kIo, kNoSpace.
    [[nodiscard]] virtual Task<Status> save(ReservationState state) = 0;
};

}  // namespace basalt::nvmf
