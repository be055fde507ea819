/// Writes sequence-numbered blocks to a device and knows what each block has to hold.
///
///   block-journal run DEVICE JOURNAL
///       writes and reads until SIGTERM, then reads all back. DEVICE holds zeroes at first.
///       JOURNAL, a file or another device, is written before and after each write, so that it is
///       true whenever this program, or the machine that it runs on, is killed.
///   block-journal check DEVICE JOURNAL [LATER]
///       reads all back: later, on another path, after a crash. With LATER, a copy of the journal
///       that was made later than JOURNAL, DEVICE may hold what was acknowledged at any moment
///       between the two.
///
/// Why fio is not enough: its verify accepts any block that was once written at the right offset,
/// so a lost write over an older one, or an old write replayed by a target that came back, passes.
/// Here each worker owns a range of blocks and has one I/O under way, so after every
/// acknowledgement exactly one content is right. A write under way is there wholly or not at all.

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
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

/// What a worker keeps in the journal: one page, so that it is there as it was before a write of it
/// or after. Written when a write of blocks begins, and when it is acknowledged.
struct JournalPage {
    uint32_t first = 0;  ///< Of the blocks of the last write, in the worker's range.
    uint32_t count = 0;  ///< 0: none has begun yet.
    uint32_t is_under_way = 0;
    uint32_t reserved = 0;
    /// Of each block the last write that was acknowledged, from 1; 0: never written.
    std::array<uint32_t, kBlocksPerWorker> acked{};
    std::array<uint8_t, 2032> unused{};
};
static_assert(sizeof(JournalPage) == kBlockBytes);

using Journal = std::array<JournalPage, kWorkerCount>;

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

/// Whether `words` is a write of `block` with a number from `least` to `most`; 0: zeroes. Otherwise
/// says what it is.
bool matches(const uint64_t* words, uint64_t block, uint64_t least, uint64_t most) {
    const uint64_t sequence = words[1];
    const bool is_empty = sequence == 0;
    const bool is_of_range = sequence >= least && sequence <= most;
    size_t index = 0;
    while (index < kWordsPerBlock) {
        const uint64_t expected = is_empty     ? 0
                                  : index == 0 ? block
                                  : index == 1 ? sequence
                                               : content_word(block, sequence, index);
        if (words[index] != expected) {
            break;
        }
        ++index;
    }
    if (is_of_range && index == kWordsPerBlock) {
        return true;
    }
    const char* kind = index < kWordsPerBlock ? "corrupt" : sequence < least ? "stale" : "too new";
    std::fprintf(stderr,
                 "block %lu: %s: expected write %lu to %lu, found block %lu write %lu, "
                 "right up to byte %zu\n",
                 block,
                 kind,
                 least,
                 most,
                 words[0],
                 words[1],
                 index * sizeof(uint64_t));
    return false;
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

/// One worker: a range of blocks, a page of the journal.
class Worker {
  public:
    Worker(int device, int journal, size_t index)
        : device_(device),
          journal_(journal),
          index_(index),
          random_(index * kBlocksPerWorker + 1) {}

    /// One random write or checked read within the range; false: it failed, or found what is wrong.
    bool one_io(Tally& tally) {
        const size_t count = 1 + random_() % kBlocksPerIoMax;
        const size_t first = random_() % (kBlocksPerWorker - count + 1);
        if (random_() % 100 < kReadPercent) {
            tally.reads++;
            return read(first, count);
        }
        tally.writes++;
        return write(first, count);
    }
    /// So that a journal that was left by somebody else is gone.
    [[nodiscard]] bool keep() const {
        const auto offset = static_cast<off_t>(index_ * sizeof(page_));
        if (pwrite(journal_, &page_, sizeof(page_), offset) !=
            static_cast<ssize_t>(sizeof(page_))) {
            std::fprintf(stderr, "journal: %s\n", std::strerror(errno));
            return false;
        }
        return true;
    }
    [[nodiscard]] const JournalPage& page() const { return page_; }

  private:
    bool read(size_t first, size_t count) {
        const size_t block = index_ * kBlocksPerWorker + first;
        if (!transfer(device_, false, buffer_.block(0), block, count)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            const uint64_t acked = page_.acked[first + i];
            if (!matches(buffer_.block(i), block + i, acked, acked)) {
                return false;
            }
        }
        return true;
    }
    bool write(size_t first, size_t count) {
        const size_t block = index_ * kBlocksPerWorker + first;
        for (size_t i = 0; i < count; i++) {
            fill(buffer_.block(i), block + i, page_.acked[first + i] + 1);
        }
        page_.first = static_cast<uint32_t>(first);
        page_.count = static_cast<uint32_t>(count);
        page_.is_under_way = 1;
        if (!keep() || !transfer(device_, true, buffer_.block(0), block, count)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            page_.acked[first + i]++;
        }
        page_.is_under_way = 0;
        return keep();
    }

    int device_;
    int journal_;
    size_t index_;
    IoBuffer buffer_;
    std::mt19937_64 random_;
    JournalPage page_;
};

/// Works until SIGTERM or a failure.
void work(Worker& worker, Tally& tally) {
    auto now = std::chrono::steady_clock::now();
    while (stop_requested == 0 && !tally.failed) {
        if (!worker.one_io(tally)) {
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

/// Which writes of a block may be there, by the journals of before and after.
struct Allowed {
    uint64_t least;
    uint64_t most;
};

Allowed allowed(const JournalPage& page, const JournalPage& later, size_t index) {
    // Begun before the copy, whether or not it was acknowledged then.
    const bool is_in_last = index >= later.first && index < later.first + later.count;
    const bool may_be_there = is_in_last && (later.is_under_way != 0 || &later != &page);
    return {page.acked[index], later.acked[index] + (may_be_there ? 1U : 0U)};
}

/// Reads every block; says of the first wrong ones what they hold. True if there is none.
bool check_all(int device, const Journal& journal, const Journal& later) {
    IoBuffer buffer;
    size_t wrong_count = 0;
    size_t written = 0;
    for (size_t block = 0; block < kBlockCount && wrong_count < kWrongCountMax;
         block += kBlocksPerIoMax) {
        if (!transfer(device, false, buffer.block(0), block, kBlocksPerIoMax)) {
            return false;
        }
        const size_t worker = block / kBlocksPerWorker;
        for (size_t i = 0; i < kBlocksPerIoMax; i++) {
            const size_t index = (block + i) % kBlocksPerWorker;
            const Allowed range = allowed(journal[worker], later[worker], index);
            written += range.least > 0 ? 1U : 0U;
            wrong_count += matches(buffer.block(i), block + i, range.least, range.most) ? 0U : 1U;
        }
    }
    std::printf(
        "checked %zu blocks, %zu of them written, %zu wrong\n", kBlockCount, written, wrong_count);
    return wrong_count == 0 && written > 0;
}

/// Whether each write that was under way is there wholly or not at all.
bool check_under_way(int device, const Journal& journal) {
    IoBuffer buffer;
    bool is_whole = true;
    size_t under_way = 0;
    for (size_t worker = 0; worker < kWorkerCount; worker++) {
        const JournalPage& page = journal[worker];
        if (page.is_under_way == 0) {
            continue;
        }
        under_way++;
        const size_t first = worker * kBlocksPerWorker + page.first;
        if (!transfer(device, false, buffer.block(0), first, page.count)) {
            return false;
        }
        size_t there = 0;
        for (size_t i = 0; i < page.count; i++) {
            there += buffer.block(i)[1] > page.acked[page.first + i] ? 1U : 0U;
        }
        if (there != 0 && there != page.count) {
            std::fprintf(stderr,
                         "block %zu: torn: %zu of the %u blocks of a write that was under way\n",
                         first,
                         there,
                         page.count);
            is_whole = false;
        }
    }
    std::printf("%zu writes were under way\n", under_way);
    return is_whole;
}

int open_journal(const char* path, int flags) {
    const int journal = open(path, flags | O_CLOEXEC, 0644);
    if (journal < 0) {
        std::fprintf(stderr, "%s: %s\n", path, std::strerror(errno));
    }
    return journal;
}

bool run(int device, const char* journal_path) {
    std::signal(SIGTERM, [](int) { stop_requested = 1; });
    // Not O_DIRECT, which a tmpfs may lack.
    const int journal = open_journal(journal_path, O_RDWR | O_CREAT | O_DSYNC);
    if (journal < 0) {
        return false;
    }
    Tally tally;
    std::vector<std::unique_ptr<Worker>> workers;
    for (size_t i = 0; i < kWorkerCount; i++) {
        workers.push_back(std::make_unique<Worker>(device, journal, i));
        if (!workers.back()->keep()) {
            return false;
        }
    }
    std::vector<std::thread> threads;
    threads.reserve(kWorkerCount);
    for (const auto& worker : workers) {
        threads.emplace_back([&tally, &worker] { work(*worker, tally); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    close(journal);
    std::printf("%lu writes, %lu reads, longest I/O %lu ms\n",
                tally.writes.load(),
                tally.reads.load(),
                tally.io_max_us.load() / 1000);
    Journal all;
    for (size_t i = 0; i < kWorkerCount; i++) {
        all[i] = workers[i]->page();
    }
    return !tally.failed && check_all(device, all, all);
}

bool load(const char* path, Journal& journal) {
    const int file = open_journal(path, O_RDONLY);
    if (file < 0) {
        return false;
    }
    const ssize_t got = read(file, journal.data(), sizeof(journal));
    close(file);
    bool is_sound = got == static_cast<ssize_t>(sizeof(journal));
    for (const JournalPage& page : journal) {
        is_sound = is_sound && page.count <= kBlocksPerIoMax &&
                   page.first <= kBlocksPerWorker - page.count;
    }
    if (!is_sound) {
        std::fprintf(stderr, "%s: not a whole journal\n", path);
    }
    return is_sound;
}

bool check(int device, const char* journal_path, const char* later_path) {
    Journal journal;
    Journal later;
    if (!load(journal_path, journal) || (later_path != nullptr && !load(later_path, later))) {
        return false;
    }
    if (later_path != nullptr) {
        return check_all(device, journal, later);
    }
    const bool is_whole = check_under_way(device, journal);
    return check_all(device, journal, journal) && is_whole;
}

int main_checked(const std::vector<const char*>& arguments) {
    const std::string_view action = arguments.size() >= 4 ? arguments[1] : "";
    const bool has_later = action == "check" && arguments.size() == 5;
    if ((action != "run" && action != "check") || (arguments.size() != 4 && !has_later)) {
        std::fprintf(stderr,
                     "usage: block-journal run DEVICE JOURNAL\n"
                     "       block-journal check DEVICE JOURNAL [LATER]\n");
        return 2;
    }
    const int device = open(arguments[2], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (device < 0) {
        std::fprintf(stderr, "%s: %s\n", arguments[2], std::strerror(errno));
        return 2;
    }
    const bool passed = action == "run"
                            ? run(device, arguments[3])
                            : check(device, arguments[3], has_later ? arguments[4] : nullptr);
    close(device);
    return passed ? 0 : 1;
}

}  // namespace
}  // namespace basalt

int main(int argc, char** argv) {
    return basalt::main_checked({argv, argv + argc});
}
