#pragma once

#include <cstdint>

#include "nvmf/wire/limits.h"
#include "nvmf/wire/sqe.h"

namespace basalt::nvmf {

/// Base of the views below: a command read in place, where the receiver holds it. A view lives no
/// longer than its Sqe and checks nothing: whoever makes one knows the opcode.
class CommandView {
  public:
    constexpr explicit CommandView(const Sqe& sqe) : sqe_(sqe) {}
    [[nodiscard]] constexpr const Sqe& sqe() const { return sqe_; }

  protected:
    /// `count` bits of `dword` from bit `first`.
    [[nodiscard]] static constexpr uint32_t bits(Le32 dword, uint32_t first, uint32_t count) {
        return static_cast<uint32_t>((uint64_t{dword.get()} >> first) &
                                     ((uint64_t{1} << count) - 1));
    }
    [[nodiscard]] static constexpr uint64_t qword(Le32 low, Le32 high) {
        return low.get() | (uint64_t{high.get()} << 32U);
    }

    const Sqe& sqe_;
};

/// Read, Write, Compare, Write Zeroes and Verify share one layout (NVM Command Set Specification).
class RwView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr Lba slba() const { return Lba(qword(sqe_.cdw10, sqe_.cdw11)); }
    /// Counted from 1; the wire's is 0-based.
    [[nodiscard]] constexpr BlockCount nlb() const {
        return BlockCount(uint64_t{bits(sqe_.cdw12, 0, 16)} + 1);
    }
    [[nodiscard]] constexpr bool fua() const { return bits(sqe_.cdw12, 30, 1) != 0; }
    [[nodiscard]] constexpr bool limited_retry() const { return bits(sqe_.cdw12, 31, 1) != 0; }
    /// Write Zeroes only: the host would like the blocks deallocated.
    [[nodiscard]] constexpr bool deac() const { return bits(sqe_.cdw12, 25, 1) != 0; }
    /// Protection information field; non-zero has no sense for a namespace without metadata.
    [[nodiscard]] constexpr uint8_t prinfo() const {
        return static_cast<uint8_t>(bits(sqe_.cdw12, 26, 4));
    }
};

/// Dataset Management; its data is an array of nvme_dsm_range.
class DsmView : public CommandView {
  public:
    using CommandView::CommandView;
    /// Counted from 1 to 256; the wire's is 0-based.
    [[nodiscard]] constexpr uint32_t range_count() const { return bits(sqe_.cdw10, 0, 8) + 1; }
    [[nodiscard]] constexpr uint32_t data_bytes() const { return range_count() * kDsmRangeBytes; }
    [[nodiscard]] constexpr bool deallocate() const { return bits(sqe_.cdw11, 2, 1) != 0; }
};

/// Copy; its data is an array of source ranges of 32 bytes.
class CopyView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr Lba destination() const { return Lba(qword(sqe_.cdw10, sqe_.cdw11)); }
    /// Counted from 1 to 256; the wire's is 0-based.
    [[nodiscard]] constexpr uint32_t range_count() const { return bits(sqe_.cdw12, 0, 8) + 1; }
    [[nodiscard]] constexpr uint8_t descriptor_format() const {
        return static_cast<uint8_t>(bits(sqe_.cdw12, 8, 4));
    }
    /// Protection information of reads or writes, which needs metadata.
    [[nodiscard]] constexpr bool has_protection() const {
        return bits(sqe_.cdw12, 12, 4) != 0 || bits(sqe_.cdw12, 26, 4) != 0;
    }
    [[nodiscard]] constexpr bool fua() const { return bits(sqe_.cdw12, 30, 1) != 0; }
};

/// Connect (fabrics); its data is a nvmf_connect_data.
class ConnectView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr uint16_t record_format() const {
        return static_cast<uint16_t>(bits(sqe_.cdw10, 0, 16));
    }
    [[nodiscard]] constexpr QueueId qid() const {
        return QueueId(static_cast<uint16_t>(bits(sqe_.cdw10, 16, 16)));
    }
    /// The submission queue's entries, counted from 1 (1 to 65536); the wire's is 0-based. A wire
    /// value of 0, here 1, is illegal: a queue has at least two entries.
    [[nodiscard]] constexpr uint32_t queue_entries() const { return bits(sqe_.cdw11, 0, 16) + 1; }
    [[nodiscard]] constexpr uint8_t attributes() const {
        return static_cast<uint8_t>(bits(sqe_.cdw11, 16, 8));
    }
    [[nodiscard]] constexpr bool disables_sq_flow_control() const {
        return bits(sqe_.cdw11, 18, 1) != 0;
    }
    [[nodiscard]] constexpr uint32_t keep_alive_ms() const { return sqe_.cdw12.get(); }
};

/// Property Get and Property Set (fabrics).
class PropertyView : public CommandView {
  public:
    using CommandView::CommandView;
    /// The ATTRIB field's size code: 0 is 4 bytes, 1 is 8 bytes, the rest is reserved.
    [[nodiscard]] constexpr uint8_t size_code() const {
        return static_cast<uint8_t>(bits(sqe_.cdw10, 0, 3));
    }
    [[nodiscard]] constexpr bool is_8_bytes() const { return size_code() == 1; }
    [[nodiscard]] constexpr uint32_t offset() const { return sqe_.cdw11.get(); }
    /// Property Set only.
    [[nodiscard]] constexpr uint64_t value() const { return qword(sqe_.cdw12, sqe_.cdw13); }
};

/// Authentication Send and Authentication Receive (fabrics); the data is a message of nvmf/auth.
class AuthView : public CommandView {
  public:
    using CommandView::CommandView;
    /// Whether the security protocol and its specific fields are those of in-band authentication.
    [[nodiscard]] constexpr bool is_nvme_protocol() const {
        constexpr uint32_t kSecpNvme = 0xe9;
        return bits(sqe_.cdw10, 24, 8) == kSecpNvme && bits(sqe_.cdw10, 16, 8) == 1 &&
               bits(sqe_.cdw10, 8, 8) == 1;
    }
    /// Transfer length of Send, allocation length of Receive.
    [[nodiscard]] constexpr uint32_t length_bytes() const { return sqe_.cdw11.get(); }
};

/// Disconnect (fabrics).
class DisconnectView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr uint16_t record_format() const {
        return static_cast<uint16_t>(bits(sqe_.cdw10, 0, 16));
    }
};

/// Identify (admin).
class IdentifyView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr uint8_t cns() const {
        return static_cast<uint8_t>(bits(sqe_.cdw10, 0, 8));
    }
    [[nodiscard]] constexpr ControllerId cntid() const {
        return ControllerId(static_cast<uint16_t>(bits(sqe_.cdw10, 16, 16)));
    }
    [[nodiscard]] constexpr uint8_t csi() const {
        return static_cast<uint8_t>(bits(sqe_.cdw11, 24, 8));
    }
};

/// Get Log Page (admin).
class GetLogPageView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr uint8_t lid() const {
        return static_cast<uint8_t>(bits(sqe_.cdw10, 0, 8));
    }
    [[nodiscard]] constexpr uint8_t lsp() const {
        return static_cast<uint8_t>(bits(sqe_.cdw10, 8, 7));
    }
    /// Retain Asynchronous Event: reading the page does not re-arm its event.
    [[nodiscard]] constexpr bool rae() const { return bits(sqe_.cdw10, 15, 1) != 0; }
    [[nodiscard]] constexpr uint16_t lsi() const {
        return static_cast<uint16_t>(bits(sqe_.cdw11, 16, 16));
    }
    /// Up to 16 GiB; the host's buffer, not what the page has.
    [[nodiscard]] constexpr uint64_t length_bytes() const {
        const uint64_t dwords_0based =
            bits(sqe_.cdw10, 16, 16) | (uint64_t{bits(sqe_.cdw11, 0, 16)} << 16U);
        return (dwords_0based + 1) * 4;
    }
    /// Bytes, unless is_index_offset().
    [[nodiscard]] constexpr uint64_t offset() const { return qword(sqe_.cdw12, sqe_.cdw13); }
    [[nodiscard]] constexpr bool is_index_offset() const { return bits(sqe_.cdw14, 23, 1) != 0; }
};

/// Get Features and Set Features (admin).
class FeaturesView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr uint8_t fid() const {
        return static_cast<uint8_t>(bits(sqe_.cdw10, 0, 8));
    }
    /// Get Features only (values: enum nvme_get_features_sel).
    [[nodiscard]] constexpr uint8_t select() const {
        return static_cast<uint8_t>(bits(sqe_.cdw10, 8, 3));
    }
    /// Set Features only.
    [[nodiscard]] constexpr bool save() const { return bits(sqe_.cdw10, 31, 1) != 0; }
    [[nodiscard]] constexpr uint32_t value() const { return sqe_.cdw11.get(); }
};

/// Abort (admin).
class AbortView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] constexpr QueueId qid() const {
        return QueueId(static_cast<uint16_t>(bits(sqe_.cdw10, 0, 16)));
    }
    [[nodiscard]] constexpr CommandId cid_to_abort() const {
        return CommandId(static_cast<uint16_t>(bits(sqe_.cdw10, 16, 16)));
    }
};

/// Completion dword 0 of an Asynchronous Event Request. Keep Alive and the request itself carry
/// nothing to decode.
[[nodiscard]] constexpr uint32_t async_event_result(uint8_t type, uint8_t info, uint8_t log_page) {
    return (type & 7U) | (uint32_t{info} << 8U) | (uint32_t{log_page} << 16U);
}

}  // namespace basalt::nvmf
