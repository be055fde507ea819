// Reservations as hosts meet them: several, on both reactors, over the simulated network.
#include <gtest/gtest.h>

#include "nvmf/target/reservation/file_reservation_store.h"
#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kBlock = TargetWorld::kBlockBytes;
constexpr uint8_t kRegister = 0;
constexpr uint8_t kUnregister = 1;
constexpr uint8_t kAcquire = 0;
constexpr uint8_t kPreempt = 1;
constexpr uint8_t kPreemptAndAbort = 2;
constexpr uint8_t kRelease = 0;
constexpr uint8_t kWriteExclusive = NVME_RESERVATION_RTYPE_WE;
constexpr uint8_t kExclusiveAccess = NVME_RESERVATION_RTYPE_EA;
constexpr uint8_t kWriteExclusiveRegistrants = NVME_RESERVATION_RTYPE_WERO;
constexpr uint32_t kPersist = 3U << 30U;

/// A host with an admin queue and an I/O queue, which lie on different reactors.
class ReservingHost {
  public:
    ReservingHost(TargetWorld& world, uint8_t number)
        : admin(world), io(world), key(0x100U + number) {
        admin.host_number = io.host_number = number;
        const ControllerId id = admin.become_admin();
        BASALT_ASSERT(io.handshake());
        BASALT_ASSERT(io.connect(QueueId(1), id).status().ok());
    }

    NvmeStatus reserve(uint8_t opcode, uint32_t cdw10, uint64_t other_key, Nsid nsid = Nsid(1)) {
        Sqe sqe = make_command(opcode, next_id(), nsid);
        std::array<uint64_t, 2> keys{key, other_key};
        const size_t bytes = opcode == nvme_cmd_resv_release ? 8 : 16;
        set_in_capsule_data(sqe, static_cast<uint32_t>(bytes));
        sqe.cdw10.set(cdw10);
        return io.command(sqe, std::as_bytes(std::span(keys)).first(bytes)).status();
    }
    NvmeStatus join(uint32_t flags = 0, Nsid nsid = Nsid(1)) {
        return reserve(nvme_cmd_resv_register, kRegister | flags, key, nsid);
    }
    NvmeStatus acquire(uint8_t type) {
        return reserve(nvme_cmd_resv_acquire, kAcquire | uint32_t{type} << 8U, 0);
    }
    NvmeStatus preempt(uint8_t type, const ReservingHost& other) {
        return reserve(nvme_cmd_resv_acquire, kPreempt | uint32_t{type} << 8U, other.key);
    }
    NvmeStatus release(uint8_t type) {
        return reserve(nvme_cmd_resv_release, kRelease | uint32_t{type} << 8U, 0);
    }
    Bytes report(uint32_t bytes) {
        Sqe sqe = make_command(nvme_cmd_resv_report, next_id(), Nsid(1));
        set_transport_data(sqe, bytes);
        sqe.cdw10.set(bytes / 4 - 1);
        sqe.cdw11.set(1);
        Bytes data;
        EXPECT_TRUE(io.command(sqe, {}, &data).status().ok());
        return data;
    }

    NvmeStatus write(uint8_t opcode = nvme_cmd_write) {
        Sqe sqe = make_command(opcode, next_id(), Nsid(1));
        set_range(sqe, Lba(0), BlockCount(1));
        if (opcode == nvme_cmd_write_zeroes) {
            return io.command(sqe).status();
        }
        const Bytes data(kBlock);
        set_in_capsule_data(sqe, kBlock);
        return io.command(sqe, data).status();
    }
    NvmeStatus read() {
        Sqe sqe = make_command(nvme_cmd_read, next_id(), Nsid(1));
        set_range(sqe, Lba(0), BlockCount(1));
        set_transport_data(sqe, kBlock);
        return io.command(sqe).status();
    }
    NvmeStatus flush(Nsid nsid = Nsid(1)) {
        return io.command(make_command(nvme_cmd_flush, next_id(), nsid)).status();
    }
    NvmeStatus trim() {
        Sqe sqe = make_deallocate(next_id(), Nsid(1), 1);
        const std::array<nvme_dsm_range, 1> range{{{0, 1, 0}}};
        set_in_capsule_data(sqe, sizeof(range));
        return io.command(sqe, std::as_bytes(std::span(range))).status();
    }

    /// Get (or Set, with a value) Features.
    Cqe feature(uint8_t fid, std::optional<uint32_t> value, Nsid nsid = Nsid(1)) {
        Sqe sqe = make_command(
            value ? nvme_admin_set_features : nvme_admin_get_features, next_id(), nsid);
        sqe.cdw10.set(fid);
        sqe.cdw11.set(value.value_or(0));
        return admin.command(sqe);
    }
    nvme_resv_notification_log read_notice() {
        Sqe sqe = make_command(nvme_admin_get_log_page, next_id(), Nsid(0));
        sqe.cdw10.set(NVME_LOG_LID_RESERVATION | (64U / 4 - 1) << 16U);
        set_transport_data(sqe, 64);
        Bytes data;
        EXPECT_TRUE(admin.command(sqe, {}, &data).status().ok());
        return ScriptedHost::as<nvme_resv_notification_log>(data);
    }
    void send_event_request() {
        admin.send(admin.capsule(make_command(nvme_admin_async_event, next_id(), Nsid(0))));
    }

    CommandId next_id() { return CommandId(next_id_++); }

    ScriptedHost admin;
    ScriptedHost io;
    uint64_t key;

  private:
    uint16_t next_id_ = 10;
};

bool is_conflict(NvmeStatus status) {
    return status.is(status::kReservationConflict) && status.dnr;
}

TEST(TargetReservation, IdentifyAndTheLogsTellThatThereAreReservations) {
    TargetWorld world(1);
    ReservingHost host(world, 1);
    Sqe sqe = make_command(nvme_admin_identify, host.next_id(), Nsid(1));
    set_transport_data(sqe, kIdentifyBytes);
    Bytes data;
    ASSERT_TRUE(host.admin.command(sqe, {}, &data).status().ok());
    const auto space = ScriptedHost::as<nvme_id_ns>(data);
    EXPECT_EQ(space.rescap, 0xfe);  // All six types and IEKEY; no store, so no persistence.
    EXPECT_EQ(space.nmic & 1U, 1U);
    sqe.command_id.set(host.next_id().raw());
    sqe.namespace_id.set(0);
    sqe.cdw10.set(NVME_IDENTIFY_CNS_CTRL);
    ASSERT_TRUE(host.admin.command(sqe, {}, &data).status().ok());
    const auto controller = ScriptedHost::as<nvme_id_ctrl>(data);
    EXPECT_NE(controller.oncs & NVME_CTRL_ONCS_RESERVATIONS, 0);
    EXPECT_NE(controller.ctratt & 1U, 0U);
}

TEST(TargetReservation, EveryCommandOfAnotherHostIsJudgedOnBothReactors) {
    TargetWorld world(1);
    // Each host's I/O queue is where the other's is not: connections are dealt out in turn.
    ReservingHost ada(world, 1);
    ReservingHost bob(world, 2);
    ReservingHost cyd(world, 3);
    EXPECT_TRUE(ada.join().ok());
    EXPECT_TRUE(bob.join().ok());
    EXPECT_TRUE(cyd.write().ok());
    EXPECT_TRUE(ada.acquire(kWriteExclusive).ok());
    for (ReservingHost* other : {&bob, &cyd}) {
        EXPECT_TRUE(other->read().ok());
        EXPECT_TRUE(is_conflict(other->write()));
        EXPECT_TRUE(is_conflict(other->write(nvme_cmd_write_zeroes)));
        EXPECT_TRUE(is_conflict(other->trim()));
        EXPECT_TRUE(is_conflict(other->flush()));
        EXPECT_TRUE(is_conflict(other->flush(kNsidAll)));
        EXPECT_TRUE(other->flush(Nsid(2)).ok()) << "the other namespace is free";
        EXPECT_TRUE(is_conflict(other->acquire(kWriteExclusive)));
    }
    EXPECT_TRUE(ada.write().ok());
    EXPECT_TRUE(ada.trim().ok());
    EXPECT_TRUE(ada.flush(kNsidAll).ok());
    EXPECT_TRUE(ada.release(kWriteExclusive).ok());
    EXPECT_TRUE(cyd.write().ok());

    EXPECT_TRUE(bob.acquire(kExclusiveAccess).ok());
    EXPECT_TRUE(is_conflict(ada.read()));
    EXPECT_TRUE(ada.preempt(kWriteExclusiveRegistrants, bob).ok());
    EXPECT_TRUE(ada.read().ok());
    EXPECT_TRUE(is_conflict(bob.write()));
    EXPECT_TRUE(bob.join().ok());
    EXPECT_TRUE(bob.write().ok());
    EXPECT_TRUE(is_conflict(cyd.write()));
}

TEST(TargetReservation, ReportGoesOverTheWireAsItShould) {
    TargetWorld world(1);
    ReservingHost ada(world, 1);
    ReservingHost bob(world, 2);
    ASSERT_TRUE(ada.join().ok());
    ASSERT_TRUE(bob.join().ok());
    ASSERT_TRUE(bob.acquire(kExclusiveAccess).ok());
    const Bytes report = ada.report(192);
    Bytes golden(192);
    const auto put = [&golden](size_t at, uint8_t value) { golden[at] = std::byte{value}; };
    put(0, 2);      // Generation: two registrations.
    put(4, 2);      // Exclusive Access.
    put(5, 2);      // Registered controllers.
    put(64, 0xff);  // Controller FFFFh ...
    put(65, 0xff);
    put(72, 0x01);  // ... key 101h ...
    put(73, 0x01);
    put(80, 1);  // ... of host 1.
    put(128, 0xff);
    put(129, 0xff);
    put(130, 1);  // The holder.
    put(136, 0x02);
    put(137, 0x01);
    put(144, 2);
    EXPECT_EQ(report, golden);
    EXPECT_EQ(ada.report(64), Bytes(golden.begin(), golden.begin() + 64));

    Sqe short_ids = make_command(nvme_cmd_resv_report, ada.next_id(), Nsid(1));
    set_transport_data(short_ids, 64);
    short_ids.cdw10.set(15);
    EXPECT_TRUE(ada.io.command(short_ids).status().is(status::kHostIdInconsistentFormat));
}

TEST(TargetReservation, AHostWithoutAnIdentifierOrWithTooLittleDataIsRefused) {
    TargetWorld world(1);
    ReservingHost nobody(world, 0);
    EXPECT_TRUE(nobody.join().is(status::kHostIdInconsistentFormat));
    ReservingHost ada(world, 1);
    Sqe sqe = make_command(nvme_cmd_resv_register, ada.next_id(), Nsid(1));
    const Bytes half(8);
    set_in_capsule_data(sqe, 8);
    EXPECT_TRUE(ada.io.command(sqe, half).status().is(status::kDataSglLengthInvalid));
    EXPECT_TRUE(ada.join(0, Nsid(9)).is(status::kInvalidNamespace));
    EXPECT_TRUE(ada.reserve(nvme_cmd_resv_register, 5, 1).is(status::kInvalidField));
}

TEST(TargetReservation, APreemptedHostHearsOfItAndReadsWhatHappened) {
    TargetWorld world(1);
    ReservingHost ada(world, 1);
    ReservingHost bob(world, 2);
    ASSERT_TRUE(ada.join().ok());
    ASSERT_TRUE(bob.join().ok());
    ASSERT_TRUE(ada.acquire(kWriteExclusiveRegistrants).ok());
    EXPECT_EQ(ada.read_notice().rnlpt, NVME_RESV_NOTIFY_RNLPT_EMPTY);
    ada.send_event_request();
    ASSERT_TRUE(bob.preempt(kWriteExclusive, ada).ok());
    EXPECT_EQ(ada.admin.completion().dw0.get(), 0x00800006U);  // Page 80h, I/O command set event.
    nvme_resv_notification_log notice = ada.read_notice();
    EXPECT_EQ(notice.lpc, 1U);
    EXPECT_EQ(notice.rnlpt, NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED);
    EXPECT_EQ(notice.nsid, 1U);
    EXPECT_EQ(notice.nalp, 0);
    EXPECT_EQ(ada.read_notice().lpc, 0U);

    // It is told again: reading the page has re-armed the event.
    ASSERT_TRUE(ada.join().ok());
    ada.send_event_request();
    ASSERT_TRUE(bob.reserve(nvme_cmd_resv_release, 1, 0).ok());
    EXPECT_EQ(ada.admin.completion().dw0.get(), 0x00800006U);
    notice = ada.read_notice();
    EXPECT_EQ(notice.lpc, 2U);
    EXPECT_EQ(notice.rnlpt, NVME_RESV_NOTIFY_RNLPT_RESERVATION_PREEMPTED);
    EXPECT_EQ(bob.read_notice().lpc, 0U) << "who did it knows";
}

TEST(TargetReservation, AMaskSilencesNotices) {
    TargetWorld world(1);
    ReservingHost ada(world, 1);
    ReservingHost bob(world, 2);
    EXPECT_EQ(ada.feature(NVME_FEAT_FID_RESV_MASK, std::nullopt).dw0.get(), 0U);
    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_MASK, 1U << 1U).status().ok());
    EXPECT_EQ(ada.feature(NVME_FEAT_FID_RESV_MASK, std::nullopt).dw0.get(), 1U << 1U);
    EXPECT_EQ(ada.feature(NVME_FEAT_FID_RESV_MASK, std::nullopt, Nsid(2)).dw0.get(), 0U);
    ASSERT_TRUE(ada.join().ok());
    ASSERT_TRUE(bob.join().ok());
    ASSERT_TRUE(bob.preempt(0, ada).ok());
    EXPECT_EQ(ada.read_notice().lpc, 0U);

    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_MASK, 0xeU, kNsidAll).status().ok());
    for (const uint32_t nsid : {1U, 2U}) {
        EXPECT_EQ(ada.feature(NVME_FEAT_FID_RESV_MASK, std::nullopt, Nsid(nsid)).dw0.get(), 0xeU);
    }
    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_MASK, 1).status().is(status::kInvalidField));
    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_MASK, std::nullopt, kNsidAll)
                    .status()
                    .is(status::kInvalidField));
    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_MASK, std::nullopt, Nsid(7))
                    .status()
                    .is(status::kInvalidNamespace));
}

TEST(TargetReservation, WhatCantPersistIsRefused) {
    TargetWorld world(1);
    ReservingHost ada(world, 1);
    EXPECT_TRUE(ada.join(kPersist).is(status::kInvalidField));
    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_PERSIST, 1).status().is(status::kInvalidField));
    EXPECT_EQ(ada.feature(NVME_FEAT_FID_RESV_PERSIST, std::nullopt).dw0.get(), 0U);
}

Nsid add_persistent(TargetWorld& world) {
    NamespaceOptions options;
    options.device = world.registry->find("Malloc1");
    options.claim = world.registry->claim(*options.device, "a namespace").value();
    options.nsid = Nsid(3);
    options.reservation_store =
        FileReservationStore::open(*world.control, world.world.file_system(world.server), "/pr")
            .value();
    return world
        .run(world.target->add_namespace(std::string(TargetWorld::kNqn), std::move(options)))
        .value();
}

TEST(TargetReservation, OneThatPersistsHoldsFromTheFirstCommandOnAfterARestart) {
    TargetWorld world(1);
    world.add_malloc("Malloc1", TargetWorld::kBlocks, kBlock);
    const Nsid nsid = add_persistent(world);
    ReservingHost ada(world, 1);
    ReservingHost bob(world, 2);
    EXPECT_TRUE(ada.join(kPersist, nsid).ok());
    EXPECT_TRUE(
        ada.reserve(nvme_cmd_resv_acquire, kAcquire | uint32_t{kWriteExclusive} << 8U, 0, nsid)
            .ok());
    EXPECT_EQ(ada.feature(NVME_FEAT_FID_RESV_PERSIST, std::nullopt, nsid).dw0.get(), 1U);
    EXPECT_TRUE(is_conflict(bob.flush(nsid)));

    // What the daemon does when it starts again.
    const std::string nqn(TargetWorld::kNqn);
    world.expect_ok(world.target->remove_namespace(nqn, nsid));
    ASSERT_EQ(add_persistent(world), nsid);
    EXPECT_TRUE(is_conflict(bob.flush(nsid)));
    EXPECT_TRUE(ada.flush(nsid).ok());
    EXPECT_EQ(bob.feature(NVME_FEAT_FID_RESV_PERSIST, std::nullopt, nsid).dw0.get(), 1U);

    EXPECT_TRUE(ada.feature(NVME_FEAT_FID_RESV_PERSIST, 0, nsid).status().ok());
    EXPECT_TRUE(is_conflict(bob.flush(nsid)));
    world.expect_ok(world.target->remove_namespace(nqn, nsid));
    ASSERT_EQ(add_persistent(world), nsid);
    EXPECT_TRUE(bob.flush(nsid).ok()) << "it was not to persist any more";
}

TEST(TargetReservation, AChangeThatCantBeSavedDoesNotHappen) {
    TargetWorld world(1);
    world.add_malloc("Malloc1", TargetWorld::kBlocks, kBlock);
    const Nsid nsid = add_persistent(world);
    ReservingHost ada(world, 1);
    ASSERT_TRUE(ada.join(kPersist, nsid).ok());
    world.world.faults().write_error_ppm = 1'000'000;
    EXPECT_TRUE(
        ada.reserve(nvme_cmd_resv_register, kUnregister, 0, nsid).is(status::kInternalError));
    world.world.faults() = sim::calm();
    EXPECT_TRUE(ada.reserve(nvme_cmd_resv_register, kUnregister, 0, nsid).ok());
}

TEST(TargetReservation, TheSameHostHasItsRightsOnEveryController) {
    TargetWorld world(1);
    ReservingHost ada(world, 1);
    ReservingHost path(world, 1);
    ReservingHost bob(world, 2);
    ASSERT_TRUE(ada.join().ok());
    ASSERT_TRUE(path.acquire(kExclusiveAccess).ok());
    EXPECT_TRUE(ada.write().ok());
    EXPECT_TRUE(path.write().ok());
    EXPECT_TRUE(is_conflict(bob.write()));
}

TEST(TargetReservation, AWriteWhoseDataComesAfterItsHostLostTheRightIsRefused) {
    TargetWorld world(1);
    ReservingHost ada(world, 1);
    ReservingHost bob(world, 2);
    ASSERT_TRUE(ada.join().ok());
    Sqe sqe = make_command(nvme_cmd_write, bob.next_id(), Nsid(1));
    set_range(sqe, Lba(0), BlockCount(1));
    set_transport_data(sqe, kBlock);
    bob.io.send(bob.io.capsule(sqe));
    const Bytes pdu = bob.io.next_pdu();
    ASSERT_EQ(ScriptedHost::type_of(pdu), PduType::kR2t);  // It was judged, and might go on.
    ASSERT_TRUE(ada.acquire(kWriteExclusive).ok());
    const Bytes data(kBlock, std::byte{0x55});
    bob.io.send(bob.io.h2c_data(ScriptedHost::as<R2t>(pdu), 0, data, true));
    EXPECT_TRUE(is_conflict(bob.io.completion().status()));
    Sqe read = make_command(nvme_cmd_read, ada.next_id(), Nsid(1));
    set_range(read, Lba(0), BlockCount(1));
    set_transport_data(read, kBlock);
    Bytes stored;
    ASSERT_TRUE(ada.io.command(read, {}, &stored).status().ok());
    EXPECT_EQ(stored, Bytes(kBlock));
}

TEST(TargetReservation, ANamespaceMayGoWhileCommandsForItAreUnderWay) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
        TargetWorld world(seed);
        world.world.faults().message_jitter_ns = 20 * kNsPerUs;
        ReservingHost ada(world, 1);
        ASSERT_TRUE(ada.join().ok());
        auto removing = world.target->remove_namespace(std::string(TargetWorld::kNqn), Nsid(1));
        world.world.run_for(world.world.random().below(100 * kNsPerUs));
        const NvmeStatus acquired = ada.acquire(kExclusiveAccess);
        EXPECT_TRUE(acquired.ok() || acquired.is(status::kInvalidNamespace));
        EXPECT_TRUE(world.world.run_until([&] { return removing.is_done(); }, kNsPerSecond));
        world.world.faults() = sim::calm();
    }
}

TEST(TargetReservation, PreemptAndAbortEndsWhatNoDeviceHas) {
    TargetWorld world(9);
    ReservingHost victim(world, 1);
    ReservingHost winner(world, 2);
    ASSERT_TRUE(victim.join().ok());
    ASSERT_TRUE(winner.join().ok());
    ASSERT_TRUE(victim.acquire(kWriteExclusive).ok());
    const auto limit = [&](uint64_t rate) {
        qos::Policy policy;
        policy.rw_ios.rate = rate;
        auto limiting =
            world.registry->find("Malloc0")->limits().set(*world.control, policy, nullptr);
        ASSERT_TRUE(world.world.run_until([&] { return limiting.is_done(); }, kNsPerSecond));
    };
    limit(1);
    // The first spends what there is; the others would have to wait for minutes: a write for the
    // device's rate, a Verify in steps behind it.
    EXPECT_TRUE(victim.write().ok());
    Sqe write = make_command(nvme_cmd_write, CommandId(201), Nsid(1));
    set_range(write, Lba(0), BlockCount(1));
    set_in_capsule_data(write, kBlock);
    for (uint16_t cid = 201; cid < 221; ++cid) {
        write.command_id.set(cid);
        victim.io.send(victim.io.capsule(write, Bytes(kBlock, std::byte{7})));
    }
    Sqe verify = make_command(nvme_cmd_verify, CommandId(230), Nsid(1));
    set_range(verify, Lba(0), BlockCount(2000));
    victim.io.send(victim.io.capsule(verify));
    const uint64_t begun_ns = world.world.now_ns();
    EXPECT_TRUE(winner
                    .reserve(nvme_cmd_resv_acquire,
                             kPreemptAndAbort | uint32_t{kWriteExclusive} << 8U,
                             victim.key)
                    .ok());
    EXPECT_LT(world.world.now_ns() - begun_ns, 3 * kNsPerSecond);
    uint32_t aborted = 0;
    for (uint32_t i = 0; i < 21; ++i) {
        const NvmeStatus status = victim.io.completion().status();
        aborted += status.is(status::kAbortedByPreempt) ? 1U : 0U;
        EXPECT_TRUE(status.is(status::kAbortedByPreempt) || status.ok());
    }
    EXPECT_GE(aborted, 18U);
    EXPECT_TRUE(is_conflict(victim.write()));
    limit(0);
    EXPECT_TRUE(winner.write().ok());
}

}  // namespace
}  // namespace basalt::nvmf
