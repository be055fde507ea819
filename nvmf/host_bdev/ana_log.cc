#include "nvmf/host_bdev/ana_log.h"

#include <algorithm>
#include <cstring>

#include "nvmf/wire/spec.h"

namespace basalt::nvmf {

namespace {

Result<PathAccess> access_of(uint8_t state) {
    switch (state & 0xfU) {
        case NVME_ANA_STATE_OPTIMIZED: return PathAccess::kOptimized;
        case NVME_ANA_STATE_NONOPTIMIZED: return PathAccess::kNonOptimized;
        case NVME_ANA_STATE_INACCESSIBLE: return PathAccess::kInaccessible;
        case NVME_ANA_STATE_PERSISTENT_LOSS: return PathAccess::kPersistentLoss;
        case NVME_ANA_STATE_CHANGE: return PathAccess::kChange;
        default: return Errc::kProtocol;
    }
}

template <typename T>
bool take(std::span<const std::byte>& from, T& out) {
    if (from.size() < sizeof(T)) {
        return false;
    }
    std::memcpy(&out, from.data(), sizeof(T));
    from = from.subspan(sizeof(T));
    return true;
}

}  // namespace

Result<std::vector<AnaGroup>> parse_ana_log(std::span<const std::byte> log) {
    // The heads as bytes' worth of fields: libnvme's structures end in flexible arrays.
    uint64_t change_count = 0;
    uint16_t group_count = 0;
    uint16_t reserved = 0;
    uint32_t reserved_high = 0;
    if (!take(log, change_count) || !take(log, group_count) || !take(log, reserved) ||
        !take(log, reserved_high)) {
        return Errc::kProtocol;
    }
    std::vector<AnaGroup> groups;
    for (uint32_t i = 0; i < group_count; ++i) {
        uint32_t namespace_count = 0;
        uint8_t state = 0;
        std::array<uint8_t, 15> rest{};
        AnaGroup group;
        if (!take(log, group.group) || !take(log, namespace_count) || !take(log, change_count) ||
            !take(log, state) || !take(log, rest) ||
            namespace_count > log.size() / sizeof(uint32_t)) {
            return Errc::kProtocol;
        }
        BASALT_TRY(group.access, access_of(state));
        group.namespaces.resize(namespace_count);
        for (uint32_t& nsid : group.namespaces) {
            static_cast<void>(take(log, nsid));  // There are as many: checked above.
        }
        groups.push_back(std::move(group));
    }
    return groups;
}

namespace {

constexpr size_t kHeadBytes = 16;  // It begins with the change count.

uint64_t change_count(std::span<const std::byte> head) {
    uint64_t count = 0;
    std::memcpy(&count, head.data(), sizeof(count));
    return count;
}

// tidy: allow(coroutine): the source lives until it is done
Task<Result<std::vector<AnaGroup>>> read_once(AnaLogSource& source,
                                              uint64_t bytes_max,
                                              uint64_t piece_max) {
    std::vector<std::byte> log;
    while (log.size() < bytes_max) {
        const size_t offset = log.size();
        log.resize(std::min(bytes_max, offset + piece_max));
        const std::span<std::byte> piece = std::span(log).subspan(offset);
        const Status read = co_await source.read(offset, piece);
        if (!read) {
            co_return read.error();
        }
        // Only its parts tell where it ends.
        Result<std::vector<AnaGroup>> groups = parse_ana_log(log);
        if (!groups) {
            continue;
        }
        if (offset > 0) {
            // The pieces are of one log if it has not changed meanwhile (NVMe Base Specification,
            // Asymmetric Namespace Access log page, Change Count).
            std::vector<std::byte> again(kHeadBytes);
            const std::span<std::byte> head(again);
            const Status checked = co_await source.read(0, head);
            if (!checked) {
                co_return checked.error();
            }
            if (change_count(again) != change_count(log)) {
                co_return Errc::kTryAgain;
            }
        }
        co_return groups;
    }
    co_return Errc::kProtocol;
}

}  // namespace

// tidy: allow(coroutine): the source lives until it is done
Task<Result<std::vector<AnaGroup>>> read_ana_log(AnaLogSource& source,
                                                 uint64_t bytes_max,
                                                 uint64_t piece_max) {
    Result<std::vector<AnaGroup>> groups = Errc::kTryAgain;
    for (uint32_t i = 0; i < kAnaLogAttempts && !groups; ++i) {
        groups = co_await read_once(source, bytes_max, piece_max);
        if (!groups && groups.error().code != Errc::kTryAgain) {
            break;
        }
    }
    co_return groups;
}

}  // namespace basalt::nvmf
