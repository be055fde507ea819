// A fuzzing engine of last resort: seeded, bounded, without coverage feedback.
//   PROGRAM SEED RUNS [CORPUS]   runs the target's sound inputs and those in the folder CORPUS,
//   then
//                                RUNS mutations of them
//   PROGRAM FILE                 runs one input

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <vector>

#include "test/fuzz/fuzz_target.h"

namespace {

using Input = std::vector<uint8_t>;
using Random = std::mt19937_64;

constexpr size_t kInputBytesMax = 65536;

size_t below(Random& random, size_t end) {
    return static_cast<size_t>(random() % end);
}

/// A byte that decides more than others.
uint8_t telling_byte(Random& random) {
    constexpr uint8_t kBytes[] = {0x00, 0x01, 0x04, 0x18, 0x48, 0x7f, 0x80, 0xff};
    return kBytes[below(random, std::size(kBytes))];
}

/// One small change to `input`.
void mutate(Random& random, Input& input, const std::vector<Input>& seeds) {
    const size_t at = input.empty() ? 0 : below(random, input.size());
    const auto position = input.begin() + static_cast<ptrdiff_t>(at);
    switch (below(random, 7)) {
        case 0:
            if (!input.empty()) {
                input[at] ^= static_cast<uint8_t>(1U << below(random, 8));
            }
            return;
        case 1:
            if (!input.empty()) {
                input[at] = telling_byte(random);
            }
            return;
        case 2:
            if (!input.empty()) {
                input[at] = static_cast<uint8_t>(random());
            }
            return;
        case 3: input.resize(at); return;
        case 4: input.insert(position, telling_byte(random)); return;
        case 5: {
            const size_t count = std::min(input.size() - at, 1 + below(random, 32));
            input.erase(position, position + static_cast<ptrdiff_t>(count));
            return;
        }
        default: {
            const Input& other = seeds[below(random, seeds.size())];
            input.insert(input.end(), other.begin(), other.end());
            return;
        }
    }
}

Input read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

int run_file(const char* path) {
    if (!std::filesystem::is_regular_file(path)) {
        std::fprintf(stderr, "can't read %s\n", path);
        return 2;
    }
    const Input input = read_file(path);
    return LLVMFuzzerTestOneInput(input.data(), input.size());
}

/// Every file of the folder, in the order of their names. None there is a mistake.
std::vector<Input> read_corpus(const char* folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    std::vector<Input> inputs;
    inputs.reserve(paths.size());
    for (const std::filesystem::path& path : paths) {
        inputs.push_back(read_file(path));
    }
    if (inputs.empty()) {
        std::fprintf(stderr, "no inputs in %s\n", folder);
        std::exit(2);
    }
    return inputs;
}

/// What was last begun, for whoever finds the program dead: kept beside the core dump.
void remember(const Input& input) {
    const char* path = std::getenv("FUZZ_LAST_INPUT");
    if (path != nullptr) {
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(input.data()),
                   static_cast<std::streamsize>(input.size()));
    }
}

void run_one(const Input& input) {
    remember(input);
    // A copy of exactly its size, so that the address sanitizer sees a read beyond it.
    const Input exact(input.begin(), input.end());
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2) {
        return run_file(argv[1]);
    }
    if (argc != 3 && argc != 4) {
        std::fprintf(stderr, "usage: %s SEED RUNS [CORPUS] | %s FILE\n", argv[0], argv[0]);
        return 2;
    }
    Random random(std::strtoull(argv[1], nullptr, 10));
    const uint64_t runs = std::strtoull(argv[2], nullptr, 10);
    std::vector<Input> seeds = fuzz_seeds();
    if (argc == 4) {
        std::vector<Input> kept = read_corpus(argv[3]);
        std::move(kept.begin(), kept.end(), std::back_inserter(seeds));
    }
    for (const Input& seed : seeds) {
        run_one(seed);
    }
    for (uint64_t run = 0; run < runs; ++run) {
        Input input = seeds[below(random, seeds.size())];
        const size_t changes = 1 + below(random, 8);
        for (size_t i = 0; i < changes; ++i) {
            mutate(random, input, seeds);
        }
        input.resize(std::min(input.size(), kInputBytesMax));
        run_one(input);
    }
    std::printf("%llu runs\n", static_cast<unsigned long long>(runs));
    return 0;
}
