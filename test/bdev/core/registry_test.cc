#include "bdev/core/registry.h"

#include <gtest/gtest.h>

#include "test/bdev/support/fake_bdev.h"
#include "test/bdev/support/manual_world.h"

namespace basalt::bdev {
namespace {

class RegistryTest : public testing::Test {
  protected:
    Result<Device*> add(const std::string& name, uint8_t uuid_byte, Bdev* base = nullptr) {
        return registry.add(std::make_unique<FakeBdev>(name, uuid_byte, base));
    }

    ManualWorld world{1};
    BdevRegistry registry{world.cores()};
};

TEST_F(RegistryTest, KeepsDevicesInOrderAndFindsThemByNameAndUuid) {
    ASSERT_TRUE(add("b", 1));
    ASSERT_TRUE(add("a", 2));
    ASSERT_TRUE(add("c", 3));
    ASSERT_EQ(registry.devices().size(), 3U);
    EXPECT_EQ(registry.devices()[0]->info().name, "b");
    EXPECT_EQ(registry.devices()[1]->info().name, "a");
    Device* a = registry.find("a");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(registry.find(a->info().uuid.to_string()), a);
    EXPECT_EQ(registry.find("x"), nullptr);
    EXPECT_EQ(registry.find(Uuid{}.to_string()), nullptr);
    EXPECT_TRUE(registry.remove("a"));
    EXPECT_EQ(registry.devices()[1]->info().name, "c");
}

TEST_F(RegistryTest, RefusesTheSameNameOrUuidTwice) {
    ASSERT_TRUE(add("a", 1));
    EXPECT_EQ(add("a", 2).error().code, Errc::kExists);
    EXPECT_EQ(add("b", 1).error().code, Errc::kExists);
    EXPECT_TRUE(registry.remove("a"));
    EXPECT_TRUE(add("a", 1));
}

TEST_F(RegistryTest, KeepsWhatIsReserved) {
    ASSERT_TRUE(add("a", 1));
    Uuid uuid;
    uuid.bytes[0] = 2;
    EXPECT_EQ(registry.reserve("a", uuid).error().code, Errc::kExists);
    {
        const Result<Reservation> mine = registry.reserve("b", uuid);
        ASSERT_TRUE(mine);
        EXPECT_EQ(add("b", 3).error().code, Errc::kExists);
        EXPECT_EQ(add("c", 2).error().code, Errc::kExists);
        EXPECT_EQ(registry.reserve("b", Uuid{}).error().code, Errc::kExists);
        EXPECT_TRUE(registry.reserve("d", Uuid{}));  // Given back at once.
        EXPECT_TRUE(add("d", 4));
    }
    EXPECT_TRUE(add("b", 2));
}

TEST_F(RegistryTest, RefusesDevicesThatMakeNoSense) {
    EXPECT_EQ(add("", 1).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(add("a b", 1).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(add("a\n", 1).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(add(std::string(256, 'a'), 1).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(add("a", 0).error().code, Errc::kInvalidArgument) << "nil UUID";
    const auto spoilt = [this](auto change) {
        auto bdev = std::make_unique<FakeBdev>("a", 1);
        change(bdev->mutable_info());
        return registry.add(std::move(bdev)).error().code;
    };
    EXPECT_EQ(spoilt([](BdevInfo& info) { info.block_size_bytes = 520; }), Errc::kInvalidArgument);
    EXPECT_EQ(spoilt([](BdevInfo& info) { info.block_count = BlockCount(0); }),
              Errc::kInvalidArgument);
    EXPECT_EQ(spoilt([](BdevInfo& info) { info.block_count = BlockCount(UINT64_MAX / 500); }),
              Errc::kInvalidArgument);
    EXPECT_EQ(spoilt([](BdevInfo& info) { info.memory_alignment_bytes = 3; }),
              Errc::kInvalidArgument);
    EXPECT_TRUE(registry.devices().empty());
}

TEST_F(RegistryTest, ClaimKeepsOthersAwayUntilItIsGivenBack) {
    Device& device = **add("a", 1);
    {
        Result<Claim> first = registry.claim(device, "namespace 1");
        ASSERT_TRUE(first);
        EXPECT_EQ(device.user(), "namespace 1");
        EXPECT_EQ(registry.claim(device, "namespace 2").error().code, Errc::kBusy);
        EXPECT_EQ(registry.remove("a").error().code, Errc::kBusy);
        Claim moved = std::move(first).value();
        EXPECT_TRUE(moved.is_held());
        EXPECT_EQ(device.user(), "namespace 1");
    }
    EXPECT_EQ(device.user(), "");
    EXPECT_TRUE(registry.remove("a"));
    EXPECT_EQ(registry.remove("a").error().code, Errc::kNotFound);
}

TEST_F(RegistryTest, LayerClaimsItsBaseForItsLife) {
    Device* base = *add("base", 1);
    ASSERT_TRUE(add("layer", 2, base));
    EXPECT_EQ(base->user(), "device layer");
    EXPECT_EQ(add("other", 3, base).error().code, Errc::kBusy);
    EXPECT_EQ(registry.remove("base").error().code, Errc::kBusy);
    EXPECT_TRUE(registry.remove("layer"));
    EXPECT_EQ(base->user(), "");
    FakeBdev stranger("stranger", 9);
    EXPECT_EQ(add("other", 3, &stranger).error().code, Errc::kNotFound);
    EXPECT_TRUE(add("other", 3, base)) << "and the registry destroys both in the right order";
}

TEST_F(RegistryTest, OpenChannelKeepsTheDevice) {
    Device& device = **add("a", 1);
    auto channel = std::move(device.open(world.core(0))).value();
    EXPECT_EQ(registry.remove("a").error().code, Errc::kBusy);
    channel.reset();
    EXPECT_TRUE(registry.remove("a"));
}

}  // namespace
}  // namespace basalt::bdev
