#include "nvmf/target/backlog.h"

#include <cstring>
#include <type_traits>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

static_assert(std::is_trivially_copyable_v<WaitingCommand>);

void Backlog::reserve(uint32_t capacity) {
    BASALT_ASSERT(is_empty());
    // Bytes, because an array of commands would be written to at once.
    ring_ = std::make_unique_for_overwrite<std::byte[]>(capacity * sizeof(WaitingCommand));
    capacity_ = capacity;
    first_ = 0;
}

void Backlog::push(const WaitingCommand& command) {
    BASALT_ASSERT(count_ < capacity_);
    if (is_empty()) {
        first_ = 0;  // What is touched stays as little as it can.
    }
    ++count_;
    set(count_ - 1, command);
}

WaitingCommand Backlog::pop() {
    BASALT_ASSERT(!is_empty());
    const WaitingCommand oldest = at(0);
    first_ = (first_ + 1) % capacity_;
    --count_;
    return oldest;
}

bool Backlog::mark(CommandId id) {
    const uint32_t found = find(id);
    if (found == count_) {
        return false;
    }
    WaitingCommand marked = at(found);
    marked.is_abort_wanted = true;
    for (uint32_t i = found; i > 0; --i) {
        set(i, at(i - 1));
    }
    set(0, marked);
    return true;
}

void Backlog::unmark(CommandId id) {
    const uint32_t found = find(id);
    if (found < count_) {
        WaitingCommand command = at(found);
        command.is_abort_wanted = false;
        set(found, command);
    }
}

uint32_t Backlog::find(CommandId id) const {
    uint32_t index = 0;
    while (index < count_ && at(index).sqe.cid() != id) {
        ++index;
    }
    return index;
}

std::byte* Backlog::place(uint32_t index) const {
    return ring_.get() + ((first_ + index) % capacity_) * sizeof(WaitingCommand);
}

WaitingCommand Backlog::at(uint32_t index) const {
    BASALT_ASSERT(index < count_);
    WaitingCommand command;
    std::memcpy(&command, place(index), sizeof(command));
    return command;
}

void Backlog::set(uint32_t index, const WaitingCommand& command) {
    BASALT_ASSERT(index < count_);
    std::memcpy(place(index), &command, sizeof(command));
}

}  // namespace basalt::nvmf
