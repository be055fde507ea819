#include "bdev/leaf/nvme_bdev.h"

#include <algorithm>
#include <array>
#include <map>

#include <gtest/gtest.h>
#include <nvme/types.h>

#include "bdev/core/registry.h"
#include "bdev/leaf/linux_nvme_finder.h"
#include "bdev/leaf/nvme_status.h"
#include "bdev/limits.h"
#include "test/bdev/support/model_check.h"
#include "test/bdev/support/sim_node.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

constexpr uint64_t kDriveBytes = 4 * 1024 * 1024;

/// Asks simulated devices, and some that don't answer.
class SimFinder final : public NvmeFinder {
  public:
    [[nodiscard]] Result<std::vector<std::string>> list() override {
        std::vector<std::string> paths;
        for (const auto& [path, device] : devices) {
            paths.push_back(path);
        }
        return paths;
    }

    [[nodiscard]] Result<NvmeIdentity> identify(const std::string& path) override {
        sim::NvmeDevice* device = devices.at(path);
        if (device == nullptr) {
            return silent_errc;
        }
        const uint32_t nsid = device->options().nsid;
        nvme_id_ctrl controller{};
        nvme_id_ns ns{};
        std::array<std::byte, 4096> descriptors{};
        ask(*device, NVME_IDENTIFY_CNS_CTRL, 0, &controller);
        ask(*device, NVME_IDENTIFY_CNS_NS, nsid, &ns);
        ask(*device, NVME_IDENTIFY_CNS_NS_DESC_LIST, nsid, descriptors.data());
        NvmeIdentity identity = parse_identify(controller, ns, descriptors);
        identity.path = path;
        identity.nsid = nsid;
        return identity;
    }

    std::map<std::string, sim::NvmeDevice*> devices;
    Errc silent_errc = Errc::kIo;

  private:
    static void ask(sim::NvmeDevice& device, uint32_t cns, uint32_t nsid, void* page) {
        PassthroughRequest request;
        const iovec piece{page, 4096};
        request.is_admin = true;
        request.command[0] = nvme_admin_identify;
        request.command[1] = nsid;
        request.command[10] = cns;
        request.pieces = &piece;
        request.piece_count = 1;
        request.length_bytes = 4096;
        device.execute(request);
        ASSERT_EQ(request.nvme_status, 0);
    }
};

std::array<uint8_t, 16> id16(uint8_t last) {
    std::array<uint8_t, 16> id{};
    id[0] = 0xab;
    id[15] = last;
    return id;
}

NvmeOptions make_options(const char* id) {
    return {.name = "Nvme0", .id = *NvmeId::parse(id), .uuid = {}};
}

constexpr const char* kNguid1 = "ab000000000000000000000000000001";

/// An NVMe device on a simulated drive.
class NvmeNode : public SimNode {
  public:
    explicit NvmeNode(uint64_t seed,
                      const sim::NvmeOptions& options,
                      const sim::FaultOptions& faults = sim::calm())
        : SimNode(seed, faults), nvme(world.add_nvme(node, "/dev/ng0n1", options)) {
        finder.devices["/dev/ng0n1"] = &nvme;
        attach();
    }
    ~NvmeNode() { detach(); }

    static sim::NvmeOptions drive(uint32_t block_bytes = 4096) {
        sim::NvmeOptions options;
        options.drive.size_bytes = kDriveBytes;
        options.drive.alignment_bytes = 512;
        options.block_size_bytes = block_bytes;
        options.nguid = id16(1);
        options.nsid = 3;
        return options;
    }

    void attach() {
        registry = std::make_unique<BdevRegistry>(cores());
        device = *registry->add(
            std::move(NvmeBdev::open(make_options(kNguid1), finder, files())).value());
        channel = std::move(device->open(core(0))).value();
    }
    void detach() {
        channel.reset();
        registry.reset();
    }

    Errc run(TestIo& io) {
        io.submit(*channel);
        finish(io);
        return io.code();
    }

    SimFinder finder;
    sim::NvmeDevice& nvme;
    std::unique_ptr<BdevRegistry> registry;
    Device* device = nullptr;
    std::unique_ptr<DeviceChannel> channel;
};

TEST(NvmeId, TakesTheFormsThatPeopleHave) {
    EXPECT_EQ(NvmeId::parse("AB000000-0000-0000-0000-000000000001")->to_string(), kNguid1);
    EXPECT_EQ(NvmeId::parse("eui.5254000000000001")->to_string(), "5254000000000001");
    EXPECT_EQ(NvmeId::parse("nguid.ab000000000000000000000000000001")->bytes().size(), 16U);
    for (const char* bad : {"",
                            "ab",
                            "00000000000000000000000000000000",
                            "0000000000000000",
                            "ab00000000000000000000000000000",
                            "ab0000000000000000000000000000012",
                            "xb000000000000000000000000000001",
                            "52540000000000010"}) {
        EXPECT_FALSE(NvmeId::parse(bad)) << bad;
    }
}

TEST(NvmeFinder, FindsANamespaceByEachOfItsIds) {
    SimNode node(1);
    SimFinder finder;
    const auto add = [&](const char* path, const sim::NvmeOptions& options) {
        finder.devices[path] = &node.world.add_nvme(node.node, path, options);
    };
    sim::NvmeOptions options;
    options.nguid = id16(1);
    add("/dev/ng0n1", options);
    options = {};
    options.uuid = id16(2);
    add("/dev/ng1n1", options);
    options = {};
    options.eui64 = {0x52, 0x54, 0, 0, 0, 0, 0, 3};
    add("/dev/ng2n1", options);
    finder.devices["/dev/ng00n1"] = nullptr;  // Does not answer.
    EXPECT_EQ(find_nvme(finder, *NvmeId::parse(kNguid1))->path, "/dev/ng0n1");
    EXPECT_EQ(find_nvme(finder, *NvmeId::parse("ab000000-0000-0000-0000-000000000002"))->path,
              "/dev/ng1n1");
    EXPECT_EQ(find_nvme(finder, *NvmeId::parse("5254000000000003"))->path, "/dev/ng2n1");
    const NvmeId stranger = *NvmeId::parse("5254000000000004");
    EXPECT_EQ(find_nvme(finder, stranger).error().code, Errc::kNotFound);
    finder.silent_errc = Errc::kPermissionDenied;
    EXPECT_EQ(find_nvme(finder, stranger).error().code, Errc::kPermissionDenied);
}

TEST(NvmeFinder, LinuxFinderAnswersOnAnyMachine) {
    LinuxNvmeFinder finder;
    const auto paths = finder.list();
    ASSERT_TRUE(paths);
    EXPECT_TRUE(std::is_sorted(paths->begin(), paths->end()));
    EXPECT_EQ(finder.identify("/dev/ng-none").error().code, Errc::kNotFound);
    EXPECT_FALSE(finder.identify("/dev/null")) << "no NVMe device";
}

TEST(ParseIdentify, ReadsAtomicityAndHintsOnlyWhereTheyCount) {
    nvme_id_ctrl controller{};
    nvme_id_ns ns{};
    controller.awupf = 1;
    ns.nawupf = 63;
    ns.nabspf = 127;
    ns.npwg = 7;
    ns.npwa = 6;
    ns.npdg = 15;
    ns.npda = 14;
    ns.nows = 31;
    NvmeIdentity identity = parse_identify(controller, ns, {});
    EXPECT_EQ(identity.atomic_blocks, 2U);
    EXPECT_EQ(identity.atomic_boundary, 0U);
    EXPECT_EQ(identity.write_granularity, 0U);
    EXPECT_EQ(identity.optimal_write, 0U);

    ns.nsfeat = NVME_NS_FEAT_NATOMIC | (1U << 4U);
    identity = parse_identify(controller, ns, {});
    EXPECT_EQ(identity.atomic_blocks, 64U);
    EXPECT_EQ(identity.atomic_boundary, 128U);
    EXPECT_EQ(identity.write_granularity, 8U);
    EXPECT_EQ(identity.write_alignment, 7U);
    EXPECT_EQ(identity.unmap_granularity, 16U);
    EXPECT_EQ(identity.unmap_alignment, 15U);
    EXPECT_EQ(identity.optimal_write, 32U);

    ns.nabo = 1;  // Boundaries that nobody above could name.
    identity = parse_identify(controller, ns, {});
    EXPECT_EQ(identity.atomic_blocks, 1U);
}

TEST(ParseIdentify, ReadsTheLimits) {
    nvme_id_ctrl controller{};
    nvme_id_ns ns{};
    controller.mdts = 5;
    controller.vwc = 7;
    controller.awupf = 7;
    controller.oncs = NVME_CTRL_ONCS_COMPARE | NVME_CTRL_ONCS_DSM;
    ns.nsze = 1000;
    ns.flbas = 1;
    ns.lbaf[1].ds = 9;
    ns.noiob = 256;
    ns.dlfeat = 1 | NVME_NS_DLFEAT_WRITE_ZEROES;
    NvmeIdentity identity = parse_identify(controller, ns, {});
    EXPECT_EQ(identity.block_count, 1000U);
    EXPECT_EQ(identity.block_bytes, 512U);
    EXPECT_EQ(identity.transfer_bytes_max, 131072U);
    EXPECT_EQ(identity.atomic_blocks, 8U);
    EXPECT_EQ(identity.optimal_io_boundary, 256U);
    EXPECT_TRUE(identity.has_volatile_cache);
    EXPECT_TRUE(identity.can_compare);
    EXPECT_TRUE(identity.can_deallocate);
    EXPECT_FALSE(identity.can_write_zeroes);
    EXPECT_TRUE(identity.zeroes_may_deallocate);
    EXPECT_FALSE(identity.is_read_only);

    controller.mdts = 255;
    controller.vwc = 6;
    ns.nsfeat = NVME_NS_FEAT_NATOMIC | NVME_NS_FEAT_THIN;
    ns.nawupf = 3;
    ns.nsattr = NVME_NS_NSATTR_WRITE_PROTECTED;
    ns.nlbaf = 20;
    ns.flbas = 1 | (1 << 5);  // Format 17.
    ns.lbaf[17].ds = 200;
    ns.lbaf[17].ms = 8;
    identity = parse_identify(controller, ns, {});
    EXPECT_EQ(identity.transfer_bytes_max, 0U);
    EXPECT_FALSE(identity.has_volatile_cache);
    EXPECT_EQ(identity.atomic_blocks, 4U);
    EXPECT_TRUE(identity.is_read_only);
    EXPECT_EQ(identity.block_bytes, 0U) << "a nonsensical size is none";
    EXPECT_EQ(identity.metadata_bytes, 8U);
}

TEST(ParseIdentify, SurvivesEveryListOfDescriptors) {
    Random random(1);
    for (int run = 0; run < 5000; ++run) {
        std::vector<std::byte> list(random.below(64));
        for (std::byte& byte : list) {
            byte = static_cast<std::byte>(random.below(20));
        }
        static_cast<void>(parse_identify({}, {}, list));
    }
    const std::array<uint8_t, 12> good{1, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    const auto bytes = std::as_bytes(std::span(good));
    EXPECT_EQ(parse_identify({}, {}, bytes).eui64[7], 8);
    EXPECT_EQ(parse_identify({}, {}, bytes.first(11)).eui64[7], 0) << "cut short";
}

TEST(NvmeStatus, EveryAnswerHasAMeaning) {
    EXPECT_TRUE(status_from_nvme(0));
    for (uint16_t status = 1; status < 0x800; ++status) {
        const Status outcome = status_from_nvme(status);
        ASSERT_FALSE(outcome) << status;
        EXPECT_EQ(outcome.error().detail, status);
    }
    const auto code = [](uint16_t status) { return status_from_nvme(status).error().code; };
    EXPECT_EQ(code(NVME_SC_LBA_RANGE), Errc::kOutOfRange);
    EXPECT_EQ(code(NVME_SC_CAP_EXCEEDED), Errc::kNoSpace);
    EXPECT_EQ(code(NVME_SC_NS_WRITE_PROTECTED), Errc::kReadOnly);
    EXPECT_EQ(code(0x100 | NVME_SC_READ_ONLY), Errc::kReadOnly);
    EXPECT_EQ(code(0x200 | NVME_SC_READ_ERROR), Errc::kMediaError);
    EXPECT_EQ(code(0x200 | NVME_SC_COMPARE_FAILED), Errc::kCompareMismatch);
    EXPECT_EQ(code(0x200 | NVME_SC_GUARD_CHECK), Errc::kDataCorrupt);
    EXPECT_EQ(code(0x200 | NVME_SC_WRITE_FAULT), Errc::kIo);
    EXPECT_EQ(code(0x300), Errc::kIo);
}

TEST(NvmeBdev, KeepsWhatWasWritten) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
        sim::FaultOptions faults;
        faults.storage_jitter_ns = 300 * kNsPerUs;
        NvmeNode node(seed, NvmeNode::drive(seed % 2 == 0 ? 512 : 4096), faults);
        const ModelOptions options{
            .seed = seed, .operations = 600, .queue_depth = 24, .range_blocks = 300};
        EXPECT_EQ(check_against_model(
                      *node.channel, node.device->info(), options, [&node] { node.world.step(); }),
                  "");
    }
}

TEST(NvmeBdev, TakesItsLimitsFromTheDevice) {
    sim::NvmeOptions options = NvmeNode::drive(512);
    options.transfer_max_log2 = 3;
    const NvmeNode node(1, options);
    const BdevInfo& info = node.device->info();
    EXPECT_EQ(info.block_count.raw(), kDriveBytes / 512);
    EXPECT_EQ(info.transfer_max.raw(), 32768U / 512);
    EXPECT_EQ(info.memory_alignment_bytes, 4U);
    EXPECT_TRUE(info.has_volatile_cache);
    EXPECT_FALSE(info.reads_zeroes_after_unmap);
    EXPECT_EQ(info.uuid.bytes, id16(1));
    EXPECT_EQ(node.device->describe().method, "bdev_nvme_attach_passthrough");
    EXPECT_EQ(std::get<std::string>(node.device->describe().parameters[1].value), kNguid1);
}

TEST(NvmeBdev, ForcedAndFlushedDataSurvivesAPowerLoss) {
    uint32_t plain_lost = 0;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        NvmeNode node(seed, NvmeNode::drive());
        const std::array<uint64_t, 3> blocks{1, 2, 3};
        for (const uint64_t block : blocks) {
            TestIo io;
            io.prepare(IoOp::kWrite, block, 1, 4096);
            io.fill(static_cast<uint8_t>(block));
            io.request.fua = block == 2 ? Fua::kYes : Fua::kNo;
            ASSERT_EQ(node.run(io), Errc::kOk);
            if (block == 1) {
                io.prepare(IoOp::kFlush, 0, 0, 4096);
                ASSERT_EQ(node.run(io), Errc::kOk);
            }
        }
        node.world.crash_node(node.node);
        node.detach();
        node.reboot();
        node.attach();
        for (const uint64_t block : blocks) {
            TestIo io;
            io.prepare(IoOp::kRead, block, 1, 4096);
            ASSERT_EQ(node.run(io), Errc::kOk);
            const auto value = static_cast<std::byte>(block);
            const bool is_there = std::count(io.data, io.data + 4096, value) == 4096;
            EXPECT_TRUE(is_there || block == 3) << "seed " << seed << " block " << block;
            plain_lost += is_there ? 0 : 1;
        }
    }
    EXPECT_GT(plain_lost, 20U) << "or the test could not fail";
}

TEST(NvmeBdev, WithoutVolatileCacheAFlushAsksNobody) {
    sim::NvmeOptions options = NvmeNode::drive();
    options.drive.has_volatile_cache = false;
    NvmeNode node(1, options);
    node.world.faults().flush_error_ppm = 1'000'000;
    TestIo io;
    io.prepare(IoOp::kFlush, 0, 0, 4096);
    EXPECT_EQ(node.run(io), Errc::kOk);
}

TEST(NvmeBdev, AFailedFlushIsNeverFollowedByASuccessfulOne) {
    NvmeNode node(1, NvmeNode::drive());
    node.world.faults().flush_error_ppm = 1'000'000;
    TestIo io;
    io.prepare(IoOp::kFlush, 0, 0, 4096);
    EXPECT_EQ(node.run(io), Errc::kIo);
    node.world.faults().flush_error_ppm = 0;
    EXPECT_EQ(node.run(io), Errc::kIo);
}

TEST(NvmeBdev, ReportsErrorsOfTheDevice) {
    NvmeNode node(1, NvmeNode::drive());
    node.nvme.drive().damage(8192, 4096);
    TestIo io;
    io.prepare(IoOp::kRead, 2, 1, 4096);
    EXPECT_EQ(node.run(io), Errc::kMediaError);
    io.prepare(IoOp::kCompare, 0, 1, 4096);
    EXPECT_EQ(node.run(io), Errc::kCompareMismatch);
    node.world.faults().write_error_ppm = 1'000'000;
    io.prepare(IoOp::kWriteZeroes, 0, 500, 4096);
    EXPECT_EQ(node.run(io), Errc::kIo);
}

TEST(NvmeBdev, MoreRequestsThanOperationsWaitInLine) {
    NvmeNode node(1, NvmeNode::drive());
    std::vector<std::unique_ptr<TestIo>> ios;
    for (uint32_t i = 0; i < 1000; ++i) {
        ios.push_back(std::make_unique<TestIo>());
        ios.back()->prepare(IoOp::kRead, i % 64, 1, 4096);
        ios.back()->submit(*node.channel);
    }
    EXPECT_TRUE(
        node.world.run_until([&] { return node.channel->in_flight() == 0; }, 10 * kNsPerSecond));
    EXPECT_EQ(ios.back()->code(), Errc::kOk);
}

TEST(NvmeBdev, LongRangesGoInSteps) {
    sim::NvmeOptions options = NvmeNode::drive();
    options.drive.size_bytes = (kNvmeDeallocateBlocks + 1000) * 4096;
    NvmeNode node(1, options);
    TestIo io;
    io.prepare(IoOp::kWrite, kNvmeDeallocateBlocks + 5, 1, 4096);
    io.fill(9);
    EXPECT_EQ(node.run(io), Errc::kOk);
    io.prepare(IoOp::kUnmap, 0, kNvmeDeallocateBlocks + 1000, 4096);
    const uint64_t start = node.world.now_ns();
    EXPECT_EQ(node.run(io), Errc::kOk);
    EXPECT_GE(node.world.now_ns() - start, 2 * sim::kStorageNs);
    EXPECT_EQ(node.nvme.drive().allocated_bytes(), 0U);
}

TEST(NvmeBdev, RefusesStrangers) {
    SimNode node(1);
    SimFinder finder;
    EXPECT_EQ(NvmeBdev::open(make_options(kNguid1), finder, node.files()).error().code,
              Errc::kNotFound);
}

}  // namespace
}  // namespace basalt::bdev
