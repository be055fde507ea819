#include "control/descriptor_limit.h"

#include <cerrno>
#include <cstring>

#include <sys/resource.h>

#include "nvmf/target/limits.h"
#include "reactor/base/log.h"

namespace basalt::control {

namespace {

// What everything else takes: devices, rings, the API's clients.
constexpr uint64_t kOtherDescriptors = 1024;

}  // namespace

uint64_t raise_descriptor_limit(uint32_t reactors) {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        BASALT_LOG(kWarn, "control", "the limit of open files is not known: {}", strerror(errno));
        return 0;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        } else {
            BASALT_LOG(kWarn, "control", "the limit of open files stays: {}", strerror(errno));
        }
    }
    const uint64_t wanted = uint64_t{reactors} * nvmf::kConnectionsPerGroupMax + kOtherDescriptors;
    if (limit.rlim_cur < wanted) {
        BASALT_LOG(kWarn,
                   "control",
                   "at most {} open files: connections beyond that are refused; {} would take as "
                   "many as the reactors do (LimitNOFILE of systemd, or ulimit -Hn)",
                   limit.rlim_cur,
                   wanted);
    }
    return limit.rlim_cur;
}

}  // namespace basalt::control
