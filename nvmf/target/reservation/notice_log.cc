#include "nvmf/target/reservation/notice_log.h"

#include <algorithm>

#include "nvmf/target/limits.h"

namespace basalt::nvmf {

static_assert(sizeof(nvme_resv_notification_log) == 64);
static_assert(offsetof(nvme_resv_notification_log, rnlpt) == 8);
static_assert(offsetof(nvme_resv_notification_log, nalp) == 9);
static_assert(offsetof(nvme_resv_notification_log, nsid) == 12);

void ReservationNoticeLog::add(Nsid nsid, NoticeType type) {
    if (pages_.size() == kReservationNoticesMax) {
        pop();
    }
    if (++last_number_ == 0) {
        last_number_ = 1;  // 0 is the number of an empty page.
    }
    pages_.push_back({last_number_, nsid, type});
}

nvme_resv_notification_log ReservationNoticeLog::oldest() const {
    nvme_resv_notification_log page{};
    if (!pages_.empty()) {
        page.lpc = pages_.front().number;
        page.rnlpt = static_cast<uint8_t>(pages_.front().type);
        page.nalp = static_cast<uint8_t>(std::min<size_t>(pages_.size() - 1, UINT8_MAX));
        page.nsid = pages_.front().nsid.raw();
    }
    return page;
}

void ReservationNoticeLog::pop() {
    BASALT_ASSERT(!pages_.empty());
    pages_.erase(pages_.begin());
}

void ReservationNoticeLog::clear() {
    pages_.clear();
    last_number_ = 0;
}

}  // namespace basalt::nvmf
