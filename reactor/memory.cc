#include "reactor/memory.h"

#include <array>
#include <atomic>
#include <bit>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

#include <numa.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <sched.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

constexpr uint64_t kHugePageMib = 2;
constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr size_t kPageBytes = 4096;

// rte_eal_init() pins its caller to the main lcore, and may put signal handlers of its own in
// place. The process's owner decides about both, so they are restored.
class CallerState {
  public:
    CallerState() {
        BASALT_ASSERT(pthread_getaffinity_np(pthread_self(), sizeof(affinity_), &affinity_) == 0);
        for (int number = 1; number < NSIG; ++number) {
            auto& action = actions_[static_cast<size_t>(number)];
            struct sigaction current {};
            if (sigaction(number, nullptr, &current) == 0) {
                action = current;
            }
        }
    }
    CallerState(const CallerState&) = delete;
    CallerState& operator=(const CallerState&) = delete;
    ~CallerState() {
        pthread_setaffinity_np(pthread_self(), sizeof(affinity_), &affinity_);
        for (int number = 1; number < NSIG; ++number) {
            const auto& action = actions_[static_cast<size_t>(number)];
            struct sigaction current {};
            if (!action || sigaction(number, nullptr, &current) != 0) {
                continue;
            }
            if (current.sa_handler != action->sa_handler || current.sa_flags != action->sa_flags) {
                sigaction(number, &*action, nullptr);
            }
        }
    }

    // A processor that the caller may use, for DPDK's main lcore.
    [[nodiscard]] int first_processor() const {
        for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
            if (CPU_ISSET(static_cast<size_t>(processor), &affinity_)) {
                return processor;
            }
        }
        return 0;
    }

  private:
    cpu_set_t affinity_{};
    std::array<std::optional<struct sigaction>, NSIG> actions_{};
};

// What DPDK says while it starts, which is the only place where it explains a failure.
class CapturedLog {
  public:
    CapturedLog() : stream_(open_memstream(&text_, &size_)) {
        BASALT_ASSERT(stream_ != nullptr);
        rte_openlog_stream(stream_);
    }
    CapturedLog(const CapturedLog&) = delete;
    CapturedLog& operator=(const CapturedLog&) = delete;
    ~CapturedLog() {
        rte_openlog_stream(nullptr);
        std::fclose(stream_);
        std::free(text_);
    }

    // On one line.
    [[nodiscard]] std::string text() {
        std::fflush(stream_);
        std::string line(text_, size_);
        while (line.ends_with('\n')) {
            line.pop_back();
        }
        for (size_t at = 0; (at = line.find('\n', at)) != std::string::npos;) {
            line.replace(at, 1, "; ");
        }
        return line;
    }

  private:
    char* text_ = nullptr;
    size_t size_ = 0;
    FILE* stream_;
};

uint64_t read_number(const char* path) {
    FILE* file = std::fopen(path, "re");
    if (file == nullptr) {
        return 0;
    }
    std::array<char, 32> text{};
    const size_t size = std::fread(text.data(), 1, text.size() - 1, file);
    std::fclose(file);
    return size == 0 ? 0 : std::strtoull(text.data(), nullptr, 10);
}

HugePagePool read_huge_page_pool() {
    return {.total = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
            .free = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")};
}

// The command line of rte_eal_init(). DPDK 22.11 refuses --in-memory together with --no-huge (which
// implies its "legacy" memory mode); --no-shconf is the half of --in-memory that is left over then.
std::vector<std::string> eal_arguments(const MemoryOptions& options, int processor) {
    const uint64_t mib = options.hugepages > 0 ? options.hugepages * kHugePageMib
                                               : (options.ordinary_bytes + kMib - 1) / kMib;
    std::vector<std::string> arguments{"basalt",
                                       "--no-pci",
                                       "--no-telemetry",
                                       "--log-level=error",
                                       "--lcores=0@" + std::to_string(processor),
                                       "-m",
                                       std::to_string(mib)};
    if (options.hugepages > 0) {
        arguments.emplace_back("--in-memory");
    } else {
        arguments.emplace_back("--no-huge");
        arguments.emplace_back("--no-shconf");
    }
    return arguments;
}

Status start_eal(const MemoryOptions& options, std::string& problem) {
    const CallerState caller;
    std::vector<std::string> arguments = eal_arguments(options, caller.first_processor());
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) {
        pointers.push_back(argument.data());
    }
    pointers.push_back(nullptr);
    CapturedLog log;
    if (rte_eal_init(static_cast<int>(arguments.size()), pointers.data()) < 0) {
        problem =
            std::string("DPDK does not start (") + rte_strerror(rte_errno) + "): " + log.text();
        return rte_errno == ENOMEM ? Errc::kNoMemory : Errc::kNotSupported;
    }
    return kOk;
}

}  // namespace

std::string describe_huge_page_shortage(uint64_t wanted, const HugePagePool& pool) {
    const uint64_t missing = wanted > pool.free ? wanted - pool.free : 0;
    return "hugepages = " + std::to_string(wanted) + " asks for " + std::to_string(wanted) +
           " huge pages of 2 MiB, but only " + std::to_string(pool.free) +
           " are free: " + std::to_string(missing) +
           " are missing. Get them with 'sysctl -w vm.nr_hugepages=" +
           std::to_string(pool.total + missing) + "', or do without with hugepages = 0";
}

Result<HugeMemory*> HugeMemory::init(const MemoryOptions& options, std::string& problem) {
    if (options.hugepages > 0) {
        const HugePagePool pool = read_huge_page_pool();
        if (pool.free < options.hugepages) {
            problem = describe_huge_page_shortage(options.hugepages, pool);
            return Errc::kNoMemory;
        }
    }
    static std::atomic<bool> is_started{false};
    if (is_started.exchange(true)) {
        problem = "the memory of this process is set up already";
        return Errc::kExists;
    }
    BASALT_CHECK(start_eal(options, problem));
    static HugeMemory memory(options);
    return &memory;
}

Result<std::span<std::byte>> HugeMemory::allocate(size_t size_bytes,
                                                  size_t alignment_bytes,
                                                  int32_t numa_node) {
    BASALT_ASSERT(size_bytes > 0);
    BASALT_ASSERT(std::has_single_bit(alignment_bytes));
    const bool has_nodes = numa_available() >= 0 && numa_max_node() > 0;
    // Ordinary pages are one heap, DPDK's node 0, and get their node when they are touched.
    const int heap = options_.hugepages > 0 && has_nodes ? numa_node : SOCKET_ID_ANY;
    // DPDK keeps the memory of its heap zeroed, so this touches nothing but its own header.
    void* memory =
        rte_zmalloc_socket(nullptr, size_bytes, static_cast<unsigned>(alignment_bytes), heap);
    if (memory == nullptr && heap != SOCKET_ID_ANY) {
        // Far memory beats none.
        memory = rte_zmalloc_socket(
            nullptr, size_bytes, static_cast<unsigned>(alignment_bytes), SOCKET_ID_ANY);
    }
    if (memory == nullptr) {
        return Errc::kNoMemory;
    }
    if (options_.hugepages == 0 && has_nodes && numa_node != kAnyNumaNode &&
        alignment_bytes % kPageBytes == 0) {
        numa_tonode_memory(memory, size_bytes, numa_node);
    }
    return std::span(static_cast<std::byte*>(memory), size_bytes);
}

}  // namespace basalt
