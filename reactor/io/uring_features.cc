#include "reactor/io/uring_features.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

constexpr uint32_t kProbeEntries = 8;
constexpr uint32_t kProbeBufferBytes = 4096;  // A page: where the buffer ring itself lies, too.

/// A small ring and what it needs to try things; cleans up after itself.
class ProbeRing {
  public:
    ProbeRing() = default;
    ProbeRing(const ProbeRing&) = delete;
    ProbeRing& operator=(const ProbeRing&) = delete;
    ~ProbeRing() {
        if (is_open_) {
            io_uring_queue_exit(&ring_);
        }
    }

    [[nodiscard]] Status open(uint32_t flags) {
        const int error = io_uring_queue_init(kProbeEntries, &ring_, flags);
        if (error < 0) {
            return Error::from_errno(-error);
        }
        is_open_ = true;
        return kOk;
    }

    [[nodiscard]] io_uring& ring() { return ring_; }
    [[nodiscard]] io_uring_sqe& next_sqe() {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        BASALT_ASSERT(sqe != nullptr);
        return *sqe;
    }

    /// Submits and returns the result that came at once, or -EINPROGRESS.
    [[nodiscard]] int submit_and_peek(uint32_t& flags) {
        io_uring_submit_and_get_events(&ring_);
        io_uring_cqe* cqe = nullptr;
        if (io_uring_peek_cqe(&ring_, &cqe) != 0) {
            return -EINPROGRESS;
        }
        const int result = cqe->res;
        flags = cqe->flags;
        io_uring_cqe_seen(&ring_, cqe);
        return result;
    }

  private:
    io_uring ring_{};
    bool is_open_ = false;
};

bool has_opcodes_of_5_19(io_uring& ring) {
    io_uring_probe* probe = io_uring_get_probe_ring(&ring);
    if (probe == nullptr) {
        return false;
    }
    const bool has_all = io_uring_opcode_supported(probe, IORING_OP_SOCKET) != 0 &&
                         io_uring_opcode_supported(probe, IORING_OP_URING_CMD) != 0;
    io_uring_free_probe(probe);
    return has_all;
}

/// A listening Unix socket with a name that the kernel chooses: an accept on it just waits.
bool can_accept_multishot() {
    ProbeRing probe;
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    bool works = false;
    if (listener >= 0 &&
        bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)) == 0 &&
        listen(listener, 1) == 0 && probe.open(0)) {
        io_uring_prep_multishot_accept(&probe.next_sqe(), listener, nullptr, nullptr, 0);
        uint32_t flags = 0;
        works = probe.submit_and_peek(flags) == -EINPROGRESS;
    }
    if (listener >= 0) {
        close(listener);
    }
    return works;
}

/// Two pages: the buffer ring and the one buffer in it.
class ProbePages {
  public:
    ProbePages()
        : pages_(mmap(nullptr,
                      size_t{2} * kProbeBufferBytes,
                      PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS,
                      -1,
                      0)) {}
    ProbePages(const ProbePages&) = delete;
    ProbePages& operator=(const ProbePages&) = delete;
    ~ProbePages() {
        if (is_valid()) {
            munmap(pages_, size_t{2} * kProbeBufferBytes);
        }
    }
    [[nodiscard]] bool is_valid() const { return pages_ != MAP_FAILED; }
    [[nodiscard]] io_uring_buf_ring* ring() const {
        return static_cast<io_uring_buf_ring*>(pages_);
    }
    [[nodiscard]] std::byte* buffer() const {
        return static_cast<std::byte*>(pages_) + kProbeBufferBytes;
    }

  private:
    void* pages_;
};

/// Receives one byte into a provided buffer, by `features` as known so far, and stays armed.
bool can_receive_multishot(bool with_buffer_ring) {
    const ProbePages pages;
    ProbeRing probe;
    std::array<int, 2> sockets{-1, -1};
    if (!pages.is_valid() || !probe.open(0) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
        return false;
    }
    bool works = false;
    uint32_t flags = 0;
    if (with_buffer_ring) {
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<uint64_t>(pages.ring());
        registration.ring_entries = 1;
        works = io_uring_register_buf_ring(&probe.ring(), &registration, 0) == 0;
        io_uring_buf_ring_init(pages.ring());
        io_uring_buf_ring_add(pages.ring(), pages.buffer(), kProbeBufferBytes, 0, 0, 0);
        io_uring_buf_ring_advance(pages.ring(), 1);
    } else {
        io_uring_prep_provide_buffers(
            &probe.next_sqe(), pages.buffer(), static_cast<int>(kProbeBufferBytes), 1, 0, 0);
        works = probe.submit_and_peek(flags) >= 0;
    }
    if (works && write(sockets[1], "x", 1) == 1) {
        io_uring_sqe& sqe = probe.next_sqe();
        io_uring_prep_recv_multishot(&sqe, sockets[0], nullptr, 0, 0);
        sqe.flags |= IOSQE_BUFFER_SELECT;
        works = probe.submit_and_peek(flags) == 1 && (flags & IORING_CQE_F_MORE) != 0;
    }
    close(sockets[0]);
    close(sockets[1]);
    return works;
}

bool can_map_buffer_ring() {
    const ProbePages pages;
    ProbeRing probe;
    if (!pages.is_valid() || !probe.open(0)) {
        return false;
    }
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<uint64_t>(pages.ring());
    registration.ring_entries = 1;
    return io_uring_register_buf_ring(&probe.ring(), &registration, 0) == 0;
}

/// A pipe.
class ProbePipe {
  public:
    ProbePipe() {
        if (pipe2(ends_.data(), O_CLOEXEC) != 0) {
            ends_ = {-1, -1};
        }
    }
    ProbePipe(const ProbePipe&) = delete;
    ProbePipe& operator=(const ProbePipe&) = delete;
    ~ProbePipe() {
        for (const int end : ends_) {
            if (end >= 0) {
                close(end);
            }
        }
    }
    [[nodiscard]] bool is_valid() const { return ends_[0] >= 0; }
    [[nodiscard]] int reader() const { return ends_[0]; }
    [[nodiscard]] int writer() const { return ends_[1]; }
    void close_writer() { close(std::exchange(ends_[1], -1)); }

  private:
    std::array<int, 2> ends_{-1, -1};
};

/// Takes a file out of the table while an older request uses another one of it, and looks whether
/// it is closed.
bool lets_files_go() {
    ProbePipe waiting;
    ProbePipe closing;
    ProbeRing probe;
    if (!waiting.is_valid() || !closing.is_valid() || !probe.open(0)) {
        return false;
    }
    const std::array<int, 2> files{waiting.reader(), closing.writer()};
    if (io_uring_register_files(&probe.ring(), files.data(), files.size()) != 0) {
        return false;
    }
    io_uring_sqe& sqe = probe.next_sqe();
    io_uring_prep_poll_add(&sqe, 0, POLLIN);
    sqe.flags |= IOSQE_FIXED_FILE;
    uint32_t flags = 0;
    const int nothing = -1;
    if (probe.submit_and_peek(flags) != -EINPROGRESS ||
        io_uring_register_files_update(&probe.ring(), 1, &nothing, 1) != 1) {
        return false;
    }
    closing.close_writer();
    pollfd reader{.fd = closing.reader(), .events = POLLIN, .revents = 0};
    return poll(&reader, 1, 0) == 1 && (reader.revents & POLLHUP) != 0;
}

}  // namespace

Result<UringFeatures> UringFeatures::probe() {
    UringFeatures features;
    {
        ProbeRing plain;
        BASALT_CHECK(plain.open(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                                IORING_SETUP_SUBMIT_ALL));
        if (!has_opcodes_of_5_19(plain.ring())) {
            return Errc::kNotSupported;
        }
        features.registered_memory = io_uring_register_buffers_sparse(&plain.ring(), 1) == 0;
    }
    {
        ProbeRing deferring;
        features.defer_taskrun = deferring
                                     .open(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                           IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL)
                                     .has_value();
    }
    features.multishot_accept = can_accept_multishot();
    features.buffer_ring = can_map_buffer_ring();
    features.multishot_receive = can_receive_multishot(features.buffer_ring);
    features.registered_files = lets_files_go();
    return features;
}

UringFeatures UringFeatures::operator&(const UringFeatures& other) const {
    return UringFeatures{
        .defer_taskrun = defer_taskrun && other.defer_taskrun,
        .multishot_accept = multishot_accept && other.multishot_accept,
        .multishot_receive = multishot_receive && other.multishot_receive,
        .buffer_ring = buffer_ring && other.buffer_ring,
        .registered_memory = registered_memory && other.registered_memory,
        .registered_files = registered_files && other.registered_files,
    };
}

}  // namespace basalt
