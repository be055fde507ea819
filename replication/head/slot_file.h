#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reactor/io/storage.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::replication {

/// A file of two slots that processes share: it is open, and so locked, only while one of them
/// looks at it or changes it. Record n, as `change` counts them, is written into slot n mod 2 and,
/// when that is durable, into the other one, so that a power loss, or a slot that rots, loses
/// nothing.
///
///   lock() -> newest() -> write() … -> unlock()
///
/// Owner: MapFile, LineFile. Core: control.
class SlotFile {
  public:
    /// `control` and `files` outlive it. `slot_bytes`: a multiple of 4096.
    SlotFile(Reactor& control, FileSystem& files, std::string path, size_t slot_bytes);
    SlotFile(const SlotFile&) = delete;
    SlotFile& operator=(const SlotFile&) = delete;
    ~SlotFile();

    /// Waits until no other process has the file; makes it if it is missing and `may_create`.
    /// Errors: those of FileSystem::open() but for kBusy; kDataCorrupt: it has another size;
    /// kCancelled: give_up().
    [[nodiscard]] Task<Status> lock(bool may_create);
    /// The valid record with the highest `change`; none if there never was one. `decode`:
    /// kNotFound: the slot was never written; kDataCorrupt: it was torn. Errors: those of reading;
    /// kDataCorrupt: both slots are torn.
    template <typename Record>
    [[nodiscard]] Task<Result<std::optional<Record>>> newest(
        Result<Record> (*decode)(std::span<const std::byte> slot));
    /// Record `change`, which is in slot(), until it is durable in both: nobody may be told
    /// otherwise, and what a failed write left is not known. False: give_up().
    [[nodiscard]] Task<bool> write(uint64_t change);
    void unlock();

    [[nodiscard]] std::span<std::byte> slot();
    /// Ends waiting.
    void give_up() { is_given_up_ = true; }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    struct alignas(4096) Page {
        std::array<std::byte, 4096> bytes;
    };

    [[nodiscard]] Task<Status> read(uint64_t number);

    Reactor& control_;
    FileSystem& files_;
    const std::string path_;
    std::vector<Page> slot_;
    FileHandle file_{};
    bool is_empty_ = false;
    bool is_given_up_ = false;
};

template <typename Record>
Task<Result<std::optional<Record>>> SlotFile::newest(
    Result<Record> (*decode)(std::span<const std::byte> slot)) {
    std::optional<Record> newest;
    uint32_t torn = 0;
    for (uint64_t number = 0; number < 2 && !is_empty_; ++number) {
        const Status outcome = co_await read(number);
        if (!outcome && outcome.error().code != Errc::kMediaError) {
            co_return outcome.error();
        }
        Result<Record> record = outcome ? decode(slot()) : Result<Record>(Errc::kDataCorrupt);
        if (!record) {
            torn += record.error().code == Errc::kDataCorrupt ? 1U : 0U;
        } else if (!newest || newest->change < record->change) {
            newest = std::move(*record);
        }
    }
    if (!newest && torn == 2) {
        co_return Errc::kDataCorrupt;
    }
    co_return std::move(newest);  // None: new, or its first record was torn.
}

}  // namespace basalt::replication
