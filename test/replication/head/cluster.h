#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"
#include "replication/head/head.h"
#include "replication/head/local_link.h"
#include "replication/head/static_authority.h"
#include "test/replication/head/host_io.h"
#include "test/replication/head/memory_replica.h"
#include "test/replication/head/slow_authority.h"

namespace basalt::replication::test {

struct ClusterOptions {
    uint64_t seed = 1;
    Settings settings{};
    HeadMemoryOptions memory{.writes = {64, 64}, .reads = {64, 64}};
    uint64_t delay_max_ns = 100 * kNsPerUs;  ///< Of each way, of each store.
    uint64_t lease_us = 1'000'000;
    Mistakes mistakes{};
};

/// Replicas in memory, an authority with a file, and two heads, of which none is started yet: all
/// in one simulated machine with a core for the dataplane and one for control.
class Cluster : public ReplicaDirectory {
  public:
    struct Seat {
        std::unique_ptr<HeadMemory> memory;
        std::unique_ptr<SlowAuthority> authority;
        std::vector<LocalLink*> links;
        std::unique_ptr<Head> head;
        bool is_started = false;
    };

    explicit Cluster(const ClusterOptions& how) : options(how), world(how.seed) {
        node = world.add_node();
        here = &world.add_reactor(node);
        control = &world.add_reactor(node);
        for (uint32_t i = 0; i < settings().replicas; ++i) {
            disks.push_back(std::make_unique<ReplicaDisk>(settings()));
            replicas.emplace_back();
            restart(i);
        }
        const StaticAuthorityOptions map{.volume = kVolume,
                                         .replicas = settings().replicas,
                                         .lease_us = options.lease_us,
                                         .path = "/map"};
        auto opening = StaticAuthority::open(*control, world.file_system(node), map);
        EXPECT_TRUE(world.run_until([&] { return opening.is_done(); }, kNsPerSecond));
        map_authority = std::move(opening.result()).value();
        for (Seat& seat : seats) {
            make_head(seat);
        }
    }
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;
    ~Cluster() override {
        for (Seat& seat : seats) {
            if (seat.is_started) {
                seat.head->stop();
            }
        }
        auto closing = map_authority->close();
        EXPECT_TRUE(world.run_until([&] { return closing.is_done(); }, kNsPerSecond));
        for (uint32_t i = 0; i < settings().replicas; ++i) {
            crash(i);
        }
        for (Seat& seat : seats) {
            seat.head.reset();
        }
    }

    void start(uint32_t seat, Claim claim = Claim::kIfFree) {
        seats[seat].is_started = true;
        seats[seat].head->start(claim);
    }
    [[nodiscard]] Head& head(uint32_t seat = 0) { return *seats[seat].head; }
    [[nodiscard]] const Settings& settings() const { return options.settings; }

    [[nodiscard]] bool open(uint32_t seat = 0) {
        return world.run_until(
            [&] { return head(seat).statistics().state == HeadCore::State::kOpen; },
            10 * kNsPerSecond);
    }
    /// One request, from submission to completion.
    [[nodiscard]] Status run(HostIo& io, uint32_t seat = 0) {
        io.submit(head(seat));
        EXPECT_TRUE(world.run_until([&] { return io.is_done; }, 30 * kNsPerSecond));
        return io.request.status;
    }
    [[nodiscard]] Status write(uint64_t first, uint64_t count, uint64_t value, uint32_t seat = 0) {
        HostIo io;
        io.prepare(HeadOp::kWrite, first, count, value);
        return run(io, seat);
    }
    /// The value that all these blocks have; ~0: not the same; ~1: an error.
    [[nodiscard]] uint64_t read(uint64_t first, uint64_t count = 1, uint32_t seat = 0) {
        HostIo io;
        io.prepare(HeadOp::kRead, first, count, 0xeeeeeeee);
        if (!run(io, seat)) {
            return ~uint64_t{1};
        }
        for (uint64_t i = 1; i < count; ++i) {
            if (io.value_of(i) != io.value_of(0)) {
                return ~uint64_t{0};
            }
        }
        return io.value_of(0);
    }

    [[nodiscard]] ReplicaPort* find(const bdev::Uuid& drive, uint64_t) override {
        return replicas[drive.bytes[0] - 1U].get();
    }
    [[nodiscard]] bool has_drive(const bdev::Uuid&) override { return true; }

    void crash(uint32_t replica) {
        if (replicas[replica] != nullptr) {
            replicas[replica]->die();
            graves_.push_back(std::move(replicas[replica]));
        }
    }
    void restart(uint32_t replica) {
        if (replicas[replica] == nullptr) {
            replicas[replica] = std::make_unique<MemoryReplica>(
                *here, settings(), *disks[replica], options.delay_max_ns);
        }
    }
    [[nodiscard]] bool are_disks_alike() const {
        for (const auto& disk : disks) {
            if (disk->bytes != disks[0]->bytes) {
                return false;
            }
        }
        return true;
    }
    /// All replicas are live at that head, and nothing is under way.
    [[nodiscard]] bool has_settled(uint32_t seat = 0) {
        return world.run_until(
            [&] {
                const HeadStatistics now = head(seat).statistics();
                return now.state == HeadCore::State::kOpen && head(seat).is_at_rest() &&
                       now.live == ReplicaSet::all(settings().replicas);
            },
            60 * kNsPerSecond);
    }

    static constexpr bdev::Uuid kVolume{{7, 7}};
    const ClusterOptions options;
    sim::World world;
    sim::NodeId node{};
    Reactor* here = nullptr;
    Reactor* control = nullptr;
    std::vector<std::unique_ptr<ReplicaDisk>> disks;
    std::vector<std::unique_ptr<MemoryReplica>> replicas;
    std::unique_ptr<StaticAuthority> map_authority;

    std::array<Seat, 2> seats;

  private:
    void make_head(Seat& seat) {
        seat.memory = std::move(HeadMemory::make(options.memory)).value();
        seat.authority = std::make_unique<SlowAuthority>(
            *here, map_authority->add_port(*here), options.delay_max_ns);
        Head::Links links;
        for (uint32_t i = 0; i < settings().replicas; ++i) {
            const bdev::Uuid drive{{static_cast<uint8_t>(i + 1)}};
            auto link = std::make_unique<LocalLink>(*here, *this, drive, 1);
            seat.links.push_back(link.get());
            links.push_back(std::move(link));
        }
        seat.head = std::make_unique<Head>(
            *here, settings(), *seat.memory, *seat.authority, std::move(links), options.mistakes);
    }

    // Heads may hold what they were sent.
    std::vector<std::unique_ptr<MemoryReplica>> graves_;
};

}  // namespace basalt::replication::test
