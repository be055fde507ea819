// A pool's device with anything on it: superblocks, catalogue, checkpoints, logs, mapping pages and
// bitmaps of a sound pool, changed as the input says, with checksums that are right. It is opened,
// used and closed; it may be refused, and I/O may fail, but nothing stops the process or waits for
// ever. Input: which pool and whether checksums are made right, then changes (StoreImage::change).

#include <algorithm>
#include <string>
#include <vector>

#include "reactor/base/log.h"
#include "test/fuzz/fuzz_target.h"
#include "test/fuzz/store_bench.h"

namespace basalt::bdev::store {
namespace {

constexpr uint32_t kChangesMax = 16;
constexpr uint64_t kVolumeBlocks = 2 * kChunkBlocks;

/// A pool with what pools have: volumes of both block sizes in both partitions, snapshots, a clone,
/// a snapshot that is being given back.
void fill(StoreBench& bench) {
    bench.create();
    Pool& pool = bench.pool();
    const auto volume = [&](const char* name, uint8_t number, uint32_t block_bytes) {
        VolumeOptions options;
        options.name = name;
        options.uuid = StoreBench::uuid(number);
        options.size_blocks = kVolumeBlocks;
        options.block_bytes = block_bytes;
        BASALT_ASSERT(bench.wait(pool.create_volume(options)));
    };
    const auto snapshot = [&](const char* of, const char* name, uint8_t number) {
        SnapshotOptions options{.volume = of, .name = name, .uuid = StoreBench::uuid(number)};
        std::vector<SnapshotOptions> all{options};
        BASALT_ASSERT(bench.wait(pool.snapshot(all)));
    };
    const auto write = [&](const char* name, uint64_t first, uint64_t count, uint8_t value) {
        BASALT_ASSERT(bench.transfer(*pool.device_of(name), IoOp::kWrite, first, count, value));
    };
    volume("a", 2, 4096);
    volume("b", 3, 512);
    write("a", 0, 30, 1);
    write("a", 300, 5, 2);
    write("a", kChunkBlocks - 2, 10, 3);
    snapshot("a", "s1", 4);
    write("a", 10, 4, 4);
    snapshot("a", "s2", 5);
    VolumeOptions clone;
    clone.name = "c";
    clone.uuid = StoreBench::uuid(6);
    BASALT_ASSERT(bench.wait(pool.clone("s1", clone)));
    write("c", 20, 8, 5);
    write("b", 3, 40, 6);
    // What is in the log at the end comes behind a checkpoint with all of this.
    bench.close();
    BASALT_ASSERT(bench.open());
}

void go_on(StoreBench& bench) {
    Pool& pool = bench.pool();
    const auto device = [&](const char* name) -> Device& { return *pool.device_of(name); };
    BASALT_ASSERT(bench.transfer(device("a"), IoOp::kWrite, 12, 3, 7));
    BASALT_ASSERT(bench.transfer(device("a"), IoOp::kUnmap, 300, 3));
    BASALT_ASSERT(bench.transfer(device("a"), IoOp::kWrite, kChunkBlocks + 700, 3, 8));
    BASALT_ASSERT(bench.transfer(device("b"), IoOp::kWrite, 5, 1, 9));
    SnapshotOptions options{.volume = "b", .name = "s3", .uuid = StoreBench::uuid(7)};
    std::vector<SnapshotOptions> all{options};
    BASALT_ASSERT(bench.wait(pool.snapshot(all)));
    BASALT_ASSERT(bench.transfer(device("b"), IoOp::kWrite, 0, 16, 10));
    BASALT_ASSERT(bench.wait(pool.delete_snapshot("s1", WithClones::kDelete)));
}

/// A closed pool, one whose log is to be replayed, and one with a node that is to be swept.
const std::vector<StoreImage>& images() {
    static const std::vector<StoreImage> made_once = [] {
        std::vector<StoreImage> made;
        StoreBench bench({});
        fill(bench);
        made.push_back(bench.image());
        go_on(bench);
        made.push_back(bench.image());
        bench.wait(bench.pool().swept());
        made.push_back(bench.image());
        bench.close();
        return made;
    }();
    return made_once;
}

/// A little of everything, whatever comes of it.
void use(StoreBench& bench) {
    Pool& pool = bench.pool();
    std::vector<std::string> names;
    for (const auto& [uuid, volume] : pool.catalogue().volumes()) {
        names.push_back(volume.name);
    }
    for (const auto& [uuid, snapshot] : pool.catalogue().snapshots()) {
        names.push_back(snapshot.name);
    }
    names.resize(std::min<size_t>(names.size(), 8));
    for (const std::string& name : names) {
        Device* device = pool.device_of(name);
        if (device == nullptr) {
            continue;  // Being received, or something else has its name or UUID.
        }
        static_cast<void>(bench.wait(pool.exclusive_blocks(name)));
        for (const uint64_t first : {uint64_t{0},
                                     uint64_t{290},
                                     uint64_t{kChunkBlocks - 8},
                                     uint64_t{kChunkBlocks + 690},
                                     UINT64_MAX}) {
            static_cast<void>(bench.transfer(*device, IoOp::kRead, first, 32));
        }
        static_cast<void>(bench.transfer(*device, IoOp::kWrite, 8, 20, 0x77));
        static_cast<void>(bench.transfer(*device, IoOp::kWrite, kChunkBlocks - 1, 3, 0x78));
        static_cast<void>(bench.transfer(*device, IoOp::kUnmap, 0, kChunkBlocks));
    }
    static_cast<void>(bench.wait(pool.check()));
    for (const std::string& name : names) {
        if (pool.catalogue().find_volume(name) != nullptr) {
            static_cast<void>(bench.wait(pool.delete_volume(name)));
        } else {
            static_cast<void>(bench.wait(pool.delete_snapshot(name, WithClones::kDelete)));
        }
    }
    bench.wait(pool.swept());
    static_cast<void>(bench.wait(pool.check()));
    static_cast<void>(bench.wait(pool.stats()));
}

}  // namespace
}  // namespace basalt::bdev::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt;
    using namespace basalt::bdev::store;
    Log::set_level(LogLevel::kOff);
    FuzzInput input(data, size);
    const uint8_t how = input.u8();
    StoreImage image = images()[how % images().size()];
    for (uint32_t i = 0; i < kChangesMax && !input.is_empty(); ++i) {
        image.change(input);
    }
    if (how < 240) {
        image.seal();
    }
    StoreBench bench(image.blocks());
    if (bench.open()) {
        use(bench);
        bench.close();
        // What was made of it is no better, but it has to be looked at all the same.
        if (bench.open()) {
            bench.close();
        }
    }
    return 0;
}

/// For each kind of block, each way to change it, in each pool.
std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using namespace basalt::bdev::store;
    std::vector<std::vector<uint8_t>> seeds;
    uint32_t state = 1;
    const auto next = [&state] {
        state = state * 1664525 + 1013904223;
        return static_cast<uint8_t>(state >> 24U);
    };
    for (uint8_t pool = 0; pool < 3; ++pool) {
        seeds.push_back({pool});
        for (uint8_t kind = 0; kind < static_cast<uint8_t>(StoreImage::Kind::kCount); ++kind) {
            for (uint8_t how = 0; how < 18; ++how) {
                seeds.push_back({pool, kind, next(), next(), how, next(), next(), next(), next()});
            }
        }
    }
    return seeds;
}
