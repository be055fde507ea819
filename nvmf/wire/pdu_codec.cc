#include "nvmf/wire/pdu_codec.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "nvmf/wire/digest.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

/// What a type of PDU may look like.
struct TypeTraits {
    bool known = false;
    Side receiver = Side::kController;
    bool carries_data = false;
    uint8_t header_bytes = 0;
    uint8_t flags_allowed = 0;
};

constexpr uint8_t kPduTypeCount = 10;
constexpr uint8_t kDigestFlags = kFlagHeaderDigest | kFlagDataDigest;

constexpr std::array<TypeTraits, kPduTypeCount> kTypes = [] {
    std::array<TypeTraits, kPduTypeCount> types{};
    const auto set = [&types](PduType type, Side receiver, bool data, size_t bytes, uint8_t flags) {
        types[static_cast<uint8_t>(type)] = {.known = true,
                                             .receiver = receiver,
                                             .carries_data = data,
                                             .header_bytes = static_cast<uint8_t>(bytes),
                                             .flags_allowed = flags};
    };
    set(PduType::kIcReq, Side::kController, false, sizeof(IcReq), 0);
    set(PduType::kIcResp, Side::kHost, false, sizeof(IcResp), 0);
    set(PduType::kH2cTermReq, Side::kController, true, sizeof(TermReq), 0);
    set(PduType::kC2hTermReq, Side::kHost, true, sizeof(TermReq), 0);
    set(PduType::kCapsuleCmd, Side::kController, true, sizeof(CapsuleCmd), kDigestFlags);
    set(PduType::kCapsuleResp, Side::kHost, false, sizeof(CapsuleResp), kFlagHeaderDigest);
    set(PduType::kH2cData, Side::kController, true, sizeof(H2cData), kDigestFlags | kFlagLastPdu);
    set(PduType::kC2hData,
        Side::kHost,
        true,
        sizeof(C2hData),
        kDigestFlags | kFlagLastPdu | kFlagSuccess);
    set(PduType::kR2t, Side::kHost, false, sizeof(R2t), kFlagHeaderDigest);
    return types;
}();

constexpr uint32_t kTypeField = offsetof(CommonHeader, type);
constexpr uint32_t kFlagsField = offsetof(CommonHeader, flags);
constexpr uint32_t kHeaderBytesField = offsetof(CommonHeader, header_bytes);
constexpr uint32_t kDataOffsetField = offsetof(CommonHeader, data_offset);
constexpr uint32_t kPduBytesField = offsetof(CommonHeader, pdu_bytes);

constexpr Violation bad_field(uint32_t offset) {
    return {.fes = Fes::kInvalidHeaderField, .fei = offset, .close_silently = false};
}

constexpr Violation violation(Fes fes, uint32_t fei = 0) {
    return {.fes = fes, .fei = fei, .close_silently = false};
}

constexpr bool is_ic(PduType type) {
    return type == PduType::kIcReq || type == PduType::kIcResp;
}

Violation check_term_req(const CommonHeader& header, PduLayout& layout) {
    const uint32_t pdu_bytes = header.pdu_bytes.get();
    Violation result;
    if (header.flags != 0) {
        result = bad_field(kFlagsField);
    } else if (header.header_bytes != sizeof(TermReq)) {
        result = bad_field(kHeaderBytesField);
    } else if (pdu_bytes < sizeof(TermReq) || pdu_bytes > kTermReqBytesMax) {
        result = bad_field(kPduBytesField);
    }
    if (result) {
        result.close_silently = true;
        return result;
    }
    layout = {};
    layout.type = static_cast<PduType>(header.type);
    layout.header_bytes = sizeof(TermReq);
    layout.data_bytes = pdu_bytes - static_cast<uint32_t>(sizeof(TermReq));
    return {};
}

/// The digests that a PDU with or without data has to have.
uint8_t digest_flags(const TypeTraits& traits, const PduRules& rules, bool has_data) {
    const bool header = rules.header_digest;
    const bool data = rules.data_digest && has_data;
    return static_cast<uint8_t>(
        ((header ? kFlagHeaderDigest : 0U) | (data ? kFlagDataDigest : 0U)) & traits.flags_allowed);
}

Violation check_data_bytes(PduType type, uint32_t data_bytes, const PduRules& rules) {
    if (type == PduType::kCapsuleCmd) {
        return data_bytes > rules.capsule_data_bytes_max ? bad_field(kPduBytesField) : Violation{};
    }
    if (data_bytes <= rules.data_bytes_max) {
        return {};
    }
    return type == PduType::kH2cData ? violation(Fes::kLimitExceeded) : bad_field(kPduBytesField);
}

/// Nearly always 4, for which no division is needed.
constexpr bool is_multiple_of(uint32_t value, uint32_t align) {
    return align == kDataAlignBytesMin ? value % kDataAlignBytesMin == 0 : value % align == 0;
}

/// The data part of `header`, whose type, flags and header length are right.
Violation check_data_part(const CommonHeader& header,
                          const TypeTraits& traits,
                          const PduRules& rules,
                          PduLayout& layout) {
    const uint32_t pdu_bytes = header.pdu_bytes.get();
    const uint32_t head_bytes = layout.header_total_bytes();
    const bool has_data = pdu_bytes > head_bytes;
    const uint32_t data_offset = header.data_offset;

    if (!traits.carries_data) {
        if (data_offset != 0) {
            return bad_field(kDataOffsetField);
        }
        return pdu_bytes == head_bytes ? Violation{} : bad_field(kPduBytesField);
    }
    if (!has_data) {
        // Without data an offset has no meaning: 0, or where data would have begun.
        if (data_offset != 0 && data_offset != head_bytes) {
            return bad_field(kDataOffsetField);
        }
        const bool may_be_empty = layout.type == PduType::kCapsuleCmd;
        return pdu_bytes == head_bytes && may_be_empty ? Violation{} : bad_field(kPduBytesField);
    }
    if (data_offset < head_bytes || data_offset >= pdu_bytes ||
        !is_multiple_of(data_offset, rules.data_align_bytes)) {
        return bad_field(kDataOffsetField);
    }
    const uint32_t rest_bytes = pdu_bytes - data_offset;
    if (rest_bytes <= layout.data_digest_bytes) {
        return bad_field(kPduBytesField);
    }
    layout.padding_bytes = static_cast<uint8_t>(data_offset - head_bytes);
    layout.data_bytes = rest_bytes - layout.data_digest_bytes;
    return check_data_bytes(layout.type, layout.data_bytes, rules);
}

/// What nearly all PDUs are: a command without digests, alone or with its data right behind it. It
/// passes all checks of check_common_header(); for one that is not, nothing is said.
bool is_plain_capsule(const CommonHeader& header, const PduRules& rules) {
    if (header.type != static_cast<uint8_t>(PduType::kCapsuleCmd) || header.flags != 0 ||
        header.header_bytes != sizeof(CapsuleCmd)) {
        return false;
    }
    if (rules.side != Side::kController || rules.phase == ConnectionPhase::kAwaitingIc ||
        rules.header_digest) {
        return false;
    }
    const uint32_t pdu_bytes = header.pdu_bytes.get();
    if (pdu_bytes == sizeof(CapsuleCmd)) {
        return header.data_offset == 0;
    }
    return pdu_bytes > sizeof(CapsuleCmd) && header.data_offset == sizeof(CapsuleCmd) &&
           !rules.data_digest && rules.data_align_bytes == kDataAlignBytesMin &&
           pdu_bytes - sizeof(CapsuleCmd) <= rules.capsule_data_bytes_max;
}
static_assert(sizeof(CapsuleCmd) % kDataAlignBytesMin == 0);

/// The fields that H2CData and C2HData share.
Violation check_transfer(uint32_t offset, uint32_t length_bytes, const PduLayout& layout) {
    static_assert(offsetof(H2cData, length_bytes) == offsetof(C2hData, length_bytes));
    if (length_bytes != layout.data_bytes) {
        return bad_field(offsetof(H2cData, length_bytes));
    }
    if (offset > UINT32_MAX - length_bytes) {
        return violation(Fes::kDataTransferOutOfRange);
    }
    return {};
}

Violation check_ic(uint16_t version, uint8_t data_align) {
    static_assert(offsetof(IcReq, version) == offsetof(IcResp, version));
    static_assert(offsetof(IcReq, data_align) == offsetof(IcResp, data_align));
    if (version != 0) {
        return violation(Fes::kUnsupportedParameter, offsetof(IcReq, version));
    }
    return data_align > kDataAlignFieldMax ? bad_field(offsetof(IcReq, data_align)) : Violation{};
}

Violation check_ic_resp(const IcResp& resp) {
    if (const Violation bad = check_ic(resp.version.get(), resp.data_align)) {
        return bad;
    }
    const uint32_t bytes_max = resp.h2c_data_max_bytes.get();
    if (bytes_max < kMaxH2cDataBytesMin || bytes_max % kMaxH2cDataBytesMultiple != 0) {
        return bad_field(offsetof(IcResp, h2c_data_max_bytes));
    }
    return {};
}

Violation check_r2t(const R2t& r2t) {
    if (r2t.length_bytes.get() == 0) {
        return bad_field(offsetof(R2t, length_bytes));
    }
    if (r2t.offset.get() > UINT32_MAX - r2t.length_bytes.get()) {
        return violation(Fes::kDataTransferOutOfRange);
    }
    return {};
}

/// Whether what is sent is the header and then the data, with nothing between or behind them.
constexpr bool is_plain(const PduFormat& format) {
    return !format.header_digest && !format.data_digest &&
           format.data_align_bytes == kDataAlignBytesMin;
}

/// Writes `pdu` with its common header filled in, for a format that is plain.
template <typename T>
size_t finish_plain(
    std::span<std::byte> out, T& pdu, PduType type, uint8_t flags, uint32_t data_bytes) {
    static_assert(sizeof(T) % kDataAlignBytesMin == 0);
    BASALT_ASSERT(out.size() >= sizeof(T));
    BASALT_ASSERT(data_bytes <= UINT32_MAX - sizeof(T));
    pdu.common.type = static_cast<uint8_t>(type);
    pdu.common.flags = flags;
    pdu.common.header_bytes = static_cast<uint8_t>(sizeof(T));
    pdu.common.data_offset = data_bytes != 0 ? static_cast<uint8_t>(sizeof(T)) : uint8_t{0};
    pdu.common.pdu_bytes.set(static_cast<uint32_t>(sizeof(T)) + data_bytes);
    std::memcpy(out.data(), &pdu, sizeof(T));
    return sizeof(T);
}

/// Writes `pdu` with its common header filled in, its digest and the padding before the data.
template <typename T>
size_t finish(std::span<std::byte> out,
              T& pdu,
              PduType type,
              uint8_t flags,
              uint32_t data_bytes,
              const PduFormat& format) {
    const uint32_t header_bytes = sizeof(T);
    const uint32_t head_bytes = header_bytes + (format.header_digest ? kDigestBytes : 0);
    uint32_t offset = head_bytes;
    uint32_t pdu_bytes = head_bytes;
    if (format.header_digest) {
        flags |= kFlagHeaderDigest;
    }
    if (data_bytes != 0) {
        const uint32_t align = format.data_align_bytes;
        BASALT_ASSERT(align >= kDataAlignBytesMin);
        BASALT_ASSERT(align <= kDataAlignBytesMax);
        offset = (head_bytes + align - 1) / align * align;
        pdu_bytes = offset + data_bytes + (format.data_digest ? kDigestBytes : 0);
        BASALT_ASSERT(pdu_bytes > data_bytes);
        flags |= format.data_digest ? kFlagDataDigest : uint8_t{0};
        pdu.common.data_offset = static_cast<uint8_t>(offset);
    }
    BASALT_ASSERT(out.size() >= offset);
    pdu.common.type = static_cast<uint8_t>(type);
    pdu.common.flags = flags;
    pdu.common.header_bytes = static_cast<uint8_t>(header_bytes);
    pdu.common.pdu_bytes.set(pdu_bytes);
    std::memcpy(out.data(), &pdu, header_bytes);
    if (format.header_digest) {
        encode_data_digest(out.subspan(header_bytes), crc32c(out.first(header_bytes)));
    }
    std::fill_n(out.begin() + head_bytes, offset - head_bytes, std::byte{0});
    return offset;
}

uint8_t digest_bits(bool header, bool data) {
    return static_cast<uint8_t>((header ? kDigestHeader : 0U) | (data ? kDigestData : 0U));
}

}  // namespace

Violation check_common_header(const CommonHeader& header,
                              const PduRules& rules,
                              PduLayout& layout) {
    if (is_plain_capsule(header, rules)) [[likely]] {
        layout = PduLayout{
            .type = PduType::kCapsuleCmd,
            .header_bytes = sizeof(CapsuleCmd),
            .data_bytes = header.pdu_bytes.get() - static_cast<uint32_t>(sizeof(CapsuleCmd))};
        return {};
    }
    if (header.type >= kPduTypeCount || !kTypes[header.type].known ||
        kTypes[header.type].receiver != rules.side) {
        return bad_field(kTypeField);
    }
    const TypeTraits& traits = kTypes[header.type];
    const auto type = static_cast<PduType>(header.type);
    if (type == PduType::kH2cTermReq || type == PduType::kC2hTermReq) {
        return check_term_req(header, layout);
    }
    if (is_ic(type) != (rules.phase == ConnectionPhase::kAwaitingIc)) {
        return violation(Fes::kPduSequenceError);
    }
    PduLayout found;
    found.type = type;
    found.flags = header.flags;
    found.header_bytes = traits.header_bytes;
    const bool header_digest = (digest_flags(traits, rules, true) & kFlagHeaderDigest) != 0;
    found.header_digest_bytes = header_digest ? kDigestBytes : 0;
    const bool has_data = header.pdu_bytes.get() > found.header_total_bytes();
    const uint8_t digests = digest_flags(traits, rules, has_data);
    found.data_digest_bytes = (digests & kFlagDataDigest) != 0 ? kDigestBytes : 0;

    if ((header.flags & ~traits.flags_allowed) != 0 || (header.flags & kDigestFlags) != digests) {
        return bad_field(kFlagsField);
    }
    if ((header.flags & kFlagSuccess) != 0 && (header.flags & kFlagLastPdu) == 0) {
        return bad_field(kFlagsField);
    }
    if (header.header_bytes != traits.header_bytes) {
        return bad_field(kHeaderBytesField);
    }
    if (const Violation bad = check_data_part(header, traits, rules, found)) {
        return bad;
    }
    layout = found;
    return {};
}

Violation check_header(std::span<const std::byte> header, const PduLayout& layout) {
    BASALT_ASSERT(header.size() == layout.header_total_bytes());
    if (layout.header_digest_bytes != 0) {
        Le32 digest;
        std::memcpy(&digest, header.data() + layout.header_bytes, sizeof(digest));
        if (crc32c(header.first(layout.header_bytes)) != digest.get()) {
            return violation(Fes::kHeaderDigestError, digest.get());
        }
    }
    const PduHeader pdu(layout, header.data());
    switch (layout.type) {
        case PduType::kIcReq: return check_ic(pdu.ic_req().version.get(), pdu.ic_req().data_align);
        case PduType::kIcResp: return check_ic_resp(pdu.ic_resp());
        case PduType::kH2cData:
            return check_transfer(
                pdu.h2c_data().offset.get(), pdu.h2c_data().length_bytes.get(), layout);
        case PduType::kC2hData:
            return check_transfer(
                pdu.c2h_data().offset.get(), pdu.c2h_data().length_bytes.get(), layout);
        case PduType::kR2t: return check_r2t(pdu.r2t());
        case PduType::kH2cTermReq:
        case PduType::kC2hTermReq:
        case PduType::kCapsuleCmd:
        case PduType::kCapsuleResp: break;
    }
    return {};
}

// The wire structures are made of single bytes (Le), so any address and any object may be read as
// one of them.
template <typename T>
const T& PduHeader::as(PduType type) const {
    static_assert(alignof(T) == 1);
    BASALT_ASSERT(layout_.type == type);
    return *reinterpret_cast<const T*>(bytes_);
}

const IcReq& PduHeader::ic_req() const {
    return as<IcReq>(PduType::kIcReq);
}

const IcResp& PduHeader::ic_resp() const {
    return as<IcResp>(PduType::kIcResp);
}

const TermReq& PduHeader::term_req() const {
    return layout_.type == PduType::kH2cTermReq ? as<TermReq>(PduType::kH2cTermReq)
                                                : as<TermReq>(PduType::kC2hTermReq);
}

const Sqe& PduHeader::sqe() const {
    return as<CapsuleCmd>(PduType::kCapsuleCmd).sqe;
}

const Cqe& PduHeader::cqe() const {
    return as<CapsuleResp>(PduType::kCapsuleResp).cqe;
}

const H2cData& PduHeader::h2c_data() const {
    return as<H2cData>(PduType::kH2cData);
}

const C2hData& PduHeader::c2h_data() const {
    return as<C2hData>(PduType::kC2hData);
}

const R2t& PduHeader::r2t() const {
    return as<R2t>(PduType::kR2t);
}

size_t encode_ic_req(std::span<std::byte> out, const IcReqFields& fields) {
    BASALT_ASSERT(fields.data_align <= kDataAlignFieldMax);
    BASALT_ASSERT(fields.r2t_max >= 1);
    IcReq pdu;
    pdu.data_align = fields.data_align;
    pdu.digests = digest_bits(fields.header_digest, fields.data_digest);
    pdu.r2t_max.set(fields.r2t_max - 1);
    return finish(out, pdu, PduType::kIcReq, 0, 0, {});
}

size_t encode_ic_resp(std::span<std::byte> out, const IcRespFields& fields) {
    BASALT_ASSERT(fields.data_align <= kDataAlignFieldMax);
    BASALT_ASSERT(fields.h2c_data_max_bytes >= kMaxH2cDataBytesMin);
    BASALT_ASSERT(fields.h2c_data_max_bytes % kMaxH2cDataBytesMultiple == 0);
    IcResp pdu;
    pdu.data_align = fields.data_align;
    pdu.digests = digest_bits(fields.header_digest, fields.data_digest);
    pdu.h2c_data_max_bytes.set(fields.h2c_data_max_bytes);
    return finish(out, pdu, PduType::kIcResp, 0, 0, {});
}

size_t encode_term_req(std::span<std::byte> out,
                       Side sender,
                       const Violation& violation,
                       std::span<const std::byte> offending_header) {
    BASALT_ASSERT(static_cast<bool>(violation));
    BASALT_ASSERT(!violation.close_silently);
    const size_t data_bytes = std::min<size_t>(offending_header.size(), kTermReqDataBytesMax);
    BASALT_ASSERT(out.size() >= sizeof(TermReq) + data_bytes);
    TermReq pdu;
    pdu.fes.set(static_cast<uint16_t>(violation.fes));
    pdu.fei.set(violation.fei);
    const auto type = sender == Side::kController ? PduType::kC2hTermReq : PduType::kH2cTermReq;
    finish(out, pdu, type, 0, 0, {});
    // Its data has no offset in the common header: it follows at once.
    const Le32 pdu_bytes(static_cast<uint32_t>(sizeof(TermReq) + data_bytes));
    std::memcpy(out.data() + offsetof(CommonHeader, pdu_bytes), &pdu_bytes, sizeof(pdu_bytes));
    std::copy_n(offending_header.begin(), data_bytes, out.begin() + sizeof(TermReq));
    return sizeof(TermReq) + data_bytes;
}

size_t encode_capsule_cmd(std::span<std::byte> out,
                          const Sqe& sqe,
                          uint32_t data_bytes,
                          const PduFormat& format) {
    CapsuleCmd pdu;
    pdu.sqe = sqe;
    return finish(out, pdu, PduType::kCapsuleCmd, 0, data_bytes, format);
}

size_t encode_capsule_resp(std::span<std::byte> out, const Cqe& cqe, const PduFormat& format) {
    CapsuleResp pdu;
    pdu.cqe = cqe;
    if (is_plain(format)) {
        return finish_plain(out, pdu, PduType::kCapsuleResp, 0, 0);
    }
    return finish(out, pdu, PduType::kCapsuleResp, 0, 0, format);
}

size_t encode_r2t(std::span<std::byte> out, const R2tFields& fields, const PduFormat& format) {
    BASALT_ASSERT(fields.length_bytes != 0);
    R2t pdu;
    pdu.command_id.set(fields.cid.raw());
    pdu.transfer_tag.set(fields.tag.raw());
    pdu.offset.set(fields.offset);
    pdu.length_bytes.set(fields.length_bytes);
    if (is_plain(format)) {
        return finish_plain(out, pdu, PduType::kR2t, 0, 0);
    }
    return finish(out, pdu, PduType::kR2t, 0, 0, format);
}

size_t encode_h2c_data(std::span<std::byte> out,
                       const H2cDataFields& fields,
                       const PduFormat& format) {
    BASALT_ASSERT(fields.length_bytes != 0);
    H2cData pdu;
    pdu.command_id.set(fields.cid.raw());
    pdu.transfer_tag.set(fields.tag.raw());
    pdu.offset.set(fields.offset);
    pdu.length_bytes.set(fields.length_bytes);
    const uint8_t flags = fields.last ? kFlagLastPdu : uint8_t{0};
    return finish(out, pdu, PduType::kH2cData, flags, fields.length_bytes, format);
}

size_t encode_c2h_data(std::span<std::byte> out,
                       const C2hDataFields& fields,
                       const PduFormat& format) {
    BASALT_ASSERT(fields.length_bytes != 0);
    BASALT_ASSERT(fields.last || !fields.success);
    C2hData pdu;
    pdu.command_id.set(fields.cid.raw());
    pdu.offset.set(fields.offset);
    pdu.length_bytes.set(fields.length_bytes);
    const auto flags = static_cast<uint8_t>((fields.last ? kFlagLastPdu : 0U) |
                                            (fields.success ? kFlagSuccess : 0U));
    if (is_plain(format)) {
        return finish_plain(out, pdu, PduType::kC2hData, flags, fields.length_bytes);
    }
    return finish(out, pdu, PduType::kC2hData, flags, fields.length_bytes, format);
}

size_t encode_data_digest(std::span<std::byte> out, uint32_t digest) {
    BASALT_ASSERT(out.size() >= kDigestBytes);
    const Le32 wire(digest);
    std::memcpy(out.data(), &wire, sizeof(wire));
    return sizeof(wire);
}

}  // namespace basalt::nvmf
