#include "bdev/core/io_request.h"

#include <vector>

#include <gtest/gtest.h>

namespace basalt::bdev {
namespace {

struct Heard {
    std::vector<uint64_t> words;
};

void hear(IoRequest& request, void* context) {
    static_cast<Heard*>(context)->words.push_back(request.completion_word());
    if (request.pending_completions() > 0) {
        request.complete(request.status);
    }
}

TEST(IoRequest, CompletesTheDeepestStackFromTheLowestLayerUp) {
    WholeIoRequest request;
    Heard heard;
    std::vector<uint64_t> wanted;
    for (uint64_t word = 0; word < kCompletionsMax; ++word) {
        request.push_completion(&hear, &heard, word);
        wanted.insert(wanted.begin(), word);
    }
    request.complete(kOk);
    EXPECT_EQ(heard.words, wanted);
    EXPECT_EQ(request.pending_completions(), 0U);
}

TEST(IoRequestDeathTest, RefusesMoreCompletionsThanItHasRoomFor) {
    WholeIoRequest request;
    Heard heard;
    for (uint32_t i = 0; i < kCompletionsMax; ++i) {
        request.push_completion(&hear, &heard);
    }
    EXPECT_DEATH(request.push_completion(&hear, &heard), "index < kCompletionsMax");
}

}  // namespace
}  // namespace basalt::bdev
