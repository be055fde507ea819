/// Writes sequence-numbered blocks to a device and knows what each block has to hold.
///
///   block-journal run DEVICE JOURNAL     writes and reads until SIGTERM, leaves a journal, reads
///   all
///                                        back
///   block-journal check DEVICE JOURNAL   reads all back, later or on another path
///
/// Why fio is not enough: its verify accepts any block that was once written at the right offset,
/// so a lost write over an older one, or an old write replayed by a target that came back, passes.
/// Here each worker owns a range of blocks and has one I/O under way, so after every
/// acknowledgement exactly one content is right.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace basalt {
namespace {

constexpr size_t kBlockBytes = 4096;
constexpr size_t kWordsPerBlock = kBlockBytes / sizeof(uint64_t);
/// Up to 64 KiB an I/O: over the 8 KiB that fit into a capsule, so that R2T is used, too.
constexpr size_t kBlocksPerIoMax = 16;
constexpr size_t kWorkerCount = 8;
constexpr size_t kBlocksPerWorker = 512;
constexpr size_t kBlockCount = kWorkerCount * kBlocksPerWorker;
constexpr unsigned kReadPercent = 30;
/// The check ends after so many wrong blocks: they tell enough, and a log is read by people.
constexpr size_t kWrongCountMax = 16;

/// Set by SIGTERM: the workers finish their I/O and end.
volatile std::sig_atomic_t stop_requested = 0;

using Sequences = std::vector<uint64_t>;

/// What the workers found out together.
struct Tally {
    std::atomic<uint64_t> writes{0};
    std::atomic<uint64_t> reads{0};
    std::atomic<uint64_t> io_max_us{0};
    std::atomic<bool> failed{false};
};

/// A buffer for one I/O, aligned as O_DIRECT wants it.
class IoBuffer {
  public:
    IoBuffer()
        : words_(static_cast<uint64_t*>(
              std::aligned_alloc(kBlockBytes, kBlocksPerIoMax * kBlockBytes))) {}
    ~IoBuffer() { std::free(words_); }
    IoBuffer(const IoBuffer&) = delete;
    IoBuffer& operator=(const IoBuffer&) = delete;

    [[nodiscard]] uint64_t* block(size_t index) { return words_ + index * kWordsPerBlock; }

  private:
    uint64_t* words_;
};

/// Word `index` of `block` as its `sequence`-th write makes it (splitmix64 of the three).
uint64_t content_word(uint64_t block, uint64_t sequence, uint64_t index) {
    uint64_t word = (block << 40U) + (sequence << 10U) + index + 0x9e3779b97f4a7c15U;
    word = (word ^ (word >> 30U)) * 0xbf58476d1ce4e5b9U;
    word = (word ^ (word >> 27U)) * 0x94d049bb133111ebU;
    return word ^ (word >> 31U);
}

/// Words 0 and 1 name the block and the write, for the message; the rest is the pattern.
void fill(uint64_t* words, uint64_t block, uint64_t sequence) {
    words[0] = block;
    words[1] = sequence;
    for (size_t i = 2; i < kWordsPerBlock; i++) {
        words[i] = content_word(block, sequence, i);
    }
}

/// True if `words` is write `sequence` of `block`; otherwise says what it is. 0: never written.
bool matches(const uint64_t* words, uint64_t block, uint64_t sequence) {
    if (sequence == 0) {
        return true;
    }
    for (size_t i = 0; i < kWordsPerBlock; i++) {
        const uint64_t expected = i == 0   ? block
                                  : i == 1 ? sequence
                                           : content_word(block, sequence, i);
        if (words[i] != expected) {
            const char* kind = words[0] == block && words[1] < sequence ? "stale" : "corrupt";
            std::fprintf(stderr,
                         "block %lu: %s: expected write %lu, found block %lu write %lu, "
                         "first difference at byte %zu\n",
                         block,
                         kind,
                         sequence,
                         words[0],
                         words[1],
                         i * sizeof(uint64_t));
            return false;
        }
    }
    return true;
}

/// One read or write of `count` blocks, whole or failed; a failure is reported here.
bool transfer(int device, bool is_write, uint64_t* words, uint64_t block, size_t count) {
    const size_t bytes = count * kBlockBytes;
    const auto offset = static_cast<off_t>(block * kBlockBytes);
    const ssize_t done =
        is_write ? pwrite(device, words, bytes, offset) : pread(device, words, bytes, offset);
    if (done != static_cast<ssize_t>(bytes)) {
        std::fprintf(stderr,
                     "block %lu: %s of %zu bytes: %s\n",
                     block,
                     is_write ? "write" : "read",
                     bytes,
                     done < 0 ? std::strerror(errno) : "short");
        return false;
    }
    return true;
}

/// One random write or checked read within the worker's range.
bool one_io(int device,
            IoBuffer& buffer,
            std::mt19937_64& random,
            size_t first,
            Sequences& acked,
            Tally& tally) {
    const size_t count = 1 + random() % kBlocksPerIoMax;
    const size_t block = first + random() % (kBlocksPerWorker - count + 1);
    const bool is_write = random() % 100 >= kReadPercent;
    if (is_write) {
        for (size_t i = 0; i < count; i++) {
            fill(buffer.block(i), block + i, acked[block + i] + 1);
        }
    }
    if (!transfer(device, is_write, buffer.block(0), block, count)) {
        return false;
    }
    (is_write ? tally.writes : tally.reads)++;
    for (size_t i = 0; i < count; i++) {
        if (is_write) {
            acked[block + i]++;
        } else if (!matches(buffer.block(i), block + i, acked[block + i])) {
            return false;
        }
    }
    return true;
}

/// Works on blocks [first, first + kBlocksPerWorker) until SIGTERM or a failure.
void work(int device, size_t first, Sequences& acked, Tally& tally) {
    IoBuffer buffer;
    std::mt19937_64 random(first + 1);
    auto now = std::chrono::steady_clock::now();
    while (stop_requested == 0 && !tally.failed) {
        if (!one_io(device, buffer, random, first, acked, tally)) {
            tally.failed = true;
        }
        const auto end = std::chrono::steady_clock::now();
        const auto took = static_cast<uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(end - now).count());
        uint64_t longest = tally.io_max_us;
        while (took > longest && !tally.io_max_us.compare_exchange_weak(longest, took)) {
        }
        now = end;
    }
}

/// Reads every block; says of the first wrong ones what they hold. True if there is none.
bool check_all(int device, const Sequences& acked) {
    IoBuffer buffer;
    size_t wrong_count = 0;
    for (size_t block = 0; block < kBlockCount && wrong_count < kWrongCountMax;
         block += kBlocksPerIoMax) {
        if (!transfer(device, false, buffer.block(0), block, kBlocksPerIoMax)) {
            return false;
        }
        for (size_t i = 0; i < kBlocksPerIoMax; i++) {
            if (!matches(buffer.block(i), block + i, acked[block + i])) {
                wrong_count++;
            }
        }
    }
    const auto written =
        std::count_if(acked.begin(), acked.end(), [](uint64_t s) { return s > 0; });
    std::printf("checked %zu blocks, %zu of them written, %zu wrong\n",
                kBlockCount,
                static_cast<size_t>(written),
                wrong_count);
    return wrong_count == 0 && written > 0;
}

bool run(int device, const char* journal_path) {
    std::signal(SIGTERM, [](int) { stop_requested = 1; });
    Sequences acked(kBlockCount, 0);
    Tally tally;
    std::vector<std::thread> workers;
    for (size_t i = 0; i < kWorkerCount; i++) {
        workers.emplace_back([&, i] { work(device, i * kBlocksPerWorker, acked, tally); });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    std::ofstream journal(journal_path);
    for (const uint64_t sequence : acked) {
        journal << sequence << '\n';
    }
    journal.close();
    std::printf("%lu writes, %lu reads, longest I/O %lu ms\n",
                tally.writes.load(),
                tally.reads.load(),
                tally.io_max_us.load() / 1000);
    return journal.good() && !tally.failed && check_all(device, acked);
}

bool check(int device, const char* journal_path) {
    Sequences acked(kBlockCount, 0);
    std::ifstream journal(journal_path);
    for (uint64_t& sequence : acked) {
        journal >> sequence;
    }
    if (!journal) {
        std::fprintf(stderr, "%s: not a whole journal\n", journal_path);
        return false;
    }
    return check_all(device, acked);
}

int main_checked(const std::vector<const char*>& arguments) {
    const std::string_view action = arguments.size() == 4 ? arguments[1] : "";
    if (action != "run" && action != "check") {
        std::fprintf(stderr, "usage: block-journal run|check DEVICE JOURNAL\n");
        return 2;
    }
    const int device = open(arguments[2], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (device < 0) {
        std::fprintf(stderr, "%s: %s\n", arguments[2], std::strerror(errno));
        return 2;
    }
    const bool passed = action == "run" ? run(device, arguments[3]) : check(device, arguments[3]);
    close(device);
    return passed ? 0 : 1;
}

}  // namespace
}  // namespace basalt

int main(int argc, char** argv) {
    return basalt::main_checked({argv, argv + argc});
}
