#include "reactor/task.h"

#include <array>
#include <new>

namespace basalt {

namespace {

constexpr size_t kFrameClassBytes = 128;
constexpr size_t kFrameClasses = 32;  // Frames up to 4 KiB; ours are a few hundred bytes.

struct FreeFrame {
    FreeFrame* next;
};

// Sanitizers see a frame's end only if the memory really goes back to the allocator.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsPooled = false;
#else
constexpr bool kIsPooled = true;
#endif

// Threads share nothing: a frame is made and freed on the core that runs the sequence.
struct FreeFrames {
    ~FreeFrames() {
        for (FreeFrame* head : heads) {
            while (head != nullptr) {
                ::operator delete(std::exchange(head, head->next));
            }
        }
    }
    std::array<FreeFrame*, kFrameClasses> heads{};
};
thread_local FreeFrames free_frames;

size_t frame_class(size_t size_bytes) {
    return (size_bytes - 1) / kFrameClassBytes;
}

}  // namespace

void* FramePool::allocate(size_t size_bytes) {
    const size_t index = frame_class(size_bytes);
    if (!kIsPooled || index >= kFrameClasses) {
        return ::operator new(size_bytes);
    }
    FreeFrame*& head = free_frames.heads[index];
    if (head == nullptr) {
        return ::operator new((index + 1) * kFrameClassBytes);
    }
    return std::exchange(head, head->next);
}

void FramePool::release(void* frame, size_t size_bytes) {
    const size_t index = frame_class(size_bytes);
    if (!kIsPooled || index >= kFrameClasses) {
        ::operator delete(frame);
        return;
    }
    free_frames.heads[index] = ::new (frame) FreeFrame{free_frames.heads[index]};
}

}  // namespace basalt
