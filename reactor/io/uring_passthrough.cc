#include "reactor/io/uring_passthrough.h"

#include <cerrno>
#include <cstring>

#include <linux/nvme_ioctl.h>
#include <poll.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

constexpr uint32_t kEntries = 512;

// Bits 10:0 of the status field: status code type and status code. NVM Express Base Specification,
// "Completion Queue Entry: Status Field"; the kernel has shifted the phase tag out.
constexpr uint32_t kStatusMask = 0x7FF;

void fill(nvme_uring_cmd& command, const PassthroughRequest& request) {
    command.opcode = static_cast<uint8_t>(request.command[0]);
    command.flags = static_cast<uint8_t>(request.command[0] >> 8);
    command.nsid = request.command[1];
    command.cdw2 = request.command[2];
    command.cdw3 = request.command[3];
    command.cdw10 = request.command[10];
    command.cdw11 = request.command[11];
    command.cdw12 = request.command[12];
    command.cdw13 = request.command[13];
    command.cdw14 = request.command[14];
    command.cdw15 = request.command[15];
    if (request.piece_count == 1) {
        command.addr = reinterpret_cast<uint64_t>(request.pieces[0].iov_base);
        command.data_len = request.length_bytes;
    } else if (request.piece_count > 1) {
        command.addr = reinterpret_cast<uint64_t>(request.pieces);
        command.data_len = request.piece_count;  // Of the array, in the _VEC commands.
    }
}

uint32_t ioctl_code(const PassthroughRequest& request) {
    if (request.is_admin) {
        return request.piece_count > 1 ? NVME_URING_CMD_ADMIN_VEC : NVME_URING_CMD_ADMIN;
    }
    return request.piece_count > 1 ? NVME_URING_CMD_IO_VEC : NVME_URING_CMD_IO;
}

}  // namespace

UringPassthrough::UringPassthrough(UringRing& main, const UringFeatures& features) : main_(main) {
    const UringRing::Options options{
        .submission_entries = kEntries,
        .completion_entries = 2 * kEntries,
        .extra_setup_flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
    };
    auto ring = UringRing::create(options, features);
    if (ring) {
        ring_ = std::move(*ring);
    } else {
        open_error_ = ring.error();
    }
}

UringPassthrough::~UringPassthrough() {
    BASALT_ASSERT(in_flight_ == 0);
}

void UringPassthrough::submit(PassthroughRequest& request) {
    ++in_flight_;
    request.nvme_status = 0;
    request.result = 0;
    if (!ring_) {
        request.status = open_error_;
        failed_.push_back(request.done);
        return;
    }
    io_uring_sqe& sqe = ring_->next_sqe();
    std::memset(&sqe, 0, 2 * sizeof(sqe));
    sqe.opcode = IORING_OP_URING_CMD;
    sqe.fd = static_cast<int>(request.device.id);
    sqe.cmd_op = ioctl_code(request);
    sqe.user_data = reinterpret_cast<uint64_t>(&request);
    fill(*reinterpret_cast<nvme_uring_cmd*>(sqe.cmd), request);
}

uint32_t UringPassthrough::poll(uint32_t count_max, Reactor& here) {
    uint32_t count = 0;
    EventList failed;
    failed.splice_back(failed_);
    while (Event* done = failed.pop_front()) {
        --in_flight_;
        ++count;
        done->run(here);
    }
    if (!ring_) {
        return count;
    }
    if (ring_->wants_enter()) {
        ring_->enter();
    }
    return count + ring_->reap(count_max,
                               [this, &here](
                                   uint64_t user_data, UringCompletion completion, uint64_t extra) {
                                   // NOLINTNEXTLINE(performance-no-int-to-ptr): as it went in.
                                   complete(*reinterpret_cast<PassthroughRequest*>(user_data),
                                            completion.result,
                                            extra,
                                            here);
                               });
}

void UringPassthrough::complete(PassthroughRequest& request,
                                int32_t result,
                                uint64_t command_result,
                                Reactor& here) {
    if (result < 0) {
        request.status = Error::from_errno(-result);
    } else {
        request.status = kOk;
        request.nvme_status = static_cast<uint16_t>(static_cast<uint32_t>(result) & kStatusMask);
        request.result = command_result;
    }
    --in_flight_;
    request.done.run(here);
}

bool UringPassthrough::prepare_wait() {
    if (!failed_.empty() || (ring_ && (ring_->wants_enter() || ring_->has_completions()))) {
        return false;
    }
    if (in_flight_ > 0 && !ready_.is_armed) {
        io_uring_sqe& sqe = main_.next_sqe();
        io_uring_prep_poll_add(&sqe, ring_->fd(), POLLIN);
        sqe.user_data = ready_.user_data();
        ready_.is_armed = true;
    }
    return true;
}

void UringPassthrough::on_ready(UringOp& op, UringCompletion /*completion*/) {
    static_cast<ReadyOp&>(op).is_armed = false;
}

}  // namespace basalt
