#include "nvmf/target/reservation/reservation_view.h"

#include <algorithm>

namespace basalt::nvmf {

ReservationView::ReservationView(const ReservationState& state) : type_(state.type) {
    if (is_holder_only(type_)) {
        entitled_.push_back(state.holder);
    } else if (type_ != ReservationType::kNone) {
        for (const Registrant& registrant : state.registrants) {
            entitled_.push_back(registrant.host);
        }
        std::sort(entitled_.begin(), entitled_.end());
    }
}

bool ReservationView::allows(const HostId& host, IoAccess access) const {
    if (type_ == ReservationType::kNone || access == IoAccess::kNone ||
        (access == IoAccess::kRead && !excludes_reads(type_))) {
        return true;
    }
    return std::binary_search(entitled_.begin(), entitled_.end(), host);
}

}  // namespace basalt::nvmf
