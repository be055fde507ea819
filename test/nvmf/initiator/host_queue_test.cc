#include "nvmf/initiator/host_queue.h"

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"
#include "test/nvmf/initiator/scripted_peer.h"

namespace basalt::nvmf::testing {
namespace {

constexpr uint16_t kPort = 4420;
constexpr uint64_t kLongNs = 60 * kNsPerSecond;

/// A command with memory of its own that counts its completions.
struct TestCommand : HostCommand {
    TestCommand(uint8_t opcode, size_t bytes, size_t piece_bytes = SIZE_MAX) : memory(bytes) {
        sqe = make_command(opcode, CommandId(0), Nsid(1));
        set_range(sqe, Lba(0), BlockCount(1));
        for (size_t at = 0; at < bytes; at += std::min(piece_bytes, bytes - at)) {
            list.push_back(iovec{memory.data() + at, std::min(piece_bytes, bytes - at)});
        }
        pieces = list;
        data_bytes = static_cast<uint32_t>(bytes);
        set_done(
            [](HostCommand& command, void*) { ++static_cast<TestCommand&>(command).completions; },
            nullptr);
    }
    ByteVector memory;
    std::vector<iovec> list;
    int completions = 0;
};

class HostQueueTest : public ::testing::Test {
  protected:
    HostQueueTest()
        : world_(1),
          peer_node_(world_.add_node()),
          host_node_(world_.add_node()),
          peer_reactor_(world_.add_reactor(peer_node_)),
          host_reactor_(world_.add_reactor(host_node_)),
          peer_(peer_reactor_, sim::World::address(peer_node_, kPort)) {
        options_.host.address = sim::World::address(peer_node_, kPort);
        options_.host.subsystem_nqn = "nqn.2024-01.io.basalt:test";
        options_.host.host_nqn = "nqn.2024-01.io.basalt:host";
        options_.qid = QueueId(1);
        options_.cntlid = ControllerId(5);
        options_.entries = 8;
        options_.capsule_data_bytes = 4096;
    }
    ~HostQueueTest() override {
        if (queue_ && queue_->phase() != HostQueue::Phase::kNew) {
            queue_->close(Error(Errc::kCancelled));
            EXPECT_TRUE(world_.run_until([&] { return is_closed(); }, kLongNs));
        }
        // Whatever happened, no slot is lost and no command is left behind.
        if (queue_) {
            EXPECT_EQ(queue_->outstanding(), 0U);
        }
        queue_.reset();
        world_.power_off();
    }

    [[nodiscard]] bool is_closed() const { return queue_->phase() == HostQueue::Phase::kClosed; }

    /// The outcome of connect().
    Result<ControllerId> connect() {
        queue_ = std::make_unique<HostQueue>(host_reactor_, options_);
        Task<Result<ControllerId>> connecting = queue_->connect();
        EXPECT_TRUE(world_.run_until([&] { return connecting.is_done(); }, kLongNs));
        return connecting.result();
    }
    void connect_well() {
        ASSERT_TRUE(connect().has_value());
        ASSERT_TRUE(queue_->is_live());
    }
    void submit(TestCommand& command) { ASSERT_TRUE(queue_->submit(command)); }
    void run() { world_.run_for(100 * kNsPerMs); }
    void run_until_closed() {
        EXPECT_TRUE(world_.run_until([&] { return is_closed(); }, kLongNs));
        run();
    }
    /// The connection ends because of what the peer did, and the peer is told so.
    void expect_terminated(Fes fes, uint32_t fei) {
        run_until_closed();
        EXPECT_EQ(queue_->close_reason().code, Errc::kProtocol);
        ASSERT_TRUE(peer_.term_req.has_value());
        EXPECT_EQ(peer_.term_req->fes.get(), static_cast<uint16_t>(fes));
        EXPECT_EQ(peer_.term_req->fei.get(), fei);
    }

    sim::World world_;
    sim::NodeId peer_node_;
    sim::NodeId host_node_;
    Reactor& peer_reactor_;
    Reactor& host_reactor_;
    ScriptedPeer peer_;
    HostQueueOptions options_;
    std::unique_ptr<HostQueue> queue_;
};

// --- The handshake ---------------------------------------------------------------------------

TEST_F(HostQueueTest, ConnectsWithTheControllersIdAndItsOwnQueue) {
    options_.host.disable_sq_flow_control = true;
    const Result<ControllerId> connected = connect();
    ASSERT_TRUE(connected.has_value());
    EXPECT_EQ(connected->raw(), 5U);
    const ConnectView view(*peer_.connect);
    EXPECT_EQ(view.qid(), QueueId(1));
    EXPECT_EQ(view.queue_entries(), 8U);
    EXPECT_TRUE(view.disables_sq_flow_control());
    EXPECT_EQ(peer_.ic_req->r2t_max.get(), kHostR2tMax - 1);
}

TEST_F(HostQueueTest, ReportsARefusedConnection) {
    options_.host.address = sim::World::address(peer_node_, kPort + 1);
    EXPECT_EQ(connect().error().code, Errc::kConnectionRefused);
}

TEST_F(HostQueueTest, ReportsTheStatusOfARefusedConnect) {
    peer_.connect_status = status::kConnectInvalidHost;
    const Result<ControllerId> connected = connect();
    ASSERT_FALSE(connected.has_value());
    EXPECT_TRUE(NvmeStatus::from_raw(connected.error().detail).is(status::kConnectInvalidHost));
    EXPECT_TRUE(is_closed());
}

TEST_F(HostQueueTest, GivesUpOnAPeerThatDoesNotAnswerIcReq) {
    peer_.answers_ic = false;
    const uint64_t start_ns = world_.now_ns();
    EXPECT_EQ(connect().error().code, Errc::kTimedOut);
    EXPECT_GE(world_.now_ns() - start_ns, kHandshakeTimeoutNs);
}

TEST_F(HostQueueTest, RefusesAnIcRespOfAnotherVersion) {
    ByteVector resp =
        encoded([&](std::span<std::byte> out) { return encode_ic_resp(out, peer_.ic); });
    resp[offsetof(IcResp, version)] = std::byte{1};
    peer_.raw_ic_resp = resp;
    EXPECT_EQ(connect().error().code, Errc::kProtocol);
    expect_terminated(Fes::kUnsupportedParameter, offsetof(IcResp, version));
}

TEST_F(HostQueueTest, RefusesADigestThatItDidNotAskFor) {
    peer_.ic.data_digest = true;
    EXPECT_EQ(connect().error().code, Errc::kProtocol);
    expect_terminated(Fes::kUnsupportedParameter, offsetof(IcResp, digests));
}

TEST_F(HostQueueTest, RefusesToGoWithoutADigestThatItAskedFor) {
    options_.host.header_digest = true;
    EXPECT_EQ(connect().error().code, Errc::kNotSupported);
}

TEST_F(HostQueueTest, SubmitFailsOnAQueueThatIsNotLive) {
    queue_ = std::make_unique<HostQueue>(host_reactor_, options_);
    TestCommand command(nvme_cmd_flush, 0);
    EXPECT_EQ(queue_->submit(command).error().code, Errc::kConnectionClosed);
    EXPECT_EQ(command.completions, 0);
}

// --- Writes ----------------------------------------------------------------------------------

TEST_F(HostQueueTest, SendsSmallWritesInTheCapsule) {
    connect_well();
    TestCommand command(nvme_cmd_write, 4096, 1000);
    const ByteVector expected = pattern(4096);
    std::copy(expected.begin(), expected.end(), command.memory.begin());
    peer_.on_command = [&](const auto& capsule) { peer_.respond(capsule.sqe.command_id.get()); };
    submit(command);
    run();
    ASSERT_EQ(peer_.commands.size(), 1U);
    EXPECT_EQ(peer_.commands[0].data, expected);
    EXPECT_EQ(peer_.commands[0].sqe.sgl1.identifier, kSglInCapsule);
    EXPECT_EQ(command.completions, 1);
    EXPECT_TRUE(command.status);
}

TEST_F(HostQueueTest, SendsLongWritesAsR2tsAskCutToTheControllersLimit) {
    options_.host.data_digest = options_.host.header_digest = true;
    peer_.ic.data_digest = peer_.ic.header_digest = true;
    connect_well();
    TestCommand command(nvme_cmd_write, 40000, 333);
    const ByteVector expected = pattern(40000);
    std::copy(expected.begin(), expected.end(), command.memory.begin());
    uint16_t cid = 0;
    peer_.on_command = [&](const auto& capsule) {
        cid = capsule.sqe.command_id.get();
        EXPECT_TRUE(capsule.data.empty());
        peer_.send_r2t({.cid = CommandId(cid), .tag = TransferTag(7), .length_bytes = 25000});
    };
    ByteVector got;
    peer_.on_data = [&](const auto& data) {
        EXPECT_EQ(data.offset, got.size());
        EXPECT_EQ(data.digest, DataDigest::kMatch);
        EXPECT_LE(data.bytes.size(), 8192U);
        got.insert(got.end(), data.bytes.begin(), data.bytes.end());
        EXPECT_EQ(data.is_last, got.size() == 25000 || got.size() == 40000);
        EXPECT_EQ(data.tag, got.size() <= 25000 ? 7 : 8);
        if (got.size() == 25000) {
            peer_.send_r2t({.cid = CommandId(cid),
                            .tag = TransferTag(8),
                            .offset = 25000,
                            .length_bytes = 15000});
        } else if (got.size() == 40000) {
            peer_.respond(cid);
        }
    };
    submit(command);
    run();
    EXPECT_EQ(got, expected);
    EXPECT_EQ(command.completions, 1);
    EXPECT_TRUE(command.status);
}

TEST_F(HostQueueTest, RefusesAnR2tBeyondTheCommandsData) {
    connect_well();
    TestCommand command(nvme_cmd_write, 8192);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_r2t({.cid = capsule.sqe.cid(),
                        .tag = TransferTag(1),
                        .offset = 4096,
                        .length_bytes = 4097});
    };
    submit(command);
    expect_terminated(Fes::kDataTransferOutOfRange, 0);
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.status.error().code, Errc::kProtocol);
}

TEST_F(HostQueueTest, RefusesASecondR2tBeforeTheFirstOnesDataIsSent) {
    connect_well();
    TestCommand command(nvme_cmd_write, 100'000);
    peer_.on_command = [&](const auto& capsule) {
        ByteVector both;
        for (uint32_t offset : {0U, 50'000U}) {
            const R2tFields fields{.cid = capsule.sqe.cid(),
                                   .tag = TransferTag(1),
                                   .offset = offset,
                                   .length_bytes = 50'000};
            const ByteVector one = encoded(
                [&](std::span<std::byte> out) { return encode_r2t(out, fields, PduFormat{}); });
            both.insert(both.end(), one.begin(), one.end());
        }
        peer_.send(both);
    };
    submit(command);
    expect_terminated(Fes::kLimitExceeded, 0);
    EXPECT_EQ(command.completions, 1);
}

TEST_F(HostQueueTest, RefusesAnR2tForARead) {
    connect_well();
    TestCommand command(nvme_cmd_read, 4096);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_r2t({.cid = capsule.sqe.cid(), .tag = TransferTag(1), .length_bytes = 4096});
    };
    submit(command);
    expect_terminated(Fes::kInvalidHeaderField, offsetof(R2t, command_id));
}

TEST_F(HostQueueTest, AnErrorBeforeAllDataWasSentEndsTheTransfer) {
    connect_well();
    TestCommand command(nvme_cmd_write, 100'000);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_r2t({.cid = capsule.sqe.cid(), .tag = TransferTag(1), .length_bytes = 50'000});
        peer_.respond(capsule.sqe.command_id.get(), status::kWriteFault);
    };
    submit(command);
    run();
    EXPECT_EQ(command.completions, 1);
    EXPECT_TRUE(NvmeStatus::from_raw(command.status.error().detail).is(status::kWriteFault));
    EXPECT_TRUE(queue_->is_live());
}

TEST_F(HostQueueTest, ACommandAnsweredEarlyKeepsItsMemoryUntilTheSendIsOver) {
    world_.faults().send_window_bytes = 2000;
    connect_well();
    TestCommand command(nvme_cmd_write, 50'000);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_r2t({.cid = capsule.sqe.cid(), .tag = TransferTag(1), .length_bytes = 50'000});
    };
    peer_.on_data = [&](const auto& data) {
        if (data.offset == 0) {
            peer_.respond(peer_.commands[0].sqe.command_id.get(), status::kWriteFault);
        }
    };
    submit(command);
    size_t pdus_at_completion = 0;
    EXPECT_TRUE(world_.run_until(
        [&] {
            pdus_at_completion = peer_.data.size();
            return command.completions == 1;
        },
        kLongNs));
    EXPECT_GE(pdus_at_completion, 5U) << "completed while a send still read its memory";
    EXPECT_TRUE(NvmeStatus::from_raw(command.status.error().detail).is(status::kWriteFault));
}

TEST_F(HostQueueTest, SuccessOfAWriteWhoseDataNobodyAskedForIsAnError) {
    connect_well();
    TestCommand command(nvme_cmd_write, 8192);
    peer_.on_command = [&](const auto& capsule) { peer_.respond(capsule.sqe.command_id.get()); };
    submit(command);
    run();
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.status.error().code, Errc::kProtocol);
}

// --- Reads -----------------------------------------------------------------------------------

TEST_F(HostQueueTest, ReceivesDataInSeveralPdusIntoSeveralPieces) {
    options_.host.data_digest = true;
    peer_.ic.data_digest = true;
    connect_well();
    TestCommand command(nvme_cmd_read, 10'000, 777);
    const ByteVector expected = pattern(10'000);
    peer_.on_command = [&](const auto& capsule) {
        const std::span<const std::byte> all(expected);
        peer_.send_data({.cid = capsule.sqe.cid(), .offset = 0}, all.first(3001));
        peer_.send_data({.cid = capsule.sqe.cid(), .offset = 3001, .last = true},
                        all.subspan(3001));
        peer_.respond(capsule.sqe.command_id.get());
    };
    submit(command);
    run();
    EXPECT_EQ(command.completions, 1);
    EXPECT_TRUE(command.status);
    EXPECT_EQ(command.memory, expected);
}

TEST_F(HostQueueTest, TakesTheSuccessFlagForTheResponse) {
    connect_well();
    TestCommand command(nvme_cmd_read, 4096);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_data({.cid = capsule.sqe.cid(), .last = true, .success = true}, pattern(4096));
    };
    submit(command);
    run();
    EXPECT_EQ(command.completions, 1);
    EXPECT_TRUE(command.status);
    EXPECT_EQ(command.memory, pattern(4096));
}

TEST_F(HostQueueTest, AWrongDataDigestFailsTheCommandAndNotTheConnection) {
    options_.host.data_digest = true;
    peer_.ic.data_digest = true;
    connect_well();
    TestCommand command(nvme_cmd_read, 4096);
    peer_.on_command = [&](const auto& capsule) {
        const C2hDataFields fields{.cid = capsule.sqe.cid(), .length_bytes = 4096, .last = true};
        ByteVector pdu = with_payload(encoded([&](std::span<std::byte> out) {
                                          return encode_c2h_data(out, fields, peer_.format());
                                      }),
                                      pattern(4096),
                                      peer_.format());
        pdu[100] ^= std::byte{1};
        peer_.send(pdu);
        peer_.respond(capsule.sqe.command_id.get());
    };
    submit(command);
    run();
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.status.error().code, Errc::kDataCorrupt);
    EXPECT_TRUE(queue_->is_live());
}

TEST_F(HostQueueTest, AWrongHeaderDigestEndsTheConnection) {
    options_.host.header_digest = true;
    peer_.ic.header_digest = true;
    connect_well();
    TestCommand command(nvme_cmd_flush, 0);
    peer_.on_command = [&](const auto& capsule) {
        Cqe cqe;
        cqe.command_id = capsule.sqe.command_id;
        ByteVector pdu = encoded([&](std::span<std::byte> out) {
            return encode_capsule_resp(out, cqe, peer_.format());
        });
        pdu[9] ^= std::byte{4};
        peer_.send(pdu);
    };
    submit(command);
    run_until_closed();
    EXPECT_EQ(peer_.term_req->fes.get(), static_cast<uint16_t>(Fes::kHeaderDigestError));
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.status.error().code, Errc::kProtocol);
}

TEST_F(HostQueueTest, RefusesDataBeyondTheCommands) {
    connect_well();
    TestCommand command(nvme_cmd_read, 4096);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_data({.cid = capsule.sqe.cid(), .last = true}, pattern(4097));
    };
    submit(command);
    expect_terminated(Fes::kDataTransferOutOfRange, 0);
    EXPECT_EQ(command.memory, ByteVector(4096)) << "nothing of it may be stored";
}

TEST_F(HostQueueTest, RefusesDataThatLeavesAGap) {
    connect_well();
    TestCommand command(nvme_cmd_read, 4096);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_data({.cid = capsule.sqe.cid(), .offset = 512, .last = true}, pattern(512));
    };
    submit(command);
    expect_terminated(Fes::kInvalidHeaderField, offsetof(C2hData, offset));
}

TEST_F(HostQueueTest, SuccessOfAReadWithoutItsDataIsAnError) {
    connect_well();
    TestCommand command(nvme_cmd_read, 4096);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_data({.cid = capsule.sqe.cid()}, pattern(4092));
        peer_.respond(capsule.sqe.command_id.get());
    };
    submit(command);
    run();
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.status.error().code, Errc::kProtocol);
}

// --- Answers ---------------------------------------------------------------------------------

TEST_F(HostQueueTest, RefusesAResponseToACommandThatIsNotThere) {
    connect_well();
    peer_.respond(3);
    expect_terminated(Fes::kInvalidHeaderField,
                      offsetof(CapsuleResp, cqe) + offsetof(Cqe, command_id));
}

TEST_F(HostQueueTest, RefusesASecondResponseEvenWhenTheSlotIsInUseAgain) {
    connect_well();
    TestCommand first(nvme_cmd_flush, 0);
    TestCommand second(nvme_cmd_flush, 0);
    uint16_t first_cid = 0;
    peer_.on_command = [&](const auto& capsule) {
        if (peer_.commands.size() == 1) {
            first_cid = capsule.sqe.command_id.get();
        }
        peer_.respond(first_cid);
    };
    submit(first);
    run();
    submit(second);
    expect_terminated(Fes::kInvalidHeaderField,
                      offsetof(CapsuleResp, cqe) + offsetof(Cqe, command_id));
    EXPECT_EQ(first.completions, 1);
    EXPECT_TRUE(first.status);
    EXPECT_EQ(second.completions, 1);
    EXPECT_FALSE(second.status);
}

TEST_F(HostQueueTest, NeverHasMoreOutstandingThanTheQueueTakes) {
    connect_well();
    std::vector<std::unique_ptr<TestCommand>> commands;
    for (int i = 0; i < 20; ++i) {
        commands.push_back(std::make_unique<TestCommand>(nvme_cmd_read, 512));
        submit(*commands.back());
    }
    run();
    EXPECT_EQ(peer_.commands.size(), 7U);
    EXPECT_EQ(queue_->outstanding(), 7U);
    peer_.on_command = [&](const auto& capsule) {
        peer_.send_data({.cid = capsule.sqe.cid(), .last = true, .success = true}, pattern(512));
    };
    for (size_t i = 0; i < 7; ++i) {
        peer_.on_command(ScriptedPeer::Capsule(peer_.commands[i]));
    }
    run();
    for (const auto& command : commands) {
        EXPECT_EQ(command->completions, 1);
        EXPECT_TRUE(command->status);
    }
}

// --- The end ---------------------------------------------------------------------------------

TEST_F(HostQueueTest, CompletesAllWhenThePeerVanishes) {
    connect_well();
    TestCommand in_capsule(nvme_cmd_write, 4096);
    TestCommand by_r2t(nvme_cmd_write, 100'000);
    TestCommand read(nvme_cmd_read, 4096);
    std::vector<std::unique_ptr<TestCommand>> waiting;
    for (TestCommand* command : {&in_capsule, &by_r2t, &read}) {
        submit(*command);
    }
    for (int i = 0; i < 10; ++i) {
        waiting.push_back(std::make_unique<TestCommand>(nvme_cmd_flush, 0));
        submit(*waiting.back());
    }
    peer_.on_command = [&](const auto& capsule) {
        if (capsule.sqe.opcode == nvme_cmd_write && capsule.data.empty()) {
            peer_.send_r2t(
                {.cid = capsule.sqe.cid(), .tag = TransferTag(1), .length_bytes = 100'000});
        } else if (capsule.sqe.opcode == nvme_cmd_read) {
            peer_.send_data({.cid = capsule.sqe.cid()}, pattern(100));
            peer_.close();
        }
    };
    run_until_closed();
    for (TestCommand* command : {&in_capsule, &by_r2t, &read}) {
        EXPECT_EQ(command->completions, 1);
        EXPECT_EQ(command->status.error().code, Errc::kConnectionClosed);
    }
    for (const auto& command : waiting) {
        EXPECT_EQ(command->completions, 1);
        EXPECT_FALSE(command->status);
    }
}

TEST_F(HostQueueTest, ACommandWithoutAnswerEndsTheConnectionInTime) {
    options_.host.command_timeout_ns = 2 * kNsPerSecond;
    connect_well();
    TestCommand first(nvme_cmd_flush, 0);
    TestCommand second(nvme_cmd_flush, 0);
    TestCommand event(nvme_admin_async_event, 0);
    event.never_times_out = true;
    submit(event);
    world_.run_for(10 * kNsPerSecond);
    EXPECT_TRUE(queue_->is_live()) << "an event request may take for ever";
    submit(first);
    world_.run_for(kNsPerSecond);
    submit(second);
    const uint64_t start_ns = world_.now_ns();
    run_until_closed();
    EXPECT_LE(world_.now_ns() - start_ns, 1200 * kNsPerMs);
    EXPECT_EQ(first.status.error().code, Errc::kTimedOut);
    EXPECT_EQ(first.completions + second.completions + event.completions, 3);
}

TEST_F(HostQueueTest, ATerminateRequestOfThePeerEndsTheConnectionWithoutAnswer) {
    connect_well();
    TestCommand command(nvme_cmd_flush, 0);
    submit(command);
    run();
    peer_.send(encoded([&](std::span<std::byte> out) {
        const Violation violation{.fes = Fes::kPduSequenceError};
        return encode_term_req(out, Side::kController, violation, ByteVector(24));
    }));
    run_until_closed();
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.status.error().code, Errc::kProtocol);
    EXPECT_FALSE(peer_.term_req.has_value());
}

TEST_F(HostQueueTest, MayBeDestroyedWithItsMachineWithoutPower) {
    connect_well();
    TestCommand command(nvme_cmd_write, 100'000);
    submit(command);
    world_.crash_node(host_node_);
    queue_.reset();
    EXPECT_EQ(command.completions, 0);
}

}  // namespace
}  // namespace basalt::nvmf::testing
