#pragma once

#include <cstddef>
#include <cstdint>

#include "nvmf/wire/le.h"
#include "nvmf/wire/limits.h"
#include "nvmf/wire/sqe.h"

// The NVMe/TCP PDU headers as they lie on the wire. format.md beside this file is their spec page.

namespace basalt::nvmf {

/// The PDU types. Those that a controller receives are even, those that a host receives odd.
enum class PduType : uint8_t {
    kIcReq = 0x00,
    kIcResp = 0x01,
    kH2cTermReq = 0x02,
    kC2hTermReq = 0x03,
    kCapsuleCmd = 0x04,
    kCapsuleResp = 0x05,
    kH2cData = 0x06,
    kC2hData = 0x07,
    kR2t = 0x09,
};

/// Bits of CommonHeader::flags.
inline constexpr uint8_t kFlagHeaderDigest = 1U << 0U;  ///< HDGSTF: a header digest follows.
inline constexpr uint8_t kFlagDataDigest = 1U << 1U;    ///< DDGSTF: a data digest follows the data.
inline constexpr uint8_t kFlagLastPdu = 1U << 2U;       ///< LAST_PDU: the transfer's last data PDU.
inline constexpr uint8_t kFlagSuccess = 1U << 3U;  ///< SUCCESS: no response capsule will follow.

/// Bits of IcReq::digests and IcResp::digests.
inline constexpr uint8_t kDigestHeader = 1U << 0U;
inline constexpr uint8_t kDigestData = 1U << 1U;

/// Fatal Error Status of a terminate request.
enum class Fes : uint16_t {
    kNone = 0x00,  ///< Reserved on the wire; here: no error.
    kInvalidHeaderField = 0x01,
    kPduSequenceError = 0x02,
    kHeaderDigestError = 0x03,
    kDataTransferOutOfRange = 0x04,
    kLimitExceeded = 0x05,  ///< To a host: of a data transfer. To a controller: of R2Ts.
    kUnsupportedParameter = 0x06,
};

/// What every PDU begins with.
struct CommonHeader {
    uint8_t type = 0;
    uint8_t flags = 0;
    uint8_t header_bytes = 0;  ///< HLEN: the header without its digest.
    uint8_t data_offset = 0;   ///< PDO: from the PDU's start to its data; 0 without data.
    Le32 pdu_bytes;            ///< PLEN: header, digests, padding and data.
};
static_assert(sizeof(CommonHeader) == kCommonHeaderBytes);
static_assert(offsetof(CommonHeader, flags) == 1);
static_assert(offsetof(CommonHeader, header_bytes) == 2);
static_assert(offsetof(CommonHeader, data_offset) == 3);
static_assert(offsetof(CommonHeader, pdu_bytes) == 4);

/// ICReq: the first PDU of a connection, from the host.
struct IcReq {
    CommonHeader common;
    Le16 version;            ///< PFV; 0 is the only one.
    uint8_t data_align = 0;  ///< HPDA: dwords - 1 to which data for the host is aligned.
    uint8_t digests = 0;     ///< Which digests the host wants.
    Le32 r2t_max;            ///< MAXR2T: R2Ts outstanding per command - 1.
    uint8_t reserved[112] = {};
};
static_assert(sizeof(IcReq) == 128);
static_assert(offsetof(IcReq, version) == 8);
static_assert(offsetof(IcReq, data_align) == 10);
static_assert(offsetof(IcReq, digests) == 11);
static_assert(offsetof(IcReq, r2t_max) == 12);
static_assert(offsetof(IcReq, reserved) == 16);

/// ICResp: the controller's answer to ICReq.
struct IcResp {
    CommonHeader common;
    Le16 version;             ///< PFV.
    uint8_t data_align = 0;   ///< CPDA: dwords - 1 to which data for the controller is aligned.
    uint8_t digests = 0;      ///< Which digests are in use from now on.
    Le32 h2c_data_max_bytes;  ///< MAXH2CDATA: most data in one H2CData PDU.
    uint8_t reserved[112] = {};
};
static_assert(sizeof(IcResp) == 128);
static_assert(offsetof(IcResp, version) == 8);
static_assert(offsetof(IcResp, data_align) == 10);
static_assert(offsetof(IcResp, digests) == 11);
static_assert(offsetof(IcResp, h2c_data_max_bytes) == 12);
static_assert(offsetof(IcResp, reserved) == 16);

/// H2CTermReq and C2HTermReq: a fatal error; the sender reads no more. The header that offended
/// follows as data. Never carries a digest.
struct TermReq {
    CommonHeader common;
    Le16 fes;
    Le32 fei;  ///< Fatal Error Information; its meaning depends on fes.
    uint8_t reserved[10] = {};
};
static_assert(sizeof(TermReq) == kTermReqHeaderBytes);
static_assert(offsetof(TermReq, fes) == 8);
static_assert(offsetof(TermReq, fei) == 10);
static_assert(offsetof(TermReq, reserved) == 14);

/// CapsuleCmd: a command, with or without in-capsule data.
struct CapsuleCmd {
    CommonHeader common;
    Sqe sqe;
};
static_assert(sizeof(CapsuleCmd) == 72);
static_assert(offsetof(CapsuleCmd, sqe) == 8);

/// CapsuleResp: a completion.
struct CapsuleResp {
    CommonHeader common;
    Cqe cqe;
};
static_assert(sizeof(CapsuleResp) == 24);
static_assert(offsetof(CapsuleResp, cqe) == 8);

/// H2CData: data that an R2T asked for.
struct H2cData {
    CommonHeader common;
    Le16 command_id;    ///< CCCID.
    Le16 transfer_tag;  ///< TTAG, from the R2T.
    Le32 offset;        ///< DATAO: from the start of the command's data.
    Le32 length_bytes;  ///< DATAL.
    uint8_t reserved[4] = {};
};
static_assert(sizeof(H2cData) == 24);
static_assert(offsetof(H2cData, command_id) == 8);
static_assert(offsetof(H2cData, transfer_tag) == 10);
static_assert(offsetof(H2cData, offset) == 12);
static_assert(offsetof(H2cData, length_bytes) == 16);
static_assert(offsetof(H2cData, reserved) == 20);

/// C2HData: data that a command reads.
struct C2hData {
    CommonHeader common;
    Le16 command_id;  ///< CCCID.
    uint8_t reserved0[2] = {};
    Le32 offset;        ///< DATAO.
    Le32 length_bytes;  ///< DATAL.
    uint8_t reserved1[4] = {};
};
static_assert(sizeof(C2hData) == 24);
static_assert(offsetof(C2hData, command_id) == 8);
static_assert(offsetof(C2hData, reserved0) == 10);
static_assert(offsetof(C2hData, offset) == 12);
static_assert(offsetof(C2hData, length_bytes) == 16);
static_assert(offsetof(C2hData, reserved1) == 20);

/// R2T: the controller is ready for a part of a command's data.
struct R2t {
    CommonHeader common;
    Le16 command_id;    ///< CCCID.
    Le16 transfer_tag;  ///< TTAG: the controller's name for this transfer.
    Le32 offset;        ///< R2TO: from the start of the command's data.
    Le32 length_bytes;  ///< R2TL.
    uint8_t reserved[4] = {};
};
static_assert(sizeof(R2t) == 24);
static_assert(offsetof(R2t, command_id) == 8);
static_assert(offsetof(R2t, transfer_tag) == 10);
static_assert(offsetof(R2t, offset) == 12);
static_assert(offsetof(R2t, length_bytes) == 16);
static_assert(offsetof(R2t, reserved) == 20);

static_assert(sizeof(IcReq) == kHeaderBytesMax && sizeof(IcResp) == kHeaderBytesMax);

}  // namespace basalt::nvmf
