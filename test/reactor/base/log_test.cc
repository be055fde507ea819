#include "reactor/base/log.h"

#include <gtest/gtest.h>

#include "reactor/base/log_throttle.h"
#include "test/reactor/log_capture.h"

namespace basalt {
namespace {

TEST(Log, KeepsWhatAPeerChoseOnItsLine) {
    const LogCapture log;
    BASALT_LOG(kWarn, "nvmf", "host '{}' refused", "a\nerror nvmf: forged\x1b[2J\x7f");
    EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {"host 'a?error nvmf: forged?[2J?' refused"}), 1U)
        << log;
}

TEST(Log, CutsWhatIsTooLong) {
    const LogCapture log;
    BASALT_LOG(kInfo, "rpc", "{}end", std::string(10000, 'x'));
    EXPECT_EQ(log.count(LogLevel::kInfo, "rpc", {std::string(512, 'x')}), 1U) << log;
    EXPECT_EQ(log.count(LogLevel::kInfo, "rpc", {"end"}), 0U) << log;
}

TEST(Log, LeavesOutWhatIsBelowTheLevel) {
    const LogCapture log(LogLevel::kWarn);
    BASALT_LOG(kInfo, "rpc", "quiet");
    BASALT_LOG(kWarn, "rpc", "loud");
    EXPECT_EQ(log.count(LogLevel::kInfo, "rpc", {}), 0U) << log;
    EXPECT_EQ(log.count(LogLevel::kWarn, "rpc", {"loud"}), 1U) << log;
}

TEST(LogThrottle, AdmitsOneInAPeriodAndCountsTheOthers) {
    LogThrottle throttle(1000);
    EXPECT_TRUE(throttle.admit(0));
    EXPECT_FALSE(throttle.admit(1));
    EXPECT_FALSE(throttle.admit(999));
    EXPECT_TRUE(throttle.admit(1000));
    EXPECT_EQ(throttle.take_skipped(), 2U);
    EXPECT_EQ(throttle.take_skipped(), 0U);
    EXPECT_FALSE(throttle.admit(1999));
    EXPECT_TRUE(throttle.admit(5000));
    EXPECT_EQ(throttle.take_skipped(), 1U);
}

}  // namespace
}  // namespace basalt
