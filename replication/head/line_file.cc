#include "replication/head/line_file.h"

#include <utility>

namespace basalt::replication {

LineFile::LineFile(Reactor& control, FileSystem& files, std::string path, bdev::Uuid volume)
    : file_(control, files, std::move(path), kLineSlotBytes), volume_(volume) {}

Task<Result<LineList>> LineFile::lock(bool may_create) {
    LineList none;
    none.volume = volume_;
    const Status locked = co_await file_.lock(may_create);
    if (!locked && locked.error().code == Errc::kNotFound && !may_create) {
        co_return std::move(none);
    }
    if (!locked) {
        co_return locked.error();
    }
    Task<Result<std::optional<LineList>>> reading =
        file_.newest<LineList>([](std::span<const std::byte> slot) {
            return decode_line_list(slot.first<kLineSlotBytes>());
        });
    Result<std::optional<LineList>> newest = co_await reading;
    if (!newest || (*newest && (*newest)->volume != volume_)) {
        file_.unlock();
        co_return newest ? Error(Errc::kInvalidArgument) : newest.error();
    }
    if (*newest) {
        co_return std::move(**newest);
    }
    co_return std::move(none);
}

Task<bool> LineFile::write(LineList list) {
    ++list.change;
    encode_line_list(list, file_.slot().first<kLineSlotBytes>());
    const bool is_written = co_await file_.write(list.change);
    co_return is_written;
}

}  // namespace basalt::replication
