// Gives back what deleted snapshots and volumes held, in the background.
#include <algorithm>
#include <vector>

#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

namespace {

/// Steps of a partition before the control thread is asked whether to go on.
constexpr uint32_t kSweepSteps = 64;
/// Until a partition that is being checked is asked again.
constexpr uint64_t kSweepPauseNs = 100'000'000;

}  // namespace

void Pool::start_sweep() {
    if (!is_sweeping_ && !is_closing_) {
        is_sweeping_ = true;
        sweep().detach();
    }
}

Task<void> Pool::swept() {
    co_await sweep_turn_.acquire();
    const AsyncMutex::Turn turn(sweep_turn_);
}

const NodeEntry* Pool::next_to_sweep() const {
    for (const auto& [id, node] : catalogue_.nodes()) {
        if (node.is_hidden && unswept_.count(id) == 0 && catalogue_.children_of(id).size() <= 1) {
            return &node;
        }
    }
    return nullptr;
}

Task<void> Pool::sweep() {
    co_await sweep_turn_.acquire();
    const AsyncMutex::Turn turn(sweep_turn_);
    while (const NodeEntry* node = is_closing_ ? nullptr : next_to_sweep()) {
        const NodeEntry copy = *node;
        const Status status = co_await sweep_node(copy);
        if (!status) {
            BASALT_LOG(kWarn,
                       "store",
                       "pool {}: node {} can't be given back for now: {}",
                       identity_.name,
                       copy.id,
                       describe(status.error().code));
            unswept_.insert(copy.id);  // Others may go well.
        }
    }
    is_sweeping_ = false;
}

Task<Status> Pool::sweep_node(NodeEntry node) {
    struct Sweep {
        uint32_t node;
        std::vector<uint8_t> is_done;  // Each partition's, written on its core.

        static Task<void> run(Reactor&, Visit<Sweep>& visit) {
            uint8_t& is_done = visit.argument.is_done[visit.index];
            for (uint32_t step = 0; step < kSweepSteps && is_done == 0; ++step) {
                const Result<bool> swept = co_await visit.partition().sweep(visit.argument.node);
                if (!swept) {
                    visit.status = swept.error();
                    co_return;
                }
                is_done = *swept ? 1 : 0;
            }
        }
    };
    Sweep sweep{node.id, std::vector<uint8_t>(seats_.size(), 0)};
    while (std::find(sweep.is_done.begin(), sweep.is_done.end(), 0) != sweep.is_done.end()) {
        if (is_closing_) {
            co_return kOk;
        }
        const Status status = co_await on_seats<Sweep>(sweep, &Sweep::run);
        if (!status && status.error().code != Errc::kBusy) {
            co_return status;
        }
        if (!status) {
            sleep_for pause(home_.control, kSweepPauseNs);
            co_await pause;
        }
    }
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    // Children come to nodes that are not hidden only, and go by this sweep only.
    std::vector<CatalogueChange> changes;
    std::vector<NodeEntry> heirs;
    for (const uint32_t id : catalogue_.children_of(node.id)) {
        NodeEntry heir = *catalogue_.find_node(id);
        heir.parent = node.parent;
        heirs.push_back(heir);
        changes.emplace_back(heir);
    }
    changes.emplace_back(NodeGone{node.id});
    const Status status = co_await commit(changes);
    if (!status) {
        co_return status;
    }
    co_await tell_nodes(heirs);
    uint32_t gone = node.id;
    const auto remove = [](Reactor&, Visit<uint32_t>& visit) -> Task<void> {
        visit.partition().remove_node(visit.argument);
        co_return;
    };
    co_return co_await on_seats<uint32_t>(gone, remove);
}

}  // namespace basalt::bdev::store
