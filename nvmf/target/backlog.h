#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "nvmf/wire/sqe.h"

namespace basalt::nvmf {

/// A command that has come without data and has no request yet.
struct WaitingCommand {
    Sqe sqe;
    bool is_paid = false;          ///< Its host has spent tokens for it.
    bool is_abort_wanted = false;  ///< To be ended as soon as there is a request for its response.
};
static_assert(sizeof(WaitingCommand) == 66);

/// The commands of one connection that wait for requests, in order. 66 bytes each, reserved when
/// the queue's depth is known and touched when used. It belongs to no core: it goes with a
/// connection that moves.
///
/// Owner and core: the connection's.
class Backlog {
  public:
    /// Makes room for so many; it is empty.
    void reserve(uint32_t capacity);

    [[nodiscard]] bool is_empty() const { return count_ == 0; }
    [[nodiscard]] uint32_t count() const { return count_; }

    /// There is room.
    void push(const WaitingCommand& command);
    /// The oldest; there is one.
    WaitingCommand pop();
    void clear() { first_ = count_ = 0; }

    /// Marks the command with that identifier as one to be aborted, and makes it the oldest. False:
    /// there is no such.
    [[nodiscard]] bool mark(CommandId id);
    /// It is not to be aborted after all, if it is here.
    void unmark(CommandId id);
    [[nodiscard]] bool is_oldest_marked() const { return !is_empty() && at(0).is_abort_wanted; }

  private:
    [[nodiscard]] std::byte* place(uint32_t index) const;
    [[nodiscard]] WaitingCommand at(uint32_t index) const;
    void set(uint32_t index, const WaitingCommand& command);
    /// count_: there is no such.
    [[nodiscard]] uint32_t find(CommandId id) const;

    std::unique_ptr<std::byte[]> ring_;
    uint32_t capacity_ = 0;
    uint32_t first_ = 0;
    uint32_t count_ = 0;
};

}  // namespace basalt::nvmf
