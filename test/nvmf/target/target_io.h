#pragma once

#include <algorithm>
#include <span>

#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {

inline Bytes pattern(size_t bytes, uint32_t seed) {
    Bytes out(bytes);
    for (size_t i = 0; i < bytes; ++i) {
        out[i] = static_cast<std::byte>((i * 31 + seed) >> 2U);
    }
    return out;
}

/// An admin queue and an I/O queue of one controller, and what a test says on them.
class TargetIo : public testing::Test {
  protected:
    void connect(bool digests = false) {
        cntlid = admin.become_admin();
        ASSERT_TRUE(io.handshake(digests, digests));
        ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    }

    Sqe transfer(uint8_t opcode, uint64_t first, uint64_t count, uint32_t nsid = 1) {
        Sqe sqe = make_command(opcode, CommandId(next_cid++), Nsid(nsid));
        set_range(sqe, Lba(first), BlockCount(count));
        set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
        return sqe;
    }
    Cqe write_in_capsule(uint64_t first, std::span<const std::byte> data) {
        Sqe sqe = transfer(nvme_cmd_write, first, data.size() / TargetWorld::kBlockBytes);
        set_in_capsule_data(sqe, static_cast<uint32_t>(data.size()));
        return io.command(sqe, data);
    }
    Cqe write_by_r2t(uint64_t first, const Bytes& data, size_t pdu_bytes) {
        io.send(
            io.capsule(transfer(nvme_cmd_write, first, data.size() / TargetWorld::kBlockBytes)));
        const auto r2t = ScriptedHost::as<R2t>(io.next_pdu());
        EXPECT_EQ(r2t.length_bytes.get(), data.size());
        for (size_t at = 0; at < data.size(); at += pdu_bytes) {
            const size_t bytes = std::min(pdu_bytes, data.size() - at);
            io.send(io.h2c_data(r2t,
                                static_cast<uint32_t>(at),
                                std::span(data).subspan(at, bytes),
                                at + bytes == data.size()));
        }
        return io.completion();
    }
    Bytes read(uint64_t first, uint64_t count) {
        Bytes data;
        EXPECT_TRUE(io.command(transfer(nvme_cmd_read, first, count), {}, &data).status().ok());
        return data;
    }

    TargetWorld world{1};
    ScriptedHost admin{world};
    ScriptedHost io{world};
    ControllerId cntlid;
    uint16_t next_cid = 10;
};

}  // namespace basalt::nvmf
