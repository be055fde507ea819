#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "replication/link/list_pages.h"
#include "replication/link/replica_link.h"
#include "replication/link/store_connection.h"

namespace basalt::replication {

struct TcpLinkOptions {
    uint64_t volume = 0;
    uint64_t blocks = 0;  ///< Of the volume.
    uint32_t window_entries_max = kWindowOpsMax * kWindowEntriesPerOp;
    uint32_t messages_max = kLinkMessagesMax;
};

/// The way to one replica on another machine: one volume's view of a StoreConnection. Takes memory
/// when it is made: for its messages, two windows and two dirty bitmaps.
///
/// When it is reset it comes back after a while, as a connection does, so that a replica that can't
/// be gone on with costs little.
///
/// Owner: the head's shell. Core: the connection's.
class TcpLink final : public ReplicaLink {
  public:
    /// `connection` outlives the link.
    TcpLink(StoreConnection& connection, const TcpLinkOptions& options);
    TcpLink(const TcpLink&) = delete;
    TcpLink& operator=(const TcpLink&) = delete;
    ~TcpLink() override;

    void start(LinkUser& user, uint32_t replica) override;
    void send(const Message& message, BlockRef data) override;
    void reset() override;
    void stop() override;

  private:
    friend class StoreConnection;
    using Slot = StoreConnection::Slot;

    /// A message that is not sent yet.
    struct Item {
        Message message{};
        BlockRef data{};
        ListLink link{};
    };
    using Items = IntrusiveList<Item, &Item::link>;

    // For StoreConnection.
    void connection_changed();
    /// The next frame, in `slot`. False if nothing can be sent now.
    [[nodiscard]] bool fill(Slot& slot);
    void answered(Slot::Purpose purpose, uint32_t pull, const Message& asked, InFrame& frame);

    /// Whether `read`, the first in the queue, may go: else it has stepped aside.
    [[nodiscard]] bool find_memory(Item& read);
    /// `about`: the message that the list belongs to.
    void fill_list(Slot& slot,
                   Slot::Purpose purpose,
                   const WireRequest& request,
                   const Message& about);
    void fill_message(Slot& slot, Item& item);
    void message_answered(const Message& asked, InFrame& frame);
    void part_answered(const InFrame& frame);
    void page_answered(uint32_t pull, const InFrame& frame);
    void reply(const Reply& reply, BlockRef data);
    void cut();
    void report();
    void release(Item& item);
    void report_later();
    static void granted(void* context, BlockRef buffer);

    StoreConnection& connection_;
    const TcpLinkOptions options_;
    LinkUser* user_ = nullptr;
    uint32_t replica_ = 0;
    bool is_told_up_ = false;
    bool is_cut_ = false;  ///< Since the user was last told.
    uint64_t up_since_ns_ = 0;
    uint32_t resets_ = 0;  ///< Since it was last up for long.
    Timer pause_;          ///< Until it may be up again after a reset.
    LinkTurn turn_{.owner = this};

    std::unique_ptr<Item[]> items_;
    Items free_;
    Items queue_;
    Items thirsty_;  ///< Reads without memory, the first of which waits for some.
    Items reads_;    ///< Reads that have got it.
    BlockWaiter waiter_{&TcpLink::granted, this};

    // What goes along with messages and answers, page by page.
    ListsOut lists_out_;
    const Item* has_lists_ = nullptr;  ///< Whose lists_out_ has; in the queue.
    ListsIn lists_in_;
    uint32_t pull_ = 0;  ///< Counts the answers whose pages are asked for.
    Message asked_{};    ///< What it answers.
    Reply pulled_{};
    bool is_page_out_ = false;  ///< A part, or a request for a page, is under way.
    std::unique_ptr<std::byte[]> page_;
    OwnedEvent<TcpLink, &TcpLink::report> report_event_{*this};
};

}  // namespace basalt::replication
