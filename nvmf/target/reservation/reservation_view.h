#pragma once

#include <vector>

#include "nvmf/target/io/command_table.h"
#include "nvmf/target/reservation/reservation_state.h"

namespace basalt::nvmf {

/// Who may do what with a namespace: what the I/O path has of a reservation. Constant; the control
/// thread makes a new one for each change, hands it to every reactor, and frees the old one when
/// all have taken it. All cores may read it.
class ReservationView {
  public:
    /// Everybody may do everything.
    ReservationView() = default;
    explicit ReservationView(const ReservationState& state);

    [[nodiscard]] bool is_reserved() const { return type_ != ReservationType::kNone; }
    /// As the figure "Command Behavior in the Presence of a Reservation" has it.
    [[nodiscard]] bool allows(const HostId& host, IoAccess access) const;

    bool operator==(const ReservationView&) const = default;

  private:
    ReservationType type_ = ReservationType::kNone;
    std::vector<HostId> entitled_;  // Sorted: the holder, or the registrants.
};

}  // namespace basalt::nvmf
