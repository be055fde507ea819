#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "nvmf/target/limits.h"
#include "nvmf/target/request.h"
#include "nvmf/wire/pdu_codec.h"

namespace basalt::nvmf {

/// What a connection sends: R2Ts and responses in the order they were queued, gathered into one
/// vectored send at a time. Headers and digests are encoded side by side into one small buffer when
/// the send is gathered, so that neighbours without payload between them become one piece; payload
/// goes out from where it lies.
///
/// Owner: the connection. Core: the connection's.
class Output {
  public:
    Output();
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;
    ~Output();  ///< Nothing is queued or being sent: see abandon().

    /// Queues a complete PDU of the connection itself (ICResp, a terminate request). It goes out
    /// behind all that is queued for requests: of an ICResp there is none yet.
    /// `encode` writes at most kPduHeadBytesMax bytes to its argument and returns how many. Twice
    /// at most before a send: a host's first bytes may be an ICReq with rubbish behind it.
    template <typename Encode>
    void queue_control(Encode encode) {
        BASALT_ASSERT(control_.size() - control_bytes_ >= kPduHeadBytesMax);
        control_bytes_ += encode(std::span(control_).subspan(control_bytes_));
    }

    /// Queues the R2T of a request in kAwaitingData, or the response of one in kResponding.
    void queue(Request& request) { waiting_.push_back(request); }

    [[nodiscard]] bool has_work() const { return control_bytes_ > 0 || !waiting_.empty(); }
    [[nodiscard]] bool is_sending() const { return is_sending_; }

    /// Responses in the send under way.
    [[nodiscard]] uint32_t sent_count() const { return sent_count_; }

    /// Makes the next send of what is queued. has_work() and not is_sending(). The pieces stay
    /// until finish_send(). A request without memory of ours is given back to its connection here.
    [[nodiscard]] std::span<const iovec> begin_send(const PduFormat& format);

    /// The send is over: gives back each request whose payload it was.
    template <typename Release>
    void finish_send(Release release) {
        is_sending_ = false;
        RequestList sent;
        sent.splice_back(sent_);
        while (Request* request = sent.pop_front()) {
            release(*request);
        }
    }

    /// The connection is gone: unlinks every request without sending.
    void abandon();

  private:
    void add_piece(const void* data, size_t bytes);
    /// Encodes at the end of headers_ and adds it to the pieces, or to the last if it is a header.
    template <typename Encode>
    void add_header(Encode encode);
    void add_response(Request& request, const PduFormat& format);
    [[nodiscard]] bool has_room() const;

    RequestList waiting_;
    RequestList sent_;
    std::array<std::byte, size_t{2} * kPduHeadBytesMax> control_{};
    size_t control_bytes_ = 0;
    std::unique_ptr<std::byte[]> headers_;
    size_t header_bytes_ = 0;
    size_t send_bytes_ = 0;
    std::array<iovec, kSendPieces> pieces_{};
    size_t piece_count_ = 0;
    bool is_header_last_ = false;  // The last piece ends where the next header goes.
    uint32_t sent_count_ = 0;
    bool is_sending_ = false;
};

}  // namespace basalt::nvmf
