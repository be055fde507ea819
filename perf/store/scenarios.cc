#include "perf/store/scenarios.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "perf/store/plain_uring.h"
#include "perf/store/zero_skipper.h"

namespace basalt::perf {

namespace {

using bdev::Device;
using bdev::Fua;
using bdev::IoOp;

constexpr uint64_t kMiB = uint64_t{1} << 20U;
constexpr uint64_t kGiB = uint64_t{1} << 30U;
constexpr uint32_t kBlockBytes = 4096;
constexpr uint32_t kPieceBlocks = 16;  // 64 KiB.

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values.empty() ? 0 : values[values.size() / 2];
}

uint64_t run_ns(const ScenarioOptions& options) {
    return static_cast<uint64_t>(options.seconds * 1e9);
}

uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    uint64_t all = 0;
    uint64_t resident = 0;
    statm >> all >> resident;
    return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

/// Writes each block of the device once, in large pieces.
Task<void> fill(Lab& lab, Device& device) {
    BlockLoadOptions options;
    options.op = IoOp::kWrite;
    options.io_blocks = kPieceBlocks;
    options.queue_depth = 16;
    options.is_random = false;
    options.ios = device.info().block_count.raw() / kPieceBlocks;
    const BlockLoadResult filled = co_await lab.load(device, options);
    fmt::print(stderr, "filled {}\n", device.info().name);
}

/// One row of a comparison: values of all rounds.
struct Row {
    std::string what;
    std::vector<double> ours;
    std::vector<double> theirs;
};

void print_row(const Row& row) {
    const double ours = median(row.ours);
    const double theirs = median(row.theirs);
    fmt::print("{:28} {:12.1f} {:12.1f} {:8.2f}\n", row.what, ours, theirs, ours / theirs);
}

struct FileCase {
    const char* name;
    bool writes;
    uint32_t queue_depth;
    bool is_rate;  // I/Os a second; else the median latency.
};

constexpr std::array kFileCases{FileCase{"durable write, QD 1, us", true, 1, false},
                                FileCase{"durable write, QD 32, IOPS", true, 32, true},
                                FileCase{"read, QD 1, us", false, 1, false},
                                FileCase{"read, QD 32, IOPS", false, 32, true}};

Task<double> measure_store(Lab& lab, Device& volume, FileCase one, ScenarioOptions options) {
    BlockLoadOptions load;
    load.op = one.writes ? IoOp::kWrite : IoOp::kRead;
    load.fua = one.writes ? Fua::kYes : Fua::kNo;
    load.queue_depth = one.queue_depth;
    load.run_ns = run_ns(options);
    const BlockLoadResult result = co_await lab.load(volume, load);
    co_return one.is_rate ? result.iops() : result.percentile_us(50);
}

double measure_plain(const std::string& path,
                     uint64_t bytes,
                     FileCase one,
                     const ScenarioOptions& options) {
    const PlainUringOptions plain{.path = path,
                                  .writes = one.writes,
                                  .queue_depth = one.queue_depth,
                                  .bytes = bytes,
                                  .run_ns = run_ns(options)};
    const Result<PlainUringResult> result = run_plain_uring(plain);
    if (!result) {
        fmt::print(stderr, "basalt-store-perf: I/O on {} failed\n", path);
        std::exit(1);
    }
    const std::vector<uint32_t>& sorted = result->latencies_ns;
    return one.is_rate ? static_cast<double>(sorted.size()) / result->seconds
                       : sorted[sorted.size() / 2] / 1e3;
}

}  // namespace

Task<void> compare_with_plain(Lab& lab, ScenarioOptions options) {
    constexpr uint64_t kBytes = kGiB;
    const std::string pool_path = options.folder + "/basalt-store-perf.pool";
    const std::string plain_path = options.folder + "/basalt-store-perf.plain";
    // Both files are written once, so that neither pays for the file system's first allocations.
    Device& plain = lab.add_file(plain_path, kBytes);
    co_await fill(lab, plain);
    Device& file = lab.add_file(pool_path, 2 * kBytes);
    co_await fill(lab, file);
    bdev::store::PartitionOptions partition;
    partition.cache_pages = options.cache_pages;
    co_await lab.make_pool(file, partition);
    Device* volume = co_await lab.make_volume("volume", kBytes);
    co_await fill(lab, *volume);

    std::vector<Row> rows;
    rows.reserve(kFileCases.size());
    for (const FileCase& one : kFileCases) {
        rows.push_back({one.name, {}, {}});
    }
    for (uint32_t round = 0; round < options.rounds; ++round) {
        for (size_t i = 0; i < kFileCases.size(); ++i) {
            const double ours = co_await measure_store(lab, *volume, kFileCases[i], options);
            rows[i].ours.push_back(ours);
            rows[i].theirs.push_back(measure_plain(plain_path, kBytes, kFileCases[i], options));
        }
    }
    fmt::print("{:28} {:>12} {:>12} {:>8}\n", "4 KiB", "store", "io_uring", "ratio");
    for (const Row& row : rows) {
        print_row(row);
    }
    co_await lab.close_pool();
    lab.remove(pool_path);
    lab.remove(plain_path);
    unlink(pool_path.c_str());
    unlink(plain_path.c_str());
}

// --- Snapshots -----------------------------------------------------------------------------------

namespace {

Task<BlockLoadResult> write_some(Lab& lab, Device& volume, uint64_t ios, uint64_t seed) {
    BlockLoadOptions load;
    load.op = IoOp::kWrite;
    load.ios = ios;
    load.seed = seed;
    BlockLoadResult result = co_await lab.load(volume, load);
    co_return result;
}

/// A filled volume below `count` snapshots, with a few writes between two.
Task<Device*> make_chain(Lab& lab, uint32_t count) {
    constexpr uint64_t kBytes = 256 * kMiB;
    constexpr uint64_t kWritesBetween = 64;
    const std::string name = fmt::format("below{}", count);
    Device* volume = co_await lab.make_volume(name, kBytes);
    co_await fill(lab, *volume);
    for (uint32_t i = 0; i < count; ++i) {
        const std::string snapshot = fmt::format("{}.{}", name, i);
        co_await lab.snapshot(name, snapshot);
        const BlockLoadResult some = co_await write_some(lab, *volume, kWritesBetween, i);
    }
    co_return volume;
}

Task<void> compare_chains(Lab& lab, ScenarioOptions options) {
    constexpr std::array<uint32_t, 3> kChains{0, 64, 1000};
    std::array<Device*, kChains.size()> volumes{};
    std::array<std::vector<double>, kChains.size()> iops;
    for (size_t i = 0; i < kChains.size(); ++i) {
        volumes[i] = co_await make_chain(lab, kChains[i]);
    }
    for (uint32_t round = 0; round < options.rounds; ++round) {
        for (size_t i = 0; i < kChains.size(); ++i) {
            BlockLoadOptions load;
            load.queue_depth = 32;
            load.run_ns = run_ns(options);
            const BlockLoadResult result = co_await lab.load(*volumes[i], load);
            iops[i].push_back(result.iops());
        }
    }
    fmt::print("\n{:28} {:>12} {:>12}\n", "4 KiB reads, QD 32", "IOPS", "of none");
    for (size_t i = 0; i < kChains.size(); ++i) {
        fmt::print("{:28} {:12.0f} {:12.2f}\n",
                   fmt::format("below {} snapshots", kChains[i]),
                   median(iops[i]),
                   median(iops[i]) / median(iops[0]));
    }
}

/// A volume, and what its snapshots cost.
struct Snapshotted {
    std::string name;
    Device* device = nullptr;
    std::vector<double> snapshot_us;
    std::vector<double> write_us;
    uint64_t bytes = 0;  // That reached the device, for all writes.
};

/// Takes a snapshot and writes once.
Task<void> write_after_snapshot(Lab& lab, Snapshotted& volume, Device& below, uint32_t number) {
    const uint64_t start = lab.now_ns();
    const std::string snapshot = fmt::format("{}.{}", volume.name, number);
    co_await lab.snapshot(volume.name, snapshot);
    volume.snapshot_us.push_back(static_cast<double>(lab.now_ns() - start) / 1e3);
    const bdev::IoStats before = co_await below.read_stats(lab.control());
    const BlockLoadResult written = co_await write_some(lab, *volume.device, 1, number);
    const bdev::IoStats after = co_await below.read_stats(lab.control());
    volume.write_us.push_back(written.max_us());
    for (const IoOp op : {IoOp::kRead, IoOp::kWrite}) {
        const uint64_t blocks = after.of(op).blocks - before.of(op).blocks;
        volume.bytes += blocks * below.info().block_size_bytes;
    }
}

}  // namespace

Task<void> measure_snapshots(Lab& lab, ScenarioOptions options) {
    Device& memory = lab.add_memory("memory", 4 * kGiB);
    bdev::store::PartitionOptions partition;
    partition.cache_pages = options.cache_pages;
    co_await lab.make_pool(memory, partition);
    fmt::print("{:28} {:>12} {:>12} {:>12} {:>12}\n",
               "volume",
               "snapshot, us",
               "worst",
               "write, us",
               "worst");
    constexpr uint32_t kTimes = 200;
    std::vector<Snapshotted> volumes;
    for (const uint64_t gib : {1U, 1024U}) {
        const std::string name = fmt::format("{}GiB", gib);
        Device* volume = co_await lab.make_volume(name, gib * kGiB);
        const BlockLoadResult some = co_await write_some(lab, *volume, 10'000, 1);
        volumes.push_back({name, volume, {}, {}});
    }
    // By turns: what the pool has, and what the machine does, is the same for both.
    for (uint32_t i = 0; i < kTimes; ++i) {
        for (Snapshotted& volume : volumes) {
            co_await write_after_snapshot(lab, volume, memory, i);
        }
    }
    for (const Snapshotted& volume : volumes) {
        fmt::print("{:28} {:12.1f} {:12.1f} {:12.1f} {:12.1f}   {:.0f} bytes read or written\n",
                   volume.name,
                   median(volume.snapshot_us),
                   std::ranges::max(volume.snapshot_us),
                   median(volume.write_us),
                   std::ranges::max(volume.write_us),
                   static_cast<double>(volume.bytes) / kTimes);
    }
    co_await compare_chains(lab, options);
    co_await lab.close_pool();
    lab.remove("memory");
}

// --- Stalls --------------------------------------------------------------------------------------

namespace {

Task<void> take_snapshots(Lab& lab, std::string volume, uint64_t until_ns, uint32_t& taken) {
    constexpr uint64_t kBetweenNs = 20'000'000;
    while (lab.now_ns() < until_ns) {
        const std::string name = fmt::format("{}.{}", volume, taken);
        co_await lab.snapshot(volume, name);
        ++taken;
        co_await sleep_for(lab.control(), kBetweenNs);
    }
}

void print_stalls(const std::string& what, const BlockLoadResult& result, uint64_t events) {
    fmt::print("{:28} {:12.0f} {:10.1f} {:10.1f} {:10.1f} {:10.1f} {:8}\n",
               what,
               result.iops(),
               result.percentile_us(50),
               result.percentile_us(99.9),
               result.percentile_us(99.99),
               result.max_us(),
               events);
}

Task<void> stall(Lab& lab,
                 ScenarioOptions options,
                 std::string what,
                 uint64_t interval_ns,
                 bool takes_snapshots) {
    Device& memory = lab.add_memory("memory", 4 * kGiB);
    if (!options.is_untouched) {
        co_await fill(lab, memory);  // Else the kernel finds memory for each page written first.
    }
    bdev::store::PartitionOptions partition;
    partition.cache_pages = options.cache_pages;
    partition.checkpoint_interval_ns = interval_ns;
    co_await lab.make_pool(memory, partition);
    Device* volume = co_await lab.make_volume("volume", kGiB);
    co_await fill(lab, *volume);
    const std::vector<bdev::store::PartitionStats> before = co_await lab.pool().stats();
    uint32_t taken = 0;
    const uint64_t until_ns = lab.now_ns() + (takes_snapshots ? run_ns(options) : 0);
    Task<void> snapshots = take_snapshots(lab, "volume", until_ns, taken);
    BlockLoadOptions load;
    load.op = IoOp::kWrite;
    load.queue_depth = 8;
    load.run_ns = run_ns(options);
    const BlockLoadResult result = co_await lab.load(*volume, load);
    co_await snapshots;
    const std::vector<bdev::store::PartitionStats> after = co_await lab.pool().stats();
    print_stalls(
        what, result, takes_snapshots ? taken : after[0].checkpoints - before[0].checkpoints);
    co_await lab.close_pool();
    lab.remove("memory");
}

}  // namespace

Task<void> measure_stalls(Lab& lab, ScenarioOptions options) {
    constexpr uint64_t kNever = 0;
    constexpr uint64_t kOftenNs = 100'000'000;
    fmt::print("{:28} {:>12} {:>10} {:>10} {:>10} {:>10} {:>8}\n",
               "4 KiB writes, QD 8",
               "IOPS",
               "p50, us",
               "p99.9",
               "p99.99",
               "worst",
               "events");
    for (uint32_t round = 0; round < options.rounds; ++round) {
        const std::string alone = "nothing else";
        const std::string snapshots = "snapshots, every 20 ms";
        const std::string checkpoints = "checkpoints, every 100 ms";
        co_await stall(lab, options, alone, kNever, false);
        co_await stall(lab, options, snapshots, kNever, true);
        co_await stall(lab, options, checkpoints, kOftenNs, false);
    }
}

// --- Scale ---------------------------------------------------------------------------------------

namespace {

Task<void> write_pieces(Lab& lab, Device& volume, ScenarioOptions options) {
    BlockLoadOptions load;
    load.op = IoOp::kWrite;
    load.io_blocks = kPieceBlocks;
    load.queue_depth = 64;
    load.is_zero = true;
    load.ios = volume.info().block_count.raw() / kPieceBlocks * options.mapped_percent / 100;
    const BlockLoadResult written = co_await lab.load(volume, load);
    fmt::print("{} writes of 64 KiB at random places: {:.0f} a second\n", load.ios, written.iops());
}

Task<void> read_cold(Lab& lab, Device& volume) {
    constexpr uint64_t kReads = 20'000;
    const std::vector<bdev::store::PartitionStats> before = co_await lab.pool().stats();
    BlockLoadOptions load;
    load.ios = kReads;
    load.seed = 7;
    const BlockLoadResult cold = co_await lab.load(volume, load);
    const std::vector<bdev::store::PartitionStats> after = co_await lab.pool().stats();
    fmt::print("cold reads: {:.1f} us; reads of the mapping for each: {:.2f}\n",
               cold.percentile_us(50),
               static_cast<double>(after[0].page_loads - before[0].page_loads) / kReads);
}

}  // namespace

Task<void> measure_scale(Lab& lab, ScenarioOptions options) {
    const std::string path = options.folder + "/basalt-store-perf.large";
    Device& file = lab.add_file(path, options.pool_bytes);
    Device& device = lab.add(std::make_unique<ZeroSkipper>("skipper", file));
    bdev::store::PartitionOptions partition;
    partition.cache_pages = options.cache_pages;
    co_await lab.make_pool(device, partition);
    Device* volume = co_await lab.make_volume("volume", options.pool_bytes / 20 * 19);
    co_await write_pieces(lab, *volume, options);
    co_await lab.close_pool();

    const uint64_t before = resident_bytes();
    const uint64_t start = lab.now_ns();
    co_await lab.open_pool(device, partition);
    const double opened = static_cast<double>(lab.now_ns() - start) / 1e9;
    const std::vector<bdev::store::PartitionStats> stats = co_await lab.pool().stats();
    const uint64_t mapping = stats[0].page_blocks_used * kBlockBytes;
    const double mapped = static_cast<double>(stats[0].data_blocks_used) * kBlockBytes;
    fmt::print("opened in {:.2f} s; {:.1f} GiB mapped\n", opened, mapped / double(kGiB));
    fmt::print("memory taken by opening: {:.1f} MB\n",
               static_cast<double>(resident_bytes() - before) / 1e6);
    fmt::print("mapping and checksums on the device: {:.1f} MB, {:.2f} % of the data\n",
               static_cast<double>(mapping) / 1e6,
               100 * static_cast<double>(mapping) / mapped);
    co_await read_cold(lab, *lab.pool().device_of("volume"));
    fmt::print("memory then, with {} pages for the mapping: {:.1f} MB\n",
               options.cache_pages,
               static_cast<double>(resident_bytes() - before) / 1e6);
    co_await lab.close_pool();
    lab.remove("skipper");
    lab.remove(path);
    unlink(path.c_str());
}

}  // namespace basalt::perf
