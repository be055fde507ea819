// Every command on blocks of 512 and of 4096 bytes, on each kind of device.
#include <memory>
#include <string>
#include <tuple>

#include "bdev/leaf/file_bdev.h"
#include "test/nvmf/target/target_io.h"

namespace basalt::nvmf {
namespace {

enum class Kind : uint8_t { kNull, kMalloc, kFile };

constexpr uint64_t kBytes = 4 << 20U;

class TargetFormats : public TargetIo,
                      public testing::WithParamInterface<std::tuple<Kind, uint32_t>> {
  protected:
    TargetFormats() : kind(std::get<0>(GetParam())), block_bytes(std::get<1>(GetParam())) {
        switch (kind) {
            case Kind::kNull: world.add_null("Device", kBytes / block_bytes, block_bytes); break;
            case Kind::kMalloc:
                world.add_malloc("Device", kBytes / block_bytes, block_bytes);
                break;
            case Kind::kFile: add_file(); break;
        }
        nsid = world.add_namespace("Device").raw();
        connect();
    }

    void add_file() {
        world.world.add_drive(
            world.server, "/d", {.size_bytes = kBytes, .alignment_bytes = block_bytes});
        bdev::FileOptions options;
        options.name = "Device";
        options.path = "/d";
        options.block_size_bytes = block_bytes;
        auto file = bdev::FileBdev::open(options, world.world.file_system(world.server));
        BASALT_ASSERT(world.registry->add(std::move(file).value()).has_value());
    }

    Sqe ranged(uint8_t opcode, uint64_t first, uint64_t count) {
        Sqe sqe = make_command(opcode, CommandId(next_cid++), Nsid(nsid));
        set_range(sqe, Lba(first), BlockCount(count));
        return sqe;
    }
    NvmeStatus send_block(Sqe sqe, const Bytes& data) {
        set_in_capsule_data(sqe, block_bytes);
        return io.command(sqe, data).status();
    }
    Bytes block_at(uint64_t first) {
        Sqe sqe = ranged(nvme_cmd_read, first, 1);
        set_transport_data(sqe, block_bytes);
        Bytes data;
        EXPECT_TRUE(io.command(sqe, {}, &data).status().ok());
        return data;
    }
    /// What a block reads as that `data` was written to.
    Bytes kept(const Bytes& data) const { return kind == Kind::kNull ? zeroes() : data; }
    Bytes zeroes() const { return Bytes(block_bytes); }

    Kind kind;
    uint32_t block_bytes;
    uint32_t nsid = 0;
};

TEST_P(TargetFormats, IsReportedTruly) {
    Bytes data;
    ASSERT_TRUE(
        admin.command(make_identify(CommandId(9), NVME_IDENTIFY_CNS_NS, Nsid(nsid)), {}, &data)
            .status()
            .ok());
    const auto ns = ScriptedHost::as<nvme_id_ns>(data);
    EXPECT_EQ(uint32_t{1} << ns.lbaf[0].ds, block_bytes);
    EXPECT_EQ(ns.nlbaf, 0);
    EXPECT_EQ(ns.flbas, 0);
    EXPECT_EQ(ns.nsze, kBytes / block_bytes);
    EXPECT_EQ(ns.nacwu + 1U, 16384 / block_bytes);
    EXPECT_EQ(uint64_t{ns.mcl} * block_bytes, uint64_t{256} << 20U);
    EXPECT_EQ(ns.nuse, kind == Kind::kFile ? 0 : ns.nsze)
        << "only a sparse file has less behind it";
}

TEST_P(TargetFormats, KnowsEveryCommand) {
    const Bytes one = pattern(block_bytes, 1);
    const Bytes two = pattern(block_bytes, 2);
    EXPECT_TRUE(send_block(ranged(nvme_cmd_write, 3, 1), one).ok());
    Sqe durable = ranged(nvme_cmd_write, 4, 1);
    durable.cdw12.set(durable.cdw12.get() | 1U << 30U);
    EXPECT_TRUE(send_block(durable, two).ok());
    EXPECT_EQ(block_at(3), kept(one));
    EXPECT_EQ(block_at(4), kept(two));

    EXPECT_TRUE(send_block(ranged(nvme_cmd_compare, 3, 1), kept(one)).ok());
    EXPECT_TRUE(send_block(ranged(nvme_cmd_compare, 4, 1), one).is(status::kCompareFailure));
    EXPECT_TRUE(io.command(ranged(nvme_cmd_verify, 0, 512)).status().ok());
    EXPECT_TRUE(io.command(make_command(nvme_cmd_flush, CommandId(900), Nsid(nsid))).status().ok());

    nvme_copy_range range{};
    range.slba = 3;
    range.nlb = 1;
    Sqe copy = make_command(nvme_cmd_copy, CommandId(next_cid++), Nsid(nsid));
    copy.cdw10.set(100);
    set_in_capsule_data(copy, sizeof(range));
    EXPECT_TRUE(io.command(copy, std::as_bytes(std::span(&range, 1))).status().ok());
    EXPECT_EQ(block_at(100), kept(one));
    EXPECT_EQ(block_at(101), kept(two));

    Sqe compare = ranged(nvme_cmd_compare, 100, 1);
    compare.flags = static_cast<uint8_t>(compare.flags | 1U);
    set_in_capsule_data(compare, block_bytes);
    io.send(io.capsule(compare, kept(one)));
    Sqe swap = ranged(nvme_cmd_write, 100, 1);
    swap.flags = static_cast<uint8_t>(swap.flags | 2U);
    EXPECT_TRUE(send_block(swap, two).ok()) << "the compare";
    EXPECT_TRUE(io.completion().status().ok()) << "the write";
    EXPECT_EQ(block_at(100), kept(two));

    for (const uint32_t deallocate : {0U, 1U << 25U}) {
        Sqe clear = ranged(nvme_cmd_write_zeroes, deallocate == 0 ? 100 : 101, 1);
        clear.cdw12.set(clear.cdw12.get() | deallocate);
        EXPECT_TRUE(io.command(clear).status().ok());
    }
    EXPECT_EQ(block_at(100), zeroes());
    EXPECT_EQ(block_at(101), zeroes());

    nvme_dsm_range unmapped{};
    unmapped.slba = 4;
    unmapped.nlb = 1;
    Sqe deallocate = make_deallocate(CommandId(next_cid++), Nsid(nsid), 1);
    set_in_capsule_data(deallocate, sizeof(unmapped));
    EXPECT_TRUE(io.command(deallocate, std::as_bytes(std::span(&unmapped, 1))).status().ok());
    EXPECT_EQ(block_at(3), kept(one));
    EXPECT_EQ(block_at(4), zeroes());
}

TEST_P(TargetFormats, RefusesWhatIsBeyondItsEnd) {
    const uint64_t end = kBytes / block_bytes;
    for (const uint8_t opcode : {nvme_cmd_read,
                                 nvme_cmd_write,
                                 nvme_cmd_compare,
                                 nvme_cmd_write_zeroes,
                                 nvme_cmd_verify}) {
        for (const uint64_t first : {end - 1, end, UINT64_MAX}) {
            Sqe sqe = ranged(opcode, first, 2);
            if (opcode != nvme_cmd_write_zeroes && opcode != nvme_cmd_verify) {
                set_transport_data(sqe, 2 * block_bytes);
            }
            EXPECT_TRUE(io.command(sqe).status().is(status::kLbaOutOfRange))
                << int{opcode} << " at " << first;
        }
    }
    Sqe long_write = ranged(nvme_cmd_write, 0, 131072 / block_bytes + 1);
    set_transport_data(long_write, 131072 + block_bytes);
    EXPECT_TRUE(io.command(long_write).status().is(status::kInvalidField)) << "MDTS";
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         TargetFormats,
                         testing::Combine(testing::Values(Kind::kNull, Kind::kMalloc, Kind::kFile),
                                          testing::Values(512U, 4096U)));

}  // namespace
}  // namespace basalt::nvmf
