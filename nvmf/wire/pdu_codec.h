#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "nvmf/wire/pdu.h"

namespace basalt::nvmf {

/// Which end of the connection we are: a controller receives what hosts send, and the reverse.
enum class Side : uint8_t { kController, kHost };

/// Where a connection stands for its receiver.
enum class ConnectionPhase : uint8_t {
    kAwaitingIc,   ///< Only ICReq (controller) or ICResp (host) may come, or a terminate request.
    kEstablished,  ///< Everything else may come.
};

/// What the two ends have agreed on, and our limits: what a received PDU is checked against. A
/// value that the connection owns; the defaults are those before ICReq and ICResp.
struct PduRules {
    Side side = Side::kController;
    ConnectionPhase phase = ConnectionPhase::kAwaitingIc;
    bool header_digest = false;
    bool data_digest = false;
    /// Alignment of data sent to us, which we asked for with CPDA or HPDA: 4 to 128 bytes.
    uint8_t data_align_bytes = kDataAlignBytesMin;
    /// Controller: most in-capsule data; at least kAdminCapsuleDataBytes on an admin queue.
    uint32_t capsule_data_bytes_max = kAdminCapsuleDataBytes;
    /// Most data in one H2CData (our MAXH2CDATA) or C2HData PDU.
    uint32_t data_bytes_max = kMaxH2cDataBytesDefault;
};

/// How we send: what the two ends have agreed on for the other direction.
struct PduFormat {
    bool header_digest = false;
    bool data_digest = false;
    uint8_t data_align_bytes = kDataAlignBytesMin;  ///< What the receiver asked for.
};

/// What a PDU does wrong, in the words of a terminate request; false when nothing is wrong.
struct Violation {
    Fes fes = Fes::kNone;
    /// The offset of the field in the header, for kInvalidHeaderField and kUnsupportedParameter;
    /// the digest that came, for kHeaderDigestError; otherwise 0.
    uint32_t fei = 0;
    /// The bad PDU is itself a terminate request: close, and send none (NVMe over Fabrics 1.1,
    /// section 7.4.7, as cited by FreeBSD's nvmf_tcp.h).
    bool close_silently = false;

    constexpr explicit operator bool() const { return fes != Fes::kNone; }
    constexpr bool operator==(const Violation&) const = default;
};

/// The parts of a PDU, as its common header gives them.
struct PduLayout {
    PduType type = PduType::kIcReq;
    uint8_t flags = 0;
    uint8_t header_bytes = 0;         ///< Without the digest.
    uint8_t header_digest_bytes = 0;  ///< 0 or 4.
    uint8_t padding_bytes = 0;        ///< Between the header's digest and the data.
    uint8_t data_digest_bytes = 0;    ///< 0 or 4.
    uint32_t data_bytes = 0;

    [[nodiscard]] constexpr uint32_t header_total_bytes() const {
        return uint32_t{header_bytes} + header_digest_bytes;
    }
};

/// Checks a common header and says where the PDU's parts are. Fields are checked in their order, so
/// that the lowest wrong one is reported. `layout` is written only if nothing is wrong. Pure.
[[nodiscard]] Violation check_common_header(const CommonHeader& header,
                                            const PduRules& rules,
                                            PduLayout& layout);

/// Whether check_header() has something to check. Not in capsules without a digest, which nearly
/// all PDUs are.
[[nodiscard]] constexpr bool has_more_to_check(const PduLayout& layout) {
    return layout.header_digest_bytes != 0 ||
           (layout.type != PduType::kCapsuleCmd && layout.type != PduType::kCapsuleResp);
}

/// Checks the rest of a header that check_common_header() has accepted: its digest, if it has one,
/// and the fields of its type. `header` is layout.header_total_bytes() long.
[[nodiscard]] Violation check_header(std::span<const std::byte> header, const PduLayout& layout);

/// A whole PDU header, checked, read where it lies. Valid as long as the bytes are.
class PduHeader {
  public:
    PduHeader(const PduLayout& layout, const std::byte* bytes) : layout_(layout), bytes_(bytes) {}

    [[nodiscard]] const PduLayout& layout() const { return layout_; }
    [[nodiscard]] PduType type() const { return layout_.type; }
    [[nodiscard]] uint32_t data_bytes() const { return layout_.data_bytes; }
    [[nodiscard]] bool is_last() const { return (layout_.flags & kFlagLastPdu) != 0; }
    [[nodiscard]] bool is_success() const { return (layout_.flags & kFlagSuccess) != 0; }
    /// The header without its digest, as a terminate request sends it back.
    [[nodiscard]] std::span<const std::byte> bytes() const {
        return {bytes_, layout_.header_bytes};
    }

    /// The header as its type; each asserts that the type is the right one.
    [[nodiscard]] const IcReq& ic_req() const;
    [[nodiscard]] const IcResp& ic_resp() const;
    [[nodiscard]] const TermReq& term_req() const;
    [[nodiscard]] const Sqe& sqe() const;
    [[nodiscard]] const Cqe& cqe() const;
    [[nodiscard]] const H2cData& h2c_data() const;
    [[nodiscard]] const C2hData& c2h_data() const;
    [[nodiscard]] const R2t& r2t() const;

  private:
    template <typename T>
    [[nodiscard]] const T& as(PduType type) const;

    PduLayout layout_;
    const std::byte* bytes_;
};

// Encoders. Each writes what goes on the wire before the payload (header, header digest, padding)
// to `out`, which has room for kPduHeadBytesMax bytes, and returns how much that is. The payload
// and, with data digests, encode_data_digest() of it follow. Nothing is allocated.

struct IcReqFields {
    uint8_t data_align = 0;  ///< HPDA, 0 to 31.
    bool header_digest = false;
    bool data_digest = false;
    uint32_t r2t_max = 1;  ///< R2Ts outstanding per command, counted from 1.
};
size_t encode_ic_req(std::span<std::byte> out, const IcReqFields& fields);

struct IcRespFields {
    uint8_t data_align = 0;  ///< CPDA, 0 to 31. Linux hosts reject anything but 0.
    bool header_digest = false;
    bool data_digest = false;
    uint32_t h2c_data_max_bytes = kMaxH2cDataBytesDefault;  ///< Multiple of 4, at least 4096.
};
size_t encode_ic_resp(std::span<std::byte> out, const IcRespFields& fields);

/// The terminate request that `sender` sends about `violation`, with as much of `offending_header`
/// as may go in it. Complete: no payload follows.
size_t encode_term_req(std::span<std::byte> out,
                       Side sender,
                       const Violation& violation,
                       std::span<const std::byte> offending_header);

/// A command, with `data_bytes` of in-capsule data to follow (0: none).
size_t encode_capsule_cmd(std::span<std::byte> out,
                          const Sqe& sqe,
                          uint32_t data_bytes,
                          const PduFormat& format);

size_t encode_capsule_resp(std::span<std::byte> out, const Cqe& cqe, const PduFormat& format);

struct R2tFields {
    CommandId cid;
    TransferTag tag;
    uint32_t offset = 0;
    uint32_t length_bytes = 0;  ///< Not 0.
};
size_t encode_r2t(std::span<std::byte> out, const R2tFields& fields, const PduFormat& format);

struct H2cDataFields {
    CommandId cid;
    TransferTag tag;
    uint32_t offset = 0;
    uint32_t length_bytes = 0;  ///< Not 0.
    bool last = false;
};
size_t encode_h2c_data(std::span<std::byte> out,
                       const H2cDataFields& fields,
                       const PduFormat& format);

struct C2hDataFields {
    CommandId cid;
    uint32_t offset = 0;
    uint32_t length_bytes = 0;  ///< Not 0.
    bool last = false;
    bool success = false;  ///< Only with last.
};
size_t encode_c2h_data(std::span<std::byte> out,
                       const C2hDataFields& fields,
                       const PduFormat& format);

/// The four bytes after the payload, from Crc32c::value() over it. `out` has room for them.
size_t encode_data_digest(std::span<std::byte> out, uint32_t digest);

}  // namespace basalt::nvmf
