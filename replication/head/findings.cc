#include "replication/head/findings.h"

#include <algorithm>

namespace basalt::replication {

void Findings::add(const Finding& finding) {
    const auto same = std::find_if(kept_.begin(), kept_.end(), [&](const Finding& known) {
        return known.replica == finding.replica && known.kind == finding.kind && !known.is_mended &&
               known.range.first <= finding.range.first && known.range.end() >= finding.range.end();
    });
    if (same != kept_.end()) {
        return;
    }
    if (kept_.size() == kKept) {
        kept_.erase(kept_.begin());
    }
    kept_.push_back(finding);
    switch (finding.kind) {
        case Finding::Kind::kUnreadable: unreadable_ += finding.range.count; return;
        case Finding::Kind::kDifferent: different_ += finding.range.count; return;
        case Finding::Kind::kUndecided: undecided_ += finding.range.count; return;
    }
}

void Findings::mended(uint32_t replica, BlockRange range) {
    mended_ += range.count;
    for (Finding& known : kept_) {
        if (known.replica == replica && range.first <= known.range.first &&
            range.end() >= known.range.end()) {
            known.is_mended = true;
        }
    }
}

}  // namespace basalt::replication
