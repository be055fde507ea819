// The log pages about errors and health: what hosts did on whatever core is in them.

#include <gtest/gtest.h>

#include "test/nvmf/target/admin_host.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

using ErrorPage = std::array<nvme_error_log_page, kErrorLogEntries>;

uint64_t counter(const uint8_t (&field)[16]) {
    uint64_t value = 0;
    std::memcpy(&value, field, sizeof(value));
    return value;
}

/// A device whose medium fails every request, or whatever else a test wants.
class BrokenBdev final : public bdev::Bdev {
  public:
    BrokenBdev() {
        info_.name = "Broken0";
        info_.uuid.bytes[0] = 1;
        info_.block_size_bytes = TargetWorld::kBlockBytes;
        info_.block_count = BlockCount(TargetWorld::kBlocks);
        info_.supports.fill(true);
    }
    const bdev::BdevInfo& info() const override { return info_; }
    Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override {
        return std::unique_ptr<bdev::BdevChannel>(std::make_unique<Channel>(*this, here));
    }

    Status answer = Errc::kMediaError;

  private:
    class Channel final : public bdev::BdevChannel {
      public:
        Channel(const BrokenBdev& owner, Reactor& here) : owner_(owner), here_(here) {}
        void submit(bdev::IoRequest& request) override {
            request.push_completion(
                [](bdev::IoRequest& done, void* self) {
                    done.complete(static_cast<Channel*>(self)->owner_.answer);
                },
                this);
            request.leaf_event.set_run(
                [](Event& event, Reactor&) { bdev::LeafEvent::request_of(event).complete(kOk); });
            here_.defer(request.leaf_event);
        }

      private:
        const BrokenBdev& owner_;
        Reactor& here_;
    };

    bdev::BdevInfo info_;
};

class TargetLog : public testing::Test {
  protected:
    TargetLog() {
        for (uint16_t qid = 1; qid <= kQueues; ++qid) {
            auto io = std::make_unique<ScriptedHost>(world);
            BASALT_ASSERT(io->handshake());
            BASALT_ASSERT(io->connect(QueueId(qid), admin.cntlid).status().ok());
            queues.push_back(std::move(io));
        }
    }

    static Sqe transfer(uint8_t opcode, uint16_t cid, uint64_t first, uint64_t count, Nsid nsid) {
        Sqe sqe = make_command(opcode, CommandId(cid), nsid);
        set_range(sqe, Lba(first), BlockCount(count));
        set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
        return sqe;
    }
    Cqe read(ScriptedHost& io, uint64_t first, uint64_t count, Nsid nsid = Nsid(1)) {
        return io.command(transfer(nvme_cmd_read, 7, first, count, nsid));
    }
    static Cqe write(ScriptedHost& io, uint8_t opcode, uint64_t first, Nsid nsid = Nsid(1)) {
        const Bytes data(4096, std::byte{5});
        Sqe sqe = transfer(opcode, 8, first, 8, nsid);
        set_in_capsule_data(sqe, 4096);
        return io.command(sqe, data);
    }
    nvme_smart_log health(Nsid nsid = kNsidAll) {
        return admin.log<nvme_smart_log>(NVME_LOG_LID_SMART, nsid);
    }
    ErrorPage errors() { return admin.log<ErrorPage>(NVME_LOG_LID_ERROR); }

    static constexpr uint16_t kQueues = 2;  // On as many reactors.

    TargetWorld world{6};
    AdminHost admin{world};
    std::vector<std::unique_ptr<ScriptedHost>> queues;
};

TEST_F(TargetLog, TellsFailuresOfEveryQueueTheLastFirst) {
    EXPECT_EQ(errors()[0].error_count, 0U);
    const Cqe unknown = admin.command(make_command(0xc5, CommandId(33), Nsid(0)));
    EXPECT_TRUE(unknown.status().is(status::kInvalidOpcode));
    EXPECT_TRUE(unknown.status().more);
    for (const auto& io : queues) {
        const Cqe beyond = read(*io, TargetWorld::kBlocks, 1);
        EXPECT_TRUE(beyond.status().is(status::kLbaOutOfRange));
        EXPECT_TRUE(beyond.status().more) << "there is more in the log";
    }
    const ErrorPage page = errors();
    EXPECT_EQ(page[0].error_count, 3U);
    EXPECT_EQ(page[0].sqid, 2U);
    EXPECT_EQ(page[0].cmdid, 7U);
    EXPECT_EQ(page[0].lba, TargetWorld::kBlocks);
    EXPECT_EQ(page[0].nsid, 1U);
    EXPECT_EQ(page[1].sqid, 1U);
    EXPECT_EQ(page[2].sqid, 0U);
    EXPECT_EQ(page[2].cmdid, 33U);
    EXPECT_EQ(page[3].error_count, 0U);
    EXPECT_EQ(counter(health().num_err_log_entries), 3U);
    const auto id = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(id.elpe + 1U, kErrorLogEntries);
}

TEST_F(TargetLog, CountsAllFailuresOfAHostThatErrsAllTheTime) {
    constexpr uint32_t kFailures = 200;
    ScriptedHost& io = *queues[1];
    Bytes burst;
    for (uint32_t i = 0; i < kFailures / 20; ++i) {
        burst.clear();
        for (uint16_t cid = 0; cid < 20; ++cid) {
            const Bytes one = io.capsule(transfer(nvme_cmd_read, cid, 0, 1, Nsid(9)));
            burst.insert(burst.end(), one.begin(), one.end());
        }
        io.send(burst);
        for (uint32_t answered = 0; answered < 20; ++answered) {
            EXPECT_TRUE(io.completion().status().is(status::kInvalidNamespace));
        }
    }
    EXPECT_EQ(counter(health().num_err_log_entries), kFailures);
}

TEST_F(TargetLog, DoesNotTakeAnAnswerForAFailure) {
    EXPECT_TRUE(write(*queues[0], nvme_cmd_write, 0).status().ok());
    const Bytes other(4096, std::byte{6});
    Sqe compare = transfer(nvme_cmd_compare, 9, 0, 8, Nsid(1));
    set_in_capsule_data(compare, 4096);
    const Cqe differs = queues[0]->command(compare, other);
    EXPECT_TRUE(differs.status().is(status::kCompareFailure));
    EXPECT_FALSE(differs.status().more);
    EXPECT_EQ(errors()[0].error_count, 0U);
}

TEST_F(TargetLog, SumsUpWhatWasReadAndWrittenOnAllCores) {
    for (const auto& io : queues) {
        for (uint64_t i = 0; i < 150; ++i) {
            EXPECT_TRUE(write(*io, nvme_cmd_write, i * 8).status().ok());
        }
        EXPECT_TRUE(read(*io, 0, 8).status().ok());
        EXPECT_TRUE(write(*io, nvme_cmd_compare, 0).status().ok());
    }
    EXPECT_FALSE(read(*queues[0], TargetWorld::kBlocks, 1).status().ok());
    const nvme_smart_log all = health();
    EXPECT_EQ(counter(all.host_writes), 300U);
    EXPECT_EQ(counter(all.host_reads), 4U) << "a comparison reads; a failure does not count";
    EXPECT_EQ(counter(all.data_units_written), 3U) << "300 x 4096 are 2.4 units of 512,000 bytes";
    EXPECT_EQ(counter(all.data_units_read), 1U);
    EXPECT_EQ(all.critical_warning, 0);
    EXPECT_EQ(counter(all.media_errors), 0U);
    EXPECT_EQ(counter(health(Nsid(1)).host_writes), 300U);
    EXPECT_EQ(counter(health(Nsid(2)).host_writes), 0U);
    const auto id = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_NE(id.lpa & NVME_CTRL_LPA_SMART_PER_NS, 0);
    Sqe absent = make_get_log_page(CommandId(2), NVME_LOG_LID_SMART, 0, 512);
    absent.namespace_id.set(3);
    EXPECT_TRUE(admin.command(absent).status().is(status::kInvalidNamespace));
}

TEST_F(TargetLog, KeepsTheCountersOfANamespaceThatLeaves) {
    EXPECT_TRUE(write(*queues[0], nvme_cmd_write, 0).status().ok());
    EXPECT_TRUE(write(*queues[1], nvme_cmd_write, 0).status().ok());
    world.expect_ok(world.target->remove_namespace(std::string(TargetWorld::kNqn), Nsid(1)));
    EXPECT_EQ(counter(health().host_writes), 2U);
}

TEST_F(TargetLog, CountsHoursSinceTheTargetBegan) {
    EXPECT_EQ(counter(health().power_on_hours), 0U);
    admin.set_feature(NVME_FEAT_FID_KATO, 0);
    world.world.run_for(uint64_t{2} * 3600 * kNsPerSecond);
    EXPECT_EQ(counter(health().power_on_hours), 2U);
    EXPECT_EQ(counter(health().power_cycles), 1U);
}

TEST_F(TargetLog, CountsBusyMinutesUnderALoadThatNeverPauses) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    queues[0]->send(queues[0]->capsule(transfer(nvme_cmd_read, 7, 0, 8, stuck.nsid)));
    world.world.run_for(uint64_t{180} * kNsPerSecond);
    EXPECT_EQ(counter(health(stuck.nsid).ctrl_busy_time), 3U);
    stuck.release();
    EXPECT_TRUE(queues[0]->completion().status().ok());
    world.world.run_for(uint64_t{180} * kNsPerSecond);
    EXPECT_EQ(counter(health(stuck.nsid).ctrl_busy_time), 3U);
}

TEST_F(TargetLog, CountsEachHalfOfAPairOnce) {
    const Bytes zeroes(4096);
    Sqe compare = transfer(nvme_cmd_compare, 20, 0, 8, Nsid(1));
    compare.flags = static_cast<uint8_t>(compare.flags | static_cast<uint8_t>(Fuse::kFirst));
    set_in_capsule_data(compare, 4096);
    Sqe swap = transfer(nvme_cmd_write, 21, 0, 8, Nsid(1));
    swap.flags = static_cast<uint8_t>(swap.flags | static_cast<uint8_t>(Fuse::kSecond));
    set_in_capsule_data(swap, 4096);
    queues[0]->send(queues[0]->capsule(compare, zeroes));
    queues[0]->send(queues[0]->capsule(swap, zeroes));
    EXPECT_TRUE(queues[0]->completion().status().ok());
    EXPECT_TRUE(queues[0]->completion().status().ok());
    EXPECT_EQ(counter(health().host_reads), 1U);
    EXPECT_EQ(counter(health().host_writes), 1U);
}

TEST_F(TargetLog, CountsWhatTheMediumFailed) {
    auto broken = world.registry->add(std::make_unique<BrokenBdev>());
    BASALT_ASSERT(broken.has_value());
    const Nsid bad = world.add_namespace("Broken0");
    EXPECT_TRUE(read(*queues[0], 0, 8, bad).status().is(status::kUnrecoveredReadError));
    EXPECT_EQ(counter(health(bad).media_errors), 1U);
    EXPECT_EQ(counter(health().media_errors), 1U);
    EXPECT_EQ(health(bad).critical_warning, NVME_SMART_CRIT_DEGRADED);
    EXPECT_EQ(health(Nsid(1)).critical_warning, 0);
    EXPECT_TRUE(read(*queues[0], 0, 8).status().ok());
    EXPECT_EQ(health().critical_warning, NVME_SMART_CRIT_DEGRADED) << "what is lost stays lost";
    world.expect_ok(world.target->remove_namespace(std::string(TargetWorld::kNqn), bad));
    EXPECT_EQ(health().critical_warning, 0);
    EXPECT_EQ(counter(health().media_errors), 1U);
}

TEST_F(TargetLog, CountsACopyAsReadAndWriteAndAVerifyAsNeither) {
    Sqe verify = transfer(nvme_cmd_verify, 9, 0, 2000, Nsid(1));
    set_transport_data(verify, 0);
    EXPECT_TRUE(queues[0]->command(verify).status().ok());
    EXPECT_EQ(counter(health().host_reads), 0U) << "no host has read anything";
    EXPECT_EQ(counter(health().data_units_read), 2U);
    std::array<nvme_copy_range, 2> ranges{};
    ranges[0].nlb = 999;
    ranges[1].nlb = 499;
    Sqe copy = make_command(nvme_cmd_copy, CommandId(10), Nsid(1));
    copy.cdw10.set(1000);
    // Too far, so it fails: a failure does not count.
    copy.cdw12.set(1);
    set_in_capsule_data(copy, sizeof(ranges));
    EXPECT_FALSE(queues[1]->command(copy, std::as_bytes(std::span(ranges))).status().ok());
    copy.cdw10.set(1000);
    ranges[1].nlb = 0;
    EXPECT_TRUE(queues[1]->command(copy, std::as_bytes(std::span(ranges))).status().ok());
    EXPECT_EQ(counter(health().host_reads), 1U);
    EXPECT_EQ(counter(health().host_writes), 1U);
    EXPECT_EQ(counter(health().data_units_written), 2U) << "1001 blocks of 512";
    EXPECT_EQ(counter(health().data_units_read), 2U) << "as before";
}

TEST_F(TargetLog, WarnsOfADeviceThatHasGoneUntilItIsBackOrTakenAway) {
    auto made = std::make_unique<BrokenBdev>();
    BrokenBdev& device = *made;
    BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
    const Nsid bad = world.add_namespace("Broken0");
    const auto read_fails = [&] { return !read(*queues[0], 0, 8, bad).status().ok(); };
    device.answer = Errc::kDeviceGone;
    EXPECT_TRUE(read_fails());
    EXPECT_EQ(health().critical_warning, NVME_SMART_CRIT_DEGRADED);
    device.answer = kOk;
    EXPECT_FALSE(read_fails());
    EXPECT_EQ(health().critical_warning, 0);
    device.answer = Errc::kDeviceGone;
    EXPECT_TRUE(read_fails());
    EXPECT_EQ(health().critical_warning, NVME_SMART_CRIT_DEGRADED);
    world.expect_ok(world.target->remove_namespace(std::string(TargetWorld::kNqn), bad));
    EXPECT_EQ(health().critical_warning, 0);
}

TEST_F(TargetLog, TellsTheHostsOfEveryCoreWhenItBecomesUnreliable) {
    auto made = std::make_unique<BrokenBdev>();
    BrokenBdev& device = *made;
    BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
    const Nsid bad = world.add_namespace("Broken0");
    AdminHost elsewhere(world);
    AdminHost silent(world);
    constexpr uint32_t kEvent = async_event_result(NVME_AER_SMART, 0, NVME_LOG_LID_SMART);
    EXPECT_TRUE(elsewhere.set_feature(NVME_FEAT_FID_ASYNC_EVENT, NVME_SMART_CRIT_DEGRADED).ok());
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ASYNC_EVENT, NVME_SMART_CRIT_DEGRADED).ok());
    EXPECT_TRUE(silent.set_feature(NVME_FEAT_FID_ASYNC_EVENT, NVME_SMART_CRIT_TEMPERATURE).ok());
    const auto ask = [](AdminHost& host) {
        host.send(host.capsule(make_command(nvme_admin_async_event, host.next_cid(), Nsid(0))));
    };
    for (AdminHost* host : {&admin, &elsewhere, &silent}) {
        ask(*host);
    }
    device.answer = Errc::kReadOnly;  // Of a device that said it takes writes.
    EXPECT_FALSE(write(*queues[1], nvme_cmd_write, 0, bad).status().ok());
    EXPECT_EQ(admin.completion().dw0.get(), kEvent);
    EXPECT_EQ(elsewhere.completion().dw0.get(), kEvent);
    EXPECT_EQ(health().critical_warning, NVME_SMART_CRIT_DEGRADED);
    ask(admin);
    device.answer = kOk;
    EXPECT_TRUE(read(*queues[1], 0, 8, bad).status().ok());
    EXPECT_EQ(health().critical_warning, NVME_SMART_CRIT_DEGRADED) << "that was no write";
    EXPECT_TRUE(write(*queues[1], nvme_cmd_write, 0, bad).status().ok());
    EXPECT_EQ(health().critical_warning, 0);
    EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty()) << "good news is no event";
    device.answer = Errc::kDeviceGone;
    ask(elsewhere);
    EXPECT_FALSE(read(*queues[0], 0, 8, bad).status().ok());
    EXPECT_EQ(admin.completion().dw0.get(), kEvent);
    EXPECT_TRUE(elsewhere.next_pdu(kNsPerSecond).empty()) << "it has not read the log";
    EXPECT_TRUE(silent.next_pdu(kNsPerSecond).empty());
}

TEST_F(TargetLog, WarnsOfATemperatureBeyondTheThresholdOnce) {
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ASYNC_EVENT, 0xff).ok());
    admin.send(admin.capsule(make_command(nvme_admin_async_event, CommandId(40), Nsid(0))));
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_TEMP_THRESH, 400).ok());
    EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty());
    admin.send(admin.capsule(make_set_features(CommandId(41), NVME_FEAT_FID_TEMP_THRESH, 290)));
    const Cqe event = admin.completion();
    EXPECT_EQ(event.cid(), CommandId(40));
    EXPECT_EQ(event.dw0.get(), async_event_result(NVME_AER_SMART, 1, NVME_LOG_LID_SMART));
    EXPECT_TRUE(admin.completion().status().ok());
    EXPECT_EQ(health().critical_warning, NVME_SMART_CRIT_TEMPERATURE);
}

TEST_F(TargetLog, NamesFabricsCommandsAmongTheSupportedOnes) {
    const auto effects = admin.log<nvme_cmd_effects_log>(NVME_LOG_LID_CMD_EFFECTS);
    EXPECT_EQ(effects.acs[nvme_admin_fabrics], NVME_CMD_EFFECTS_CSUPP);
    EXPECT_EQ(effects.iocs[nvme_admin_fabrics], NVME_CMD_EFFECTS_CSUPP);
    EXPECT_EQ(effects.acs[nvme_admin_format_nvm], 0U);
}

}  // namespace
}  // namespace basalt::nvmf
