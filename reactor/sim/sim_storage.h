#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "reactor/io/storage.h"
#include "reactor/sim/sim_file_system.h"
#include "reactor/sim/timeline.h"

namespace basalt::sim {

/// A request's time without jitter: that of a fast drive.
inline constexpr uint64_t kStorageNs = 80 * kNsPerUs;

/// Gives the media of a node time: each request acts at one seeded instant after it was submitted,
/// so concurrent ones may overtake each other, and is answered from the next poll. One per
/// simulated reactor. Owner: SimDriver.
class SimStorage final : public Storage, public TimelineTarget {
  public:
    SimStorage(Timeline& timeline, SimFileSystem& files) : timeline_(timeline), files_(files) {}

    void submit(FileRequest& request) override;
    void submit(PassthroughRequest& request) override;
    void register_memory(std::span<std::byte> /*memory*/) override {}
    /// The table is small, so that some files find it full.
    [[nodiscard]] FileHandle register_file(FileHandle file) override;
    void unregister_file(FileHandle registered) override;

    /// Runs the completions that are there. Returns how many.
    uint32_t poll(Reactor& here);
    [[nodiscard]] bool has_ready() const { return !ready_.empty(); }
    [[nodiscard]] uint32_t in_flight() const { return in_flight_; }

    /// Forgets all requests without an answer. With `tear`, writes on their way are done in part;
    /// without, the kernel finishes what it was given.
    void power_off(bool tear);

    void occur(uint32_t what, uint64_t a, uint64_t b) override;

  private:
    struct Slot {
        FileRequest* file = nullptr;
        PassthroughRequest* passthrough = nullptr;
    };

    static constexpr size_t kFilesMax = 3;

    void start(const Slot& slot, FileHandle handle);
    /// The medium behind a handle, which may be registered here.
    [[nodiscard]] SimFileSystem::Medium* find(FileHandle handle);
    /// It acts when it begins, all else when it ends.
    [[nodiscard]] static bool is_flush(const Slot& slot);
    void execute(const Slot& slot, SimFileSystem::Medium& medium);
    [[nodiscard]] Status execute(const FileRequest& request, SimFileSystem::Medium& medium);
    void abandon(const Slot& slot, bool tear);

    Timeline& timeline_;
    SimFileSystem& files_;
    std::vector<Slot> slots_;  // Waiting for their instant.
    std::vector<uint64_t> free_slots_;
    std::array<FileHandle, kFilesMax> registered_;
    std::vector<Event*> ready_;
    std::vector<Event*> running_;
    uint32_t in_flight_ = 0;
    bool has_power_ = true;
};

}  // namespace basalt::sim
