#include "control/cluster/keys.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/cluster/limits.h"

namespace basalt::cluster {

std::string key_of(std::string_view prefix, const Uuid& uuid) {
    return std::string(prefix) + uuid.to_string();
}

std::string key_of(std::string_view prefix, std::string_view name) {
    return std::string(prefix).append(name);
}

std::string key_of_chunks(const Uuid& volume, uint32_t group) {
    return fmt::format("{}{}/{:08x}", kChunks, volume.to_string(), group);
}

std::string key_of_snapshot(const Uuid& volume, const Uuid& snapshot) {
    return fmt::format("{}{}/{}", kSnapshots, volume.to_string(), snapshot.to_string());
}

std::string key_of_event(uint64_t time_ns, const Uuid& event) {
    return fmt::format("{}{:016x}/{}", kEvents, time_ns, event.to_string());
}

std::string to_field(const Uuid& uuid) {
    return {uuid.bytes.begin(), uuid.bytes.end()};
}

Uuid to_uuid(std::string_view field) {
    Uuid uuid;
    if (field.size() == uuid.bytes.size()) {
        std::ranges::transform(
            field, uuid.bytes.begin(), [](char byte) { return static_cast<uint8_t>(byte); });
    }
    return uuid;
}

bool is_name(std::string_view name) {
    return !name.empty() && name.size() <= kNameBytesMax && std::ranges::none_of(name, [](char c) {
        return static_cast<unsigned char>(c) < 32 || c == 127;
    });
}

}  // namespace basalt::cluster
