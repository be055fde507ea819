#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/bdev/store/crash_runs.h"
#include "test/bdev/store/partition_node.h"
#include "test/reactor/may_leak.h"

/// Random work on a partition whose machine loses its power again and again: at every write to the
/// device of a short run in turn, and at random moments of long ones. What was acknowledged must be
/// there, what was not must be there wholly or not at all, and nothing may leak.
namespace basalt::bdev::store {
namespace {

using basalt::test::MayLeak;
using test::PartitionNode;
using test::TestPartitionIo;

/// What a node should hold: block -> tag; what is not there is zeroes.
using Contents = std::map<uint64_t, uint64_t>;

/// One request that was made and perhaps acknowledged.
struct Work {
    std::unique_ptr<TestPartitionIo> io;
    uint32_t node = 0;
    uint64_t tag = 0;  ///< Of its first block; 0: an unmap.

    [[nodiscard]] uint64_t tag_of(uint64_t block) const {
        return tag == 0 ? 0 : tag + (block - io->io.first);
    }
    [[nodiscard]] bool covers(uint64_t block) const {
        return block >= io->io.first && block < io->io.first + io->io.count;
    }
};

/// A pool's administration in short: nodes, and who may be swept; survives crashes, as the
/// catalogue does.
class Model {
  public:
    struct State {
        NodeEntry entry;
        Contents contents;
    };

    explicit Model(uint64_t seed) : random(seed) {
        nodes[1].entry = {.id = 1};
        heads = {1};
    }

    [[nodiscard]] std::vector<uint32_t> children(uint32_t id) const {
        std::vector<uint32_t> found;
        for (const auto& [child, state] : nodes) {
            if (state.entry.parent == id) {
                found.push_back(child);
            }
        }
        return found;
    }
    [[nodiscard]] uint64_t tag_at(uint32_t id, uint64_t block) const {
        const Contents& contents = nodes.at(id).contents;
        const auto found = contents.find(block);
        return found == contents.end() ? 0 : found->second;
    }
    void put(uint32_t id, uint64_t block, uint64_t tag) {
        if (tag == 0) {
            nodes[id].contents.erase(block);
        } else {
            nodes[id].contents[block] = tag;
        }
    }

    Random random;
    std::map<uint32_t, State> nodes;
    std::vector<uint32_t> heads;
    uint32_t next_id = 2;
    uint64_t next_tag = 1;
};

struct Mix {
    uint64_t blocks = 700;     ///< Of a volume that are written to.
    uint32_t max_count = 256;  ///< Of a write.
    uint32_t queue = 8;
    bool has_snapshots = true;
};

/// The machine, the model and the work between them.
class CrashRun {
  public:
    CrashRun(uint64_t seed, const Mix& mix, bool has_volatile_cache = true)
        : model_(seed), mix_(mix), node_(seed, kDriveBytes, faults(), has_volatile_cache) {
        node_.options.cache_pages = 512;
        node_.options.requests = 16;
        node_.format();
        open();
    }

    /// Work until the drive was changed `changes` times more.
    void work(uint64_t changes) {
        const uint64_t end = node_.channel->changes + changes;
        uint64_t idle = 0;
        while (node_.channel->changes < end && idle < 10'000 && !testing::Test::HasFailure()) {
            idle = collect() ? 0 : idle + 1;
            act();
            node_.world.step();
        }
    }

    void crash_and_verify() {
        node_.crash();
        open();
        settle();
        verify();
        node_.check();
    }

    /// Everything that was begun ends.
    void drain() {
        while (!works_.empty() || sweep_ != nullptr) {
            collect();
            continue_sweep();
            if (!node_.world.step() && works_.empty() && sweep_ == nullptr) {
                break;
            }
        }
    }
    void verify();

    [[nodiscard]] PartitionNode& machine() { return node_; }
    [[nodiscard]] Model& model() { return model_; }

  private:
    static constexpr uint64_t kDriveBytes = uint64_t{20} << 20U;

    static sim::FaultOptions faults() {
        sim::FaultOptions options = sim::calm();
        options.storage_jitter_ns = 300'000;
        return options;
    }

    void open() {
        for (const auto& [id, state] : model_.nodes) {
            node_.partition->set_node(state.entry);
        }
        ASSERT_EQ(node_.open(), Errc::kOk);
    }
    bool collect();
    void act();
    void submit(PartitionOp op);
    void snapshot();
    void clone();
    void remove();
    void continue_sweep();
    void end_sweep();
    void settle();
    [[nodiscard]] uint64_t pick_first();

    MayLeak leak_;
    Model model_;
    Mix mix_;
    PartitionNode node_;
    std::deque<Work> works_;
    std::unique_ptr<Task<Result<bool>>> sweep_;
    uint32_t swept_ = 0;
};

uint64_t CrashRun::pick_first() {
    // Mostly at the beginning, sometimes far behind, so that trees grow.
    const uint64_t at = model_.random.below(mix_.blocks);
    return model_.random.chance(1, 8) ? at + 65536 * (1 + model_.random.below(3)) - 100 : at;
}

void CrashRun::submit(PartitionOp op) {
    if (model_.heads.empty()) {
        return;
    }
    const uint32_t head = model_.heads[model_.random.below(model_.heads.size())];
    const uint64_t first = pick_first();
    const bool is_large = model_.random.chance(1, 6);
    uint64_t count = 1 + model_.random.below(is_large ? mix_.max_count : 8);
    Work work;
    if (op == PartitionOp::kUnmap) {
        // In one page, so that it is atomic.
        count = std::min(count, kPagePointers - first % kPagePointers);
    } else {
        work.tag = model_.next_tag;
        model_.next_tag += count;
    }
    const auto pieces = static_cast<uint32_t>(1 + model_.random.below(3));
    work.io = std::make_unique<TestPartitionIo>(op, head, first, count, pieces);
    work.node = head;
    for (uint64_t i = 0; op == PartitionOp::kWrite && i < count; ++i) {
        work.io->fill(i, work.tag + i);
    }
    work.io->submit(*node_.partition);
    works_.push_back(std::move(work));
}

void CrashRun::act() {
    continue_sweep();
    if (works_.size() < mix_.queue) {
        submit(model_.random.chance(1, 6) ? PartitionOp::kUnmap : PartitionOp::kWrite);
    }
    if (!mix_.has_snapshots) {
        return;
    }
    if (model_.random.chance(1, 60)) {
        snapshot();
    }
    if (model_.random.chance(1, 120)) {
        clone();
    }
    if (model_.random.chance(1, 50)) {
        remove();
    }
}

bool CrashRun::collect() {
    bool has_ended = false;
    for (size_t i = 0; i < works_.size();) {
        Work& work = works_[i];
        if (!work.io->is_done) {
            ++i;
            continue;
        }
        has_ended = true;
        if (work.io->code == Errc::kOk) {
            for (uint64_t b = work.io->io.first; b < work.io->io.first + work.io->io.count; ++b) {
                model_.put(work.node, b, work.tag_of(b));
            }
        } else {
            EXPECT_EQ(work.io->code, Errc::kNoSpace);
        }
        works_.erase(works_.begin() + static_cast<ptrdiff_t>(i));
    }
    return has_ended;
}

void CrashRun::snapshot() {
    if (model_.heads.empty() || model_.nodes.size() > 8) {
        return;
    }
    const size_t which = model_.random.below(model_.heads.size());
    const uint32_t head = model_.heads[which];
    Task<void> hold = node_.partition->hold_writes(head);
    while (!hold.is_done()) {
        collect();
        if (!node_.world.step()) {
            ADD_FAILURE() << "writes are held for ever";
            return;
        }
    }
    collect();
    const uint32_t child = model_.next_id++;
    Model::State& old = model_.nodes[head];
    old.entry.is_frozen = true;
    model_.nodes[child] = {.entry = {.id = child, .parent = head}, .contents = old.contents};
    node_.partition->set_node(model_.nodes[head].entry);
    node_.partition->set_node(model_.nodes[child].entry);
    node_.partition->resume_writes(head, child);
    model_.heads[which] = child;
    for (Work& work : works_) {
        work.node = work.node == head ? child : work.node;
    }
}

void CrashRun::clone() {
    for (const auto& [id, state] : model_.nodes) {
        if (state.entry.is_frozen && !state.entry.is_hidden && model_.nodes.size() < 9) {
            const uint32_t child = model_.next_id++;
            const Contents contents = state.contents;
            model_.nodes[child] = {.entry = {.id = child, .parent = id}, .contents = contents};
            node_.partition->set_node(model_.nodes[child].entry);
            model_.heads.push_back(child);
            return;
        }
    }
}

void CrashRun::remove() {
    std::vector<uint32_t> candidates;
    for (const auto& [id, state] : model_.nodes) {
        const bool is_busy =
            std::ranges::any_of(works_, [id = id](const Work& work) { return work.node == id; });
        if (!state.entry.is_hidden && !is_busy && model_.nodes.size() > 2) {
            candidates.push_back(id);
        }
    }
    if (candidates.empty()) {
        return;
    }
    const uint32_t id = candidates[model_.random.below(candidates.size())];
    std::erase(model_.heads, id);
    model_.nodes[id].entry.is_frozen = true;
    model_.nodes[id].entry.is_hidden = true;
    node_.partition->set_node(model_.nodes[id].entry);
}

void CrashRun::continue_sweep() {
    if (sweep_ != nullptr && !sweep_->is_done()) {
        return;
    }
    if (sweep_ != nullptr) {
        end_sweep();
    }
    if (swept_ == 0) {
        for (const auto& [id, state] : model_.nodes) {
            if (state.entry.is_hidden && model_.children(id).size() <= 1) {
                swept_ = id;
                break;
            }
        }
    }
    if (swept_ != 0) {
        sweep_ = std::make_unique<Task<Result<bool>>>(node_.partition->sweep(swept_));
    }
}

void CrashRun::end_sweep() {
    const Result<bool> result = sweep_->result();
    sweep_.reset();
    if (!result) {
        EXPECT_EQ(result.error().code, Errc::kNoSpace);
        swept_ = 0;
        return;
    }
    if (!*result) {
        return;
    }
    const uint32_t parent = model_.nodes[swept_].entry.parent;
    for (auto& [id, state] : model_.nodes) {
        if (state.entry.parent == swept_) {
            state.entry.parent = parent;
            node_.partition->set_node(state.entry);
        }
    }
    node_.partition->remove_node(swept_);
    model_.nodes.erase(swept_);
    swept_ = 0;
}

/// After a crash: what was not acknowledged happened or did not.
void CrashRun::settle() {
    if (sweep_ != nullptr) {
        static_cast<void>(sweep_.release());  // It waits for ever, on a machine that is no more.
        swept_ = 0;
    }
    std::deque<Work> works;
    works.swap(works_);
    for (Work& work : works) {
        if (work.io->is_done && work.io->code == Errc::kOk) {
            for (uint64_t b = work.io->io.first; b < work.io->io.first + work.io->io.count; ++b) {
                model_.put(work.node, b, work.tag_of(b));
            }
        }
    }
    std::erase_if(works, [](const Work& work) { return work.io->is_done; });
    std::map<std::pair<uint32_t, uint64_t>, uint64_t> found;
    std::map<size_t, int> verdicts;  // Of a work, by a block that only it covers: 1 new, -1 old.
    for (size_t w = 0; w < works.size(); ++w) {
        const Work& work = works[w];
        if (model_.nodes[work.node].entry.is_hidden) {
            continue;
        }
        for (uint64_t b = work.io->io.first; b < work.io->io.first + work.io->io.count; ++b) {
            const uint64_t tag = node_.read(work.node, b);
            const uint64_t before = model_.tag_at(work.node, b);
            uint32_t others = 0;
            bool is_known = tag == before;
            for (const Work& other : works) {
                const bool covers = other.node == work.node && other.covers(b);
                others += covers ? 1U : 0U;
                is_known = is_known || (covers && other.tag_of(b) == tag);
            }
            EXPECT_TRUE(is_known) << "node " << work.node << " block " << b << " holds " << tag
                                  << " instead of " << before << " or " << work.tag_of(b);
            found[{work.node, b}] = tag;
            if (others == 1 && before != work.tag_of(b)) {
                int& verdict = verdicts[w];
                const int mine = tag == before ? -1 : 1;
                EXPECT_TRUE(verdict == 0 || verdict == mine)
                    << "a write of " << work.io->io.count << " blocks at " << work.io->io.first
                    << " is there in part";
                verdict = mine;
            }
        }
    }
    for (const auto& [place, tag] : found) {
        model_.put(place.first, place.second, tag);
    }
}

void CrashRun::verify() {
    for (const auto& [id, state] : model_.nodes) {
        if (state.entry.is_hidden) {
            continue;
        }
        // All that may hold something; mapped_blocks() says that nothing else does.
        std::set<uint64_t> starts;
        for (const auto& [block, tag] : state.contents) {
            starts.insert(block / 128 * 128);
        }
        starts.insert(0);
        for (const uint64_t start : starts) {
            TestPartitionIo io(PartitionOp::kRead, id, start, 128, 2);
            ASSERT_EQ(node_.run(io), Errc::kOk);
            for (uint64_t i = 0; i < 128; ++i) {
                ASSERT_EQ(io.tag(i), model_.tag_at(id, start + i))
                    << "node " << id << " block " << start + i;
            }
        }
        ASSERT_EQ(node_.partition->mapped_blocks(id), state.contents.size()) << "node " << id;
    }
}

TEST(PartitionCrash, AtEveryWriteToTheDeviceInTurn) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
        for (uint64_t at = 1; at <= 160; ++at) {
            SCOPED_TRACE("seed " + std::to_string(seed) + " write " + std::to_string(at));
            CrashRun run(seed, {.blocks = 150, .max_count = 64, .queue = 6});
            run.work(at);
            run.crash_and_verify();
            ASSERT_FALSE(testing::Test::HasFailure());
        }
    }
}

TEST(PartitionCrash, AtRandomMomentsOfLongRuns) {
    test::for_crash_runs(20, [](uint64_t seed) {
        CrashRun run(seed, {}, seed % 4 != 0);
        uint64_t crashes = 0;
        for (; crashes < 30 && !testing::Test::HasFailure(); ++crashes) {
            SCOPED_TRACE("crash " + std::to_string(crashes));
            run.work(1 + run.model().random.below(crashes % 5 == 0 ? 600 : 90));
            run.crash_and_verify();
        }
        return crashes;
    });
}

TEST(PartitionCrash, WithoutACrashTheSameWorkComesToTheSame) {
    for (uint64_t seed = 1000; seed < 1006; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        CrashRun run(seed, {});
        run.work(1500);
        run.drain();
        run.verify();
        run.machine().check();
        ASSERT_FALSE(testing::Test::HasFailure());
    }
}

}  // namespace
}  // namespace basalt::bdev::store
