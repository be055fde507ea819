#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "reactor/base/assert.h"
#include "reactor/io/io_driver.h"
#include "reactor/io/storage.h"

namespace basalt::bdev {

/// One file of an old-fashioned file system: no holes, no zeroing of ranges, direct I/O in sectors
/// of 4 KiB only. The driver of a ManualWorld's reactors, and the file system to open it with.
class PlainFiles final : public IoDriver, public Storage, public FileSystem {
  public:
    explicit PlainFiles(uint64_t size_bytes) : contents(size_bytes, std::byte{0x5a}) {}

    [[nodiscard]] Result<FileInfo> open(const std::string&, const OpenOptions& options) override {
        BASALT_ASSERT(!is_open);
        is_open = true;
        is_direct = options.direct;
        FileInfo info;
        info.handle.id = 7;
        info.size_bytes = contents.size();
        info.alignment_bytes = is_direct ? 4096 : 1;
        return info;
    }
    [[nodiscard]] Result<uint64_t> size_bytes(FileHandle) override { return contents.size(); }
    [[nodiscard]] Result<uint64_t> allocated_bytes(FileHandle) override { return contents.size(); }
    void close(FileHandle) override { is_open = false; }

    void submit(FileRequest& request) override { queue_.push_back(&request); }
    void submit(PassthroughRequest&) override { BASALT_ASSERT(false); }
    void register_memory(std::span<std::byte>) override {}
    [[nodiscard]] FileHandle register_file(FileHandle file) override { return file; }
    void unregister_file(FileHandle) override {}

    uint32_t poll() override {
        const std::vector<FileRequest*> ready = std::exchange(queue_, {});
        for (FileRequest* request : ready) {
            request->status = execute(*request);
            request->done.run(*reactor());
        }
        return static_cast<uint32_t>(ready.size());
    }
    void wait(uint64_t) override {}
    [[nodiscard]] uint32_t in_flight() const override {
        return static_cast<uint32_t>(queue_.size());
    }
    [[nodiscard]] Network& network() override { assertion_failed("no network", "", 0); }
    [[nodiscard]] Storage& storage() override { return *this; }

    std::vector<std::byte> contents;
    bool is_open = false;
    bool is_direct = false;
    uint32_t refusals = 0;
    uint32_t flushes = 0;
    uint32_t durable_writes = 0;
    Status flush_status = kOk;

  private:
    Status execute(const FileRequest& request) {
        const bool is_range =
            request.op == FileRequest::Op::kZeroRange || request.op == FileRequest::Op::kPunchHole;
        if (is_range) {
            ++refusals;
            return Errc::kNotSupported;
        }
        if (request.op == FileRequest::Op::kFlush) {
            ++flushes;
            return flush_status;
        }
        durable_writes += request.op == FileRequest::Op::kWriteDurable ? 1 : 0;
        std::byte* at = contents.data() + request.offset_bytes;
        for (uint32_t i = 0; i < request.piece_count; ++i) {
            const iovec& piece = request.pieces[i];
            if (request.op == FileRequest::Op::kRead) {
                std::memcpy(piece.iov_base, at, piece.iov_len);
            } else {
                std::memcpy(at, piece.iov_base, piece.iov_len);
            }
            at += piece.iov_len;
        }
        return kOk;
    }

    std::vector<FileRequest*> queue_;
};

}  // namespace basalt::bdev
