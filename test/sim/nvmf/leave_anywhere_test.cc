// A host that leaves after every single byte that it says, and after every single byte that it is
// told, in the middle of one command of each kind. What was answered is done; what was not is done
// or not, block by block, never something else; and the target forgets the host.
#include <array>
#include <cstring>

#include <gtest/gtest.h>

#include "reactor/base/log.h"
#include "test/nvmf/target/raw_host.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kBlockBytes = TargetWorld::kBlockBytes;
constexpr uint32_t kBlocks = 16;
constexpr uint64_t kOld = 1000;  // What the test's blocks hold at first, plus their number.
constexpr uint64_t kNew = 2000;

enum Cid : uint16_t {
    kWrite = 10,
    kLongWrite,
    kZero,
    kDeallocate,
    kCopy,
    kFusedCompare,
    kFusedWrite,
    kCompare,
    kVerify,
    kRead,
    kFlush,
};

Bytes block_of(uint64_t value) {
    Bytes out(kBlockBytes);
    for (size_t at = 0; at < out.size(); at += sizeof(value)) {
        std::memcpy(&out[at], &value, sizeof(value));
    }
    return out;
}

Bytes blocks_of(uint64_t base, uint64_t first, uint32_t count) {
    Bytes out;
    for (uint64_t block = first; block < first + count; ++block) {
        const Bytes one = block_of(base + block);
        out.insert(out.end(), one.begin(), one.end());
    }
    return out;
}

/// Which blocks a command changes, to what.
struct Change {
    Cid cid{};
    uint64_t first = 0;
    uint32_t count = 0;
    bool becomes_zero = false;
    uint64_t value = 0;  ///< 0: kNew plus the block's number.
};
constexpr std::array kChanges{Change{kWrite, 0, 1},
                              Change{kLongWrite, 2, 2},
                              Change{kZero, 5, 1, true},
                              Change{kDeallocate, 7, 1, true},
                              Change{kCopy, 9, 1, false, kOld + 10},
                              Change{kFusedWrite, 12, 1}};

class LeaveAnywhere : public testing::Test {
  protected:
    LeaveAnywhere() {
        Log::set_level(LogLevel::kOff);
        cntlid_ = admin_.become_admin();
        BASALT_ASSERT(checker_.handshake());
        BASALT_ASSERT(checker_.connect(QueueId(2), cntlid_).status().ok());
    }

    static Sqe on_blocks(uint8_t opcode, uint16_t cid, uint64_t first, uint32_t count) {
        Sqe sqe = make_command(opcode, CommandId(cid), Nsid(1));
        set_range(sqe, Lba(first), BlockCount(count));
        return sqe;
    }
    static void push(RawHost& host, const Sqe& sqe, std::span<const std::byte> payload = {}) {
        host.expect(sqe.cid());
        host.push_capsule(sqe, payload);
    }
    static void push_in_capsule(RawHost& host, Sqe sqe, const Bytes& payload) {
        set_in_capsule_data(sqe, static_cast<uint32_t>(payload.size()));
        push(host, sqe, payload);
    }

    /// Says all that it has to say, as far as the host gets.
    void talk(RawHost& host) {
        host.push_ic_req(false, false);
        host.push_connect(QueueId(1), cntlid_);
        push_in_capsule(host, on_blocks(nvme_cmd_write, kWrite, 0, 1), blocks_of(kNew, 0, 1));
        Sqe long_write = on_blocks(nvme_cmd_write, kLongWrite, 2, 2);
        set_transport_data(long_write, 2 * kBlockBytes);
        push(host, long_write);
        push(host, on_blocks(nvme_cmd_write_zeroes, kZero, 5, 1));
        Bytes range(16);
        range[4] = std::byte{1};
        range[8] = std::byte{7};
        push_in_capsule(host, make_deallocate(CommandId(kDeallocate), Nsid(1), 1), range);
        Sqe copy = make_command(nvme_cmd_copy, CommandId(kCopy), Nsid(1));
        copy.cdw10.set(9);
        Bytes source(32);
        source[8] = std::byte{10};
        push_in_capsule(host, copy, source);
        Sqe compare = on_blocks(nvme_cmd_compare, kFusedCompare, 12, 1);
        compare.flags = static_cast<uint8_t>(compare.flags | 1U);
        push_in_capsule(host, compare, blocks_of(kOld, 12, 1));
        Sqe write = on_blocks(nvme_cmd_write, kFusedWrite, 12, 1);
        write.flags = static_cast<uint8_t>(write.flags | 2U);
        push_in_capsule(host, write, blocks_of(kNew, 12, 1));
        push_in_capsule(host, on_blocks(nvme_cmd_compare, kCompare, 14, 1), blocks_of(kOld, 14, 1));
        push(host, on_blocks(nvme_cmd_verify, kVerify, 0, kBlocks));
        Sqe read = on_blocks(nvme_cmd_read, kRead, 14, 2);
        set_transport_data(read, 2 * kBlockBytes);
        push(host, read);
        push(host, make_command(nvme_cmd_flush, CommandId(kFlush), Nsid(1)));
        world_.world.run_until([&] { return host.is_closed || !host.r2ts.empty(); }, kNsPerMs);
        if (!host.r2ts.empty()) {
            const R2t r2t = host.r2ts.front();
            host.push_h2c_data({.cid = CommandId(r2t.command_id.get()),
                                .tag = TransferTag(r2t.transfer_tag.get()),
                                .offset = 0,
                                .length_bytes = 2 * kBlockBytes,
                                .last = true},
                               blocks_of(kNew, 2, 2));
        }
        world_.world.run_until([&] { return host.is_closed || host.outstanding() == 0; }, kNsPerMs);
    }

    void prepare() {
        const Bytes data = blocks_of(kOld, 0, kBlocks);
        for (uint32_t first = 0; first < kBlocks; first += 8) {
            Sqe sqe = on_blocks(nvme_cmd_write, 3, first, 8);
            set_in_capsule_data(sqe, 8 * kBlockBytes);
            const auto part = std::span(data).subspan(first * kBlockBytes, 8 * kBlockBytes);
            ASSERT_TRUE(checker_.command(sqe, part).status().ok());
        }
    }

    /// Each block is as it was or as its command leaves it; the latter if that was answered.
    void check(const RawHost& host) {
        Sqe sqe = on_blocks(nvme_cmd_read, 4, 0, kBlocks);
        set_transport_data(sqe, kBlocks * kBlockBytes);
        Bytes found;
        ASSERT_TRUE(checker_.command(sqe, {}, &found).status().ok());
        for (uint64_t block = 0; block < kBlocks; ++block) {
            const Bytes is(found.begin() + static_cast<std::ptrdiff_t>(block * kBlockBytes),
                           found.begin() + static_cast<std::ptrdiff_t>((block + 1) * kBlockBytes));
            bool may_be_old = true;
            bool is_changed = false;
            for (const Change& change : kChanges) {
                if (block >= change.first && block < change.first + change.count) {
                    const uint64_t value = change.value != 0 ? change.value : kNew + block;
                    is_changed = is == block_of(change.becomes_zero ? 0 : value);
                    may_be_old = !host.answer(CommandId(change.cid)).has_value();
                }
            }
            ASSERT_TRUE(is_changed || (may_be_old && is == block_of(kOld + block)))
                << "block " << block;
        }
        ASSERT_EQ(host.strays, 0U);
        for (const Cqe& cqe : host.answers) {
            ASSERT_TRUE(cqe.status().ok()) << "command " << cqe.cid().raw();
        }
    }

    /// How much is said when nobody leaves: by the host, and by the target.
    std::pair<size_t, size_t> whole_talk() {
        prepare();
        RawHost host(world_);
        talk(host);
        EXPECT_EQ(host.outstanding(), 0U);
        check(host);
        return {host.pushed_bytes(), host.received_bytes()};
    }
    void expect_forgotten() {
        world_.world.run_for(kNsPerSecond);
        const auto left = world_.run(world_.target->controllers(std::string(TargetWorld::kNqn)));
        ASSERT_EQ(left->size(), 1U);
        EXPECT_EQ(left->front().io_queues, 1U);
    }

    TargetWorld world_{1};
    ScriptedHost admin_{world_};
    ScriptedHost checker_{world_};
    ControllerId cntlid_;
};

TEST_F(LeaveAnywhere, AfterEveryByteThatTheHostSays) {
    const size_t bytes = whole_talk().first;
    ASSERT_GT(bytes, 4000U);
    for (size_t at = 1; at < bytes; ++at) {
        ASSERT_NO_FATAL_FAILURE(prepare());
        RawHost host(world_);
        host.vanish_after_pushing(at);
        talk(host);
        EXPECT_TRUE(world_.world.run_until([&] { return host.is_closed; }, kNsPerSecond));
        world_.world.run_for(kNsPerMs);
        ASSERT_NO_FATAL_FAILURE(check(host)) << "after byte " << at;
    }
    expect_forgotten();
}

TEST_F(LeaveAnywhere, AfterEveryByteThatTheHostIsTold) {
    const size_t bytes = whole_talk().second;
    ASSERT_GT(bytes, 1400U);
    for (size_t at = 1; at < bytes; ++at) {
        ASSERT_NO_FATAL_FAILURE(prepare());
        RawHost host(world_);
        host.vanish_after_receiving(at);
        talk(host);
        EXPECT_TRUE(world_.world.run_until([&] { return host.is_closed; }, kNsPerSecond));
        world_.world.run_for(kNsPerMs);
        ASSERT_NO_FATAL_FAILURE(check(host)) << "after byte " << at;
    }
    expect_forgotten();
}

}  // namespace
}  // namespace basalt::nvmf
