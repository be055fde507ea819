// The simulated NVMe character device, command by command.
#include <cstring>

#include <gtest/gtest.h>
#include <nvme/types.h>

#include "reactor/sim/world.h"

namespace basalt::sim {
namespace {

constexpr uint32_t kBlock = 512;

NvmeOptions test_options() {
    NvmeOptions options;
    options.drive.size_bytes = 1U << 20U;
    options.block_size_bytes = kBlock;
    options.transfer_max_log2 = 2;
    options.nguid = {1, 2, 3};
    options.uuid = {9, 8, 7};
    return options;
}

/// One node with one device, and a blocking command.
class NvmeDeviceTest : public testing::Test {
  protected:
    NvmeDeviceTest()
        : world_(3),
          node_(world_.add_node()),
          device_(world_.add_nvme(node_, "/dev/ng0n1", test_options())) {
        start();
    }
    ~NvmeDeviceTest() override { world_.power_off(); }

    struct Command {
        uint8_t opcode = 0;
        bool is_admin = false;
        uint32_t nsid = 1;
        uint32_t cdw10 = 0;
        uint32_t cdw11 = 0;
        uint32_t cdw12 = 0;
        std::span<std::byte> data{};
    };

    void start() {
        reactor_ = &world_.add_reactor(node_);
        handle_ = world_.file_system(node_).open("/dev/ng0n1", {}).value().handle;
    }
    /// A command under way.
    struct Request : PassthroughRequest {
        Request() {
            done.set_run([](Event& event, Reactor&) {
                static_cast<Request&>(DoneEvent<PassthroughRequest>::request_of(event)).is_done =
                    true;
            });
        }
        iovec piece{};
        bool is_done = false;
    };
    void submit(Request& request, const Command& command) {
        request.piece = {command.data.data(), command.data.size()};
        request.device = handle_;
        request.is_admin = command.is_admin;
        request.command[0] = command.opcode;
        request.command[1] = command.nsid;
        request.command[10] = command.cdw10;
        request.command[11] = command.cdw11;
        request.command[12] = command.cdw12;
        request.pieces = &request.piece;
        request.piece_count = command.data.empty() ? 0 : 1;
        request.length_bytes = static_cast<uint32_t>(command.data.size());
        reactor_->storage().submit(request);
    }
    /// The NVMe status.
    uint16_t run(const Command& command) {
        Request request;
        submit(request, command);
        EXPECT_TRUE(world_.run_until([&] { return request.is_done; }, kNsPerSecond));
        EXPECT_TRUE(request.status);
        result_ = request.result;
        return request.nvme_status;
    }
    template <typename Page>
    Page identify(uint8_t cns) {
        Page page{};
        EXPECT_EQ(run({.opcode = nvme_admin_identify,
                       .is_admin = true,
                       .cdw10 = cns,
                       .data = std::as_writable_bytes(std::span(&page, 1))}),
                  0);
        return page;
    }
    uint16_t transfer(uint8_t opcode,
                      uint32_t lba,
                      std::vector<std::byte>& data,
                      uint32_t flags = 0) {
        const auto blocks = static_cast<uint32_t>(data.size()) / kBlock;
        return run({.opcode = opcode, .cdw10 = lba, .cdw12 = (blocks - 1) | flags, .data = data});
    }
    static std::vector<std::byte> blocks(uint32_t count, uint8_t value) {
        return std::vector<std::byte>(size_t{count} * kBlock, std::byte{value});
    }
    uint8_t byte_at(uint32_t lba) {
        auto data = blocks(1, 0xEE);
        EXPECT_EQ(transfer(nvme_cmd_read, lba, data), 0);
        return std::to_integer<uint8_t>(data[kBlock - 1]);
    }

    World world_;
    NodeId node_;
    NvmeDevice& device_;
    Reactor* reactor_ = nullptr;
    FileHandle handle_;
    uint64_t result_ = 0;
};

TEST_F(NvmeDeviceTest, IdentifyTellsWhatItIs) {
    const auto controller = identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(controller.vwc & 1, 1);
    EXPECT_EQ(controller.mdts, 2);
    EXPECT_EQ(std::memcmp(controller.sn, "SIM0001 ", 8), 0);
    const auto ns = identify<nvme_id_ns>(NVME_IDENTIFY_CNS_NS);
    EXPECT_EQ(ns.nsze, 2048U);
    EXPECT_EQ(1U << ns.lbaf[ns.flbas & 0xF].ds, kBlock);
    const auto descriptors = identify<std::array<uint8_t, 4096>>(NVME_IDENTIFY_CNS_NS_DESC_LIST);
    EXPECT_EQ(descriptors[0], NVME_NIDT_NGUID);
    EXPECT_EQ(descriptors[1], 16);
    EXPECT_EQ(descriptors[4], 1);
    EXPECT_EQ(descriptors[20], NVME_NIDT_UUID);
    EXPECT_EQ(descriptors[24], 9);
    EXPECT_EQ(descriptors[40], 0);
    const auto active = identify<std::array<uint32_t, 1024>>(NVME_IDENTIFY_CNS_NS_ACTIVE_LIST);
    EXPECT_EQ(active[0], 0U) << "only those above the nsid of the command";
}

TEST_F(NvmeDeviceTest, WritesReadBackAndCompare) {
    auto data = blocks(8, 0x5A);
    EXPECT_EQ(transfer(nvme_cmd_write, 100, data), 0);
    EXPECT_EQ(byte_at(107), 0x5A);
    EXPECT_EQ(byte_at(108), 0);
    EXPECT_EQ(transfer(nvme_cmd_compare, 100, data), 0);
    data[5] ^= std::byte{1};
    EXPECT_EQ(transfer(nvme_cmd_compare, 100, data), 0x285);
}

TEST_F(NvmeDeviceTest, BadCommandsGetTheirStatus) {
    auto data = blocks(2, 0);
    EXPECT_EQ(transfer(nvme_cmd_read, 2047, data), NVME_SC_LBA_RANGE);
    EXPECT_EQ(transfer(nvme_cmd_write, 2048, data), NVME_SC_LBA_RANGE);
    EXPECT_EQ(run({.opcode = nvme_cmd_read, .cdw12 = 4, .data = data}), NVME_SC_INVALID_FIELD);
    auto large = blocks(33, 0);
    EXPECT_EQ(transfer(nvme_cmd_read, 0, large), NVME_SC_INVALID_FIELD) << "more than MDTS";
    EXPECT_EQ(run({.opcode = nvme_cmd_read, .nsid = 2, .data = data}), NVME_SC_INVALID_NS);
    EXPECT_EQ(run({.opcode = 0x7E}), NVME_SC_INVALID_OPCODE);
    EXPECT_EQ(run({.opcode = 0x7E, .is_admin = true}), NVME_SC_INVALID_OPCODE);
    std::vector<std::byte> page(4096);
    EXPECT_EQ(run({.opcode = nvme_admin_identify, .is_admin = true, .cdw10 = 0x77, .data = page}),
              NVME_SC_INVALID_FIELD);
}

TEST_F(NvmeDeviceTest, WriteZeroesAndDeallocateZero) {
    auto data = blocks(8, 0x5A);
    for (uint32_t lba = 0; lba < 64; lba += 8) {
        EXPECT_EQ(transfer(nvme_cmd_write, lba, data), 0);
    }
    EXPECT_EQ(run({.opcode = nvme_cmd_write_zeroes, .cdw10 = 3, .cdw12 = 1}), 0);
    EXPECT_EQ(byte_at(2), 0x5A);
    EXPECT_EQ(byte_at(3), 0);
    EXPECT_EQ(byte_at(4), 0);
    EXPECT_EQ(byte_at(5), 0x5A);
    std::array<nvme_dsm_range, 2> ranges{};
    ranges[0].slba = 8;
    ranges[0].nlb = 16;
    ranges[1].slba = 32;
    ranges[1].nlb = 8;
    const uint64_t before = device_.drive().allocated_bytes();
    const auto bytes = std::as_writable_bytes(std::span(ranges));
    EXPECT_EQ(run({.opcode = nvme_cmd_dsm, .cdw10 = 1, .cdw11 = 4, .data = bytes}), 0);
    EXPECT_EQ(byte_at(8), 0);
    EXPECT_EQ(byte_at(23), 0);
    EXPECT_EQ(byte_at(24), 0x5A);
    EXPECT_EQ(byte_at(39), 0);
    EXPECT_EQ(before - device_.drive().allocated_bytes(), 3U * 4096);
    ranges[0].slba = 2048;
    EXPECT_EQ(run({.opcode = nvme_cmd_dsm, .cdw10 = 1, .cdw11 = 4, .data = bytes}),
              NVME_SC_LBA_RANGE);
}

TEST_F(NvmeDeviceTest, FlushAndForcedUnitAccessOutliveAPowerLoss) {
    world_.faults().crash_loss_ppm = 1'000'000;
    auto data = blocks(1, 0x11);
    EXPECT_EQ(transfer(nvme_cmd_write, 1, data), 0);
    EXPECT_EQ(run({.opcode = nvme_cmd_flush}), 0);
    EXPECT_EQ(transfer(nvme_cmd_write, 2, data, 1U << 30U), 0);
    EXPECT_EQ(transfer(nvme_cmd_write, 3, data), 0);
    world_.crash_node(node_);
    world_.restart_node(node_);
    start();
    EXPECT_EQ(byte_at(1), 0x11);
    EXPECT_EQ(byte_at(2), 0x11);
    EXPECT_EQ(byte_at(3), 0);
}

TEST_F(NvmeDeviceTest, AFlushSavesOnlyWhatHadEndedWhenItBegan) {
    world_.faults().crash_loss_ppm = 1'000'000;
    auto data = blocks(1, 0x11);
    Request write;
    Request flush;
    submit(write, {.opcode = nvme_cmd_write, .cdw10 = 1, .data = data});
    submit(flush, {.opcode = nvme_cmd_flush});
    EXPECT_TRUE(world_.run_until([&] { return write.is_done && flush.is_done; }, kNsPerSecond));
    EXPECT_EQ(flush.nvme_status, 0);
    EXPECT_EQ(byte_at(1), 0x11);
    world_.crash_node(node_);
    world_.restart_node(node_);
    start();
    EXPECT_EQ(byte_at(1), 0);
}

TEST_F(NvmeDeviceTest, MediaErrorsAndTheCacheFeatureAreReported) {
    device_.drive().damage(0, kBlock);
    auto data = blocks(1, 0);
    EXPECT_EQ(transfer(nvme_cmd_read, 0, data), 0x281);
    EXPECT_EQ(run({.opcode = nvme_admin_get_features, .is_admin = true, .cdw10 = 6}), 0);
    EXPECT_EQ(result_, 1U);
}

}  // namespace
}  // namespace basalt::sim
