#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "reactor/io/random.h"
#include "reactor/io/stream_files.h"
#include "reactor/sim/sim_file_system.h"

namespace basalt::sim {

/// A pipe, perhaps from one node to another. Holds little and moves what it likes of what it is
/// asked for, so that nobody counts on more. Owner: the test; outlives the nodes' use of it.
struct SimPipe {
    static constexpr size_t kBytesMax = 20'000;

    std::deque<std::byte> bytes;
    uint32_t readers = 0;
    uint32_t writers = 0;
    uint64_t bytes_moved = 0;                 ///< Taken out so far.
    uint64_t break_after_bytes = UINT64_MAX;  ///< Then the writer's end is cut off.
};

/// The files and pipes of one node as streams. A regular file is a drive of its SimFileSystem, as
/// large as a new one of these is: what was not written is zeroes. Owner: the test, one a life of
/// the node. Control thread.
class SimStreamFiles final : public StreamFiles {
  public:
    SimStreamFiles(Random& random, SimFileSystem& files, uint64_t file_bytes)
        : random_(random), files_(files), file_bytes_(file_bytes) {}

    void add_pipe(const std::string& path, SimPipe& pipe) { pipes_[path] = &pipe; }

    [[nodiscard]] Result<StreamInfo> open(const std::string& path, StreamUse use) override;
    [[nodiscard]] Result<size_t> read_now(FileHandle pipe, std::span<std::byte> out) override;
    [[nodiscard]] Result<size_t> write_now(FileHandle pipe,
                                           std::span<const std::byte> data) override;
    void close(FileHandle handle) override;

  private:
    struct Open {
        SimPipe* pipe;
        StreamUse use;
    };

    [[nodiscard]] SimPipe& pipe_of(FileHandle handle, StreamUse use);
    [[nodiscard]] size_t some_of(size_t bytes);

    Random& random_;
    SimFileSystem& files_;
    const uint64_t file_bytes_;
    std::map<std::string, SimPipe*> pipes_;
    std::map<int64_t, Open> open_;
    int64_t next_id_ = int64_t{1} << 30U;  // Pipes': beyond the files'.
};

}  // namespace basalt::sim
