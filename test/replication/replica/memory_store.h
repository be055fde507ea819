#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "bdev/store/checksum.h"
#include "reactor/reactor.h"
#include "replication/replica/replicas.h"

namespace basalt::replication::test {

/// What survives a crash of a MemoryReplicaStore.
struct MemoryDisk {
    explicit MemoryDisk(const Settings& of)
        : settings(of), state(of), bytes(of.blocks * kBlockBytes) {}

    Settings settings;
    ReplicaState state;
    std::vector<std::byte> bytes;
    std::set<uint64_t> bad;                                ///< Blocks that can't be read.
    std::map<OpNumber, std::vector<std::byte>> snapshots;  ///< By the line that they were taken at.
};

/// A store in memory. A test finishes each job, in any order, with any outcome; or each is done in
/// the next turn. What is not done when it is destroyed is lost.
class MemoryReplicaStore final : public ReplicaStore {
  public:
    MemoryReplicaStore(Reactor& here, MemoryDisk& disk) : here_(here), disk_(disk), turn_(*this) {
        pending.reserve(1024);
    }

    const Settings& settings() const override { return disk_.settings; }
    Task<Result<std::unique_ptr<ReplicaState>>> load_state() override {
        co_return std::make_unique<ReplicaState>(disk_.state);
    }
    void start(const ReplicaState& state) override { live_ = &state; }
    void store(StoreJob& job) override { add(job, true); }
    void load(StoreJob& job) override { add(job, false); }
    Task<Status> stop() override {
        is_stopped = true;
        co_return kOk;
    }

    /// Ends the job at `index`, as if the drive had said so.
    void finish(size_t index, Errc status = Errc::kOk) {
        const Pending done = pending[index];
        pending.erase(pending.begin() + static_cast<ptrdiff_t>(index));
        if (status == Errc::kOk) {
            status = done.is_store ? commit(*done.job) : read(*done.job);
        }
        done.job->done(*done.job, status, done.job->context);
    }

    struct Pending {
        StoreJob* job = nullptr;
        bool is_store = false;
    };

    std::vector<Pending> pending;
    bool is_automatic = true;
    bool is_stopped = false;

  private:
    struct Turn : Event {
        explicit Turn(MemoryReplicaStore& owner)
            : Event([](Event& event, Reactor&) {
                  MemoryReplicaStore& self = static_cast<Turn&>(event).store;
                  for (size_t left = self.pending.size(); left > 0; --left) {
                      self.finish(0);
                  }
              }),
              store(owner) {}

        MemoryReplicaStore& store;
    };

    void add(StoreJob& job, bool is_store) {
        pending.push_back({&job, is_store});
        if (is_automatic && !turn_.link.is_linked()) {
            here_.defer(turn_);
        }
    }

    std::byte* at(uint64_t block) { return disk_.bytes.data() + block * kBlockBytes; }

    Errc commit(const StoreJob& job) {
        const Message& message = *job.message;
        if (job.change != nullptr) {
            static_cast<ReplicaMarks&>(disk_.state) = job.change->marks;
            disk_.state.window.replace(job.change->window);
            if (job.change->dirty != nullptr) {
                disk_.state.dirty = *job.change->dirty;
            } else if (job.change->dirty_change == DirtyChange::kCleared) {
                disk_.state.dirty.clear_all();
            }
            return Errc::kOk;
        }
        if (job.draws_line) {
            disk_.snapshots.emplace(message.number, disk_.bytes);
        } else if (message.kind == MessageKind::kDropLine) {
            disk_.snapshots.erase(message.number);
            return Errc::kOk;
        }
        for (uint32_t i = 0; i < message.range.count; ++i) {
            if (((job.blocks >> i) & 1U) == 0) {
                continue;
            }
            if (job.data.is_valid()) {
                std::memcpy(at(message.range.first + i),
                            job.data.bytes().data() + size_t{i} * kBlockBytes,
                            kBlockBytes);
            } else {
                std::memset(at(message.range.first + i), 0, kBlockBytes);
            }
        }
        advance(disk_.state, live_->watermark);
        commit_write(disk_.state, message);
        return Errc::kOk;
    }

    Errc read(StoreJob& job) {
        const BlockRange range = job.message->range;
        for (uint32_t i = 0; i < range.count; ++i) {
            if (disk_.bad.count(range.first + i) != 0) {
                return Errc::kDataCorrupt;
            }
            const auto to = job.data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
            std::memcpy(to.data(), at(range.first + i), kBlockBytes);
            job.data.sums()[i] = bdev::store::crc32c(to);
        }
        return Errc::kOk;
    }

    Reactor& here_;
    MemoryDisk& disk_;
    Turn turn_;
    const ReplicaState* live_ = nullptr;
};

/// A drive in memory. Survives what its stores lose.
class MemoryDrive final : public ReplicaDrive {
  public:
    MemoryDrive(Reactor& here, const bdev::Uuid& uuid) : here_(here), uuid_(uuid) {}

    const bdev::Uuid& uuid() const override { return uuid_; }
    Task<Status> create(uint64_t volume, Settings settings, ReplicaOrigin origin) override {
        if (disks.count(volume) != 0) {
            co_return Errc::kExists;
        }
        auto disk = std::make_unique<MemoryDisk>(settings);
        disk->state.is_blank = origin == ReplicaOrigin::kReplacement;
        disks.emplace(volume, std::move(disk));
        co_return kOk;
    }
    Task<Result<std::unique_ptr<ReplicaStore>>> open(uint64_t volume) override {
        const auto found = disks.find(volume);
        if (found == disks.end()) {
            co_return Errc::kNotFound;
        }
        std::unique_ptr<ReplicaStore> store =
            std::make_unique<MemoryReplicaStore>(here_, *found->second);
        co_return store;
    }
    Task<Status> remove(uint64_t volume) override {
        co_return disks.erase(volume) != 0 ? kOk : Status(Errc::kNotFound);
    }
    Task<std::vector<uint64_t>> list() override {
        std::vector<uint64_t> volumes;
        for (const auto& [volume, disk] : disks) {
            volumes.push_back(volume);
        }
        co_return volumes;
    }

    std::map<uint64_t, std::unique_ptr<MemoryDisk>> disks;

  private:
    Reactor& here_;
    const bdev::Uuid uuid_;
};

}  // namespace basalt::replication::test
