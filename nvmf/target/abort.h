#pragma once

#include "nvmf/wire/ids.h"
#include "reactor/base/intrusive_list.h"

namespace basalt::nvmf {

/// Somebody who wants a command of a queue aborted and hears once whether it was: at once, or, for
/// a command whose bytes are still coming from the host, when they are there, the queue ends, or
/// the waiter no longer wants to wait (Connection::forget_abort).
///
/// Owner: whoever asks. Core: the queue's.
class AbortWaiter {
  public:
    /// May free the waiter.
    using Answered = void (*)(void* context, bool was_aborted);

    /// `context` outlives the waiting.
    AbortWaiter(CommandId command, Answered answered, void* context)
        : command_(command), answered_(answered), context_(context) {}
    AbortWaiter(const AbortWaiter&) = delete;
    AbortWaiter& operator=(const AbortWaiter&) = delete;

    [[nodiscard]] CommandId command() const { return command_; }
    [[nodiscard]] bool is_waiting() const { return link.is_linked(); }
    void answer(bool was_aborted) { answered_(context_, was_aborted); }

    ListLink link;  ///< In the connection's list of those who wait.

  private:
    const CommandId command_;
    const Answered answered_;
    void* const context_;
};

using AbortList = IntrusiveList<AbortWaiter, &AbortWaiter::link>;

}  // namespace basalt::nvmf
