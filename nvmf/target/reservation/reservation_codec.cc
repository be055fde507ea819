#include "nvmf/target/reservation/reservation_codec.h"

#include <algorithm>
#include <cstring>

#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

constexpr size_t kKeyBytes = 8;
constexpr size_t kTwoKeysBytes = 2 * kKeyBytes;

static_assert(offsetof(nvme_resv_status, rtype) == 4);
static_assert(offsetof(nvme_resv_status, regctl) == 5);
static_assert(offsetof(nvme_resv_status, ptpls) == 9);
static_assert(offsetof(nvme_resv_status, regctl_eds) == 64);
static_assert(sizeof(nvme_registered_ctrl_ext) == 64);
static_assert(offsetof(nvme_registered_ctrl_ext, rkey) == 8);
static_assert(offsetof(nvme_registered_ctrl_ext, hostid) == 16);
constexpr size_t kReportHeadBytes = 64;

/// Register, Acquire and Release have the same fields in dword 10, as far as they have them.
class ReservationCommandView : public CommandView {
  public:
    using CommandView::CommandView;
    /// RREGA, RACQA or RRELA.
    [[nodiscard]] uint8_t action() const { return static_cast<uint8_t>(bits(sqe_.cdw10, 0, 3)); }
    [[nodiscard]] bool ignores_key() const { return bits(sqe_.cdw10, 3, 1) != 0; }
    [[nodiscard]] ReservationType type() const {
        return static_cast<ReservationType>(bits(sqe_.cdw10, 8, 8));
    }
    [[nodiscard]] PersistenceChange persistence() const {
        return static_cast<PersistenceChange>(bits(sqe_.cdw10, 30, 2));
    }
};

class ReportView : public CommandView {
  public:
    using CommandView::CommandView;
    [[nodiscard]] uint64_t length_bytes() const {
        return (uint64_t{sqe_.cdw10.get()} + 1) * sizeof(uint32_t);
    }
    [[nodiscard]] bool wants_extended() const { return bits(sqe_.cdw11, 0, 1) != 0; }
};

bool decode_action(uint8_t opcode, uint8_t action, ReservationAction& out) {
    using enum ReservationAction;
    switch (opcode) {
        case nvme_cmd_resv_register:
            switch (action) {
                case NVME_RESERVATION_RREGA_REGISTER_KEY: out = kRegister; return true;
                case NVME_RESERVATION_RREGA_UNREGISTER_KEY: out = kUnregister; return true;
                case NVME_RESERVATION_RREGA_REPLACE_KEY: out = kReplaceKey; return true;
                default: return false;
            }
        case nvme_cmd_resv_acquire:
            switch (action) {
                case NVME_RESERVATION_RACQA_ACQUIRE: out = kAcquire; return true;
                case NVME_RESERVATION_RACQA_PREEMPT: out = kPreempt; return true;
                case NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT: out = kPreemptAndAbort; return true;
                default: return false;
            }
        default:
            switch (action) {
                case NVME_RESERVATION_RRELA_RELEASE: out = kRelease; return true;
                case NVME_RESERVATION_RRELA_CLEAR: out = kClear; return true;
                default: return false;
            }
    }
}

}  // namespace

bool is_reservation_command(uint8_t opcode) {
    return opcode == nvme_cmd_resv_register || opcode == nvme_cmd_resv_report ||
           opcode == nvme_cmd_resv_acquire || opcode == nvme_cmd_resv_release;
}

uint64_t reservation_data_bytes(const Sqe& sqe) {
    switch (sqe.opcode) {
        case nvme_cmd_resv_report: return ReportView(sqe).length_bytes();
        case nvme_cmd_resv_release: return kKeyBytes;
        default: return kTwoKeysBytes;
    }
}

NvmeStatus decode_reservation(const Sqe& sqe,
                              std::span<const std::byte> data,
                              ReservationEvent& event) {
    BASALT_ASSERT(data.size() >= reservation_data_bytes(sqe));
    const ReservationCommandView command(sqe);
    if (!decode_action(sqe.opcode, command.action(), event.action)) {
        return status::kInvalidField.with_dnr();
    }
    event.ignores_key = command.ignores_key();
    event.type = command.type();
    event.persistence =
        sqe.opcode == nvme_cmd_resv_register ? command.persistence() : PersistenceChange::kNone;
    Le64 key;
    std::memcpy(&key, data.data(), kKeyBytes);
    event.current_key = key.get();
    if (sqe.opcode != nvme_cmd_resv_release) {
        std::memcpy(&key, data.data() + kKeyBytes, kKeyBytes);
        event.other_key = key.get();
    }
    return status::kSuccess;
}

NvmeStatus check_report(const Sqe& sqe) {
    return ReportView(sqe).wants_extended() ? status::kSuccess
                                            : status::kHostIdInconsistentFormat.with_dnr();
}

void encode_report(const ReservationState& state, std::span<std::byte> out) {
    const auto put = [&out](size_t offset, const void* from, size_t bytes) {
        if (offset < out.size()) {
            std::memcpy(out.data() + offset, from, std::min(bytes, out.size() - offset));
        }
    };
    std::fill(out.begin(), out.end(), std::byte{0});
    std::array<std::byte, kReportHeadBytes> head{};
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): cleared by memset.
    nvme_resv_status fields;  // Ends in an array without members, which clang does not initialize.
    std::memset(&fields, 0, sizeof(fields));
    fields.gen = state.generation;
    fields.rtype = static_cast<uint8_t>(state.type);
    fields.regctl[0] = static_cast<uint8_t>(state.registrants.size() & 0xffU);
    fields.regctl[1] = static_cast<uint8_t>(state.registrants.size() >> 8U);
    fields.ptpls = state.persists ? 1 : 0;
    std::memcpy(head.data(), &fields, std::min(sizeof(fields), head.size()));
    put(0, head.data(), head.size());
    size_t offset = kReportHeadBytes;
    for (const Registrant& registrant : state.registrants) {
        nvme_registered_ctrl_ext entry{};
        entry.cntlid = kControllerIdAny.raw();
        entry.rcsts = state.is_holder(registrant.host) ? 1 : 0;
        entry.rkey = registrant.key;
        std::copy(registrant.host.begin(), registrant.host.end(), entry.hostid);
        put(offset, &entry, sizeof(entry));
        offset += sizeof(entry);
    }
}

}  // namespace basalt::nvmf
