#include "bdev/store/transfer/transfer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace basalt::bdev::store {

Transfer::Transfer(Pool& pool, StreamFiles& files, std::string path, uint64_t bytes_a_second)
    : control_(pool.home().control),
      port_(control_, files),
      pool_(pool),
      bytes_a_second_(bytes_a_second) {
    report_.pool = pool.identity().name;
    report_.path = std::move(path);
    report_.began_ns = control_.now_ns();
}

Task<void> Transfer::keep_pace(size_t bytes) {
    const uint64_t now_ns = control_.now_ns();
    if (bytes_a_second_ == 0) {
        co_return;
    }
    due_ns_ = std::max(due_ns_, now_ns) + bytes * kNsPerSecond / bytes_a_second_;
    sleep_for pause(control_, due_ns_ - now_ns);
    co_await pause;
}

Status Transfer::explain(Status status, const char* what) {
    if (!status && report_.problem.empty()) {
        report_.problem = fmt::format("{}: {}", what, describe(status.error().code));
    }
    return status;
}

}  // namespace basalt::bdev::store
