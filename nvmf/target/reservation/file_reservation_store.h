#pragma once

#include <memory>
#include <string>

#include "nvmf/target/reservation/reservation_record.h"
#include "nvmf/target/reservation/reservation_store.h"
#include "reactor/io/storage.h"
#include "reactor/reactor.h"

namespace basalt::nvmf {

/// Keeps a reservation in a local file (format.md), which it has open and locked for life. Owner:
/// see ReservationStore. Core: `control`'s, the thread that may open files.
class FileReservationStore final : public ReservationStore {
  public:
    /// Opens the file, or makes it. Both arguments outlive the store. Errors: those of
    /// FileSystem::open(); kDataCorrupt: a file of another size, so not one of ours.
    [[nodiscard]] static Result<std::unique_ptr<ReservationStore>> open(Reactor& control,
                                                                        FileSystem& files,
                                                                        const std::string& path);
    FileReservationStore(const FileReservationStore&) = delete;
    FileReservationStore& operator=(const FileReservationStore&) = delete;
    ~FileReservationStore() override { files_.close(file_); }

    [[nodiscard]] Task<Result<std::optional<ReservationState>>> load(bdev::Uuid uuid) override;
    [[nodiscard]] Task<Status> save(ReservationState state) override;

  private:
    // What O_DIRECT asks of memory at most.
    struct alignas(4096) Page {
        std::array<std::byte, kReservationFileBytes> bytes;
    };

    FileReservationStore(Reactor& control, FileSystem& files, FileHandle file)
        : control_(control), files_(files), file_(file), page_(std::make_unique<Page>()) {}

    [[nodiscard]] std::span<std::byte, kReservationSlotBytes> slot(uint64_t number) {
        return std::span(page_->bytes)
            .subspan(number % 2 * kReservationSlotBytes)
            .first<kReservationSlotBytes>();
    }

    Reactor& control_;
    FileSystem& files_;
    const FileHandle file_;
    const std::unique_ptr<Page> page_;
    bool is_empty_ = false;  // There is nothing to read yet.
    bdev::Uuid uuid_;
    uint64_t last_number_ = 0;  // Of the record that counts; 0: none.
};

}  // namespace basalt::nvmf
