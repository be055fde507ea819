// Hosts that break the rules on purpose, and connections that end at the worst moment.

#include <gtest/gtest.h>

#include "bdev/layer/delay_bdev.h"
#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

void append(Bytes& out, const Bytes& more) {
    out.insert(out.end(), more.begin(), more.end());
}

Bytes ic_req() {
    std::array<std::byte, kPduHeadBytesMax> head{};
    const size_t bytes = encode_ic_req(head, {});
    return {head.begin(), head.begin() + static_cast<std::ptrdiff_t>(bytes)};
}

Sqe transfer(uint8_t opcode, uint16_t cid, uint64_t first, uint64_t count, uint32_t nsid = 1) {
    Sqe sqe = make_command(opcode, CommandId(cid), Nsid(nsid));
    set_range(sqe, Lba(first), BlockCount(count));
    set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
    return sqe;
}

Sqe write_in_capsule(uint16_t cid, uint64_t first, uint32_t offset = 0, uint32_t nsid = 1) {
    Sqe sqe = transfer(nvme_cmd_write, cid, first, 1, nsid);
    set_in_capsule_data(sqe, TargetWorld::kBlockBytes);
    sqe.sgl1.address.set(offset);
    return sqe;
}

/// A malloc device that is as choosy as a drive: aligned memory, and not much of it at once.
class ChoosyBdev final : public bdev::Bdev {
  public:
    explicit ChoosyBdev(std::unique_ptr<bdev::Bdev> inner)
        : inner_(std::move(inner)), info_(inner_->info()) {
        info_.memory_alignment_bytes = 512;
        info_.transfer_max = BlockCount(8);
    }
    const bdev::BdevInfo& info() const override { return info_; }
    bdev::Bdev* base() const override { return nullptr; }
    bdev::BdevConfig describe() const override { return {}; }
    Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override {
        return inner_->open_channel(here);
    }

  private:
    std::unique_ptr<bdev::Bdev> inner_;
    bdev::BdevInfo info_;
};

class TargetHostile : public testing::Test {
  protected:
    static TransportOptions few_buffers() {
        TransportOptions options;
        options.small_buffers = 16;
        options.medium_buffers = 16;
        options.large_buffers = 16;
        options.capsule_buffers = 16;
        return options;
    }
    void connect_io(ScriptedHost& io, uint32_t queue_entries = 32) {
        ASSERT_TRUE(io.handshake());
        ASSERT_TRUE(
            io.connect(QueueId(1), cntlid, TargetWorld::kNqn, ScriptedHost::kHostNqn, queue_entries)
                .status()
                .ok());
    }
    void add_slow_namespace(TargetWorld& world) {
        world.add_malloc("Slow", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        bdev::DelayOptions options;
        options.name = "Delay0";
        options.latencies = {50'000, 50'000, 50'000, 50'000};
        auto made =
            std::move(bdev::DelayBdev::make(options, *world.registry->find("Slow"))).value();
        BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
        slow = world.add_namespace("Delay0");
    }

    static Bytes plain_capsule(const Sqe& sqe, std::span<const std::byte> payload = {}) {
        Bytes out;
        ScriptedHost::append(
            out,
            [&](std::span<std::byte> to) {
                return encode_capsule_cmd(to, sqe, static_cast<uint32_t>(payload.size()), {});
            },
            payload,
            false);
        return out;
    }
    static Bytes connect_capsule(QueueId qid, ControllerId to) {
        nvmf_connect_data data{};
        std::memset(&data, 0, sizeof(data));
        data.cntlid = to.raw();
        data.hostid[0] = 7;
        write_nqn_field(data.subsysnqn, TargetWorld::kNqn);
        write_nqn_field(data.hostnqn, ScriptedHost::kHostNqn);
        const ConnectFields fields{.qid = qid,
                                   .queue_entries = 32,
                                   .disable_sq_flow_control = true,
                                   .keep_alive_ms = qid == kAdminQueueId ? 1000U : 0U};
        return plain_capsule(make_connect(CommandId(1), fields),
                             std::as_bytes(std::span(&data, 1)));
    }
    static Sqe admin_command(uint16_t n) {
        switch (n % 3) {
            case 0: return make_command(nvme_admin_async_event, CommandId(n), Nsid(0));
            case 1: return make_identify(CommandId(n), NVME_IDENTIFY_CNS_CTRL, Nsid(0));
            default: return make_get_log_page(CommandId(n), NVME_LOG_LID_CHANGED_NS, 0, 4096);
        }
    }
    Sqe io_command(uint16_t n) const {
        const uint32_t nsid = n % 4 == 0 ? 1 : slow.raw();
        return transfer(n % 3 == 0 ? nvme_cmd_write : nvme_cmd_read, n, n, 1U + n, nsid);
    }

    ControllerId cntlid;
    Nsid slow;
};

TEST_F(TargetHostile, TerminatesOnDataForATagThatWasGuessedBeforeItsR2t) {
    TargetWorld world(1);
    ScriptedHost admin(world);
    cntlid = admin.become_admin();
    for (uint16_t guess = 0; guess < 4; ++guess) {
        ScriptedHost io(world);
        connect_io(io);
        R2t guessed{};
        guessed.command_id.set(40);
        guessed.transfer_tag.set(guess);
        Bytes burst = io.capsule(transfer(nvme_cmd_write, 40, 0, 1));
        append(burst, io.h2c_data(guessed, 0, Bytes(512), true));
        io.send(burst);
        EXPECT_TRUE(io.wait_closed());
        world.world.run_for(100 * kNsPerMs);
    }
}

TEST_F(TargetHostile, WritesNoMoreThanTheDescriptorSaysOfALongerCapsule) {
    TargetWorld world(2);
    ScriptedHost admin(world);
    cntlid = admin.become_admin();
    ScriptedHost io(world);
    connect_io(io);
    Bytes data(1024, std::byte{1});
    std::fill(data.begin() + 512, data.end(), std::byte{2});
    EXPECT_TRUE(io.command(write_in_capsule(3, 0), data).status().ok());
    EXPECT_TRUE(io.command(write_in_capsule(4, 8, 512), data).status().ok());
    EXPECT_TRUE(io.command(write_in_capsule(5, TargetWorld::kBlocks - 1), data).status().ok());
    Bytes got;
    ASSERT_TRUE(io.command(transfer(nvme_cmd_read, 6, 0, 2), {}, &got).status().ok());
    EXPECT_EQ(got[511], std::byte{1});
    EXPECT_EQ(got[512], std::byte{0}) << "the block behind the range is not touched";
    ASSERT_TRUE(io.command(transfer(nvme_cmd_read, 7, 8, 1), {}, &got).status().ok());
    EXPECT_EQ(got, Bytes(512, std::byte{2}));
}

TEST_F(TargetHostile, RefusesWhatTheDeviceCannotTakeThoughTheTargetCan) {
    TargetWorld world(3);
    bdev::MallocOptions options;
    options.name = "Choosy0";
    options.block_count = BlockCount(2048);
    options.block_size_bytes = 512;
    auto inner = bdev::MallocBdev::make(options, world.memory);
    auto choosy = std::make_unique<ChoosyBdev>(std::move(*inner));
    ASSERT_TRUE(world.registry->add(std::move(choosy)).has_value());
    const uint32_t nsid = world.add_namespace("Choosy0").raw();
    ScriptedHost admin(world);
    cntlid = admin.become_admin();
    ScriptedHost io(world);
    connect_io(io);
    EXPECT_TRUE(io.command(write_in_capsule(3, 0, 4, nsid), Bytes(1024))
                    .status()
                    .is(status::kSglOffsetInvalid));
    EXPECT_TRUE(io.command(write_in_capsule(4, 0, 512, nsid), Bytes(1024)).status().ok());
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 5, 0, 9, nsid)).status().ok())
        << "longer than the drive takes at once: it is split";
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 6, 0, 8, nsid)).status().ok());
}

TEST_F(TargetHostile, AnswersAnIcReqWithRubbishBehindIt) {
    TargetWorld world(4);
    ScriptedHost host(world);
    Bytes burst = ic_req();
    append(burst, ic_req());
    host.send(burst);
    EXPECT_EQ(ScriptedHost::type_of(host.next_pdu()), PduType::kIcResp);
    EXPECT_EQ(ScriptedHost::type_of(host.next_pdu()), PduType::kC2hTermReq);
    EXPECT_TRUE(host.wait_closed());
}

TEST_F(TargetHostile, GivesBackEveryBufferWhenAHostLeavesWhileSomeWaitForOne) {
    TargetWorld world(5, sim::calm(), few_buffers());
    ScriptedHost admin(world);
    cntlid = admin.become_admin();
    for (uint32_t round = 0; round < 4; ++round) {
        ScriptedHost io(world);
        connect_io(io, 64);
        Bytes burst;
        for (uint16_t i = 0; i < 48; ++i) {
            append(burst,
                   io.capsule(transfer(i % 3 == 0 ? nvme_cmd_read : nvme_cmd_write, i, i, 1)));
        }
        io.send(burst);
        world.world.run_for(10 * kNsPerMs);
        io.vanish();
        EXPECT_TRUE(io.wait_closed());
        world.world.run_for(100 * kNsPerMs);
    }
}

TEST_F(TargetHostile, TellsTheQueueHeadOfConnect) {
    TargetWorld world(6);
    for (const bool is_disabled : {false, true}) {
        ScriptedHost host(world);
        ASSERT_TRUE(host.handshake());
        nvmf_connect_data data{};
        std::memset(&data, 0, sizeof(data));
        data.cntlid = kControllerIdAny.raw();
        write_nqn_field(data.subsysnqn, TargetWorld::kNqn);
        write_nqn_field(data.hostnqn, ScriptedHost::kHostNqn);
        const Sqe connect = make_connect(
            CommandId(1),
            {.qid = kAdminQueueId, .queue_entries = 32, .disable_sq_flow_control = is_disabled});
        const Cqe cqe = host.command(connect, std::as_bytes(std::span(&data, 1)));
        ASSERT_TRUE(cqe.status().ok());
        EXPECT_EQ(cqe.sq_head.get(), is_disabled ? 0xffff : 1);
        const Cqe next = host.command(make_property_get(CommandId(2), NVME_REG_CSTS, false));
        EXPECT_EQ(next.sq_head.get(), is_disabled ? 0 : 2);
    }
}

TEST_F(TargetHostile, OutlivesAHostThatLeavesAtAnyByte) {
    TargetWorld world(7);
    ScriptedHost admin(world);
    cntlid = admin.become_admin();
    nvmf_connect_data data{};
    std::memset(&data, 0, sizeof(data));
    data.cntlid = cntlid.raw();
    data.hostid[0] = 7;
    write_nqn_field(data.subsysnqn, TargetWorld::kNqn);
    write_nqn_field(data.hostnqn, ScriptedHost::kHostNqn);
    Bytes talk = ic_req();
    const ConnectFields queue{.qid = QueueId(1),
                              .queue_entries = 32,
                              .disable_sq_flow_control = true,
                              .keep_alive_ms = 0};
    append(talk,
           admin.capsule(make_connect(CommandId(1), queue), std::as_bytes(std::span(&data, 1))));
    append(talk, admin.capsule(write_in_capsule(3, 0), Bytes(512)));
    append(talk, admin.capsule(transfer(nvme_cmd_write, 4, 8, 16)));
    append(talk, admin.capsule(transfer(nvme_cmd_read, 5, 0, 256)));
    append(talk, admin.capsule(make_command(nvme_cmd_flush, CommandId(6), kNsidAll)));
    for (size_t bytes = 1; bytes <= talk.size(); bytes += bytes > 200 && bytes < 1200 ? 7 : 1) {
        ScriptedHost io(world);
        io.send(Bytes(talk.begin(), talk.begin() + static_cast<std::ptrdiff_t>(bytes)));
        world.world.run_for(world.world.random().below(300) * kNsPerUs);
        io.vanish();
        ASSERT_TRUE(io.wait_closed());
    }
    world.world.run_for(kNsPerSecond);
    const auto left = world.run(world.target->controllers(std::string(TargetWorld::kNqn)));
    ASSERT_EQ(left->size(), 1U);
    EXPECT_EQ(left->front().io_queues, 0U);
}

TEST_F(TargetHostile, LetsAnAdminQueueDieWhileItsIoQueueConnects) {
    for (uint64_t seed = 0; seed < 60; ++seed) {
        sim::FaultOptions faults = sim::calm();
        faults.message_jitter_ns = 100 * kNsPerUs;
        faults.network_jitter_ns = 50 * kNsPerUs;
        TargetWorld world(seed, faults);
        ScriptedHost admin(world);
        ScriptedHost io(world);
        cntlid = admin.become_admin();
        ASSERT_TRUE(io.handshake());
        nvmf_connect_data data{};
        std::memset(&data, 0, sizeof(data));
        data.cntlid = cntlid.raw();
        data.hostid[0] = 7;
        write_nqn_field(data.subsysnqn, TargetWorld::kNqn);
        write_nqn_field(data.hostnqn, ScriptedHost::kHostNqn);
        const Sqe connect = make_connect(CommandId(1),
                                         {.qid = QueueId(1),
                                          .queue_entries = 32,
                                          .disable_sq_flow_control = false,
                                          .keep_alive_ms = 0});
        io.send(io.capsule(connect, std::as_bytes(std::span(&data, 1))));
        world.world.run_for(world.world.random().below(200) * kNsPerUs);
        (seed % 3 == 0 ? io : admin).vanish();
        if (seed % 2 == 0) {
            world.expect_ok(world.target->delete_subsystem(std::string(TargetWorld::kNqn)));
        } else if (seed % 3 != 0) {
            EXPECT_TRUE(io.wait_closed(30 * kNsPerSecond));
        }
    }
}

TEST_F(TargetHostile, IsReconfiguredUnderSlowIo) {
    for (uint32_t change = 0; change < 5; ++change) {
        TargetWorld world(change);
        const std::string nqn(TargetWorld::kNqn);
        world.expect_ok(world.target->add_host(nqn, std::string(ScriptedHost::kHostNqn)));
        add_slow_namespace(world);
        ScriptedHost admin(world);
        cntlid = admin.become_admin();
        ASSERT_TRUE(
            admin.command(make_set_features(CommandId(49), NVME_FEAT_FID_ASYNC_EVENT, 1U << 8U))
                .status()
                .ok());
        admin.send(admin.capsule(make_command(nvme_admin_async_event, CommandId(50), Nsid(0))));
        ScriptedHost io(world);
        connect_io(io);
        Bytes burst;
        for (uint16_t i = 0; i < 40; ++i) {
            const uint8_t opcode = i % 2 == 0 ? nvme_cmd_read : nvme_cmd_write;
            append(burst,
                   i % 3 == 0 ? io.capsule(write_in_capsule(i, i, 0, slow.raw()), Bytes(512))
                              : io.capsule(transfer(opcode, i, i, 1, slow.raw())));
        }
        io.send(burst);
        world.world.run_for(5 * kNsPerMs);
        switch (change) {
            case 0: world.expect_ok(world.target->remove_namespace(nqn, slow)); break;
            case 1: world.expect_ok(world.target->remove_listener(nqn, world.address)); break;
            case 2:
                world.expect_ok(world.target->allow_any_host(nqn, false));
                EXPECT_FALSE(io.is_closed);
                world.expect_ok(
                    world.target->remove_host(nqn, std::string(ScriptedHost::kHostNqn)));
                break;
            case 3: world.expect_ok(world.target->delete_subsystem(nqn)); break;
            default: break;  // The target stops.
        }
        if (change == 0) {
            const Cqe event = admin.completion();
            EXPECT_TRUE(event.status().ok());
            EXPECT_EQ(event.command_id.get(), 50);
        } else if (change < 4) {
            EXPECT_TRUE(io.wait_closed());
        }
    }
}

TEST_F(TargetHostile, OutlivesCutConnectionsSlowCoresAndFullRings) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
        sim::FaultOptions faults = sim::calm();
        faults.message_jitter_ns = 300 * kNsPerUs;
        faults.message_ring_slots = 2;
        faults.reactor_pause_ppm = 20'000;
        faults.reactor_pause_ns_max = 2 * kNsPerMs;
        faults.network_jitter_ns = 200 * kNsPerUs;
        faults.segment_split_ppm = 300'000;
        TargetWorld world(seed, faults, few_buffers());
        const std::string nqn(TargetWorld::kNqn);
        add_slow_namespace(world);
        std::vector<std::unique_ptr<ScriptedHost>> hosts;
        world.world.faults().connection_cut_ppm = 20'000;
        Random& random = world.world.random();
        for (uint32_t i = 0; i < 12; ++i) {
            // Half of them guess the ids of controllers that the others have.
            const bool is_admin = i % 2 == 0;
            Bytes talk = ic_req();
            append(talk,
                   connect_capsule(QueueId(is_admin ? 0 : static_cast<uint16_t>(1 + i / 4)),
                                   is_admin ? kControllerIdAny
                                            : ControllerId(static_cast<uint16_t>(
                                                  1 + random.below(3) + random.below(2) * 32759))));
            append(talk,
                   plain_capsule(make_property_set(
                       CommandId(2), NVME_REG_CC, 1U | (6U << 16U) | (4U << 20U))));
            for (uint16_t n = 0; n < 30; ++n) {
                append(talk, plain_capsule(is_admin ? admin_command(n) : io_command(n)));
            }
            hosts.push_back(std::make_unique<ScriptedHost>(world));
            if (!hosts.back()->is_closed) {
                hosts.back()->send(talk);
            }
            world.world.run_for(random.below(3000) * kNsPerUs);
        }
        auto removed = world.target->remove_namespace(nqn, slow);
        for (const auto& host : hosts) {
            if (!host->is_closed && random.below(2) == 0) {
                host->vanish();
            }
        }
        auto deleted = world.target->delete_subsystem(nqn);
        EXPECT_TRUE(world.run(std::move(removed)).has_value());
        EXPECT_TRUE(world.run(std::move(deleted)).has_value());
        world.world.faults().connection_cut_ppm = 0;
    }
}

TEST_F(TargetHostile, ServesManyHostsAndThoseThatComeAndGo) {
    TargetWorld world(9);
    for (uint32_t i = 0; i < 300; ++i) {
        ScriptedHost fleeting(world);
        fleeting.vanish();
        ASSERT_TRUE(fleeting.wait_closed());
    }
    std::vector<std::unique_ptr<ScriptedHost>> hosts;
    for (uint32_t i = 0; i < 150; ++i) {
        hosts.push_back(std::make_unique<ScriptedHost>(world));
        cntlid = hosts.back()->become_admin();
        hosts.push_back(std::make_unique<ScriptedHost>(world));
        connect_io(*hosts.back());
    }
    const auto all = world.run(world.target->queues(std::string(TargetWorld::kNqn)));
    EXPECT_EQ(all->size(), 300U);
    EXPECT_TRUE(hosts.back()->command(transfer(nvme_cmd_read, 1, 0, 1)).status().ok());
}

/// Comes back as soon as it is put out.
class Reconnector final : public SocketHandler {
  public:
    explicit Reconnector(TargetWorld& world) : world_(world) { connect(); }

    void connect() {
        socket_ = world_.host->network().connect(world_.address, SocketOptions{}, *this).value();
    }
    size_t on_receive(std::span<const std::byte> data) override { return data.size(); }
    void on_sent() override {}
    void on_closed(Error) override {
        socket_.reset();
        if (++attempts_ < 300) {
            connect();
        }
    }
    [[nodiscard]] bool has_given_up() const { return socket_ == nullptr; }

  private:
    TargetWorld& world_;
    std::unique_ptr<Socket> socket_;
    uint32_t attempts_ = 0;
};

TEST_F(TargetHostile, StopsThoughHostsKeepComingBack) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
        sim::FaultOptions faults = sim::calm();
        faults.message_jitter_ns = 200 * kNsPerUs;
        TargetWorld world(seed, faults);
        std::vector<std::unique_ptr<Reconnector>> hosts;
        for (uint32_t i = 0; i < 6; ++i) {
            hosts.push_back(std::make_unique<Reconnector>(world));
        }
        world.world.run_for(2 * kNsPerMs);
        auto ended = world.target->shut_down();
        ASSERT_TRUE(world.world.run_until([&] { return ended.is_done(); }, 60 * kNsPerSecond));
        for (const auto& host : hosts) {
            ASSERT_TRUE(
                world.world.run_until([&] { return host->has_given_up(); }, 60 * kNsPerSecond));
        }
    }
}

}  // namespace
}  // namespace basalt::nvmf
