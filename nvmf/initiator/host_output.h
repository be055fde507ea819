#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "nvmf/initiator/host_command.h"
#include "nvmf/initiator/limits.h"
#include "nvmf/wire/pdu_codec.h"

namespace basalt::nvmf {

/// What a queue sends: capsules and data in the order they were queued, gathered into one vectored
/// send at a time. Headers and digests are encoded side by side into one small buffer when the send
/// is gathered, so that neighbours without data between them become one piece; data goes out from
/// where it lies.
///
/// Owner: HostQueue. Core: the queue's.
class HostOutput {
  public:
    HostOutput();
    HostOutput(const HostOutput&) = delete;
    HostOutput& operator=(const HostOutput&) = delete;
    ~HostOutput();  ///< Nothing is queued or being sent: see abandon().

    /// Queues a complete PDU of the connection itself (ICReq, a terminate request): before every
    /// command, or instead of them after drop_waiting(). `encode` writes at most kPduHeadBytesMax
    /// bytes to its argument and returns how many.
    template <typename Encode>
    void queue_control(Encode encode) {
        control_bytes_ += encode(std::span(control_).subspan(control_bytes_));
    }

    /// Queues the capsule of a command in kQueued, or the data of one in kSendingData.
    void queue(HostCommand& command) { waiting_.push_back(command); }

    /// What waits is not sent after all.
    void drop_waiting() { waiting_.clear(); }

    [[nodiscard]] bool has_work() const { return control_bytes_ > 0 || !waiting_.empty(); }
    [[nodiscard]] bool is_sending() const { return is_sending_; }

    /// Makes the next send of what is queued: moves commands to kInFlight when all that they have
    /// to send now is in it. has_work() and not is_sending(). No H2CData PDU is longer than
    /// `h2c_data_bytes_max`. The pieces stay until finish_send().
    [[nodiscard]] std::span<const iovec> begin_send(const PduFormat& format,
                                                    uint32_t h2c_data_bytes_max);

    /// The send is over: calls `released(command)` for each whose memory it read.
    template <typename Released>
    void finish_send(Released released) {
        is_sending_ = false;
        SendList sent;
        sent.splice_back(sent_);
        while (HostCommand* command = sent.pop_front()) {
            released(*command);
        }
    }

    /// The connection is gone: unlinks every command.
    void abandon();

  private:
    using SendList = IntrusiveList<HostCommand, &HostCommand::send_link>;

    void add_piece(const void* data, size_t bytes);
    /// Encodes at the end of headers_ and adds it to the pieces.
    template <typename Encode>
    void add_header(Encode encode);
    /// Adds the next `bytes` of the command's data, and their digest.
    void add_data(HostCommand& command, uint32_t bytes, const PduFormat& format);
    void add_capsule(HostCommand& command, const PduFormat& format);
    /// False if the rest of the R2T's data did not fit.
    [[nodiscard]] bool add_r2t_data(HostCommand& command,
                                    const PduFormat& format,
                                    uint32_t h2c_data_bytes_max);
    /// True if one more PDU with data in `pieces` pieces fits.
    [[nodiscard]] bool has_room(size_t pieces) const;

    HostCommandList waiting_;
    SendList sent_;
    std::array<std::byte, kPduHeadBytesMax> control_{};
    size_t control_bytes_ = 0;
    std::unique_ptr<std::byte[]> headers_;
    size_t header_bytes_ = 0;
    std::array<iovec, kHostSendPieces> pieces_{};
    size_t piece_count_ = 0;
    bool is_sending_ = false;
};

}  // namespace basalt::nvmf
