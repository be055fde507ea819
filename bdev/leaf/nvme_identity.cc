#include "bdev/leaf/nvme_identity.h"

#include <algorithm>
#include <cstring>

#include <endian.h>
#include <nvme/types.h>

namespace basalt::bdev {

namespace {

constexpr uint64_t kPageBytes = 4096;     // The unit of MDTS, at the least (CAP.MPSMIN).
constexpr uint8_t kTransferMaxLog2 = 32;  // No sane MDTS is larger; the byte may say 255.
constexpr uint8_t kBlockMaxLog2 = 31;
constexpr uint32_t kFormatsInLowerBits = 16;
constexpr uint8_t kVolatileCachePresent = 1;

int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    const char lower = static_cast<char>(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string_view without_prefix(std::string_view text) {
    for (const std::string_view prefix : {"nguid.", "uuid.", "eui."}) {
        if (text.starts_with(prefix)) {
            return text.substr(prefix.size());
        }
    }
    return text;
}

template <size_t Size>
bool is_set(const std::array<uint8_t, Size>& id) {
    return std::any_of(id.begin(), id.end(), [](uint8_t byte) { return byte != 0; });
}

template <size_t Size>
bool matches(const std::array<uint8_t, Size>& id, std::span<const uint8_t> wanted) {
    return is_set(id) && std::equal(id.begin(), id.end(), wanted.begin(), wanted.end());
}

template <size_t Size>
void take_descriptor(std::array<uint8_t, Size>& id, std::span<const std::byte> value) {
    if (value.size() == Size) {
        std::memcpy(id.data(), value.data(), Size);
    }
}

// A list of (type, length, 2 reserved bytes, value), ended by type 0 or the end of the page. Figure
// 277 of the Base Specification 2.0.
void parse_descriptors(std::span<const std::byte> list, NvmeIdentity& identity) {
    constexpr size_t kHeaderBytes = sizeof(nvme_ns_id_desc);
    while (list.size() >= kHeaderBytes) {
        const auto type = std::to_integer<uint8_t>(list[0]);
        const auto length = std::to_integer<size_t>(list[1]);
        if (type == 0 || length == 0 || length > list.size() - kHeaderBytes) {
            return;
        }
        const std::span<const std::byte> value = list.subspan(kHeaderBytes, length);
        if (type == NVME_NIDT_EUI64) {
            take_descriptor(identity.eui64, value);
        } else if (type == NVME_NIDT_NGUID) {
            take_descriptor(identity.nguid, value);
        } else if (type == NVME_NIDT_UUID) {
            take_descriptor(identity.uuid, value);
        }
        list = list.subspan(kHeaderBytes + length);
    }
}

const nvme_lbaf& current_format(const nvme_id_ns& ns) {
    uint32_t index = ns.flbas & NVME_NS_FLBAS_LOWER_MASK;
    if (ns.nlbaf >= kFormatsInLowerBits) {
        index |= (static_cast<uint32_t>(ns.flbas) & NVME_NS_FLBAS_HIGHER_MASK) >> 1;
    }
    return ns.lbaf[index];
}

// All fields are 0's based, but a boundary of 0 is none.
void parse_atomicity(const nvme_id_ctrl& controller, const nvme_id_ns& ns, NvmeIdentity& identity) {
    if ((ns.nsfeat & NVME_NS_FEAT_NATOMIC) == 0) {
        identity.atomic_blocks = uint64_t{le16toh(controller.awupf)} + 1;
        return;
    }
    if (ns.nabspf != 0 && ns.nabo != 0) {
        return;  // Boundaries with an offset, which nobody above knows: one block is always whole.
    }
    identity.atomic_blocks = uint64_t{le16toh(ns.nawupf)} + 1;
    identity.atomic_boundary = ns.nabspf != 0 ? uint64_t{le16toh(ns.nabspf)} + 1 : 0;
}

void parse_hints(const nvme_id_ns& ns, NvmeIdentity& identity) {
    identity.optimal_io_boundary = le16toh(ns.noiob);
    constexpr uint8_t kOptimalPerformance = 1U << 4U;  // NSFEAT: NPWG to NOWS are defined.
    if ((ns.nsfeat & kOptimalPerformance) == 0) {
        return;
    }
    identity.write_granularity = uint32_t{le16toh(ns.npwg)} + 1;
    identity.write_alignment = uint32_t{le16toh(ns.npwa)} + 1;
    identity.unmap_granularity = uint32_t{le16toh(ns.npdg)} + 1;
    identity.unmap_alignment = uint32_t{le16toh(ns.npda)} + 1;
    identity.optimal_write = uint32_t{le16toh(ns.nows)} + 1;
}

}  // namespace

Result<NvmeId> NvmeId::parse(std::string_view text) {
    NvmeId id;
    size_t digits = 0;
    for (const char c : without_prefix(text)) {
        if (c == '-') {
            continue;
        }
        const int value = hex_value(c);
        if (value < 0 || digits == id.bytes_.size() * 2) {
            return Errc::kInvalidArgument;
        }
        uint8_t& byte = id.bytes_[digits / 2];
        byte = static_cast<uint8_t>(byte | (digits % 2 == 0 ? value << 4 : value));
        ++digits;
    }
    id.size_ = digits / 2;
    if ((digits != 16 && digits != 32) || !is_set(id.bytes_)) {
        return Errc::kInvalidArgument;
    }
    return id;
}

std::string NvmeId::to_string() const {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : bytes()) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 0xf];
    }
    return text;
}

bool NvmeIdentity::has(const NvmeId& id) const {
    return matches(nguid, id.bytes()) || matches(uuid, id.bytes()) || matches(eui64, id.bytes());
}

NvmeIdentity parse_identify(const nvme_id_ctrl& controller,
                            const nvme_id_ns& ns,
                            std::span<const std::byte> descriptors) {
    NvmeIdentity identity;
    std::memcpy(identity.nguid.data(), ns.nguid, sizeof(ns.nguid));
    std::memcpy(identity.eui64.data(), ns.eui64, sizeof(ns.eui64));
    parse_descriptors(descriptors, identity);

    const nvme_lbaf& format = current_format(ns);
    identity.block_count = le64toh(ns.nsze);
    identity.block_bytes = format.ds <= kBlockMaxLog2 ? 1U << format.ds : 0;
    identity.metadata_bytes = le16toh(format.ms);
    identity.transfer_bytes_max = controller.mdts == 0 || controller.mdts > kTransferMaxLog2
                                      ? 0
                                      : kPageBytes << controller.mdts;
    parse_atomicity(controller, ns, identity);
    parse_hints(ns, identity);

    const uint16_t commands = le16toh(controller.oncs);
    identity.can_compare = (commands & NVME_CTRL_ONCS_COMPARE) != 0;
    identity.can_deallocate = (commands & NVME_CTRL_ONCS_DSM) != 0;
    identity.can_write_zeroes = (commands & NVME_CTRL_ONCS_WRITE_ZEROES) != 0;
    identity.zeroes_may_deallocate = (ns.dlfeat & NVME_NS_DLFEAT_WRITE_ZEROES) != 0;
    identity.has_volatile_cache = (controller.vwc & kVolatileCachePresent) != 0;
    identity.is_read_only = (ns.nsattr & NVME_NS_NSATTR_WRITE_PROTECTED) != 0;
    return identity;
}

Result<NvmeIdentity> find_nvme(NvmeFinder& finder, const NvmeId& id) {
    BASALT_TRY(const std::vector<std::string> paths, finder.list());
    bool was_refused = false;
    for (const std::string& path : paths) {
        auto identity = finder.identify(path);
        if (identity && identity->has(id)) {
            return identity;
        }
        was_refused |= !identity && identity.error().code == Errc::kPermissionDenied;
    }
    return was_refused ? Errc::kPermissionDenied : Errc::kNotFound;
}

}  // namespace basalt::bdev
