#include "bdev/qos/scheduler.h"

#include <array>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt::qos {
namespace {

constexpr uint64_t kStartNs = 7 * kNsPerSecond;

/// Members that want as much as they can get, and what each of them got, in virtual time.
class Contention {
  public:
    struct Player {
        std::vector<std::unique_ptr<Claim>> claims;
        Member member;
        uint64_t got = 0;
        uint64_t longest_wait_ns = 0;
        uint64_t last_ns = kStartNs;
        bool is_hungry = true;
        int64_t piece = 1;
        int64_t bytes = 0;
    };

    explicit Contention(uint64_t capacity_ios) {
        Policy capacity;
        capacity.rw_ios.rate = capacity_ios;
        scheduler.set_capacity(capacity, kStartNs);
    }

    Player& add(const Policy& policy, uint32_t claims = 1, int64_t piece = 1) {
        players.push_back(std::make_unique<Player>());
        Player& player = *players.back();
        player.piece = piece;
        Scheduler::set_policy(player.member, policy, now);
        for (uint32_t i = 0; i < claims; ++i) {
            player.claims.push_back(std::make_unique<Claim>(player.member));
        }
        return player;
    }

    /// Lets all who are hungry claim again and again for so long.
    void run(uint64_t duration_ns) {
        const uint64_t end = now + duration_ns;
        for (const auto& player : players) {
            player->last_ns = now;
            for (const auto& claim : player->claims) {
                ask(*player, *claim);
            }
        }
        while (now < end) {
            while (Claim* claim = scheduler.next(now)) {
                Player& player = owner_of(*claim);
                player.got += static_cast<uint64_t>(claim->ask.ios);
                player.longest_wait_ns = std::max(player.longest_wait_ns, now - player.last_ns);
                player.last_ns = now;
                ask(player, *claim);
            }
            ASSERT_NE(scheduler.wakeup_ns(), UINT64_MAX);
            ASSERT_GT(scheduler.wakeup_ns(), now);
            now = scheduler.wakeup_ns();
        }
    }

    void clear() {
        for (const auto& player : players) {
            player->got = 0;
            player->longest_wait_ns = 0;
        }
    }

    std::vector<std::unique_ptr<Player>> players;
    Scheduler scheduler;
    uint64_t now = kStartNs;

  private:
    void ask(Player& player, Claim& claim) {
        if (player.is_hungry && !claim.link.is_linked()) {
            claim.ask = {.ios = player.piece, .read_bytes = player.bytes};
            scheduler.submit(claim);
        }
    }
    Player& owner_of(const Claim& claim) {
        for (const auto& player : players) {
            if (&player->member == &claim.member) {
                return *player;
            }
        }
        ADD_FAILURE();
        return *players.front();
    }
};

void expect_near(uint64_t got, double wanted, double tolerance = 0.02) {
    EXPECT_NEAR(static_cast<double>(got), wanted, wanted * tolerance);
}

TEST(Scheduler, DividesByWeight) {
    Contention world(10'000);
    auto& light = world.add({.weight = 100});
    auto& heavy = world.add({.weight = 300}, 1, 7);
    world.run(kNsPerSecond);
    expect_near(light.got, 2500);
    expect_near(heavy.got, 7500);
}

TEST(Scheduler, ManyCoresOfAMemberGetNoMoreThanOne) {
    Contention world(10'000);
    auto& on_one = world.add({}, 1);
    auto& on_many = world.add({}, 16);
    world.run(kNsPerSecond);
    expect_near(on_one.got, 5000);
    expect_near(on_many.got, 5000);
}

TEST(Scheduler, AMinimumIsHonouredAndTheRestIsShared) {
    Contention world(1000);
    auto& reserved = world.add({.min_ios = 500});
    auto& second = world.add({});
    auto& third = world.add({.weight = 300});
    world.run(10 * kNsPerSecond);
    expect_near(reserved.got, 5000);
    expect_near(second.got, 1250);
    expect_near(third.got, 3750);
}

TEST(Scheduler, AMinimumBelowTheShareAddsNothing) {
    Contention world(1000);
    auto& reserved = world.add({.min_ios = 100});
    auto& other = world.add({});
    world.run(10 * kNsPerSecond);
    expect_near(reserved.got, 5000);
    expect_near(other.got, 5000);
}

TEST(Scheduler, ManyWithoutMinimumsDontStarveNorTakeFromOneThatHasSome) {
    Contention world(10'000);
    auto& reserved = world.add({.min_ios = 6000, .weight = 1});
    for (int i = 0; i < 100; ++i) {
        world.add({}, 4);
    }
    world.run(10 * kNsPerSecond);
    expect_near(reserved.got, 60'000);
    for (uint32_t i = 1; i <= 100; ++i) {
        expect_near(world.players[i]->got, 400, 0.05);
        EXPECT_LT(world.players[i]->longest_wait_ns, 100 * kNsPerMs);
    }
}

TEST(Scheduler, MinimumsMayAddUpToTheWholeCapacity) {
    Contention world(1000);
    auto& first = world.add({.min_ios = 700});
    auto& second = world.add({.min_ios = 300});
    auto& third = world.add({});
    world.run(10 * kNsPerSecond);
    expect_near(first.got, 7000, 0.03);
    expect_near(second.got, 3000, 0.03);
    EXPECT_LE(third.got, 100U);
}

TEST(Scheduler, WhatOneDoesNotWantTheOthersGet) {
    Contention world(1000);
    auto& reserved = world.add({.min_ios = 800});
    auto& other = world.add({});
    reserved.is_hungry = false;
    world.run(5 * kNsPerSecond);
    expect_near(other.got, 5000);
    // And when it comes back, it has its minimum at once and nothing saved up.
    world.clear();
    reserved.is_hungry = true;
    world.run(kNsPerSecond);
    expect_near(reserved.got, 800, 0.03);
    expect_near(other.got, 200, 0.1);
}

TEST(Scheduler, WhoHasBeenIdleHasNoAdvantage) {
    Contention world(1000);
    auto& sleeper = world.add({});
    auto& worker = world.add({});
    sleeper.is_hungry = false;
    world.run(60 * kNsPerSecond);
    world.clear();
    sleeper.is_hungry = true;
    world.run(2 * kNsPerSecond);
    expect_near(sleeper.got, 1000, 0.03);
    expect_near(worker.got, 1000, 0.03);
}

TEST(Scheduler, WhoLosesItsMinimumIsNotPunishedForIt) {
    Contention world(1000);
    auto& reserved = world.add({.min_ios = 900});
    auto& other = world.add({});
    world.run(60 * kNsPerSecond);
    Scheduler::set_policy(reserved.member, {}, world.now);
    world.clear();
    world.run(2 * kNsPerSecond);
    expect_near(reserved.got, 1000, 0.15);
    expect_near(other.got, 1000, 0.15);
}

TEST(Scheduler, NobodyExceedsItsOwnLimit) {
    Contention world(1000);
    Policy limited;
    limited.rw_ios.rate = 100;
    auto& small = world.add(limited, 3);
    auto& other = world.add({});
    world.run(10 * kNsPerSecond);
    expect_near(small.got, 1000);
    expect_near(other.got, 9000);
    // A new limit is kept from then on.
    limited.rw_ios.rate = 300;
    Scheduler::set_policy(small.member, limited, world.now);
    world.clear();
    world.run(10 * kNsPerSecond);
    expect_near(small.got, 3000);
    expect_near(other.got, 7000);
}

TEST(Scheduler, LargeClaimsAreNotOvertakenForEver) {
    Contention world(1000);
    auto& large = world.add({}, 1, 50);  // More than the bucket holds at once.
    auto& small = world.add({}, 8, 1);
    world.run(10 * kNsPerSecond);
    expect_near(large.got, 5000, 0.03);
    expect_near(small.got, 5000, 0.03);
}

TEST(Scheduler, TokensThatComeBackCanBeHadAgain) {
    Contention world(1000);
    auto& first = world.add({});
    Claim claim(first.member);
    for (int i = 0; i < 1000; ++i) {
        claim.ask = {.ios = 10};
        world.scheduler.submit(claim);
        ASSERT_EQ(world.scheduler.next(kStartNs), &claim);
        world.scheduler.give_back(first.member, claim.ask);
    }
}

TEST(Scheduler, AMemberThatLeavesTakesItsClaimsAlong) {
    Contention world(10);
    auto& leaving = world.add({}, 3, 100);
    for (const auto& claim : leaving.claims) {
        claim->ask = {.ios = 100};
        world.scheduler.submit(*claim);
    }
    EXPECT_EQ(world.scheduler.next(kStartNs), leaving.claims[0].get());
    EXPECT_EQ(world.scheduler.next(kStartNs), nullptr);
    EXPECT_EQ(Scheduler::withdraw(leaving.member), leaving.claims[1].get());
    EXPECT_EQ(Scheduler::withdraw(leaving.member), leaving.claims[2].get());
    EXPECT_EQ(Scheduler::withdraw(leaving.member), nullptr);
    EXPECT_TRUE(leaving.member.is_leaving());
    EXPECT_EQ(world.scheduler.next(kStartNs), nullptr);
    EXPECT_EQ(world.scheduler.wakeup_ns(), UINT64_MAX);
}

// max(minimum, weight x level) for the level at which all of it is the capacity.
TEST(Scheduler, RandomMembersGetTheLargerOfMinimumAndShare) {
    Random random(42);
    for (int round = 0; round < 20; ++round) {
        Contention world(10'000);
        const uint64_t count = 2 + random.below(6);
        std::vector<double> minimums;
        std::vector<double> weights;
        for (uint64_t i = 0; i < count; ++i) {
            Policy policy;
            policy.min_ios = random.below(2) == 0 ? 0 : random.below(10'000 / count);
            policy.weight = static_cast<uint32_t>(50 + random.below(450));
            minimums.push_back(static_cast<double>(policy.min_ios));
            weights.push_back(policy.weight);
            world.add(policy, static_cast<uint32_t>(1 + random.below(4)), 5);
        }
        world.run(20 * kNsPerSecond);
        double low = 0;
        double high = 10'000;
        const auto total = [&](double level) {
            double sum = 0;
            for (size_t i = 0; i < count; ++i) {
                sum += std::max(minimums[i], weights[i] * level);
            }
            return sum;
        };
        for (int i = 0; i < 100; ++i) {
            const double level = (low + high) / 2;
            (total(level) < 10'000 ? low : high) = level;
        }
        for (size_t i = 0; i < count; ++i) {
            const double wanted = 20 * std::max(minimums[i], weights[i] * low);
            EXPECT_NEAR(static_cast<double>(world.players[i]->got), wanted, wanted * 0.03 + 20)
                << "round " << round << ", member " << i;
        }
    }
}

}  // namespace
}  // namespace basalt::qos
