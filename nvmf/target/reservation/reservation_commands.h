#pragma once

#include "nvmf/target/io/command_table.h"
#include "nvmf/target/log_pages.h"
#include "nvmf/target/request.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/status.h"

// Reservations on the core of a connection: which commands a reservation lets through, and the
// commands and features that are sent to the namespace's ReservationHome.

namespace basalt::nvmf {

/// Whether the host of the request's connection may do that to `target`. One look where there is no
/// reservation.
[[nodiscard]] bool is_allowed_slow(const Request& request,
                                   const Namespace& target,
                                   IoAccess access);
[[nodiscard]] inline bool reservation_allows(const Request& request,
                                             const Namespace& target,
                                             IoAccess access) {
    return !target.is_reserved() || is_allowed_slow(request, target, access);
}

/// Judges a reservation command. Status for it.
[[nodiscard]] NvmeStatus check_reservation_command(Request& request);
/// Sends a reservation command to the home of its namespace (Request::target_namespace) and
/// completes it with the answer.
void execute_reservation_command(Request& request);

// Features 82h and 83h: FeatureGetter and FeatureSetter of features.h. They ask the homes of the
// namespaces, so the command completes later.
[[nodiscard]] NvmeStatus get_reservation_notice_mask(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_reservation_notice_mask(Request& request);
[[nodiscard]] NvmeStatus get_reservation_persistence(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_reservation_persistence(Request& request);

/// Log page 80h.
[[nodiscard]] NvmeStatus write_reservation_notices(Request& request, PageWindow& page);

}  // namespace basalt::nvmf
