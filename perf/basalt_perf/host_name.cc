#include "perf/basalt_perf/host_name.h"

#include <algorithm>
#include <fstream>

#include "bdev/core/uuid.h"
#include "nvmf/wire/nqn.h"
#include "reactor/io/random.h"

namespace basalt::perf {

namespace {

/// The first line of a file, without what surrounds the word in it; empty if there is none.
std::string first_word(const char* path) {
    std::ifstream file(path);
    std::string word;
    file >> word;
    return word;
}

uint64_t fnv1a(const std::string& text) {
    uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    }
    return hash;
}

}  // namespace

HostName host_name_of(const std::string& nqn) {
    HostName name{.nqn = nqn};
    if (nqn.starts_with(nvmf::kUuidNqnPrefix)) {
        const auto uuid = bdev::Uuid::parse(nqn.substr(nvmf::kUuidNqnPrefix.size()));
        if (uuid) {
            name.id = uuid->bytes;
            return name;
        }
    }
    Random random(fnv1a(nqn));
    std::generate(
        name.id.begin(), name.id.end(), [&] { return static_cast<uint8_t>(random.next()); });
    return name;
}

HostName find_host_name() {
    const std::string nqn = first_word("/etc/nvme/hostnqn");
    if (!nqn.empty()) {
        HostName name = host_name_of(nqn);
        const auto id = bdev::Uuid::parse(first_word("/etc/nvme/hostid"));
        if (id) {
            name.id = id->bytes;
        }
        return name;
    }
    return host_name_of(std::string(nvmf::kUuidNqnPrefix) + bdev::Uuid::make_random().to_string());
}

}  // namespace basalt::perf
