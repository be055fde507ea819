#include "nvmf/target/reservation/file_reservation_store.h"

#include "reactor/file_call.h"

namespace basalt::nvmf {

Result<std::unique_ptr<ReservationStore>> FileReservationStore::open(Reactor& control,
                                                                     FileSystem& files,
                                                                     const std::string& path) {
    OpenOptions options;
    options.create_size_bytes = kReservationFileBytes;
    BASALT_TRY(const FileInfo info, files.open(path, options));
    // An empty one is as good as none; a longer or shorter one has somebody else's data.
    if (info.size_bytes != 0 && info.size_bytes != kReservationFileBytes) {
        files.close(info.handle);
        return Errc::kDataCorrupt;
    }
    auto store = std::unique_ptr<FileReservationStore>(
        new FileReservationStore(control, files, info.handle));
    store->page_->bytes.fill(std::byte{0});
    store->is_empty_ = info.size_bytes == 0;
    return std::unique_ptr<ReservationStore>(std::move(store));
}

Task<Result<std::optional<ReservationState>>> FileReservationStore::load(bdev::Uuid uuid) {
    uuid_ = uuid;
    if (!is_empty_) {
        FileCall read(control_.storage(), FileRequest::Op::kRead, file_);
        read.set_memory(0, page_->bytes);
        const Status outcome = co_await read;
        if (!outcome) {
            co_return outcome.error();
        }
    }
    std::optional<ReservationRecord> newest;
    uint32_t torn = 0;
    for (uint64_t number = 0; number < 2; ++number) {
        Result<ReservationRecord> record = decode_record(slot(number));
        if (!record) {
            torn += record.error().code == Errc::kDataCorrupt ? 1U : 0U;
        } else if (!newest || newest->number < record->number) {
            newest = std::move(*record);
        }
    }
    if (!newest) {
        if (torn == 2) {
            co_return Errc::kDataCorrupt;
        }
        co_return std::optional<ReservationState>();  // New, or its first record was torn.
    }
    if (newest->uuid != uuid) {
        co_return Errc::kInvalidArgument;
    }
    last_number_ = newest->number;
    if (!newest->state.persists) {
        co_return std::optional<ReservationState>();
    }
    co_return std::optional<ReservationState>(std::move(newest->state));
}

Task<Status> FileReservationStore::save(ReservationState state) {
    // After a failure the same slot is written again: the other one has what counts.
    const uint64_t number = last_number_ + 1;
    const auto memory = slot(number);
    encode_record({.number = number, .uuid = uuid_, .state = std::move(state)}, memory);
    FileCall write(control_.storage(), FileRequest::Op::kWriteDurable, file_);
    write.set_memory(number % 2 * kReservationSlotBytes, memory);
    const Status outcome = co_await write;
    if (outcome) {
        last_number_ = number;
    }
    co_return outcome;
}

}  // namespace basalt::nvmf
