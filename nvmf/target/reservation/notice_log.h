#pragma once

#include <cstdint>
#include <vector>

#include "nvmf/target/reservation/reservation.h"
#include "nvmf/wire/ids.h"
#include "nvmf/wire/spec.h"

namespace basalt::nvmf {

/// The Reservation Notification log of one controller, page 80h (NVMe Base Specification 2.0,
/// "Reservation Notification"): notices in the order in which they came, each read once. A host
/// that lets kReservationNoticesMax of them lie loses the oldest, and sees it by a gap in their
/// numbers. Owner and core: the controller's.
class ReservationNoticeLog {
  public:
    void add(Nsid nsid, NoticeType type);

    [[nodiscard]] bool is_empty() const { return pages_.empty(); }
    /// The oldest notice and how many are behind it; an empty page if there is none.
    [[nodiscard]] nvme_resv_notification_log oldest() const;
    /// Forgets the oldest.
    void pop();
    /// A controller's reset: no notices, and their numbers start anew.
    void clear();

  private:
    struct Page {
        uint64_t number = 0;
        Nsid nsid;
        NoticeType type{};
    };

    std::vector<Page> pages_;  // Few, and rarely any: the front is taken off by moving the rest.
    uint64_t last_number_ = 0;
};

}  // namespace basalt::nvmf
