#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include "nvmf/wire/digest.h"
#include "nvmf/wire/pdu_codec.h"

namespace basalt::nvmf {

/// A handler's answer to a PDU header: what becomes of the PDU's data.
struct PayloadPlan {
    enum class Action : uint8_t {
        kStore,    ///< Copy the data into `pieces`.
        kDiscard,  ///< Read over the data. Also the answer for a PDU without data.
        kLater,    ///< Backpressure: keep the header and ask again at the next feed().
        kReject,   ///< The PDU is wrong in a way that only the handler can know: `violation`.
    };

    Action action = Action::kDiscard;
    /// Where the data goes, in order; together at least as long as the data. The list and the
    /// memory belong to the handler and stay until on_pdu_complete() or the receiver's end.
    std::span<const iovec> pieces{};
    Violation violation{};

    [[nodiscard]] static PayloadPlan store(std::span<const iovec> pieces) {
        return {.action = Action::kStore, .pieces = pieces, .violation = {}};
    }
    [[nodiscard]] static PayloadPlan discard() { return {}; }
    [[nodiscard]] static PayloadPlan later() {
        return {.action = Action::kLater, .pieces = {}, .violation = {}};
    }
    [[nodiscard]] static PayloadPlan reject(Fes fes, uint32_t fei = 0) {
        return {.action = Action::kReject,
                .pieces = {},
                .violation = {.fes = fes, .fei = fei, .close_silently = false}};
    }
};

/// What the data digest of a complete PDU said.
enum class DataDigest : uint8_t {
    kAbsent,    ///< The PDU has none.
    kMatch,     ///< The data is what the sender sent.
    kMismatch,  ///< It is not. Fatal to the command (00h/22h), not to the connection.
};

/// Who a PduReceiver works for: a connection of the target or of the initiator. Per PDU exactly one
/// on_header() that isn't answered with kLater or kReject, then exactly one on_pdu_complete();
/// on_violation() at most once, and nothing after it. Calls come from within feed(); none of them
/// may destroy the receiver or call feed().
class PduHandler {
  public:
    /// A header has come and is sound. It is valid during the call only. Called again for the same
    /// header after kLater.
    virtual PayloadPlan on_header(const PduHeader& header) = 0;

    /// The PDU of the last on_header() is complete, its data in place. The receiver stands between
    /// two PDUs.
    virtual void on_pdu_complete(DataDigest digest) = 0;

    /// The peer broke the protocol: send a terminate request (unless close_silently) with `header`,
    /// valid during the call only, and close. The receiver takes no more input.
    virtual void on_violation(const Violation& violation, std::span<const std::byte> header) = 0;

  protected:
    ~PduHandler() = default;
};

/// Cuts a byte stream into PDUs and checks them: the receiving half of an NVMe/TCP connection, the
/// same for target and initiator. Pure: no I/O, no clock, no allocation; input may be cut anywhere.
/// A header that lies whole in the input is read there and not copied.
///
///   kHeader -> kPlan -> kPadding -> kData -> kDataDigest -> kHeader
///   any state -> kFailed on a violation; any -> kStopped by stop()
///
/// Owner: the connection. Core: the connection's.
class PduReceiver {
  public:
    /// Each comment names who moves the receiver out of the state.
    enum class State : uint8_t {
        kHeader,      ///< feed(), on the header's last byte.
        kPlan,        ///< feed(), when the handler has a plan for the data.
        kPadding,     ///< feed(), on the last padding byte.
        kData,        ///< feed(), on the last data byte.
        kDataDigest,  ///< feed(), on the digest's last byte.
        kFailed,      ///< Nobody: the peer broke the protocol.
        kStopped,     ///< Nobody: the owner wants no more.
    };

    /// `handler` outlives the receiver.
    PduReceiver(PduHandler& handler, const PduRules& rules);
    PduReceiver(const PduReceiver&) = delete;
    PduReceiver& operator=(const PduReceiver&) = delete;

    /// Takes input and calls the handler. Returns how many bytes it took: all of them, unless the
    /// handler answered kLater (then is_waiting(); give the rest, which may be empty, to feed()
    /// again when the handler can go on), or input stopped counting (kFailed, kStopped).
    [[nodiscard]] size_t feed(std::span<const std::byte> input);

    /// During on_header(): the PDU's data, if all of it (and its digest) is in the input already,
    /// else empty. A handler that can use it there answers with discard().
    [[nodiscard]] std::span<const std::byte> data_at_hand() const;

    /// Where the next bytes of input belong, if they are data that is being stored; else empty.
    /// Whoever puts bytes there himself says so with data_stored() and does not feed() them.
    [[nodiscard]] std::span<std::byte> wanted_data() const;

    /// The first `size_bytes` of wanted_data() have come. Calls the handler as feed() does.
    void data_stored(size_t size_bytes);

    /// What to check PDUs against: from the next common header on, and so for the very next PDU
    /// when called from on_pdu_complete().
    void set_rules(const PduRules& rules);
    [[nodiscard]] const PduRules& rules() const { return rules_; }

    /// Takes no more input and makes no more calls; may be called from within one.
    void stop();

    [[nodiscard]] bool is_waiting() const { return state_ == State::kPlan; }
    [[nodiscard]] bool is_done() const {
        return state_ == State::kFailed || state_ == State::kStopped;
    }
    /// True if no byte of a PDU has come since the last complete one.
    [[nodiscard]] bool is_between_pdus() const {
        return state_ == State::kHeader && buffered_bytes_ == 0;
    }

  private:
    using Bytes = std::span<const std::byte>;

    // Each takes what it can from the front of `input`.
    void take_header(Bytes& input);
    void take_padding(Bytes& input);
    void take_data(Bytes& input);
    void take_data_digest(Bytes& input);

    [[nodiscard]] bool buffer_until(size_t wanted_bytes, Bytes& input);
    void use_header(const std::byte* header);
    void ask_plan(const std::byte* header);
    void begin_data(const PayloadPlan& plan);
    [[nodiscard]] std::span<std::byte> destination() const;
    void skip_full_pieces();
    void data_arrived(size_t bytes);
    void complete(DataDigest digest);
    void fail(const Violation& violation, Bytes header);

    PduHandler& handler_;
    PduRules rules_;
    PduLayout layout_{};
    std::span<const iovec> pieces_{};  // What is still to fill; empty: discard.
    size_t piece_offset_ = 0;          // In pieces_[0].
    uint32_t remaining_bytes_ = 0;     // Of padding, or of data.
    Bytes ahead_{};                    // During on_header(): the input behind the header.
    Crc32c data_crc_;
    State state_ = State::kHeader;
    bool layout_known_ = false;  // A common header was checked, the rest is yet to come.
    bool storing_ = false;
    uint8_t buffered_bytes_ = 0;
    std::array<std::byte, kHeaderBufferBytes> buffer_{};  // A header in pieces, or a data digest.
};

}  // namespace basalt::nvmf
