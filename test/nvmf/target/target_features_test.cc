// Get and Set Features, as a conformance suite asks them.

#include <gtest/gtest.h>

#include "test/nvmf/target/admin_host.h"

namespace basalt::nvmf {
namespace {

using Select = AdminHost::Select;

class TargetFeatures : public testing::Test {
  protected:
    TargetWorld world{4};
    AdminHost admin{world};
};

TEST_F(TargetFeatures, TellsCurrentDefaultAndSavedValues) {
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ARBITRATION, 0x01020304).ok());
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ARBITRATION).dw0.get(), 0x01020304U);
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ARBITRATION, Select::kDefault).dw0.get(), 0U);
    // Nothing can be saved: the saved value is the default.
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ARBITRATION, Select::kSaved).dw0.get(), 0U);
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ARBITRATION, Select::kCapabilities).dw0.get(), 4U)
        << "changeable, not saveable";
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_HOST_ID, Select::kCapabilities).dw0.get(), 0U);
    const auto id = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_NE(id.oncs & NVME_CTRL_ONCS_SAVE_FEATURES, 0);
}

TEST_F(TargetFeatures, RefusesToSaveAndWhatThereIsNot) {
    Sqe save = make_set_features(CommandId(20), NVME_FEAT_FID_ARBITRATION, 0);
    save.cdw10.set(NVME_FEAT_FID_ARBITRATION | (1U << 31U));
    EXPECT_TRUE(admin.command(save).status().is(status::kFeatureNotSaveable));
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_TIMESTAMP, 0).is(status::kInvalidField));
    EXPECT_TRUE(admin.get_feature(NVME_FEAT_FID_TIMESTAMP).status().is(status::kInvalidField));
    EXPECT_TRUE(admin.get_feature(NVME_FEAT_FID_ARBITRATION, static_cast<Select>(5))
                    .status()
                    .is(status::kInvalidField));
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_HOST_ID, 1).is(status::kDataSglLengthInvalid));
}

TEST_F(TargetFeatures, AreNotPerNamespaceUnlessTheySaySo) {
    Sqe set = make_set_features(CommandId(20), NVME_FEAT_FID_ARBITRATION, 1);
    set.namespace_id.set(1);
    EXPECT_TRUE(admin.command(set).status().is(status::kFeatureNotPerNamespace));
    set.namespace_id.set(kNsidAll.raw());
    EXPECT_TRUE(admin.command(set).status().ok());
}

TEST_F(TargetFeatures, KeepsBothTemperatureThresholds) {
    constexpr uint8_t kFid = NVME_FEAT_FID_TEMP_THRESH;
    constexpr uint32_t kUnder = 1U << 20U;
    EXPECT_EQ(admin.get_feature(kFid).dw0.get(), 0x157U);
    EXPECT_TRUE(admin.set_feature(kFid, 400).ok());
    EXPECT_TRUE(admin.set_feature(kFid, kUnder | 200U).ok());
    EXPECT_EQ(admin.get_feature(kFid).dw0.get(), 400U);
    EXPECT_EQ(admin.get_feature(kFid, Select::kCurrent, kUnder).dw0.get(), 200U);
    constexpr uint32_t kSensor1 = 1U << 16U;
    EXPECT_TRUE(admin.set_feature(kFid, kSensor1 | 300U).is(status::kInvalidField));
    EXPECT_TRUE(
        admin.get_feature(kFid, Select::kCurrent, kSensor1).status().is(status::kInvalidField));
    EXPECT_TRUE(admin.set_feature(kFid, (3U << 20U) | 300U).is(status::kInvalidField));
}

TEST_F(TargetFeatures, TakesNoMoreThanItCanDo) {
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_POWER_MGMT, 1).is(status::kInvalidField));
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_POWER_MGMT, 0).ok());
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ERR_RECOVERY, 1U << 16U).is(status::kInvalidField))
        << "no namespace reports errors of deallocated blocks";
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ERR_RECOVERY, 50).ok());
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ERR_RECOVERY).dw0.get(), 50U);
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_WRITE_ATOMIC, 1).ok());
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_WRITE_ATOMIC).dw0.get(), 1U);
}

TEST_F(TargetFeatures, KeepsTheKeepAliveOn) {
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_KATO, 0).is(status::kKeepAliveInvalid));
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_KATO, 10'050).ok());
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_KATO).dw0.get(), 10'100U) << "by steps of KAS";
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_KATO, 0).is(status::kKeepAliveInvalid));
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_KATO).dw0.get(), 10'100U);
}

TEST_F(TargetFeatures, GivesTheHostItsIdentifierInTheLongFormAlone) {
    Bytes id;
    EXPECT_TRUE(
        admin.get_feature(NVME_FEAT_FID_HOST_ID, Select::kCurrent, 1, 16, &id).status().ok());
    EXPECT_EQ(id[0], std::byte{7});
    EXPECT_TRUE(admin.get_feature(NVME_FEAT_FID_HOST_ID, Select::kCurrent, 0, 16)
                    .status()
                    .is(status::kInvalidField));
}

TEST_F(TargetFeatures, AreFewOnADiscoveryController) {
    AdminHost discovery(world, kDiscoveryNqn);
    EXPECT_TRUE(discovery.get_feature(NVME_FEAT_FID_KATO).status().ok());
    EXPECT_TRUE(discovery.get_feature(NVME_FEAT_FID_ASYNC_EVENT).status().ok());
    EXPECT_TRUE(discovery.get_feature(NVME_FEAT_FID_NUM_QUEUES).status().is(status::kInvalidField));
}

TEST_F(TargetFeatures, RefusesReservedValuesOfHostBehavior) {
    for (size_t field = 0; field < 4; ++field) {
        Bytes behavior(512);
        behavior[field] = std::byte{1};
        EXPECT_TRUE(admin.set_feature_data(NVME_FEAT_FID_HOST_BEHAVIOR, behavior).ok()) << field;
        behavior[field] = std::byte{2};
        EXPECT_TRUE(
            admin.set_feature_data(NVME_FEAT_FID_HOST_BEHAVIOR, behavior).is(status::kInvalidField))
            << field;
    }
}

TEST_F(TargetFeatures, CoalescesNoInterruptsAsThereAreNone) {
    constexpr uint32_t kCoalescingDisabled = 1U << 16U;
    const auto effects =
        admin.log<nvme_fid_supported_effects_log>(NVME_LOG_LID_FID_SUPPORTED_EFFECTS);
    for (const uint8_t fid : {NVME_FEAT_FID_IRQ_COALESCE, NVME_FEAT_FID_IRQ_CONFIG}) {
        EXPECT_TRUE(admin.get_feature(fid).status().ok());
        EXPECT_TRUE(admin.set_feature(fid, 0).is(status::kFeatureNotChangeable));
        EXPECT_EQ(admin.get_feature(fid, Select::kCapabilities).dw0.get(), 0U);
        EXPECT_EQ(effects.fid_support[fid],
                  NVME_FID_SUPPORTED_EFFECTS_FSUPP | NVME_FID_SUPPORTED_EFFECTS_SCOPE_CTRL
                                                         << NVME_FID_SUPPORTED_EFFECTS_SCOPE_SHIFT);
    }
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_IRQ_COALESCE).dw0.get(), 0U);
    ASSERT_TRUE(admin.set_feature(NVME_FEAT_FID_NUM_QUEUES, 0x00030003).ok());
    const auto vector = [&](uint32_t number) {
        return admin.get_feature(NVME_FEAT_FID_IRQ_CONFIG, Select::kCurrent, number);
    };
    EXPECT_EQ(vector(0).dw0.get(), kCoalescingDisabled);
    EXPECT_EQ(vector(4).dw0.get(), kCoalescingDisabled | 4U);
    EXPECT_TRUE(vector(5).status().is(status::kInvalidField)) << "4 I/O queues and the admin queue";
}

}  // namespace
}  // namespace basalt::nvmf
