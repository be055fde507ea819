#include "nvmf/auth/algorithms.h"

#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

struct HashTraits {
    AuthHash hash;
    const char* name;
    size_t bytes;
};
constexpr std::array<HashTraits, 3> kHashTraits{{
    {AuthHash::kSha256, "sha256", 32},
    {AuthHash::kSha384, "sha384", 48},
    {AuthHash::kSha512, "sha512", 64},
}};

struct GroupTraits {
    DhGroup group;
    const char* name;
    size_t bytes;
};
constexpr std::array<GroupTraits, 6> kGroupTraits{{
    {DhGroup::kNull, "null", 0},
    {DhGroup::kFfdhe2048, "ffdhe2048", 256},
    {DhGroup::kFfdhe3072, "ffdhe3072", 384},
    {DhGroup::kFfdhe4096, "ffdhe4096", 512},
    {DhGroup::kFfdhe6144, "ffdhe6144", 768},
    {DhGroup::kFfdhe8192, "ffdhe8192", 1024},
}};

const HashTraits& traits(AuthHash hash) {
    const size_t index = static_cast<size_t>(hash) - 1;
    BASALT_ASSERT(index < kHashTraits.size());
    BASALT_ASSERT(kHashTraits[index].hash == hash);
    return kHashTraits[index];
}

const GroupTraits& traits(DhGroup group) {
    const auto index = static_cast<size_t>(group);
    BASALT_ASSERT(index < kGroupTraits.size());
    BASALT_ASSERT(kGroupTraits[index].group == group);
    return kGroupTraits[index];
}

}  // namespace

size_t hash_bytes(AuthHash hash) {
    return traits(hash).bytes;
}

size_t dh_bytes(DhGroup group) {
    return traits(group).bytes;
}

std::optional<AuthHash> hash_of(uint8_t id) {
    if (id < 1 || id > kHashTraits.size()) {
        return std::nullopt;
    }
    return static_cast<AuthHash>(id);
}

std::optional<DhGroup> group_of(uint8_t id) {
    if (id >= kGroupTraits.size()) {
        return std::nullopt;
    }
    return static_cast<DhGroup>(id);
}

const char* name_of(AuthHash hash) {
    return traits(hash).name;
}

const char* name_of(DhGroup group) {
    return traits(group).name;
}

std::optional<AuthHash> hash_named(std::string_view name) {
    for (const HashTraits& each : kHashTraits) {
        if (name == each.name) {
            return each.hash;
        }
    }
    return std::nullopt;
}

std::optional<DhGroup> group_named(std::string_view name) {
    for (const GroupTraits& each : kGroupTraits) {
        if (name == each.name) {
            return each.group;
        }
    }
    return std::nullopt;
}

}  // namespace basalt::nvmf
