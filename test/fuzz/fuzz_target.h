#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

/// One run of the target on one input; what libFuzzer calls. Returns 0; a fault aborts.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

/// Sound inputs that mutation begins from, so that it gets past the first checks.
std::vector<std::vector<uint8_t>> fuzz_seeds();
