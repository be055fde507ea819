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
    uint64_t tag = 0;        ///< Of its first block; 0: an unmap, or a note and no data.
    uint64_t key = 0;        ///< Of its note; 0: it has none.
    NoteRange forget;        ///< That it carries.
    uint64_t submitted = 0;  ///< Model::clock.

    [[nodiscard]] uint64_t tag_of(uint64_t block) const {
        return tag == 0 ? 0 : tag + (block - io->io.first);
    }
    [[nodiscard]] bool covers(uint64_t block) const {
        return block >= io->io.first && block < io->io.first + io->io.count;
    }
};

/// A note that was made and perhaps acknowledged.
struct NoteState {
    uint32_t owner = 0;
    NoteKind kind = NoteKind::kAlone;
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t submitted = 0;
    uint64_t acknowledged = 0;  ///< 0: it was not.
    bool may_be_gone = false;   ///< Somebody wanted to forget it.
    bool is_gone = false;       ///< For good: a record says so that was acknowledged.
};

/// A pool's administration in short: nodes, and who may be swept; survives crashes, as the
/// catalogue does.
class Model {
  public:
    struct State {
        NodeEntry entry;
        Contents contents;
        uint32_t owner = 1;  ///< Of the notes of the volume whose head it is or was.
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

    /// Whose notes are kept.
    [[nodiscard]] std::vector<uint32_t> owners() const {
        std::vector<uint32_t> owners;
        for (const uint32_t head : heads) {
            owners.push_back(nodes.at(head).owner);
        }
        std::ranges::sort(owners);
        return owners;
    }
    /// Mostly upwards, and never below what forgettable() said.
    [[nodiscard]] uint64_t take_key() {
        ++keys;
        return keys ^ 3U;
    }
    [[nodiscard]] uint64_t forgettable() const { return ((keys + 1) & ~uint64_t{3}) - 1; }

    Random random;
    std::map<uint32_t, State> nodes;
    std::map<uint64_t, NoteState> notes;  ///< By their keys, which occur once.
    uint64_t keys = 3;
    uint64_t clock = 0;
    std::vector<uint32_t> heads;
    uint32_t next_id = 2;
    uint64_t next_tag = 1;
};

struct Mix {
    uint64_t blocks = 700;     ///< Of a volume that are written to.
    uint32_t max_count = 256;  ///< Of a write.
    uint32_t queue = 8;
    bool has_snapshots = true;
    bool has_notes = true;
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
        while (!works_.empty() || sweep_ != nullptr || checkpoint_ != nullptr) {
            collect();
            continue_sweep();
            continue_checkpoint();
            if (!node_.world.step() && works_.empty() && sweep_ == nullptr) {
                break;
            }
        }
    }
    void verify();
    /// All notes are there that were acknowledged and not forgotten, and no others.
    void verify_notes();

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
        node_.partition->keep_notes(model_.owners());
    }
    bool collect();
    void act();
    void submit(PartitionOp op);
    void snapshot();
    void clone();
    void remove();
    void continue_sweep();
    void end_sweep();
    void continue_checkpoint();
    void add_note(Work& work);
    void note_acknowledged(const Work& work);
    void forget();
    void settle();
    void settle_notes(const std::deque<Work>& works, const std::map<size_t, int>& verdicts);
    [[nodiscard]] std::map<uint64_t, StoredNote> read_notes();
    [[nodiscard]] uint64_t pick_first();

    MayLeak leak_;
    Model model_;
    Mix mix_;
    PartitionNode node_;
    std::deque<Work> works_;
    std::unique_ptr<Task<Result<bool>>> sweep_;
    uint32_t swept_ = 0;
    std::unique_ptr<Task<Status>> checkpoint_;
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
    const bool has_note = mix_.has_notes && model_.random.chance(2, 3);
    if (has_note && model_.random.chance(1, 8)) {
        op = PartitionOp::kNote;
        count = 0;
    }
    if (op == PartitionOp::kUnmap || has_note) {
        // In one page, so that it is atomic.
        count = std::min(count, kPagePointers - first % kPagePointers);
    }
    if (op == PartitionOp::kWrite) {
        work.tag = model_.next_tag;
        model_.next_tag += count;
    }
    const auto pieces = static_cast<uint32_t>(1 + model_.random.below(3));
    work.io = std::make_unique<TestPartitionIo>(op, head, first, count, pieces);
    work.node = head;
    for (uint64_t i = 0; op == PartitionOp::kWrite && i < count; ++i) {
        work.io->fill(i, work.tag + i);
    }
    work.submitted = ++model_.clock;
    if (has_note) {
        add_note(work);
    }
    work.io->submit(*node_.partition);
    works_.push_back(std::move(work));
}

void CrashRun::act() {
    continue_sweep();
    if (works_.size() < mix_.queue) {
        submit(model_.random.chance(1, 6) ? PartitionOp::kUnmap : PartitionOp::kWrite);
    }
    continue_checkpoint();
    if (mix_.has_notes && model_.random.chance(1, 40)) {
        forget();
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
            note_acknowledged(work);
        } else {
            EXPECT_EQ(work.io->code, Errc::kNoSpace);
            model_.notes.erase(work.key);
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
    model_.nodes[child] = {
        .entry = {.id = child, .parent = head}, .contents = old.contents, .owner = old.owner};
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
            model_.nodes[child] = {
                .entry = {.id = child, .parent = id}, .contents = contents, .owner = child};
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
    if (std::erase(model_.heads, id) > 0) {
        const uint32_t owner = model_.nodes[id].owner;
        std::erase_if(model_.notes, [&](const auto& note) { return note.second.owner == owner; });
        node_.partition->keep_notes(model_.owners());
    }
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

// --- Notes ---------------------------------------------------------------------------------------

void CrashRun::continue_checkpoint() {
    if (checkpoint_ != nullptr && checkpoint_->is_done()) {
        const Status made = checkpoint_->result();
        EXPECT_TRUE(made || made.error().code == Errc::kNoSpace);
        checkpoint_.reset();
    }
    if (checkpoint_ == nullptr && mix_.has_notes && model_.random.chance(1, 60)) {
        checkpoint_ = std::make_unique<Task<Status>>(node_.partition->checkpoint());
    }
}

void CrashRun::add_note(Work& work) {
    const PartitionIo& io = work.io->io;
    const uint32_t owner = model_.nodes[work.node].owner;
    if (model_.random.chance(1, 3)) {
        // Sometimes all but a few, sometimes a few in the middle.
        const uint64_t newest = model_.forgettable();
        const uint64_t last = newest - model_.random.below(std::min<uint64_t>(newest, 20));
        const uint64_t few = model_.random.below(std::min<uint64_t>(last, 8));
        work.forget = {model_.random.chance(1, 2) ? 0 : last - few, last};
        for (auto& [key, note] : model_.notes) {
            note.may_be_gone = note.may_be_gone || (note.owner == owner && work.forget.has(key));
        }
    }
    work.key = model_.take_key();
    const NoteKind kind = io.op == PartitionOp::kWrite   ? NoteKind::kWrite
                          : io.op == PartitionOp::kUnmap ? NoteKind::kUnmap
                                                         : NoteKind::kAlone;
    model_.notes[work.key] = {.owner = owner,
                              .kind = kind,
                              .first = io.first,
                              .count = io.count,
                              .submitted = work.submitted};
    work.io->add_note(owner, work.key, work.forget);
}

void CrashRun::note_acknowledged(const Work& work) {
    const auto found = model_.notes.find(work.key);
    if (found == model_.notes.end()) {
        return;
    }
    found->second.acknowledged = ++model_.clock;
    for (auto& [key, note] : model_.notes) {
        const bool was_there = note.acknowledged != 0 && note.acknowledged < work.submitted;
        note.is_gone = note.is_gone ||
                       (was_there && note.owner == found->second.owner && work.forget.has(key));
    }
}

/// With no request: it is gone now, but a crash may bring it back.
void CrashRun::forget() {
    if (model_.heads.empty()) {
        return;
    }
    const uint32_t head = model_.heads[model_.random.below(model_.heads.size())];
    const uint32_t owner = model_.nodes[head].owner;
    const uint64_t newest = model_.forgettable();
    const NoteRange keys{0, newest - model_.random.below(std::min<uint64_t>(newest, 10))};
    for (auto& [key, note] : model_.notes) {
        note.may_be_gone = note.may_be_gone || (note.owner == owner && keys.has(key));
    }
    node_.partition->forget_notes(owner, keys);
}

/// What is there: each once, each as it was made, in an order in which it may have been
/// acknowledged, and of nobody whose volume is gone.
std::map<uint64_t, StoredNote> CrashRun::read_notes() {
    std::map<uint64_t, StoredNote> all;
    for (const uint32_t owner : model_.owners()) {
        std::vector<StoredNote> notes = node_.partition->notes(owner);
        uint64_t next_acknowledged = UINT64_MAX;  // Of those behind.
        for (size_t i = notes.size(); i > 0; --i) {
            const StoredNote& note = notes[i - 1];
            const auto made = model_.notes.find(note.key);
            if (made == model_.notes.end()) {
                ADD_FAILURE() << "nobody made note " << note.key << " of " << owner;
                continue;
            }
            const NoteState& state = made->second;
            const auto bytes = TestPartitionIo::bytes_of_note(note.key);
            EXPECT_TRUE(all.emplace(note.key, note).second) << "note " << note.key << " twice";
            EXPECT_TRUE(std::ranges::equal(note.bytes(), bytes)) << "note " << note.key;
            EXPECT_EQ(note.owner, state.owner);
            EXPECT_EQ(note.kind, state.kind);
            EXPECT_EQ(note.first, state.first);
            EXPECT_EQ(note.count, state.count);
            EXPECT_GT(next_acknowledged, state.submitted)
                << "note " << note.key << " is before one that was acknowledged first";
            if (state.acknowledged != 0) {
                next_acknowledged = std::min(next_acknowledged, state.acknowledged);
            }
        }
    }
    for (const auto& [key, note] : model_.notes) {
        const bool is_there = all.count(key) != 0;
        EXPECT_FALSE(is_there && note.is_gone) << "note " << key << " was forgotten";
        EXPECT_TRUE(is_there || note.acknowledged == 0 || note.may_be_gone)
            << "note " << key << " is lost";
    }
    return all;
}

void CrashRun::verify_notes() {
    for (const auto& [key, note] : read_notes()) {
        EXPECT_NE(model_.notes.at(key).acknowledged, 0U) << "note " << key;
    }
}

/// A note of a request that was not acknowledged is there if, and only if, its data is.
void CrashRun::settle_notes(const std::deque<Work>& works, const std::map<size_t, int>& verdicts) {
    const std::map<uint64_t, StoredNote> there = read_notes();
    for (size_t w = 0; w < works.size(); ++w) {
        const auto note = model_.notes.find(works[w].key);
        const auto verdict = verdicts.find(w);
        if (note == model_.notes.end() || verdict == verdicts.end() || verdict->second == 0) {
            continue;
        }
        const bool has_data = verdict->second > 0;
        const bool has_note = there.count(works[w].key) != 0;
        EXPECT_TRUE(has_data || !has_note) << "note " << works[w].key << " without its data";
        EXPECT_TRUE(!has_data || has_note || note->second.may_be_gone)
            << "the data of note " << works[w].key << " without it";
    }
    for (auto note = model_.notes.begin(); note != model_.notes.end();) {
        if (there.count(note->first) == 0) {
            note = model_.notes.erase(note);
            continue;
        }
        // It was not taken back, so it was as good as acknowledged.
        if (note->second.acknowledged == 0) {
            note->second.acknowledged = ++model_.clock;
        }
        ++note;
    }
}

/// After a crash: what was not acknowledged happened or did not.
void CrashRun::settle() {
    if (sweep_ != nullptr) {
        static_cast<void>(sweep_.release());  // It waits for ever, on a machine that is no more.
        swept_ = 0;
    }
    static_cast<void>(checkpoint_.release());
    std::deque<Work> works;
    works.swap(works_);
    for (Work& work : works) {
        if (work.io->is_done && work.io->code == Errc::kOk) {
            for (uint64_t b = work.io->io.first; b < work.io->io.first + work.io->io.count; ++b) {
                model_.put(work.node, b, work.tag_of(b));
            }
            note_acknowledged(work);
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
    settle_notes(works, verdicts);
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
        run.verify_notes();
        run.machine().check();
        ASSERT_FALSE(testing::Test::HasFailure());
    }
}

}  // namespace
}  // namespace basalt::bdev::store
