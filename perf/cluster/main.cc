// basalt-cluster-perf: how long cluster state takes to make and to load, and how much memory.

#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "control/cluster/keys.h"
#include "control/cluster/operations.h"
#include "control/metadata/embedded_store.h"
#include "reactor/sim/world.h"

namespace basalt::cluster {
namespace {

constexpr uint32_t kNodeCount = 200;
constexpr uint32_t kDrivesOfNode = 5;
constexpr uint64_t kVolumeBytes = uint64_t{10} << 40U;
constexpr uint64_t kChunksWanted = 1'000'000;

double seconds() {
    using Clock = std::chrono::steady_clock;
    return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    uint64_t total = 0;
    uint64_t resident = 0;
    statm >> total >> resident;
    return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

Uuid uuid_of(std::string_view kind, uint32_t number) {
    return Uuid::from_name(kind, std::to_string(number));
}

/// A store in a file, and a reactor to wait on.
class Lab {
  public:
    explicit Lab(const std::string& file)
        : store_(metadata::EmbeddedStore::open(reactor_, file).value()) {}
    Lab(const Lab&) = delete;
    Lab& operator=(const Lab&) = delete;
    ~Lab() { view.stop(); }

    template <typename T>
    T wait(basalt::Task<T> task) {
        world_.run_until([&task] { return task.is_done(); }, UINT64_MAX / 2);
        return task.result();
    }
    [[nodiscard]] MetadataStore& store() { return *store_; }

  private:
    sim::World world_{1, sim::calm()};
    Reactor& reactor_{world_.add_reactor(world_.add_node())};
    std::unique_ptr<metadata::EmbeddedStore> store_;

  public:
    ClusterView view{*store_};
};

/// A node and its drives, in one transaction.
void add_node(Lab& lab, uint32_t n) {
    Node node;
    node.set_uuid(to_field(uuid_of("node", n)));
    node.set_datacenter("dc");
    node.set_rack(fmt::format("rack{}", n % 40));
    node.set_host(fmt::format("host{}", n));
    metadata::Transaction transaction;
    transaction.changes.push_back({.key = key_of(kNodes, uuid_of("node", n)),
                                   .value = node.SerializeAsString(),
                                   .lease = {}});
    for (uint32_t d = n * kDrivesOfNode; d < (n + 1) * kDrivesOfNode; ++d) {
        Drive drive;
        drive.set_uuid(to_field(uuid_of("drive", d)));
        drive.set_number(d + 1);
        drive.set_node(node.uuid());
        drive.set_backend("malloc:1T");
        drive.set_capacity_bytes((uint64_t{1} << 40U) * (1 + d % 4));
        transaction.changes.push_back({.key = key_of(kDrives, uuid_of("drive", d)),
                                       .value = drive.SerializeAsString(),
                                       .lease = {}});
    }
    static_cast<void>(lab.wait(lab.store().commit(std::move(transaction))).value());
}

int make(const std::string& file) {
    Lab lab(file);
    for (uint32_t n = 0; n < kNodeCount; ++n) {
        add_node(lab, n);
    }
    if (!lab.wait(lab.view.load())) {
        return 1;
    }
    uint64_t chunks = 0;
    for (uint32_t i = 0; chunks < kChunksWanted; ++i) {
        const VolumeWish wish{.name = fmt::format("volume{}", i),
                              .size_bytes = kVolumeBytes,
                              .placement_rule = "rack:3",
                              .stride = i % 2 == 0 ? 0U : 24U};
        const double start = seconds();
        const auto volume =
            lab.wait(create_volume(lab.store(), lab.view, wish, uuid_of("volume", i)));
        if (!volume) {
            return 1;
        }
        chunks += chunk_count(kVolumeBytes, wish.chunk_bytes);
        std::cout << fmt::format("volume of {} chunks, stride {}: {:.3f} s\n",
                                 chunk_count(kVolumeBytes, wish.chunk_bytes),
                                 wish.stride,
                                 seconds() - start);
    }
    return 0;
}

int load(const std::string& file) {
    const uint64_t before = resident_bytes();
    const double start = seconds();
    Lab lab(file);
    const double opened = seconds();
    if (!lab.wait(lab.view.load())) {
        return 1;
    }
    const double end = seconds();
    uint64_t chunks = 0;
    for (const auto& [uuid, volume] : lab.view.volumes()) {
        chunks += lab.view.chunks(uuid)->chunks();
    }
    std::cout << fmt::format(
        "{} chunks on {} drives: file {:.2f} s, view {:.2f} s; resident {:.0f} MB, {:.0f} before\n",
        chunks,
        lab.view.drives().size(),
        opened - start,
        end - opened,
        static_cast<double>(resident_bytes()) / 1e6,
        static_cast<double>(before) / 1e6);
    return 0;
}

}  // namespace
}  // namespace basalt::cluster

int main(int argc, char** argv) {
    const std::string_view what = argc == 3 ? argv[1] : "";
    if (what == "make") {
        return basalt::cluster::make(argv[2]);
    }
    if (what == "load") {
        return basalt::cluster::load(argv[2]);
    }
    std::cerr << "usage: basalt-cluster-perf make|load FILE\n";
    return 2;
}
