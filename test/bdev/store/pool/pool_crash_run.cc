#include "test/bdev/store/pool/pool_crash_run.h"

#include <algorithm>

namespace basalt::bdev::store::test {

namespace {

sim::FaultOptions jitter() {
    sim::FaultOptions options = sim::calm();
    options.storage_jitter_ns = 300 * kNsPerUs;
    options.message_jitter_ns = 20 * kNsPerUs;
    return options;
}

uint64_t sectors(const ModelVolume& volume) {
    return kBlockBytes / volume.block_bytes;
}

/// Changes of one volume.
std::vector<Change> of(const std::vector<Change>& changes, const std::string& name) {
    std::vector<Change> mine;
    std::ranges::copy_if(
        changes, std::back_inserter(mine), [&](const Change& c) { return c.volume == name; });
    return mine;
}

void put(Contents& contents, uint64_t block, uint64_t tag) {
    if (tag == 0) {
        contents.erase(block);
    } else {
        contents[block] = tag;
    }
}

void put(Contents& contents, const Change& change) {
    for (uint64_t block = change.first; block < change.first + change.count; ++block) {
        put(contents, block, change.tag_of(block));
    }
}

uint64_t tag_at(const Contents& contents, uint64_t block) {
    const auto found = contents.find(block);
    return found == contents.end() ? 0 : found->second;
}

}  // namespace

PoolCrashRun::PoolCrashRun(uint64_t seed) : random_(seed), node_(seed, jitter(), kDriveBytes) {
    node_.partition_options.requests = 16;
    EXPECT_TRUE(node_.create()) << node_.problem;
    for (const uint32_t block_bytes : {kBlockBytes, 512U}) {
        const std::string name = "v" + std::to_string(next_name_++);
        ModelVolume volume{.block_bytes = block_bytes};
        volume.blocks = (kChunkBlocks + 100) * sectors(volume);  // In both partitions.
        EXPECT_TRUE(node_.add_volume(name, kChunkBlocks + 100, block_bytes));
        volumes_[name] = volume;
    }
}

BdevChannel& PoolCrashRun::channel(const std::string& name) {
    auto& channel = channels_[name];
    if (channel == nullptr) {
        channel = node_.open_channel(name, static_cast<uint32_t>(random_.below(2)));
    }
    return *channel;
}

bool PoolCrashRun::is_busy(const std::string& name) const {
    return std::ranges::any_of(works_,
                               [&](const auto& work) { return work->change.volume == name; });
}

std::string PoolCrashRun::pick(bool is_snapshot) {
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) {
        if (volume.is_snapshot == is_snapshot) {
            names.push_back(name);
        }
    }
    return names.empty() ? "" : names[random_.below(names.size())];
}

// ---- Work

void PoolCrashRun::work(uint64_t writes) {
    const uint64_t end = node_.device_writes + writes;
    for (uint32_t turn = 0; node_.device_writes < end && turn < 200'000; ++turn) {
        collect();
        act();
        node_.world.step();
    }
    EXPECT_GE(node_.device_writes, end) << "nothing happens any more";
}

void PoolCrashRun::act() {
    if (works_.size() < kQueue) {
        begin_work();
    }
    if (order_ == nullptr && random_.chance(1, 30)) {
        begin_order();
    }
}

void PoolCrashRun::begin_work() {
    const std::string name = pick(false);
    if (name.empty() || (order_ != nullptr && order_->from == name)) {
        return;
    }
    const ModelVolume& volume = volumes_[name];
    const uint64_t largest = kTransferBytes / volume.block_bytes;
    Change change{.volume = name, .count = 1 + random_.below(random_.chance(1, 6) ? largest : 9)};
    const uint64_t chunk = uint64_t{kChunkBlocks} * sectors(volume);
    // At the beginning, or where one partition ends and the other begins.
    change.first = random_.below(120);
    change.first += random_.chance(1, 4) && volume.blocks > chunk ? chunk - 60 : 0;
    IoOp op = IoOp::kWrite;
    if (random_.chance(1, 5)) {
        op = random_.chance(1, 2) ? IoOp::kUnmap : IoOp::kWriteZeroes;
    }
    if (op == IoOp::kUnmap) {
        // What is not a whole block need not become zeroes.
        change.first -= change.first % sectors(volume);
        change.count = (change.count + sectors(volume) - 1) / sectors(volume) * sectors(volume);
    }
    if (change.first + change.count > volume.blocks) {
        return;
    }
    // The order of what overlaps is nobody's promise here.
    for (const auto& other : works_) {
        const Change& theirs = other->change;
        if (theirs.volume == name && theirs.first < change.first + change.count &&
            change.first < theirs.first + theirs.count) {
            return;
        }
    }
    if (op == IoOp::kWrite) {
        change.tag = next_tag_;
        next_tag_ += change.count;
    }
    if (order_ != nullptr) {
        order_->meanwhile.push_back(change);
    }
    works_.push_back(std::make_unique<PoolWork>(change, op, volume.block_bytes));
    works_.back()->submit(channel(name));
}

void PoolCrashRun::collect() {
    for (size_t i = 0; i < works_.size();) {
        if (!works_[i]->is_done) {
            ++i;
            continue;
        }
        const std::unique_ptr<PoolWork> work = std::move(works_[i]);
        works_.erase(works_.begin() + static_cast<ptrdiff_t>(i));
        ModelVolume& volume = volumes_[work->change.volume];
        if (work->request.status) {
            put(volume.contents, work->change);
        } else {
            EXPECT_EQ(work->request.status.error().code, Errc::kNoSpace);
            resolve(work->change.volume, volume, {work->change});
        }
    }
    if (order_ != nullptr && order_->task->is_done()) {
        const Status status = order_->task->result();
        end_order(status);
    }
}

// ---- Orders

void PoolCrashRun::begin_order() {
    auto order = std::make_unique<Order>();
    order->kind = static_cast<Order::Kind>(random_.below(Order::kKinds));
    if (!prepare(*order) || is_busy(order->from)) {
        return;
    }
    channels_.erase(order->from);  // Nobody may use it.
    for (const auto& work : works_) {
        order->meanwhile.push_back(work->change);
    }
    order->task = std::make_unique<Task<Status>>(start(*order));
    order_ = std::move(order);
}

bool PoolCrashRun::prepare(Order& order) {
    const auto new_name = [this] { return "v" + std::to_string(next_name_++); };
    const bool is_full = volumes_.size() >= kVolumesMax;
    switch (order.kind) {
        case Order::Kind::kCreate:
            order.names = {new_name()};
            order.made = {{.blocks = 400, .block_bytes = kBlockBytes}};
            return !is_full;
        case Order::Kind::kSnapshot: return !is_full && prepare_snapshot(order);
        case Order::Kind::kClone: {
            const std::string snapshot = pick(true);
            if (is_full || snapshot.empty()) {
                return false;
            }
            order.names = {new_name()};
            order.made = {volumes_[snapshot]};
            order.made[0].is_snapshot = false;
            order.made[0].origin = snapshot;
            return true;
        }
        case Order::Kind::kDelete:
            order.from = pick(random_.chance(1, 2));
            return !order.from.empty() && volumes_.size() > 3;
        case Order::Kind::kResize: {
            order.from = pick(false);
            if (order.from.empty()) {
                return false;
            }
            ModelVolume after = volumes_[order.from];
            const uint64_t sizes[] = {10, 100, 300, kChunkBlocks + 100};
            after.blocks = sizes[random_.below(4)] * sectors(after);
            after.contents.erase(after.contents.lower_bound(after.blocks), after.contents.end());
            order.made = {after};
            return true;
        }
        case Order::Kind::kRollBack: return prepare_roll_back(order);
        case Order::Kind::kRename:
            order.from = pick(random_.chance(1, 2));
            if (order.from.empty()) {
                return false;
            }
            order.names = {new_name()};
            order.made = {volumes_[order.from]};
            return true;
    }
    return false;
}

bool PoolCrashRun::prepare_snapshot(Order& order) {
    // One, or two at one point.
    std::set<std::string> picked;
    for (uint64_t i = 0; i < 1 + random_.below(2); ++i) {
        picked.insert(pick(false));
    }
    for (const std::string& name : picked) {
        if (name.empty()) {
            return false;
        }
        order.names.push_back("v" + std::to_string(next_name_++));
        order.made.push_back(volumes_[name]);
        order.made.back().is_snapshot = true;
        order.made.back().origin = name;
    }
    return true;
}

bool PoolCrashRun::prepare_roll_back(Order& order) {
    order.names = {pick(true)};
    const auto snapshot = volumes_.find(order.names[0]);
    if (snapshot == volumes_.end()) {
        return false;
    }
    order.from = snapshot->second.origin;
    const auto volume = volumes_.find(order.from);
    return volume != volumes_.end() && volume->second.blocks == snapshot->second.blocks;
}

Task<Status> PoolCrashRun::start(const Order& order) {
    Pool& pool = *node_.pool;
    const auto uuid = [this] { return PoolNode::uuid(++node_.uuids); };
    switch (order.kind) {
        case Order::Kind::kCreate: {
            VolumeOptions options{.name = order.names[0], .uuid = uuid(), .size_blocks = 400};
            return pool.create_volume(options);
        }
        case Order::Kind::kSnapshot: {
            std::vector<SnapshotOptions> all;
            for (size_t i = 0; i < order.names.size(); ++i) {
                all.push_back(
                    {.volume = order.made[i].origin, .name = order.names[i], .uuid = uuid()});
            }
            return pool.snapshot(all);
        }
        case Order::Kind::kClone: {
            VolumeOptions options{.name = order.names[0], .uuid = uuid()};
            return pool.clone(order.made[0].origin, options);
        }
        case Order::Kind::kDelete:
            return volumes_[order.from].is_snapshot
                       ? pool.delete_snapshot(order.from, WithClones::kDelete)
                       : pool.delete_volume(order.from);
        case Order::Kind::kResize:
            return pool.resize(order.from, order.made[0].blocks / sectors(order.made[0]));
        case Order::Kind::kRollBack: return pool.roll_back(order.from, order.names[0]);
        case Order::Kind::kRename: break;
    }
    return pool.rename(order.from, order.names[0]);
}

void PoolCrashRun::end_order(const Status& status) {
    const std::unique_ptr<Order> order = std::move(order_);
    if (status) {
        apply(*order);
        return;
    }
    EXPECT_EQ(status.error().code, Errc::kNoSpace) << static_cast<int>(order->kind);
    settle(*order);
}

/// Of the order that was under way when the power went.
bool PoolCrashRun::has_happened(const Order& order) {
    const auto is_there = [this](const std::string& name) {
        return node_.pool->device_of(name) != nullptr;
    };
    switch (order.kind) {
        case Order::Kind::kCreate:
        case Order::Kind::kSnapshot:
        case Order::Kind::kClone:
        case Order::Kind::kRename: {
            const auto count = std::ranges::count_if(order.names, is_there);
            EXPECT_TRUE(count == 0 || count == std::ssize(order.names)) << "a part of a group";
            return count > 0;
        }
        case Order::Kind::kDelete: return !is_there(order.from);
        case Order::Kind::kResize:
            return is_there(order.from) && node_.pool->device_of(order.from)->info().block_count ==
                                               BlockCount(order.made[0].blocks);
        case Order::Kind::kRollBack: break;
    }
    ModelVolume rolled = volumes_[order.from];
    rolled.contents = volumes_[order.names[0]].contents;
    return holds(order.from, rolled);
}

void PoolCrashRun::apply(Order& order) {
    switch (order.kind) {
        case Order::Kind::kSnapshot:
            for (size_t i = 0; i < order.names.size(); ++i) {
                resolve(order.names[i], order.made[i], of(order.meanwhile, order.made[i].origin));
                volumes_[order.names[i]] = order.made[i];
            }
            return;
        case Order::Kind::kCreate:
        case Order::Kind::kClone:
            order.made[0].origin.clear();
            volumes_[order.names[0]] = order.made[0];
            return;
        case Order::Kind::kDelete: volumes_.erase(order.from); return;
        case Order::Kind::kResize: volumes_[order.from] = order.made[0]; return;
        case Order::Kind::kRollBack:
            volumes_[order.from].contents = volumes_[order.names[0]].contents;
            return;
        case Order::Kind::kRename:
            volumes_.erase(order.from);
            volumes_[order.names[0]] = order.made[0];
            for (auto& [name, volume] : volumes_) {
                volume.origin = volume.origin == order.from ? order.names[0] : volume.origin;
            }
            return;
    }
}

void PoolCrashRun::settle(Order& order) {
    if (has_happened(order)) {
        apply(order);
        return;
    }
    if (order.kind == Order::Kind::kResize) {
        // What lay beyond the new end may have gone already.
        ModelVolume& volume = volumes_[order.from];
        std::vector<Change> gone;
        for (const auto& [block, tag] : volume.contents) {
            if (block >= order.made[0].blocks) {
                gone.push_back({.volume = order.from, .first = block, .count = 1});
            }
        }
        resolve(order.from, volume, gone);
    }
}

// ---- After a crash

void PoolCrashRun::crash_and_verify() {
    collect();  // What was completed counts.
    node_.lose_power();
    channels_.clear();
    std::vector<Change> under_way;
    for (const auto& work : works_) {
        under_way.push_back(work->change);
    }
    ASSERT_TRUE(node_.restart()) << node_.problem;
    works_.clear();
    if (order_ != nullptr) {
        // A sequence of a machine that is no more: it waits for ever.
        static_cast<void>(order_->task.release());
        const std::unique_ptr<Order> order = std::move(order_);
        settle(*order);
    }
    for (auto& [name, volume] : volumes_) {
        resolve(name, volume, of(under_way, name));
    }
    verify();
    if (random_.chance(1, 2)) {
        check();
    }
}

void PoolCrashRun::end_and_verify() {
    while ((order_ != nullptr || !works_.empty()) && node_.world.step()) {
        collect();
    }
    EXPECT_TRUE(works_.empty());
    EXPECT_EQ(order_, nullptr);
    verify();
    check();
}

std::vector<uint64_t> PoolCrashRun::read(const std::string& name, uint64_t first, uint64_t count) {
    const Device* device = node_.pool->device_of(name);
    if (device == nullptr) {
        ADD_FAILURE() << "there is no device " << name;
        return std::vector<uint64_t>(count, UINT64_MAX);
    }
    const uint32_t block_bytes = device->info().block_size_bytes;
    const uint64_t step = kTransferBytes / block_bytes;
    std::vector<uint64_t> tags;
    while (tags.size() < count) {
        const uint64_t taken = std::min(step, count - tags.size());
        PoolWork work({.volume = name, .first = first + tags.size(), .count = taken},
                      IoOp::kRead,
                      block_bytes);
        work.submit(channel(name));
        EXPECT_TRUE(node_.world.run_until([&] { return work.is_done; }, 100 * kNsPerSecond));
        EXPECT_TRUE(work.request.status) << name << " at " << first;
        for (uint64_t i = 0; i < taken; ++i) {
            tags.push_back(work.tag(i));
        }
    }
    return tags;
}

void PoolCrashRun::resolve(const std::string& name,
                           ModelVolume& volume,
                           const std::vector<Change>& changes) {
    Contents found;
    for (const Change& change : changes) {
        if (change.first >= volume.blocks) {
            continue;
        }
        const uint64_t count = std::min(change.count, volume.blocks - change.first);
        const std::vector<uint64_t> tags = read(name, change.first, count);
        for (uint64_t i = 0; i < count; ++i) {
            found[change.first + i] = tags[i];
        }
    }
    judge(name, volume, changes, found);
    for (const auto& [block, tag] : found) {
        put(volume.contents, block, tag);
    }
}

void PoolCrashRun::judge(const std::string& name,
                         const ModelVolume& volume,
                         const std::vector<Change>& changes,
                         const Contents& found) {
    const uint64_t chunk = uint64_t{kChunkBlocks} * sectors(volume);
    std::map<std::pair<const Change*, uint64_t>, bool> verdicts;  // Of its part in a partition.
    for (const auto& [block, tag] : found) {
        const uint64_t before = tag_at(volume.contents, block);
        bool is_known = tag == before;
        const Change* only = nullptr;
        uint32_t covering = 0;
        for (const Change& change : changes) {
            if (change.covers(block)) {
                is_known = is_known || tag == change.tag_of(block);
                only = &change;
                ++covering;
            }
        }
        EXPECT_TRUE(is_known) << name << " block " << block << " holds " << tag << " and not "
                              << before << " or " << only->tag_of(block);
        // Zeroes are put there page by page.
        if (covering == 1 && only->tag != 0) {
            const bool has_happened = tag == only->tag_of(block);
            const auto [verdict, is_first] =
                verdicts.try_emplace({only, block / chunk}, has_happened);
            EXPECT_EQ(verdict->second, has_happened)
                << name << ": of a write of " << only->count << " blocks at " << only->first
                << " there is a part";
        }
    }
}

bool PoolCrashRun::holds(const std::string& name, const ModelVolume& volume) {
    constexpr uint64_t kStep = 64;
    // All that may hold something.
    std::set<uint64_t> starts{0};
    for (const auto& [block, tag] : volume.contents) {
        starts.insert(block / kStep * kStep);
    }
    for (const auto& [block, tag] : volumes_[name].contents) {
        starts.insert(block / kStep * kStep);
    }
    for (const uint64_t first : starts) {
        if (first >= volume.blocks) {
            continue;
        }
        const std::vector<uint64_t> tags =
            read(name, first, std::min(kStep, volume.blocks - first));
        for (uint64_t i = 0; i < tags.size(); ++i) {
            if (tags[i] != tag_at(volume.contents, first + i)) {
                return false;
            }
        }
    }
    return true;
}

void PoolCrashRun::verify() {
    const Catalogue& catalogue = node_.pool->catalogue();
    EXPECT_EQ(catalogue.volumes().size() + catalogue.snapshots().size(), volumes_.size());
    for (const auto& [name, volume] : volumes_) {
        const Device* device = node_.pool->device_of(name);
        ASSERT_NE(device, nullptr) << name;
        EXPECT_EQ(device->info().block_count, BlockCount(volume.blocks)) << name;
        EXPECT_EQ(device->info().is_read_only, volume.is_snapshot) << name;
        EXPECT_TRUE(holds(name, volume)) << (volume.is_snapshot ? "snapshot " : "volume ") << name;
        std::set<uint64_t> blocks;
        for (const auto& [block, tag] : volume.contents) {
            blocks.insert(block / sectors(volume));
        }
        // Sectors that were written with zeroes keep their block.
        const uint64_t held = device->allocated_blocks().raw() / sectors(volume);
        EXPECT_TRUE(volume.block_bytes == kBlockBytes ? held == blocks.size()
                                                      : held >= blocks.size())
            << name << " holds " << held << " and not " << blocks.size() << " blocks";
    }
}

void PoolCrashRun::check() {
    node_.wait(node_.pool->swept());
    const Result<CheckReport> report = node_.wait(node_.pool->check());
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->is_clean())
        << report->leaked_blocks << " leaked, " << report->missing_blocks << " missing, "
        << report->doubled_blocks << " doubled, " << report->broken_pages << " broken, "
        << report->wrong_counts << " wrong counts";
}

}  // namespace basalt::bdev::store::test
