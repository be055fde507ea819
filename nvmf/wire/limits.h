#pragma once

#include <cstdint>

namespace basalt::nvmf {

/// The well-known ports of NVMe/TCP: I/O controllers, and the discovery service.
inline constexpr uint16_t kIoPort = 4420;
inline constexpr uint16_t kDiscoveryPort = 8009;

/// A digest is a CRC32C.
inline constexpr uint32_t kDigestBytes = 4;

/// The common header: enough to know a PDU's type and lengths.
inline constexpr uint32_t kCommonHeaderBytes = 8;

/// The longest PDU header: ICReq and ICResp. With its digest it bounds what a receiver must buffer.
/// (Those two never carry a digest; the sum is a bound, not a case.)
inline constexpr uint32_t kHeaderBytesMax = 128;
inline constexpr uint32_t kHeaderBufferBytes = kHeaderBytesMax + kDigestBytes;

/// A terminate request: its header of 24 bytes and up to 128 bytes of the header that offended.
inline constexpr uint32_t kTermReqHeaderBytes = 24;
inline constexpr uint32_t kTermReqDataBytesMax = 128;
inline constexpr uint32_t kTermReqBytesMax = kTermReqHeaderBytes + kTermReqDataBytesMax;

/// What an encoder may write before the payload: the longest of a terminate request (152), an
/// ICReq (128) and a capsule whose data is aligned to the largest alignment (128).
inline constexpr uint32_t kPduHeadBytesMax = kTermReqBytesMax;

/// HPDA and CPDA count dwords from 0; 31 is the largest legal value, which is 128 bytes.
inline constexpr uint8_t kDataAlignFieldMax = 31;
inline constexpr uint32_t kDataAlignBytesMin = 4;
inline constexpr uint32_t kDataAlignBytesMax = (kDataAlignFieldMax + 1) * 4;
static_assert(kDataAlignBytesMax <= 255, "the data offset (PDO) is one byte");
static_assert(kPduHeadBytesMax >= kDataAlignBytesMax && kPduHeadBytesMax >= kHeaderBytesMax);

/// In-capsule data that fabrics and admin commands may carry whatever IOCCSZ says.
inline constexpr uint32_t kAdminCapsuleDataBytes = 8192;

/// MAXH2CDATA: hosts reject less than 4096 and what is no multiple of 4. The default is what SPDK
/// offers (its max_io_size); a larger value saves PDUs and holds a connection's turn longer.
inline constexpr uint32_t kMaxH2cDataBytesMin = 4096;
inline constexpr uint32_t kMaxH2cDataBytesMultiple = 4;
inline constexpr uint32_t kMaxH2cDataBytesDefault = 131072;
static_assert(kMaxH2cDataBytesDefault % kMaxH2cDataBytesMultiple == 0);
static_assert(kMaxH2cDataBytesDefault >= kMaxH2cDataBytesMin);

/// The most data that one C2HData PDU may carry to our initiator. A command moves at most 65536
/// blocks; 32 MiB is more than any MDTS in use. A PDU that claims more has a broken length.
inline constexpr uint32_t kC2hDataBytesMax = 32U << 20U;

/// An NVMe qualified name without its terminating NUL, and its field in Connect and log pages.
inline constexpr uint32_t kNqnBytesMax = 223;
inline constexpr uint32_t kNqnFieldBytes = 256;

/// Dataset Management carries at most 256 ranges of 16 bytes: one page of 4096 bytes.
inline constexpr uint32_t kDsmRangesMax = 256;
inline constexpr uint32_t kDsmRangeBytes = 16;
static_assert(kDsmRangesMax * kDsmRangeBytes == 4096);

/// The payload of Connect.
inline constexpr uint32_t kConnectDataBytes = 1024;
static_assert(kConnectDataBytes <= kAdminCapsuleDataBytes);

/// The data structure that Identify returns, whatever its CNS.
inline constexpr uint32_t kIdentifyBytes = 4096;

}  // namespace basalt::nvmf
