// Reads and verifies all that a pool holds, in the background.
#include <algorithm>
#include <utility>
#include <vector>

#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

namespace {

/// What a partition does before the control thread is asked whether, and when, to go on.
constexpr uint32_t kScrubSteps = 64;
constexpr uint64_t kScrubBlocks = kWriteBlocksMax;

}  // namespace

/// One node, in all partitions.
struct Pool::ScrubRound {
    struct Leg {
        ScrubStep step;  // All steps of the round together.
        bool is_end = false;
    };

    uint32_t node;
    std::vector<Leg> legs;

    static Task<void> run(Reactor&, Visit<ScrubRound>& visit) {
        Leg& leg = visit.argument.legs[visit.index];
        leg.step.blocks_read = leg.step.pages_read = 0;
        leg.step.damaged.clear();
        for (uint32_t i = 0; i < kScrubSteps && !leg.is_end; ++i) {
            const uint64_t from = leg.step.next;
            const Result<ScrubStep> step =
                co_await visit.partition().scrub(visit.argument.node, from);
            if (!step) {
                leg.is_end = true;  // The node is gone: its blocks are its child's now.
                co_return;
            }
            leg.step.next = step->next;
            leg.is_end = step->is_end;
            leg.step.blocks_read += step->blocks_read;
            leg.step.pages_read += step->pages_read;
            leg.step.damaged.insert(
                leg.step.damaged.end(), step->damaged.begin(), step->damaged.end());
            if (leg.step.blocks_read + leg.step.pages_read >= kScrubBlocks) {
                co_return;
            }
        }
    }
};

Status Pool::start_scrub(ScrubOptions options) {
    if (is_closing_ || scrub_.state == ScrubReport::State::kRunning) {
        return Errc::kBusy;
    }
    scrub_ = ScrubReport{
        .state = ScrubReport::State::kRunning, .began_ns = home_.control.now_ns(), .findings = {}};
    is_scrub_stopped_ = false;
    scrub(options).detach();
    return kOk;
}

Task<void> Pool::stop_scrub() {
    is_scrub_stopped_ = true;
    co_await scrub_turn_.acquire();
    const AsyncMutex::Turn turn(scrub_turn_);
}

Task<void> Pool::scrub(ScrubOptions options) {
    co_await scrub_turn_.acquire();
    const AsyncMutex::Turn turn(scrub_turn_);
    const std::vector<PartitionStats> stats = co_await all_stats();
    for (const PartitionStats& one : stats) {
        scrub_.blocks_total += one.data_blocks_used;
    }
    // Nodes that are made meanwhile hold what was written meanwhile.
    const uint32_t end = catalogue_.next_ids().node;
    uint32_t last = 0;
    while (!is_scrub_stopped_) {
        const auto next = catalogue_.nodes().upper_bound(last);
        if (next == catalogue_.nodes().end() || next->first >= end) {
            break;
        }
        last = next->first;
        co_await scrub_node(last, options);
    }
    scrub_.ended_ns = home_.control.now_ns();
    scrub_.state = is_scrub_stopped_ ? ScrubReport::State::kStopped : ScrubReport::State::kDone;
    BASALT_LOG(kInfo,
               "store",
               "pool {}: scrub read {} blocks and {} pages; {} blocks and {} pages are damaged",
               identity_.name,
               scrub_.blocks_read,
               scrub_.pages_read,
               scrub_.blocks_damaged,
               scrub_.pages_damaged);
}

Task<void> Pool::scrub_node(uint32_t node, ScrubOptions options) {
    ScrubRound round{node, std::vector<ScrubRound::Leg>(seats_.size())};
    const auto is_end = [](const ScrubRound::Leg& leg) { return leg.is_end; };
    while (!is_scrub_stopped_ && !std::all_of(round.legs.begin(), round.legs.end(), is_end)) {
        const uint64_t began_ns = home_.control.now_ns();
        static_cast<void>(co_await on_seats<ScrubRound>(round, &ScrubRound::run));
        uint64_t blocks = 0;
        for (const ScrubRound::Leg& leg : round.legs) {
            blocks += leg.step.blocks_read + leg.step.pages_read;
            scrub_.blocks_read += leg.step.blocks_read;
            scrub_.pages_read += leg.step.pages_read;
            for (const DamagedBlock& damaged : leg.step.damaged) {
                add_finding(damaged);
            }
        }
        const uint64_t took_ns = home_.control.now_ns() - began_ns;
        const uint64_t due_ns = options.bytes_a_second == 0
                                    ? 0
                                    : blocks * kBlockBytes * kNsPerMs / options.bytes_a_second *
                                          (kNsPerSecond / kNsPerMs);
        if (due_ns > took_ns) {
            sleep_for pause(home_.control, due_ns - took_ns);
            co_await pause;
        }
    }
}

void Pool::add_finding(const DamagedBlock& damaged) {
    (damaged.is_page ? scrub_.pages_damaged : scrub_.blocks_damaged) += 1;
    std::vector<ScrubFinding>& all = scrub_.findings;
    if (!all.empty() && !damaged.is_page) {
        ScrubFinding& last = all.back();
        const bool goes_on =
            !last.is_page && last.node == damaged.node && last.first + last.count == damaged.block;
        if (goes_on) {
            ++last.count;
            return;
        }
    }
    if (all.size() < ScrubReport::kFindingsMax) {
        all.push_back({.name = name_of_node(damaged.node),
                       .first = damaged.block,
                       .count = damaged.count,
                       .device_block = damaged.device_block,
                       .is_page = damaged.is_page,
                       .node = damaged.node});
    }
}

/// The volume or snapshot that has the node, or the first that has grown out of it.
std::string Pool::name_of_node(uint32_t node) const {
    std::vector<uint32_t> nodes{node};
    for (size_t i = 0; i < nodes.size(); ++i) {
        if (const Uuid* user = catalogue_.user_of(nodes[i]); user != nullptr) {
            const auto volume = catalogue_.volumes().find(*user);
            return volume != catalogue_.volumes().end() ? volume->second.name
                                                        : catalogue_.snapshots().at(*user).name;
        }
        const std::vector<uint32_t> children = catalogue_.children_of(nodes[i]);
        nodes.insert(nodes.end(), children.begin(), children.end());
    }
    return {};
}

}  // namespace basalt::bdev::store
